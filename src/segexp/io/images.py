"""Read pixels as the file holds them: 16-bit stays 16-bit, float stays float.

`read_image` reads a whole image, `open_image` opens one of any size for reading by window. TIFF is read by tifffile,
``.npy`` by NumPy, the rest by OpenCV, which alone would return page 0 of a stack and 8 bits of a 16-bit file, and
nothing at all for a broken one. The declared size is checked before memory is allocated (`segexp.io.limits`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.channels import single_hue, to_channels
from segexp.io.labels import IGNORE, label_map
from segexp.io.npy import ArrayReader, open_array
from segexp.io.ownership import predictions_in
from segexp.io.raster import PictureReader
from segexp.io.tiff import TiffReader

__all__ = [
    "IGNORE",
    "IMAGE_SUFFIXES",
    "MASK_SUFFIXES",
    "ImageFile",
    "MaskFile",
    "label_map",
    "open_image",
    "read_image",
    "read_mask",
    "read_pixel_size",
    "to_channels",
]

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".npy")
MASK_SUFFIXES = (".npy", ".png", *TIFF_SUFFIXES)
"""Masks: formats that keep every value. JPEG does not."""

CONVERT = "segexp masks --input MASKS --output NEW_FOLDER turns such masks into class ids"
"""Advice for masks in colour, in a transparent layer or in layers."""

PAGES = ("first", "max", "mean", "channels")
"""Ways to read a stack, besides a page number from 1; ``channels``: its pages are the channels of one image."""

HUE_BAND = 1 << 18
"""Pixels read at a time to find out whether a picture has a single hue."""

Page = int | str | None
Channel = int | list[int] | tuple[int, ...] | None


class _Closing:
    """Base of files that are closed at the end of their ``with`` statement."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""


class ImageFile(_Closing):
    """An image file open for reading, whole or by window; use it in a ``with`` statement.

    Uncompressed TIFF and ``.npy`` are memory-mapped, of a compressed TIFF only the strips or tiles that a window
    touches are decoded. The other formats cannot be read in part: they are decoded when they are opened.

    >>> with open_image("slide.tif") as image:
    ...     image.shape, image.dtype, image.pixel_size
    ...     tile = image.read(top=4096, left=8192, height=512, width=512)

    Attributes:
        path: the file.
        shape: (H, W), or (H, W, C) with several channels; as `read_image` returns it.
        dtype: the file's.
        colour: whether the channels are red, green and blue (and alpha).
        pixel_size: micrometres (y, x) of a pixel, or None if the file does not say.
        orientation: the EXIF orientation, 1 (not rotated) to 8. Pixels are never rotated.
        pages: number of images in the file: slices, times; channels are not counted.
        axis, planes: meaning of the pages, and number of planes of each: see `segexp.io.tiff.TiffReader`.

    Raises:
        InputError: if the file cannot be read as an image, or has no such page or channel.
    """

    def __init__(self, path: str | Path, page: Page = None, channel: Channel = None, raw: bool = False):
        self.path = Path(path)
        self._reader = _reader(self.path, raw)
        try:
            self._open(page, channel)
        except InputError:
            self.close()
            raise

    def _open(self, page: Page, channel: Channel) -> None:
        reader = self._reader
        self.pages, self.dtype, self.pixel_size = reader.pages, reader.dtype, reader.pixel_size
        self.orientation, self.axis, self.planes = reader.orientation, reader.axis, reader.planes
        self._page = _chosen_page(self.path, page, reader.pages)
        count = reader.channels * (reader.pages if self._page == "channels" else 1)
        self._channels = _chosen_channels(self.path, channel, count)
        self._hue: int | None = None
        self.colour = reader.colour and channel is None and count == reader.channels
        kept = count if self._channels is None else len(self._channels)
        self.shape: tuple[int, ...] = (reader.height, reader.width)
        if kept > 1 or isinstance(channel, (list, tuple)):
            self.shape = (*self.shape, kept)

    @property
    def hue(self) -> int:
        """The colour of an image of a single hue: see `segexp.io.channels.single_hue`; -1 for other images.

        On first access, part of an image of many colours is read, or the whole of an image of a single hue.
        """
        if self._hue is None:
            lossy = self._reader.lossy
            self._hue = single_hue(self._colour_bands, lossy) if self.colour else -1
        return self._hue

    def _colour_bands(self) -> Iterator[NDArray]:
        height, width = self.shape[:2]
        rows = max(1, HUE_BAND // width)
        for top in range(0, height, rows):
            yield self.read(top, 0, min(rows, height - top), width)

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def read(self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None) -> NDArray:
        """The window at (top, left), (height, width) or (height, width, C) in the file's dtype; the rest by default.

        Equal to ``read_image(path)[top : top + height, left : left + width]``. The window must lie inside the image.

        Raises:
            InputError: if the pixels are damaged.
            ValueError: if the window does not lie inside the image.
        """
        tall, wide = self.shape[:2]
        height, width = tall - top if height is None else height, wide - left if width is None else width
        if top < 0 or left < 0 or height < 1 or width < 1 or top + height > tall or left + width > wide:
            raise ValueError(f"window of {height}x{width} at ({top}, {left}) of {self.path}, which is {tall}x{wide}")
        pixels = self._project(top, left, height, width)
        if self._channels is not None:
            pixels = pixels[..., self._channels]
        return np.ascontiguousarray(pixels[..., 0] if len(self.shape) == 2 else pixels)

    def _project(self, top: int, left: int, height: int, width: int) -> NDArray:
        window = (top, left, height, width)
        if isinstance(self._page, int):
            return self._reader.read(self._page, *window)
        each = (self._reader.read(page, *window) for page in range(self.pages))
        if self._page == "channels":
            return np.concatenate(list(each), axis=2)
        total = next(each)
        if self._page == "max":
            for pixels in each:
                np.maximum(total, pixels, out=total)
            return total
        dtype, total = total.dtype, total.astype(np.float64)
        for pixels in each:
            total += pixels
        total /= self.pages
        return (np.rint(total) if dtype.kind in "iub" else total).astype(dtype)


def image_files(folder: Path) -> list[Path]:
    """The files in a folder, sub-folders excluded, whose names are those of images, sorted.

    Hidden files and files that ``segexp predict`` wrote there are left out.
    """
    written = predictions_in(folder)
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.name not in written
        and not path.name.startswith(".")
        and path.is_file()
    )


