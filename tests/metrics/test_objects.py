"""Matched objects, worked by hand; SciPy's optimal assignment and torchmetrics as referees."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage, optimize

from segexp.metrics.objects import THRESHOLDS, equivalent_radius, match_objects, object_scores
from segexp.metrics.region import pieces, without_small


def squares(*corners, side=10):
    mask = np.zeros((60, 60), bool)
    for top, left in corners:
        mask[top : top + side, left : left + side] = True
    return mask


def scores(prediction, truth, known=None, spacing=1.0):
    return object_scores(match_objects(prediction, truth, known), spacing)


def test_the_same_objects():
    found = scores(squares((0, 0), (20, 20)), squares((0, 0), (20, 20)))
    for name in ("object_f1", "object_f1_75", "object_ap", "panoptic_quality", "object_precision", "object_recall"):
        assert found[name] == 1
    for name in ("count_error", "centre_error", "radius_error"):
        assert found[name] == 0


def test_one_moved_one_missed_one_invented():
    """Squares of side 10, one moved by 2 (IoU 80/120 = 2/3), one missed, one invented."""
    matching = match_objects(squares((0, 2), (40, 40)), squares((0, 0), (20, 20)))
    assert matching.iou == pytest.approx([2 / 3])
    found = object_scores(matching)
    assert found["object_f1"] == pytest.approx(2 * 1 / 4)
    assert found["object_precision"] == found["object_recall"] == 0.5
    assert found["object_f1_75"] == 0
    # matched at 0.5, 0.55, 0.6 and 0.65 of nine thresholds, a third each
    assert found["object_ap"] == pytest.approx(4 / 9 / 3)
    assert found["panoptic_quality"] == pytest.approx(2 / 3 / (1 + 0.5 + 0.5))
    assert found["count_error"] == 0
    assert found["centre_error"] == pytest.approx(2)
    assert found["radius_error"] == 0


def test_a_smaller_object_and_the_unit():
    found = scores(squares((1, 1), side=8), squares((0, 0)), spacing=0.1)
    assert found["object_f1"] == 1  # IoU 64/100
    assert found["radius_error"] == pytest.approx(0.1 * (10 - 8) / math.sqrt(math.pi))
    assert found["centre_error"] == 0
    assert equivalent_radius(np.array([math.pi * 9])) == pytest.approx(3)


def test_empty_images():
    empty = squares()
    found = scores(empty, empty)
    for name in ("object_f1", "object_ap", "panoptic_quality"):
        assert found[name] == 1
    assert math.isnan(found["centre_error"])
    for pair in ((empty, squares((0, 0))), (squares((0, 0)), empty)):
        found = scores(*pair)
        for name in ("object_f1", "object_ap", "panoptic_quality", "object_precision", "object_recall"):
            assert found[name] == 0
        assert found["count_error"] == 1
        assert math.isnan(found["radius_error"])


def test_halves_match_once():
    halves = np.zeros((60, 60), np.uint8)
    halves[0:10, 0:5], halves[0:10, 5:10] = 1, 2
    for pair in ((halves, squares((0, 0))), (squares((0, 0)), halves)):
        matching = match_objects(*pair)
        assert matching.iou == pytest.approx([0.5])
        assert len(matching.pairs) == 1


def test_label_images_keep_touching_objects_apart():
    labels = np.zeros((60, 60), np.int32)
    labels[0:10, 0:10], labels[0:10, 10:20] = 7, 300
    assert scores(labels, labels)["objects_truth"] == 2
    assert scores(labels, labels)["object_f1"] == 1
    assert scores(labels > 0, labels)["object_f1"] == pytest.approx(2 / 3)  # one matched half of three objects


def test_what_nobody_annotated_counts_nowhere():
    known = np.ones((60, 60), bool)
    known[30:] = False
    found = scores(squares((0, 0), (40, 40)), squares((0, 0)), known)
    assert found["object_f1"] == 1
    assert found["objects_prediction"] == 1
    # lying there by 40 %: judged by its known part
    assert scores(squares((24, 0)), squares((24, 0)) & known, known)["object_f1"] == 1
    # by 60 %: nobody knows
    assert scores(squares((26, 0)), squares(), known)["objects_prediction"] == 0


@given(arrays(np.int32, (7, 9), elements=st.integers(0, 4)), arrays(np.int32, (7, 9), elements=st.integers(0, 4)))
def test_no_assignment_matches_more(prediction, truth):
    """Greedy pairs are as many, and as good, as SciPy's optimal assignment finds at every threshold."""
    matching = match_objects(prediction, truth)
    names = [[value for value in np.unique(image) if value] for image in (prediction, truth)]
    iou = np.zeros((len(names[0]), len(names[1])))
    for i, p in enumerate(names[0]):
        for j, t in enumerate(names[1]):
            iou[i, j] = ((prediction == p) & (truth == t)).sum() / ((prediction == p) | (truth == t)).sum()
    for threshold in THRESHOLDS:
        value = np.where(iou >= threshold, 10 + iou, 0)
        chosen = value[optimize.linear_sum_assignment(value, maximize=True)]
        assert (matching.iou >= threshold).sum() == (chosen > 0).sum()
        good = matching.iou[matching.iou >= threshold].sum()
        assert good == pytest.approx((chosen[chosen > 0] - 10).sum())
    for (i, j), value in zip(matching.pairs, matching.iou, strict=True):
        assert value == pytest.approx(iou[i, j])


@given(arrays(bool, (8, 9)), arrays(bool, (8, 9)))
def test_panoptic_quality_agrees_with_torchmetrics(prediction, truth):
    import torch
    from torchmetrics.functional.detection import panoptic_quality

    found = match_objects(prediction, truth)
    if (found.iou == 0.5).any() or not truth.any() or not prediction.any():
        return  # torchmetrics matches above 0.5 only, and calls 0/0 zero
    both = []
    for image in (prediction, truth):
        labels = ndimage.label(image, np.ones((3, 3)))[0]
        both.append(torch.from_numpy(np.stack([image.astype(int), labels], axis=-1))[None])
    # category 1 is a thing, 0 is stuff: only the things' quality is asked for
    quality = panoptic_quality(*both, things={1}, stuffs={0}, return_per_class=True)
    assert object_scores(found)["panoptic_quality"] == pytest.approx(quality[0, 0].item(), abs=1e-6)


@given(arrays(bool, (9, 10)))
def test_pieces_agree_with_scipy(mask):
    ours = pieces(mask)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    assert len(ours.areas) == count
    expected = ndimage.center_of_mass(mask, labels, range(1, count + 1))
    assert sorted(map(tuple, np.round(ours.centres, 6))) == sorted(tuple(np.round(c, 6)) for c in expected)


@given(arrays(bool, (9, 10)), st.integers(0, 12))
def test_without_small_agrees_with_scikit_image(mask, size):
    from skimage.morphology import remove_small_objects

    expected = remove_small_objects(mask, max_size=max(size - 1, 0), connectivity=2)
    np.testing.assert_array_equal(without_small(mask, size), expected)
