"""The bounding box of masks that a score needs, and connected pieces.

Foreground is 8-connected everywhere in segexp (a thin diagonal line is one piece) and background therefore 4-connected.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

ROUNDING = 1e-6
"""Share by which a distance may pass a tolerance and still be within: of 0.3 µm at 0.1 µm a pixel, 3 px are."""


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns that hold every true pixel of (H, W), `margin` wider if there is room; empty for none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


class Pieces(NamedTuple):
    """Connected pieces of a mask.

    Attributes:
        labels: whole numbers (H, W): 0 outside, 1 to N.
        areas: int64 (N,) pixels.
        centres: float64 (N, 2) rows and columns of the centroids.
    """

    labels: NDArray
    areas: NDArray[np.int64]
    centres: NDArray


def pieces(mask: Mask) -> Pieces:
    """The 8-connected pieces of a boolean mask (H, W)."""
    _, labels, stats, centres = cv2.connectedComponentsWithStats(np.asarray(mask, np.uint8), connectivity=8)
    return Pieces(np.asarray(labels), stats[1:, cv2.CC_STAT_AREA].astype(np.int64), centres[1:, ::-1])


def shared_pixels(first: NDArray, second: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Pairs of labels that lie on each other, from two label images: first label, second label, shared pixels.

    Labels start at 1; background takes no part.
    """
    both = (first > 0) & (second > 0)
    keys = first[both].astype(np.int64) * (int(second.max(initial=0)) + 1) + second[both]
    pairs, counts = np.unique(keys, return_counts=True)
    rows, columns = np.divmod(pairs, int(second.max(initial=0)) + 1)
    return rows, columns, counts


def without_small(mask: Mask, min_size: int) -> Mask:
    """The mask (H, W) without its 8-connected pieces of fewer than `min_size` pixels."""
    if min_size <= 1 or not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_size
    keep[0] = False
    return keep[labels]


def distance_to(line: Mask, sides: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.float64]:
    """Euclidean distance (H, W) of every pixel to the nearest true one, in the unit of a pixel's two sides (y, x)."""
    if sides[0] == sides[1]:  # exact, and four times as fast as SciPy
        pixels = cv2.distanceTransform((~line).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return pixels.astype(np.float64) * sides[0]
    from scipy.ndimage import distance_transform_edt  # here, since it takes a while to import

    return distance_transform_edt(~line, sampling=sides)
