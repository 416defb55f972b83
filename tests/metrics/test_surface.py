"""Outline scores: squares whose distances are known, and MONAI as a second opinion."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segexp.metrics.surface import outline, outline_distances, surface_scores

MASKS = arrays(bool, (13, 15))


def square(top, left, side=10, shape=(40, 40)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_an_outline_is_the_pixels_beside_the_outside():
    assert outline(square(5, 5)).sum() == 36
    assert outline(square(0, 0)).sum() == 36  # the image's edge is outside
    assert outline(square(5, 5, 1)).sum() == 1


def test_the_same_square():
    scores = surface_scores(square(5, 5), square(5, 5))
    assert scores == {"surface_dice": 1, "surface_distance": 0, "hd95": 0}


def test_a_square_moved_sideways():
    """Moved by 3: 10 pixels of the front are 3 away, rows above and below lie on each other but for three pixels."""
    there, back = outline_distances(square(5, 8), square(5, 5))
    assert len(there) == len(back) == 36
    assert there.max() == back.max() == 3
    # the front (10 pixels) is 3 away; rows 5 and 14 hold a pixel 2, a pixel 1 away beside it, and the rear column's
    # eight inner pixels are 1, 2, 3, 3, 3, 3, 2, 1 from the nearest row or column
    assert there.sum() == back.sum() == 10 * 3 + 2 * (2 + 1) + 2 * (1 + 2 + 3 + 3)
    scores = surface_scores(square(5, 8), square(5, 5), tolerance=2)
    assert scores["surface_dice"] == pytest.approx(1 - (10 + 4) / 36)
    assert scores["surface_distance"] == pytest.approx(54 / 36)
    assert scores["hd95"] == 3


def test_one_pixel_each():
    scores = surface_scores(square(3, 4, 1), square(0, 0, 1), tolerance=5)
    assert scores == {"surface_dice": 1, "surface_distance": 5, "hd95": 5}
    assert surface_scores(square(3, 4, 1), square(0, 0, 1), tolerance=4.9)["surface_dice"] == 0


def test_spacing():
    micrometres = surface_scores(square(3, 4, 1), square(0, 0, 1), tolerance=0.5, spacing=0.1)
    assert micrometres["hd95"] == pytest.approx(0.5)
    stretched = surface_scores(square(3, 4, 1), square(0, 0, 1), spacing=(2.0, 1.0))
    assert stretched["hd95"] == pytest.approx(math.hypot(6, 4))


def test_a_distance_of_just_the_tolerance_is_within_it():
    pair = square(3, 0, 1), square(0, 0, 1)
    assert surface_scores(*pair, tolerance=0.3, spacing=0.1)["surface_dice"] == 1  # 3 * 0.1 > 0.3
    assert surface_scores(*pair, tolerance=0.299, spacing=0.1)["surface_dice"] == 0


def test_empty_masks():
    empty = np.zeros((30, 40), bool)
    assert surface_scores(empty, empty) == {"surface_dice": 1, "surface_distance": 0, "hd95": 0}
    for pair in ((empty, square(3, 3, shape=(30, 40))), (square(3, 3, shape=(30, 40)), empty)):
        scores = surface_scores(*pair, tolerance=100)
        assert scores == {"surface_dice": 0, "surface_distance": 50, "hd95": 50}


def test_outlines_that_face_what_nobody_annotated_do_not_count():
    known = np.ones((40, 40), bool)
    known[:, 20:] = False
    wide, narrow = square(5, 5, 20), square(5, 5, 15)
    narrow[5:25, 5:20] = True
    assert surface_scores(wide, narrow & known, known) == {"surface_dice": 1, "surface_distance": 0, "hd95": 0}
    assert surface_scores(wide, narrow, None)["hd95"] > 0


@pytest.mark.filterwarnings("ignore:monai:FutureWarning")  # MONAI calls what it deprecates itself
@settings(max_examples=40)
@given(MASKS, MASKS, st.sampled_from([0.0, 1.0, 1.5, 2.0]), st.sampled_from([1.0, 0.25, (0.5, 2.0)]))
def test_agrees_with_monai(prediction, truth, tolerance, spacing):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    assume(prediction.any() and truth.any())
    scores = surface_scores(prediction, truth, tolerance=tolerance, spacing=spacing)
    p, t = (torch.from_numpy(mask)[None, None] for mask in (prediction, truth))
    hd95 = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=spacing)
    assert scores["hd95"] == pytest.approx(hd95.item(), abs=1e-4)
    nsd = compute_surface_dice(p, t, [tolerance], include_background=True, spacing=spacing)
    assert scores["surface_dice"] == pytest.approx(nsd.item(), abs=1e-6)
    there, back = outline_distances(prediction, truth, spacing=spacing)
    for first, second, ours in ((p, t, there), (t, p, back)):
        way = compute_average_surface_distance(first, second, include_background=True, spacing=spacing)
        assert ours.mean() == pytest.approx(way.item(), abs=1e-4)
    assert scores["surface_distance"] == pytest.approx(np.concatenate([there, back]).mean())
