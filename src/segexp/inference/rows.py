"""Images as the tiles read them, by whole rows: arrays in memory, and files that are read by windows."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segexp.data.images import to_channels
from segexp.errors import InputError
from segexp.inference.tiles import Rows

BAND = 1 << 22
"""Values read at once where an image is only passed over."""


class Windowed(Protocol):
    """A file read by windows. `shape` is (H, W), or (H, W, colours)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, colours)."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> NDArray:
        """The window as (height, width), or (height, width, colours)."""
        ...


class ArrayRows:
    """Pixels (C, H, W) in memory."""

    def __init__(self, pixels: NDArray):
        self.pixels = plain(pixels)
        self.shape: tuple[int, int, int] = (pixels.shape[0], pixels.shape[1], pixels.shape[2])

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1, a view (C, bottom - top, W)."""
        return self.pixels[:, top:bottom]


class FileRows:
    """A file read by windows, as `channels` channels; `InputError` naming `name` where it holds NaN."""

    def __init__(self, image: Windowed, channels: int, name: str):
        self.image, self.name = image, name
        self.shape: tuple[int, int, int] = (channels, image.shape[0], image.shape[1])

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1 as (C, bottom - top, W)."""
        window = self.image.read(top, 0, bottom - top, self.shape[2])
        return checked(plain(to_channels(window, self.shape[0], self.name)), self.name)


def plain(pixels: NDArray) -> NDArray:
    """The same values in one of the dtypes that every device takes: uint8, uint16 or float32."""
    return pixels if pixels.dtype in (np.uint8, np.uint16, np.float32) else pixels.astype(np.float32)


def checked(pixels: NDArray, name: str = "image") -> NDArray:
    """The same pixels; `InputError` where they hold NaN or infinite values."""
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        raise InputError(f"{name}: holds NaN or infinite values")
    return pixels


def pass_over(image: Rows) -> Iterator[tuple[int, NDArray]]:
    """First row and pixels (C, rows, W) of bands from top to bottom, each of about `BAND` values."""
    channels, height, width = image.shape
    step = max(1, BAND // (channels * width))
    for top in range(0, height, step):
        yield top, image.rows(top, min(top + step, height))
