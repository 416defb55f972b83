"""Rescale images to the pixel size of a model: area averages for downscaling, linear interpolation for upscaling.

Both are one sparse matrix for each axis, so a window of the result is computed from the matching window of the source
alone, and equals the same window of the whole. Class maps take the value of the nearest pixel.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SAME = 0.01
"""Smaller differences in scale are ignored: a file's calibration is not more accurate."""

LARGEST_FACTOR = 50
"""Larger changes of scale indicate a wrong unit rather than another microscope."""

Size = tuple[float, float]


def scaled_shape(
    shape: tuple[int, int], pixel_size: Size | None, target: float | None, name: str = "image"
) -> tuple[int, int]:
    """Height and width that an image of `shape` has at `target` micrometres a pixel.

    Args:
        shape: (H, W) as the file holds it.
        pixel_size: micrometres (y, x) of its pixels; None if unknown, and the shape stays.
        target: micrometres a pixel of the model; None if it has no scale, and the shape stays.
        name: for the message.

    Raises:
        InputError: if the two differ by more than `LARGEST_FACTOR`.
    """
    if pixel_size is None or target is None:
        return shape
    factors = tuple(size / target for size in pixel_size)
    if all(abs(factor - 1) < SAME for factor in factors):
        return shape
    if any(not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR for factor in factors):
        raise InputError(
            f"{name}: its pixels are {pixel_size[0]:g} by {pixel_size[1]:g} micrometres, the task's {target:g}; "
            f"more than a factor of {LARGEST_FACTOR} apart. If the file is wrong, set data.pixel_size"
        )
    return max(1, round(shape[0] * factors[0])), max(1, round(shape[1] * factors[1]))


def rescale(pixels: NDArray, shape: tuple[int, int], nearest: bool = False) -> NDArray:
    """(..., H, W) of any real dtype resampled to (..., *shape), in the same dtype.

    `nearest` for labels and masks. Integers are rounded. Rescaling is not exactly invertible: a prediction at the
    model's scale is brought back to the image's size by ``rescale(probabilities, (H, W))``.
    """
    if pixels.shape[-2:] == tuple(shape):
        return pixels
    return rescale_window(pixels, shape, (0, 0), pixels.shape[-2:], (0, 0), shape, nearest)


def source_window(
    source: tuple[int, int], shape: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Corner and size of the part of a `source` (H, W) from which a window of it, rescaled to `shape`, is computed."""
    starts, lengths = [], []
    for axis in range(2):
        factor = source[axis] / shape[axis]
        first = int(np.floor(corner[axis] * factor - 1))
        last = int(np.ceil((corner[axis] + size[axis]) * factor + 1))
        first, last = max(first, 0), min(last, source[axis])
        starts.append(first)
        lengths.append(last - first)
    return (starts[0], starts[1]), (lengths[0], lengths[1])


def rescale_window(
    pixels: NDArray,
    shape: tuple[int, int],
    offset: tuple[int, int],
    source: tuple[int, int],
    corner: tuple[int, int],
    size: tuple[int, int],
    nearest: bool = False,
) -> NDArray:
    """The window of `size` at `corner` of the whole image after `rescale`.

    Args:
        pixels: (..., h, w), the part of the image that `source_window` names.
        shape: (H, W) of the whole image after rescaling.
        offset: where `pixels` begins in the whole image.
        source: (H, W) of the whole image before.
        corner, size: of the window, in pixels of the result.
        nearest: for labels.
    """
    if nearest:
        rows, columns = (
            _nearest(source[axis], shape[axis], corner[axis], size[axis]) - offset[axis] for axis in range(2)
        )
        return np.ascontiguousarray(pixels[..., rows[:, None], columns])
    down, across = (
        _weights(source[axis], shape[axis], corner[axis], size[axis], offset[axis], pixels.shape[axis - 2])
        for axis in range(2)
    )
    planes = pixels.reshape(-1, *pixels.shape[-2:]).astype(np.float64)
    planes = np.stack([(across @ (down @ plane).T).T for plane in planes])
    if pixels.dtype.kind in "iu":
        planes = np.rint(planes)
    return planes.reshape(*pixels.shape[:-2], *size).astype(pixels.dtype)


def _nearest(source: int, length: int, first: int, count: int) -> NDArray[np.int64]:
    centres = (np.arange(first, first + count) + 0.5) * source / length
    return np.minimum(centres.astype(np.int64), source - 1)


def _weights(source: int, length: int, first: int, count: int, offset: int, width: int) -> "csr_array":
    """(count, held) matrix from source pixels `offset` on to the result's pixels `first` on, along one axis."""
    factor = source / length
    result = np.arange(first, first + count)
    if factor > 1:  # the share of each source pixel that lies within the result's pixel
        reach = int(np.ceil(factor)) + 1
        near = np.floor(result * factor).astype(np.int64)[:, None] + np.arange(reach)
        low, high = (result * factor)[:, None], ((result + 1) * factor)[:, None]
        weights = np.clip(np.minimum(near + 1, high) - np.maximum(near, low), 0, None)
    else:
        centres = (result + 0.5) * factor - 0.5
        near = np.floor(centres).astype(np.int64)[:, None] + np.arange(2)
        weights = 1 - np.abs(near - centres[:, None])
    near = np.clip(near, 0, source - 1)
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights > 1e-12
    rows = np.broadcast_to(np.arange(count)[:, None], near.shape)
    from scipy.sparse import csr_array  # here, since it takes half a second to import

    return csr_array((weights[used], (rows[used], near[used] - offset)), shape=(count, width))
