"""What the numbers in a mask mean: each rule of docs/data.md, and what is refused with what settles it."""

import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import expand_labels

from segexp.errors import InputError
from segexp.io.labels import IGNORE, MASKS, label_map, mask_values, to_labels

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
    "white of 16 bits": ([[0, 65535]], 1, "auto", None, "0/65535", [[0, 1]]),
    "only the ignored": ([[255, 255]], 1, "auto", 255, "empty", [[IGNORE, IGNORE]]),
    "probabilities": ([[0.2, 0.5, 0.9]], 1, "probabilities", None, "probabilities", [[0, 1, 1]]),
    "probabilities beside 0, not annotated": (
        [[0, 1, 1.4, 1.5, 2]],
        1,
        "probabilities",
        0,
        "probabilities",
        [[IGNORE, 0, 0, 1, 1]],
    ),
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
    "three shades": ([[0, 128, 255]], 1, "auto", None, ["0, 128, 255", "task.mask_threshold=128", "task.ignore=255"]),
    "shades of 16 bits": ([[0, 9000, 65535]], 1, "auto", None, ["task.mask_threshold=32768"]),
    "shades as floats": ([[0, 127.5, 255]], 1, "auto", None, ["0, 127.5, 255", "task.mask_threshold=128"]),
    "white above gaps": (
        [[*range(0, 90, 10), 255]],
        1,
        "auto",
        None,
        ["... 255", "not object ids", "task.mask_threshold=128", "task.masks=instances"],
    ),
    "NaN": ([[0, np.nan]], 1, "auto", None, ["NaN"]),
    "text": ([["a"]], 1, "auto", None, ["dtype"]),
}


def test_object_ids_up_to_255_with_gaps_are_objects_and_soft_rims_are_not():
    """As of a label image from which objects at the border were removed, or that was numbered over a whole data set."""
    blocks = np.arange(1, 257).reshape(16, 16).repeat(6, axis=0).repeat(6, axis=1)
    blocks[blocks == 256] = 0
    without_seven = np.where(blocks == 7, 0, blocks)
    late = np.where(blocks >= 248, blocks, 0)
    for mask in (without_seven, late):
        assert mask_values(mask, 1).kind == "instance ids"
        np.testing.assert_array_equal(label_map(mask.astype(np.uint8), 1), mask > 0)
    few = np.where(blocks <= 12, blocks, 0)
    few[-10:, :40] = 255
    for unclear in (few, few.repeat(2, axis=0)):
        with pytest.raises(InputError, match=r"white stands apart.*task\.ignore=255 if 255 was not annotated"):
            mask_values(unclear, 1)
    lines = np.zeros((300, 300), np.uint8)
    for offset in range(0, 300, 12):
        cv2.line(lines, (offset, 0), (299 - offset // 2, 299), 255, 1, cv2.LINE_AA)
    enlarged = lines.repeat(2, axis=0).repeat(2, axis=1)
    with pytest.raises(InputError, match="not object ids"):
        mask_values(enlarged, 1)
    hard = np.zeros((200, 200), np.uint8)
    cv2.circle(hard, (100, 100), 80, 255, -1)
    for soft in (cv2.GaussianBlur(hard, (5, 5), 0), cv2.resize(hard, (301, 301), interpolation=cv2.INTER_AREA)):
        with pytest.raises(InputError, match=r"not object ids.*mask_threshold=128.*task\.masks=instances"):
            mask_values(soft, 1)


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


def soft_masks():
    """A scene of discs, drawn with 0 and 255, and its mask as files have it after JPEG, resizing and blurring."""
    hard = np.zeros((128, 128), np.uint8)
    for row, column, radius in np.random.default_rng(0).integers((8, 8, 3), (120, 120, 9), (14, 3)).tolist():
        cv2.circle(hard, (column, row), radius, 255, -1)
    yield "JPEG", hard, cv2.imdecode(cv2.imencode(".jpg", hard)[1], cv2.IMREAD_GRAYSCALE)
    half = cv2.resize(hard, (64, 64), interpolation=cv2.INTER_AREA)
    yield "resized", hard, cv2.resize(half, (128, 128), interpolation=cv2.INTER_LINEAR)
    yield "cubic", hard, cv2.resize(cv2.resize(hard, (200, 200), interpolation=cv2.INTER_CUBIC), (128, 128))
    yield "dim", hard, (cv2.GaussianBlur(hard, (0, 0), 1) * 0.95).astype(np.uint8)
    yield "16 bits", hard, half.repeat(2, 0).repeat(2, 1).astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("name", "hard", "soft"), list(soft_masks()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_shades_are_no_object_ids_and_the_threshold_that_is_named_restores_the_mask(name, hard, soft):
    with pytest.raises(InputError, match=r"values 0, .*task\.mask_threshold=(\d+)") as error:
        label_map(soft, 1, "m")
    named = float(re.search(r"task\.mask_threshold=(\d+)", str(error.value))[1])
    assert named == {"16 bits": 32768}.get(name, 128)
    assert mask_values(soft, 1, threshold=named).kind == "soft"
    labels = label_map(soft, 1, threshold=named)
    assert abs(labels.mean() - (hard > 0).mean()) < 0.006


def test_objects_that_touch_cross_or_are_specks_stay_object_ids():
    rng = np.random.default_rng(1)
    points = np.zeros((64, 64), np.int32)
    points[tuple(rng.integers(0, 64, (2, 60)))] = np.arange(1, 61)
    lines = np.zeros((64, 64), np.int32)
    for number in range(1, 13):
        cv2.line(lines, rng.integers(0, 64, 2).tolist(), rng.integers(0, 64, 2).tolist(), number, 1)
    tissue = expand_labels(points, 64)
    sparse = np.array([0, *sorted(rng.choice(100000, 60, replace=False) + 1)])[points]
    for ids in (points, tissue, lines, sparse, expand_labels(sparse, 3)):
        assert mask_values(ids, 1) == ("instance ids", ids.max(), "")


def test_a_threshold_that_nothing_reaches():
    assert mask_values(np.array([[0, 90]]), 1, threshold=128).doubt.startswith("mask: values 0, 90; none reaches")
    assert mask_values(np.array([[0, 0]]), 1, threshold=128).kind == "empty"
    with pytest.raises(InputError, match="values 0, 1; none reaches"):
        mask_values(np.array([[0, 1]]), 1, threshold=128)
    np.testing.assert_array_equal(label_map(np.array([[0, 200, 255]]), 1, ignore=255, threshold=128), [[0, 1, IGNORE]])
