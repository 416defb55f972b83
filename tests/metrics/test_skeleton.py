"""Centreline scores on lines whose skeletons are known."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import draw

from segexp.metrics.skeleton import cldice, piece_lengths, skeleton, skeleton_length, skeleton_scores

EMPTY = np.zeros((30, 40), bool)


def line(row, start=2, stop=38, width=1):
    mask = np.zeros((30, 40), bool)
    mask[row - width // 2 : row + width // 2 + 1, start:stop] = True
    return mask


def test_cldice():
    assert cldice(line(10), line(10)) == 1
    assert cldice(line(10), line(20)) == 0
    assert cldice(line(10, width=5), line(10)) == pytest.approx(1, abs=0.1)
    # half of the line found: precision 1, recall 18/36
    assert cldice(line(10, 2, 20), line(10)) == pytest.approx(2 / 3, abs=0.01)


def test_empty_masks():
    assert cldice(EMPTY, EMPTY) == 1
    assert cldice(EMPTY, line(10)) == 0
    assert cldice(line(10), EMPTY) == 0
    names = ("skeleton_precision", "skeleton_recall", "skeleton_f1", "length_error")
    for prediction, truth, expected in (
        (EMPTY, EMPTY, (1, 1, 1, 0)),
        (line(5), EMPTY, (0, 0, 0, 1)),
        (EMPTY, line(5), (0, 0, 0, 1)),
    ):
        scores = skeleton_scores(prediction, truth)
        assert tuple(scores[name] for name in names) == expected


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([(0, 0)], 0),
        ([(0, 0), (0, 1), (0, 2)], 2),
        ([(0, 0), (1, 1), (2, 2)], 2 * math.sqrt(2)),
        ([(0, 2), (1, 1), (2, 0)], 2 * math.sqrt(2)),
        ([(0, 0), (0, 1), (1, 1)], 2),  # a corner: the diagonal between its ends is no step
        ([(0, 0), (0, 1), (1, 2), (2, 2)], 2 + math.sqrt(2)),
        ([(0, 0), (3, 3)], 0),
    ],
)
def test_length_counts_steps(pixels, expected):
    mask = np.zeros((5, 5), bool)
    mask[tuple(np.transpose(pixels))] = True
    assert skeleton_length(mask) == pytest.approx(expected)
    assert skeleton_length(mask, spacing=0.5) == pytest.approx(expected / 2)
    assert skeleton_length(mask.T) == pytest.approx(expected)


def test_pieces_are_measured_apart():
    mask = line(3, 2, 12) | line(10, 5, 9)
    mask[[20, 21, 22], [30, 31, 32]] = True
    np.testing.assert_allclose(sorted(piece_lengths(mask)), [2 * math.sqrt(2), 3, 9])


@given(arrays(bool, (9, 11)))
def test_pieces_add_up_to_the_whole(mask):
    thin = skeleton(mask)
    assert piece_lengths(thin).sum() == pytest.approx(skeleton_length(thin))
    assert len(piece_lengths(thin)) == ndimage.label(thin, np.ones((3, 3)))[1]


def test_slanted_lines_are_too_long_by_eight_percent_at_most():
    for degrees in (0, 10, 22.5, 35, 45, 67.5, 90):
        end = np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]) * 200
        mask = np.zeros((210, 210), bool)
        mask[draw.line(0, 0, *np.rint(end).astype(int))] = True
        assert 0.99 < skeleton_length(skeleton(mask)) / np.hypot(*np.rint(end)) < 1.083


def test_tolerance_is_a_distance():
    for apart, tolerance, found in ((2, 2.0, 1), (2, 1.9, 0), (3, 2.9, 0), (3, 3.0, 1)):
        scores = skeleton_scores(line(10 + apart), line(10), tolerance=tolerance)
        assert scores["skeleton_f1"] == found
    # the same in µm: 3 pixels of 0.1 µm
    assert skeleton_scores(line(13), line(10), tolerance=0.31, spacing=0.1)["skeleton_f1"] == 1
    assert skeleton_scores(line(13), line(10), tolerance=0.25, spacing=0.1)["skeleton_f1"] == 0
    assert skeleton_scores(line(13), line(10), tolerance=0.3, spacing=0.1)["skeleton_f1"] == 1  # 0.3 / 0.1 < 3
    assert skeleton_scores(line(13), line(10), tolerance=3 * 0.7, spacing=0.7)["skeleton_f1"] == 1


@given(arrays(bool, (12, 13)), arrays(bool, (12, 13)))
def test_tolerant_shares_agree_with_a_distance_transform(prediction, truth):
    scores = skeleton_scores(prediction, truth, tolerance=2.3)
    found, wanted = skeleton(prediction), skeleton(truth)
    if not found.any() or not wanted.any():
        return  # the rule for empty masks is tested above
    near = ndimage.distance_transform_edt(~wanted) <= 2.3
    assert scores["skeleton_precision"] == pytest.approx(near[found].mean())
    near = ndimage.distance_transform_edt(~found) <= 2.3
    assert scores["skeleton_recall"] == pytest.approx(near[wanted].mean())


def test_a_wide_tolerance_is_measured_by_distances_and_not_by_a_large_disc(monkeypatch):
    """Dilation by a disc of radius 200 takes a quarter of a minute in an image of 1024x1024."""
    pairs = [(line(2), line(28)), (line(2), EMPTY), (EMPTY, EMPTY), (line(2, 2, 9), line(28, 20, 38))]
    by_disc = [skeleton_scores(*pair, tolerance=tolerance) for pair in pairs for tolerance in (3, 20)]
    monkeypatch.setattr("segexp.metrics.skeleton.WIDE", 0)
    monkeypatch.setattr(cv2, "dilate", None)
    assert by_disc == [skeleton_scores(*pair, tolerance=tolerance) for pair in pairs for tolerance in (3, 20)]
    monkeypatch.undo()
    monkeypatch.setattr(cv2, "dilate", None)
    assert skeleton_scores(line(2), line(28), tolerance=26)["skeleton_f1"] == 1
    assert skeleton_scores(line(2), line(28), tolerance=25)["skeleton_f1"] == 0


@given(arrays(bool, (10, 10)))
def test_thinning_in_the_bounding_box_is_thinning_the_whole(mask):
    from skimage.morphology import skeletonize

    whole = np.zeros((30, 33), bool)
    whole[7:17, 9:19] = mask
    np.testing.assert_array_equal(skeleton(whole), skeletonize(whole))


def test_half_a_filament():
    scores = skeleton_scores(line(10, 2, 21), line(10, 2, 39), tolerance=0)
    assert scores["skeleton_precision"] == 1
    assert scores["skeleton_recall"] == pytest.approx(19 / 37)
    assert (scores["length_truth"], scores["length_prediction"]) == (36, 18)
    assert scores["length_error"] == pytest.approx(0.5)


def test_what_nobody_annotated_counts_nowhere():
    known = np.ones((30, 40), bool)
    known[:, 20:] = False
    scores = skeleton_scores(line(10) | line(20, 25, 35), line(10, 2, 20), known)
    assert scores["skeleton_f1"] == 1
    assert scores["cldice"] == 1
    assert scores["length_error"] == 0