def open_image(path: str | Path, page: Page = None, channel: Channel = None) -> ImageFile:
    """Open an image of any size for reading by window.

    Args:
        path: TIFF, PNG, JPEG, BMP, WebP or ``.npy``.
        page: how to read a stack: a number from 1 (as Fiji counts), ``first``, ``max`` or ``mean`` (projections),
            or ``channels`` (its pages are channels). None: the file must hold one image.
        channel: a number from 1, or several, to take of a file with channels; None: all.

    Raises:
        InputError: naming the file, if it is missing, empty, damaged, not numeric, a stack with no `page` chosen, or
            declares a size for which the file is too small.
    """
    return ImageFile(path, page, channel)


def read_image(path: str | Path, page: Page = None, channel: Channel = None) -> NDArray:
    """Read an image as (H, W), or (H, W, C) with colours in the order red, green, blue.

    The dtype is the file's: uint8, uint16, float32 and so on. A palette is applied (uint8 colours) and white-is-zero
    inverted, so that large values are bright. Arguments and errors are those of `open_image`.
    """
    with ImageFile(path, page, channel) as image:
        return image.read()


def read_mask(path: str | Path, page: int | None = None) -> NDArray:
    """Read a mask, ``.npy``, PNG or TIFF, as (H, W) in the file's dtype and with the values that it stores.

    A palette is not applied (its entries are class ids) and white-is-zero not inverted (ImageJ stores 255 for the
    object and shows it black). Three equal colour channels count as one. Of an ``.npy`` a single leading or trailing
    axis of length 1 is dropped; pickled objects are refused (``allow_pickle=False``).

    Args:
        path: the file.
        page: which mask of a stack, from 1; None: the file must hold one.

    Raises:
        InputError: naming the file.
    """
    with MaskFile(path, page) as mask:
        return mask.read()


