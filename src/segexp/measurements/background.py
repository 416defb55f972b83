"""The local background of an object: the brightness around it, which is subtracted from its own."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def local_background(labels: NDArray[np.int32], image: NDArray, gap: float, ring: float) -> NDArray[np.float64]:
    """Return the median brightness around each object 1..N, float64 (N,).

    The median is over the background pixels more than `gap` and at most `gap` + `ring` px away from the object; each
    pixel counts only for its nearest object. For an object without such pixels (crowded on all sides) it is the median
    of the whole background, or NaN if the image has no background.

    Args:
        labels: (H, W), 0 is background.
        image: (H, W) of any real dtype.
    """
    count = int(labels.max(initial=0))
    outside = labels == 0
    if not count or not outside.any():
        return np.full(count, np.nan)
    distance, nearest = ndimage.distance_transform_edt(outside, return_indices=True)
    near = (distance > gap) & (distance <= gap + ring)
    owner = labels[nearest[0][near], nearest[1][near]]
    around = image[near].astype(np.float64)
    order = np.lexsort((around, owner))
    owner, around = owner[order], around[order]
    first = np.searchsorted(owner, np.arange(1, count + 1))
    number = np.searchsorted(owner, np.arange(1, count + 1), side="right") - first
    everywhere = float(np.median(image[outside]))
    if not len(around):
        return np.full(count, everywhere)
    low = around[np.minimum(first + (number - 1).clip(0) // 2, len(around) - 1)]
    high = around[np.minimum(first + number // 2, len(around) - 1)]
    return np.where(number > 0, (low + high) / 2, everywhere)
