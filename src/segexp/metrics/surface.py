"""Distances between two outlines, which measure the error of a border.

The outline of a mask is its pixels that have a side neighbour outside it (the image's edge is outside), as MONAI and
the original implementation of the surface Dice take it. Outlines that only face pixels nobody annotated do not count.

The rule for empty masks: two empty masks agree perfectly (surface Dice 1, distances 0). With one empty the surface Dice
is 0 and the distances are the image's diagonal, the largest that could be: a missed image costs, and the mean stays
finite.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.metrics.region import ROUNDING, Mask, bounding_box, distance_to

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def outline(mask: NDArray, known: NDArray | None = None) -> Mask:
    """Pixels of a boolean mask (H, W) with a side neighbour outside it, and not merely where `known` is False."""
    mask = np.asarray(mask, bool)
    solid = mask if known is None else mask | ~np.asarray(known, bool)
    inner = cv2.erode(solid.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0).view(bool)
    edge = mask & ~inner
    return edge if known is None else edge & known


def outline_distances(
    prediction: NDArray,
    truth: NDArray,
    known: NDArray | None = None,
    spacing: float | tuple[float, float] = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each predicted outline pixel to the true outline, and of each true one to the predicted outline.

    Args:
        spacing: a pixel's side, or its height and width, in the unit that the distances shall have.

    Returns:
        Two arrays, empty if the mask of that name is. Where only the other mask is, the image's diagonal.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    sides = spacing if isinstance(spacing, tuple) else (spacing, spacing)
    diagonal = math.hypot(prediction.shape[0] * sides[0], prediction.shape[1] * sides[1])
    predicted, true = outline(prediction, known), outline(truth, known)
    box = bounding_box(predicted | true)  # every outline pixel is in it, so distances are those of the whole image
    predicted, true = predicted[box], true[box]
    if not predicted.any() or not true.any():
        return tuple(np.full(np.count_nonzero(line), diagonal) for line in (predicted, true))  # type: ignore[return-value]
    return distance_to(true, sides)[predicted], distance_to(predicted, sides)[true]


def surface_scores(
    prediction: NDArray,
    truth: NDArray,
    known: NDArray | None = None,
    tolerance: float = 2.0,
    spacing: float | tuple[float, float] = 1.0,
) -> dict[str, float]:
    """All outline scores of two boolean masks (H, W); each distance is computed once.

    Returns:
        `surface_dice`, the share of both outlines within `tolerance` of each other (Nikolov et al. 2018,
        arXiv:1809.04430, counting outline pixels); `surface_distance`, the mean distance over the pixels of both
        outlines; `hd95`, the larger of the two 95th percentiles. Distances are in the unit of `spacing`.
    """
    there, back = outline_distances(prediction, truth, known, spacing)
    if not len(there) and not len(back):
        return {"surface_dice": 1.0, "surface_distance": 0.0, "hd95": 0.0}
    both = np.concatenate([there, back])
    one_empty = not len(there) or not len(back)
    return {
        "surface_dice": 0.0 if one_empty else float((both <= tolerance * (1 + ROUNDING)).mean()),
        "surface_distance": float(both.mean()),
        "hd95": max(float(np.percentile(way, 95)) for way in (there, back) if len(way)),
    }
