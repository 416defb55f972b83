"""Centreline scores, for structures whose course matters more than their width.

Skeletons are those of Zhang and Suen (1984, doi:10.1145/357994.358023), one pixel wide. The rule for empty masks:
shares are 1 when prediction and truth are both empty and 0 when only one of them is; the length error is 0 and 1.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.metrics.region import ROUNDING, Mask, bounding_box, distance_to

WIDE = 20
"""Pixels from which a line is widened by distances: dilation takes as long per pixel as the disc is large."""


def skeleton(mask: NDArray, known: NDArray | None = None) -> Mask:
    """Centreline of a boolean mask (H, W), one pixel wide; without the parts that lie where `known` is False.

    The mask is thinned whole and cut afterwards, so that the border of what is known bends no line.
    """
    from skimage.morphology import skeletonize  # here, since it takes a sixth of a second to import

    mask = np.asarray(mask, bool)
    result = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if mask[box].size:
        result[box] = skeletonize(mask[box])
    return result if known is None else result & known


def skeleton_length(line: Mask, spacing: float = 1.0) -> float:
    """Length of a skeleton (H, W) in the unit of `spacing` (a pixel's side): side steps count 1, diagonal ones root 2.

    A diagonal step is one between pixels that no side step joins, so corners are not counted twice and a line of n
    pixels is n - 1 long. Like every count of steps it is too long for slanted lines, by 8 % at most (at 22.5 degrees).
    """
    side = sum(np.count_nonzero(line[first] & line[second]) for first, second in _side_steps())
    diagonal = sum(
        np.count_nonzero(line[first] & line[second] & ~between) for first, second, between in _diagonal_steps(line)
    )
    return float(side + math.sqrt(2) * diagonal) * spacing


def cldice(prediction: NDArray, truth: NDArray) -> float:
    """Centreline Dice of two boolean masks (H, W), in [0, 1]: Shit et al. (2021, arXiv:2003.07311).

    Harmonic mean of the share of the predicted skeleton inside the truth and of the true skeleton inside the
    prediction. Two empty masks score 1, one empty mask 0.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    return centreline_dice(prediction, truth, skeleton(prediction), skeleton(truth))


def centreline_dice(prediction: Mask, truth: Mask, predicted_line: Mask, true_line: Mask) -> float:
    """`cldice` for skeletons that were computed before."""
    return _harmonic(_share(predicted_line, truth, true_line), _share(true_line, prediction, predicted_line))


def piece_lengths(line: Mask, spacing: float = 1.0) -> NDArray[np.float64]:
    """Length of each 8-connected piece of a skeleton (H, W), counted as `skeleton_length` does; their sum is its."""
    count, labels = cv2.connectedComponents(line.view(np.uint8), connectivity=8)
    lengths = np.zeros(count)
    for first, second in _side_steps():
        lengths += np.bincount(labels[first][line[first] & line[second]], minlength=count)
    for first, second, between in _diagonal_steps(line):
        steps = line[first] & line[second] & ~between
        lengths += math.sqrt(2) * np.bincount(labels[first][steps], minlength=count)
    return lengths[1:] * spacing


def skeleton_scores(
    prediction: NDArray,
    truth: NDArray,
    known: NDArray | None = None,
    tolerance: float = 2.0,
    spacing: float = 1.0,
    lines: tuple[Mask, Mask] | None = None,
) -> dict[str, float]:
    """All centreline scores of two boolean masks (H, W); each is thinned once.

    Args:
        known: False where nobody annotated: no centreline pixel there counts.
        tolerance: how far a centreline may lie from the other and still be right, in the unit of `spacing`.
        spacing: a pixel's side: 1 for pixels, or in µm.
        lines: the skeletons of both, if they were computed before.

    Returns:
        `cldice`; `skeleton_precision`, the share of the predicted centreline within `tolerance` of the true one;
        `skeleton_recall`, the share of the true one within `tolerance` of the predicted one; `skeleton_f1`, their
        harmonic mean; `length_truth` and `length_prediction`; `length_error`, their difference as a share of the true
        length (absolute; 1 if there is no true line but a predicted one).
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if known is not None:
        known = np.asarray(known, bool)
        truth = truth & known
    predicted_line, true_line = lines or (skeleton(prediction, known), skeleton(truth))
    radius = tolerance / spacing
    precision = _share(predicted_line, _widen(true_line, radius), true_line)
    recall = _share(true_line, _widen(predicted_line, radius), predicted_line)
    length, true_length = skeleton_length(predicted_line, spacing), skeleton_length(true_line, spacing)
    return {
        "cldice": centreline_dice(prediction, truth, predicted_line, true_line),
        "skeleton_precision": precision,
        "skeleton_recall": recall,
        "skeleton_f1": _harmonic(precision, recall),
        "length_error": abs(length - true_length) / true_length if true_length else float(length > 0),
        "length_truth": true_length,
        "length_prediction": length,
    }


Window = tuple[slice, slice]
_ALL, _BUT_LAST, _BUT_FIRST = slice(None), slice(None, -1), slice(1, None)


def _side_steps() -> list[tuple[Window, Window]]:
    """The two pixels of every side step, as windows onto the image."""
    return [((_ALL, _BUT_LAST), (_ALL, _BUT_FIRST)), ((_BUT_LAST, _ALL), (_BUT_FIRST, _ALL))]


def _diagonal_steps(line: Mask) -> list[tuple[Window, Window, Mask]]:
    """The two pixels of every diagonal step, and where side steps join them."""
    a, b = (_BUT_LAST, _BUT_LAST), (_BUT_LAST, _BUT_FIRST)
    c, d = (_BUT_FIRST, _BUT_LAST), (_BUT_FIRST, _BUT_FIRST)
    return [(a, d, line[b] | line[c]), (b, c, line[a] | line[d])]


def _share(line: Mask, inside: Mask, other_line: Mask) -> float:
    """Share of a line's pixels inside a mask; for no line 1 if the other is empty too, else 0."""
    total = np.count_nonzero(line)
    return float(np.count_nonzero(line & inside)) / total if total else float(not other_line.any())


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


def _widen(line: Mask, radius: float) -> Mask:
    """Every pixel whose centre lies within `radius` pixels of one of the line."""
    radius *= 1 + ROUNDING
    if radius > WIDE:
        return distance_to(line) <= radius
    reach = int(radius)
    steps = np.arange(-reach, reach + 1)
    disc = steps[:, None] ** 2 + steps**2 <= radius**2
    return cv2.dilate(line.view(np.uint8), disc.view(np.uint8)).view(bool)