class MaskFile(_Closing):
    """A mask open for reading, whole or by window, as `read_mask` reads it; use it in a ``with`` statement.

    Attributes:
        path: the file.
        shape: (H, W).
        pages: how many masks the file holds.

    Raises:
        InputError: if the file is missing, damaged, or of a format or shape that no mask has.
    """

    def __init__(self, path: str | Path, page: Page = None):
        self.path = Path(path)
        _check_file(self.path, MASK_SUFFIXES, "masks are {}")
        if page is None and self.path.suffix.lower() == ".npy":
            _check_mask_array(self.path)
        self._file = ImageFile(self.path, page, raw=True)
        self.shape, self.pages = (self._file.shape[0], self._file.shape[1]), self._file.pages
        if len(self._file.shape) != 2 and not self._file.colour:
            self.close()
            raise InputError(f"{path}: shape {self._file.shape}; a mask is (height, width)")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None) -> NDArray:
        """The window at (top, left), which must lie inside: (height, width) of the stored values.

        Raises:
            InputError: if the pixels are damaged, or red, green and blue differ, or it is drawn in a transparent
                layer.
        """
        mask = self._file.read(top, left, height, width)
        if mask.ndim == 2:
            return mask
        if mask.shape[2] == 4 and int(mask[..., 3].min()) < int(mask[..., 3].max()):
            raise InputError(
                f"{self.path}: drawn in a transparent layer; a mask has one number for each pixel: {CONVERT}"
            )
        red, green, blue = np.moveaxis(mask[..., :3], 2, 0)
        if not (np.array_equal(red, green) and np.array_equal(green, blue)):
            raise InputError(
                f"{self.path}: a colour picture; a mask has one number for each pixel: save it as grey, {CONVERT}"
            )
        return np.ascontiguousarray(red)


def read_pixel_size(path: str | Path) -> tuple[float, float] | None:
    """Micrometres (y, x) of a pixel, from a TIFF's ImageJ, OME or resolution entries; None if unknown.

    Plain resolution tags of more than 20 micrometres a pixel (72 to 1200 dots an inch) are a printer's or a screen's
    and are ignored, as are implausible numbers.

    Raises:
        InputError: if the file is missing, damaged, or of a format that no image has.
    """
    path = Path(path)
    reader = _reader(path, raw=False) if path.suffix.lower() in TIFF_SUFFIXES else None
    if reader is None:
        _check_file(path, IMAGE_SUFFIXES, "images may be {}")
        return None
    reader.close()
    return reader.pixel_size


def _reader(path: Path, raw: bool) -> TiffReader | ArrayReader | PictureReader:
    _check_file(path, IMAGE_SUFFIXES, "images may be {}")
    suffix = path.suffix.lower()
    kind = TiffReader if suffix in TIFF_SUFFIXES else ArrayReader if suffix == ".npy" else PictureReader
    try:
        return kind(path, raw)
    except OSError as error:  # it vanished, or may not be read
        raise InputError(f"{path}: {error.strerror or error}") from None


def _check_file(path: Path, suffixes: tuple[str, ...], expected: str) -> None:
    try:
        if path.is_dir():
            tiled = "; zarr is not read: save it as a tiled TIFF" if path.suffix.lower() == ".zarr" else ""
            raise InputError(f"{path}: a folder; expected a file{tiled}")
        if not path.is_file():
            there = " (a pipe or a device)" if path.exists() else " (a link to nowhere)" if path.is_symlink() else ""
            raise InputError(f"{path}: no such file{there}")
        size = path.stat().st_size
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"{path}: {error}") from None
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: {path.suffix or 'no suffix'}; {expected.format(', '.join(suffixes))}")
    if size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")


def _chosen_page(path: Path, page: Page, pages: int) -> int | str:
    """The page to read: a number from 0, or ``max``, ``mean`` or ``channels``."""
    if page is None:
        if pages > 1:
            raise InputError(
                f"{path}: a stack of {pages} pages; expected one image. Choose with data.page=max or mean "
                "(projections), "
                f"first, 1 to {pages}, channels (the pages are channels), or each (every page an image)"
            )
        return 0
    if isinstance(page, str) and page not in PAGES:
        raise InputError(f"data.page={page}: expected {', '.join(PAGES)}, or a number from 1")
    if page == "first" or (page in ("max", "mean") and pages == 1):
        return 0
    if isinstance(page, str):
        return page
    if not 1 <= page <= pages:
        raise InputError(f"{path}: no page {page}; it has {pages}, counted from 1")
    return page - 1


def _chosen_channels(path: Path, channel: Channel, count: int) -> list[int] | None:
    if channel is None:
        return None
    numbers = [channel] if isinstance(channel, int) else list(channel)
    wrong = [number for number in numbers if not 1 <= number <= count]
    if wrong or not numbers:
        raise InputError(f"{path}: no channel {', '.join(map(str, wrong))}; it has {count}, counted from 1")
    return [number - 1 for number in numbers]


def _check_mask_array(path: Path) -> None:
    try:
        shape = open_array(path).shape
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape[:2] if shape[2:] == (1,) else shape
    if len(flat) != 2 or 0 in shape:
        layers = f"; layers of classes? {CONVERT}" if len(shape) == 3 else ""
        raise InputError(f"{path}: shape {shape}; a mask is (height, width){layers}")
