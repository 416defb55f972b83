"""What the numbers in a mask mean: each rule of docs/data.md, and what is refused with what settles it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segexp.data.labels import IGNORE, MASKS, label_map, mask_values, to_labels
from segexp.errors import InputError

IDS = np.arange(0, 40).reshape(4, 10)

UNDERSTOOD = {  # values, classes, masks, ignore, kind, labels
    "bool": ([[True, False]], 1, "auto", None, "0/1", [[1, 0]]),
    "0/1": ([[0, 1]], 1, "auto", None, "0/1", [[0, 1]]),
    "0/255": ([[0, 255]], 1, "auto", None, "0/255", [[0, 1]]),
    "float 0/1": ([[0.0, 1.0]], 1, "auto", None, "0/1", [[0, 1]]),
    "all 255": ([[255, 255]], 1, "auto", None, "0/255", [[1, 1]]),
    "nothing": ([[0, 0]], 1, "auto", None, "empty", [[0, 0]]),
    "class ids": ([[0, 1, 2]], 2, "auto", None, "class ids", [[0, 1, 2]]),
    "many ids": (IDS, 1, "auto", None, "instance ids", np.minimum(IDS, 1)),
    "ids by order": ([[0, 7, 300]], 1, "instances", None, "instance ids", [[0, 1, 1]]),
    "255 ignored, 0/1": ([[0, 1, 255]], 1, "auto", 255, "0/1", [[0, 1, IGNORE]]),
    "255 ignored, ids": ([[0, 7, 255]], 1, "instances", 255, "instance ids", [[0, 1, IGNORE]]),
    "-1 ignored": ([[0, 1, -1]], 1, "auto", -1, "0/1", [[0, 1, IGNORE]]),
    "3 ignored of two classes": ([[0, 1, 2, 3]], 2, "auto", 3, "class ids", [[0, 1, 2, IGNORE]]),
    "ilastik": ([[0, 1, 2]], 1, "auto", 0, "0/1", [[IGNORE, 0, 1]]),
    "ilastik, two classes": ([[0, 1, 2, 3]], 2, "auto", 0, "class ids", [[IGNORE, 0, 1, 2]]),
    "only the ignored": ([[255, 255]], 1, "auto", 255, "empty", [[IGNORE, IGNORE]]),
    "probabilities": ([[0.2, 0.5, 0.9]], 1, "probabilities", None, "probabilities", [[0, 1, 1]]),
    "binary by order": ([[0, 255]], 1, "binary", None, "0/255", [[0, 1]]),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_understood(case):
    values, classes, masks, ignore, kind, labels = UNDERSTOOD[case]
    found = mask_values(np.array(values), classes, "m", masks, ignore)
    assert found.kind == kind
    assert not found.doubt
    result = label_map(np.array(values), classes, "m", masks, ignore)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, labels)


REFUSED = {  # values, classes, masks, ignore, words
    "0/1/2": ([[0, 1, 2]], 1, "auto", None, ["values 0, 1, 2", "task.classes=[class1,class2]", "task.masks=instances"]),
    "0/1/2/255": ([[0, 1, 2, 255]], 1, "auto", None, ["task.ignore=255", "task.classes", "task.masks=instances"]),
    "0/1/255": ([[0, 1, 255]], 1, "auto", None, ["task.ignore=255", "task.masks=instances"]),
    "float": ([[0.2, 0.9]], 1, "auto", None, ["task.masks=probabilities"]),
    "negative": ([[0, -1]], 1, "auto", None, ["values -1, 0", "task.ignore"]),
    "ids in two classes": (IDS, 2, "auto", None, ["class ids 0 to 2", "task.masks=instances"]),
    "0/255 in two classes": ([[0, 255]], 2, "auto", None, ["class ids 0 to 2", "task.ignore=255"]),
    "ids called binary": (IDS, 1, "binary", None, ["0/1 or 0/255", "task.masks=instances"]),
    "beyond one": ([[0, 1.5]], 1, "probabilities", None, ["from 0 to 1"]),
    "NaN": ([[0, np.nan]], 1, "auto", None, ["NaN"]),
    "text": ([["a"]], 1, "auto", None, ["dtype"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_file_and_what_settles_it(case):
    values, classes, masks, ignore, words = REFUSED[case]
    with pytest.raises(InputError) as error:
        label_map(np.array(values), classes, "cell_7.png", masks, ignore)
    for word in ["cell_7.png", *words]:
        assert word in str(error.value)


@given(
    mask=hnp.arrays(np.int64, (6, 8), elements=st.integers(-2, 300)),
    masks=st.sampled_from(MASKS),
    ignore=st.sampled_from([None, -1, 0, 255]),
    classes=st.integers(1, 3),
    cut=st.integers(1, 5),
)
def test_labels_are_a_matter_of_each_pixel(mask, masks, ignore, classes, cut):
    """A window of a mask becomes the same window of its labels, and only the ignored value becomes 255."""
    labels = to_labels(mask, classes, masks, ignore)
    np.testing.assert_array_equal(labels[cut:, :cut], to_labels(mask[cut:, :cut], classes, masks, ignore))
    try:
        whole = label_map(mask, classes, "m", masks, ignore)
    except InputError:
        return
    np.testing.assert_array_equal(whole, labels)
    assert set(np.unique(whole)) <= {*range(classes + 1), IGNORE}
    np.testing.assert_array_equal(whole == IGNORE, mask == ignore if ignore is not None else False)
