"""Read images by whole rows, for tiling: arrays in memory, and files of any size."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from segexp.data.normalization import casts, check_finite, check_float32
from segexp.data.reading import Place, Reading, read_pixels
from segexp.inference.sliding_window import RowSource
from segexp.io.images import ImageFile
from segexp.io.resample import rescale_window, source_window

BAND = 1 << 22
"""Values read at once where an image is only scanned."""


class ArrayRows:
    """Pixels (C, H, W) in memory."""

    def __init__(self, pixels: NDArray):
        self.pixels = pixels_of(pixels)
        self.shape: tuple[int, int, int] = (pixels.shape[0], pixels.shape[1], pixels.shape[2])

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1, a view (C, bottom - top, W)."""
        return self.pixels[:, top:bottom]


class FileRows:
    """An open file, at the scale of `place`, read on demand."""

    def __init__(self, file: ImageFile, reading: Reading, place: Place):
        self.file, self.reading, self.place = file, reading, place
        self.shape: tuple[int, int, int] = (reading.channels, *place.shape)
        if casts(file.dtype):  # the whole image tells; it is read twice then
            check_float32((self._stored(top, bottom) for top, bottom in band_edges(self.shape)), file.path)

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1 as (C, bottom - top, W).

        Raises:
            InputError: if they hold NaN.
        """
        return pixels_of(self._stored(top, bottom))

    def _stored(self, top: int, bottom: int) -> NDArray:
        return read_pixels(self.file, self.reading, self.place, (top, 0, bottom - top, self.shape[2]))


def pixels_of(pixels: NDArray) -> NDArray:
    """The same values in a dtype that every device supports: uint8, uint16 or float32."""
    return pixels if pixels.dtype in (np.uint8, np.uint16, np.float32) else pixels.astype(np.float32)


def checked(pixels: NDArray, name: str = "image") -> NDArray:
    """Check pixels (C, H, W) and return them.

    Raises:
        InputError: if float32 cannot hold them, as with NaN or values of 10^38.
    """
    check_finite(pixels, name)
    check_float32([pixels], name)
    return pixels


def pass_over(image: RowSource) -> Iterator[tuple[int, NDArray]]:
    """First row and pixels (C, rows, W) of bands from top to bottom, each of about `BAND` values."""
    for top, bottom in band_edges(image.shape):
        yield top, image.rows(top, bottom)


def band_edges(shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """First row, and row behind the last, of bands of about `BAND` values of an image (C, H, W)."""
    channels, height, width = shape
    step = max(1, BAND // (channels * width))
    return ((top, min(top + step, height)) for top in range(0, height, step))


def rescaled_bands(
    bands: Iterable[tuple[int, NDArray[np.float32]]], available: tuple[int, int], requested: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Bands (K, rows, W) of an image of `held` (H, W), rescaled to `expected` (H, W)."""
    if available == requested:
        yield from bands
        return
    kept: NDArray[np.float32] | None = None
    offset, done = 0, 0
    for first, band in bands:
        kept = band if kept is None else np.concatenate([kept, band], axis=1)
        ready = first + band.shape[1]
        end = requested[0] if ready == available[0] else done
        while end < requested[0] and _source_rows(available, requested, end, 1)[1] <= ready:
            end += 1
        if end > done:
            low, high = _source_rows(available, requested, done, end - done)
            part = kept[:, low - offset : high - offset]
            size = (end - done, requested[1])
            yield done, rescale_window(part, requested, (low, 0), available, (done, 0), size)
            done = end
            if done < requested[0]:
                low = _source_rows(available, requested, done, 1)[0]
                kept, offset = kept[:, low - offset :], low


def _source_rows(available: tuple[int, int], requested: tuple[int, int], first: int, count: int) -> tuple[int, int]:
    (low, _), (height, _) = source_window(available, requested, (first, 0), (count, requested[1]))
    return low, low + height
