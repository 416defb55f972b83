"""Read `.npy` files, whole or by window, without unpickling and without exceeding the length of the file."""

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.limits import check_declared

_PARSING = Lock()
"""NumPy reads the header with `ast`, which in some releases of Python 3.11 fails when two threads use it at once."""


def open_array(path: Path) -> NDArray:
    """The array of an ``.npy`` file, memory-mapped: only the header is read and compared with the file's length.

    Raises:
        InputError: for pickled objects, archives (``.npz``), and other files.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start == b"PK":
            raise InputError(f"{path}: an archive of several arrays; expected one array written by numpy.save")
        with _PARSING:
            array = np.lib.format.open_memmap(path, mode="r")
    except InputError:
        raise
    except PermissionError:
        raise
    except ValueError as error:
        if "object" not in str(error).lower():
            raise InputError(f"{path}: cannot be read as a NumPy file ({error})") from None
        what = "holds pickled Python objects, which can run code when they are read, and is not opened"
        raise InputError(f"{path}: {what}; expected an array of numbers, written by numpy.save") from None
    except Exception as error:  # NumPy raises ValueError, EOFError, OSError, SyntaxError on damaged headers
        raise InputError(f"{path}: cannot be read as a NumPy file ({error})") from None
    return array


class ArrayReader:
    """An image ``.npy``, open for reading windows; see `segexp.io.tiff.TiffReader` for the attributes.

    (H, W), (H, W, 2 to 4), planar (2 to 4, H, W), (H, W, C) with C at most 16 and at most half of H and W, or else
    (pages, H, W). Three or four channels are colours if they come last, or are uint8. Axes of length 1 are dropped.
    `raw`, for masks: three axes are always (pages, H, W).

    Raises:
        InputError: if the file is damaged or holds no image: Python objects, complex numbers, dates, texts, or other
            axes.
    """

    def __init__(self, path: Path, raw: bool = False):
        self.path = path
        array = open_array(path)
        if array.dtype.kind == "c":
            raise InputError(f"{path}: complex numbers; expected real intensities")
        if array.dtype.kind not in "biuf":  # times, texts and records are none
            raise InputError(f"{path}: dtype {array.dtype}; an image holds numbers: expected integers or floats")
        self._stack, channels_last = _pages_rows_columns_channels(array, path, raw)
        self._bytes = getattr(array, "offset", 0) + array.nbytes
        self.pages, self.height, self.width, self.channels = self._stack.shape
        self.colour = self.channels in (3, 4) and (channels_last or array.dtype == np.uint8)
        self.dtype = array.dtype.newbyteorder("=")
        self.pixel_size: tuple[float, float] | None = None
        self.orientation, self.lossy, self.axis, self.planes = 1, False, "", 1

    def close(self) -> None:
        """Let go of the file."""
        self._stack = np.empty((0, 0, 0, 0), self.dtype)

    def read(self, page: int, top: int, left: int, height: int, width: int) -> NDArray:
        """The window of page `page` (from 0), which must lie inside it: (height, width, channels).

        Raises:
            InputError: if the file was removed or shortened since it was opened, or the window exceeds the limit on
                memory.
        """
        try:
            length = self.path.stat().st_size
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from None
        if length < self._bytes:  # reading beyond its end would end the process
            raise InputError(f"{self.path}: was truncated to {length} of {self._bytes} bytes while it was being read")
        cut = self._stack[page, top : top + height, left : left + width]
        check_declared(self.path, cut.shape, cut.dtype.itemsize)
        return cut.astype(self.dtype, copy=True)


def _pages_rows_columns_channels(array: NDArray, path: Path, raw: bool) -> tuple[NDArray, bool]:
    """The array as (pages, H, W, C), and whether its last axis held the channels."""
    shape = array.shape
    lengths = list(shape)
    while len(lengths) > 2 and 1 in (lengths[0], lengths[-1]):
        del lengths[0 if lengths[0] == 1 else -1]
    lengths = [n for n in lengths if n != 1] if len(lengths) > 3 else lengths
    if array.size and len(lengths) == 2:
        return array.reshape(1, *lengths, 1), False
    if array.size and len(lengths) == 3:
        first, rows, last = lengths
        squeezed = array.reshape(lengths)
        if raw:
            return squeezed[..., None], False
        if last in (2, 3, 4) or (last <= 16 and 2 * last <= min(first, rows)):
            return squeezed[None], True
        if first in (2, 3, 4):
            return np.moveaxis(squeezed, 0, 2)[None], False
        return squeezed[..., None], False
    raise InputError(
        f"{path}: shape {shape}; expected (height, width), (height, width, channels) or (pages, height, width)"
    )
