"""Read pixels and labels from the two files of an annotated image, whole or by window, as the settings say."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.data.normalization import check_finite, check_float32
from segexp.errors import InputError, printable
from segexp.io.channels import to_channels
from segexp.io.images import Channel, ImageFile, MaskFile, Page, open_image
from segexp.io.labels import MASKS, Values, mask_values, to_labels
from segexp.io.resample import Size, rescale, rescale_window, scaled_shape, source_window

Window = tuple[int, int, int, int]
"""Top, left, height, width."""


class Pair(NamedTuple):
    """The two files of one annotated image, and the page of each if they are stacks (from 1).

    `mask_page` ``max``: the maximum projection of all pages of the mask.
    """

    image: Path
    mask: Path
    page: int | None = None
    mask_page: int | str | None = None

    @property
    def name(self) -> str:
        """The image's file name; a page's number is put before the suffix: ``stack_0003.tif``.

        Invalid UTF-8 and control characters are escaped, since the name is used in tables, pages and pictures.
        """
        if self.page is None:
            return printable(self.image.name, multiline=False)
        return printable(f"{self.image.stem}_{self.page:04}{self.image.suffix}", multiline=False)


@dataclass(frozen=True)
class Reading:
    """How files are read: the settings ``data.*`` and ``task.*`` that determine it.

    Attributes:
        channels: of the model: 1 grey, 3 colour, or as many as the files hold.
        classes: how many, the background not counted.
        page: how a stack is read: see `segexp.io.images.open_image`; ``each`` is resolved by pairing.
        channel: which to take of a file with channels, from 1.
        masks: what masks hold, one of `segexp.io.labels.MASKS`.
        ignore: mask value of pixels that nobody annotated.
        mask_threshold: value from which a pixel of a soft mask is foreground; None: masks hold exact values.
        pixel_size: micrometres a pixel that images are brought to; None: they stay as they are.
        file_pixel_size: micrometres a pixel of the files, in place of what they say themselves.
    """

    channels: int = 1
    classes: int = 1
    page: Page = None
    channel: Channel = None
    masks: str = "auto"
    ignore: int | None = None
    pixel_size: float | None = None
    file_pixel_size: float | None = None
    mask_threshold: float | None = None

    def page_of(self, page: int | None) -> Page:
        """Which page to open: `page` if pairing chose one."""
        return page if page is not None else None if self.page == "each" else self.page

    def size_of(self, file: ImageFile) -> Size | None:
        """Micrometres (y, x) of a file's pixels, as far as known."""
        return file.pixel_size if self.file_pixel_size is None else (self.file_pixel_size, self.file_pixel_size)

    def facts(self) -> dict[str, Any]:
        """The part that a model file stores, as plain values: see `reading_of_model`."""
        channel = list(self.channel) if isinstance(self.channel, tuple) else self.channel
        facts = {"page": self.page, "channel": channel, "masks": self.masks, "ignore": self.ignore}
        return facts | {"mask_threshold": self.mask_threshold}

    def labels(self, mask: NDArray) -> NDArray[np.uint8]:
        """Labels from a mask's stored values, which were checked before: see `segexp.io.labels.to_labels`."""
        return to_labels(mask, self.classes, self.masks, self.ignore, self.mask_threshold)


def require_pixel_size(size: float | None) -> float | None:
    """`size` of ``--pixel-size``, micrometres a pixel of the files; None: what they say themselves.

    Raises:
        InputError: if it is not more than 0, or not finite.
    """
    if size is not None and not 0 < size < math.inf:
        raise InputError(f"--pixel-size {size:g}: expected micrometres, more than 0, such as 0.1")
    return size


def reading_of_model(facts: Mapping[str, Any], channels: int, classes: int) -> Reading:
    """How files for a model are read: as its training files were, as far as the model file says.

    `facts` are those of `segexp.checkpoint.load_model`, with ``reading`` and ``pixel_size``; `channels` and `classes`
    the model's.

    Raises:
        InputError: if the model file holds impossible values.
    """
    stored = facts.get("reading") or {}
    page, channel, masks, ignore = (stored.get(key) for key in ("page", "channel", "masks", "ignore"))
    cut = stored.get("mask_threshold")
    size = facts.get("pixel_size")
    numbers = channel if isinstance(channel, list) else [channel]
    fine = (
        (page is None or isinstance(page, int | str))
        and (channel is None or all(isinstance(number, int) for number in numbers))
        and (masks is None or masks in MASKS)
        and (ignore is None or isinstance(ignore, int))
        and (cut is None or (isinstance(cut, int | float) and 0 < cut < math.inf))
        and (size is None or (isinstance(size, int | float) and 0 < size < math.inf))
    )
    if not fine:
        raise InputError(f"the model file says reading={stored}, pixel_size={size}; damaged, or not written by segexp")
    return Reading(channels, classes, page, channel, masks or "auto", ignore, size, mask_threshold=cut)


class Place(NamedTuple):
    """Where an image's pixels lie in space.

    Attributes:
        source: (H, W) of the file.
        shape: (H, W) as read; differs from `source` if the image is rescaled.
        pixel_size: micrometres (y, x) of a pixel that is read, None if unknown.
        hue: the result of `hue_of`, if it is known from an earlier reading.
    """

    source: tuple[int, int]
    shape: tuple[int, int]
    pixel_size: Size | None
    hue: int | None = None


def locate(file: ImageFile, reading: Reading) -> Place:
    """The shape and scale in which an open image is read."""
    source = (file.shape[0], file.shape[1])
    size = reading.size_of(file)
    shape = scaled_shape(source, size, reading.pixel_size, str(file.path))
    if size is not None:
        size = (size[0] * source[0] / shape[0], size[1] * source[1] / shape[1])
    return Place(source, shape, size)


def hue_of(file: ImageFile, reading: Reading) -> int | None:
    """The colour that is read as grey: see `segexp.io.images.ImageFile.hue`; None if no colours become grey."""
    return file.hue if reading.channels == 1 and file.colour else None


def read_pixels(file: ImageFile, reading: Reading, place: Place, window: Window | None = None) -> NDArray:
    """Pixels (channels, H, W) of an open image in its dtype, at the scale of `place`.

    Raises:
        InputError: if its channels do not fit the settings, or values are not finite or too large for float32.
    """
    top, left, height, width = window or (0, 0, *place.shape)
    hue = hue_of(file, reading) if place.hue is None else place.hue
    if place.shape == place.source:
        raw = file.read(top, left, height, width)
        pixels = to_channels(raw, reading.channels, file.path, file.colour, hue)
    else:
        corner, size = source_window(place.source, place.shape, (top, left), (height, width))
        raw = to_channels(file.read(*corner, *size), reading.channels, file.path, file.colour, hue)
        pixels = rescale_window(raw, place.shape, corner, place.source, (top, left), (height, width))
    check_finite(pixels, file.path)
    if window is None:
        check_float32([pixels], file.path)
    return pixels


def open_mask(path: Path, page: int | str | None, reading: Reading) -> MaskFile:
    """A mask open for reading: a page of a stack, or with ``max`` the projection of all pages.

    Raises:
        InputError: if the file is not a mask, or is not in the form that the settings say.
    """
    if page == "max" and reading.ignore is not None:
        both = f"data.page={reading.page} and task.ignore={reading.ignore}"
        raise InputError(
            f"{path}: has one mask for each page, which {both} cannot project; expected one mask for each stack"
        )
    return MaskFile(path, page)


def read_pair(pair: Pair, reading: Reading) -> tuple[NDArray, NDArray[np.uint8]]:
    """Pixels (channels, H, W) in the file's dtype and labels (H, W) uint8; `InputError` names the file at fault."""
    pixels, labels, values, _ = inspect_pair(pair, reading)
    if values.doubt:
        raise InputError(values.doubt)
    return pixels, labels


def inspect_pair(pair: Pair, reading: Reading) -> tuple[NDArray, NDArray[np.uint8], Values, Place]:
    """`read_pair`, with the detected content of the mask, a doubt about it if any, and where the pixels lie."""
    with open_image(pair.image, reading.page_of(pair.page), reading.channel) as image:
        place = locate(image, reading)._replace(hue=hue_of(image, reading))
        pixels = read_pixels(image, reading, place)
    with open_mask(pair.mask, pair.mask_page, reading) as mask:
        return pixels, *_labels(pair, mask, reading, place), place


def inspect_files(
    pair: Pair, image: ImageFile, mask: MaskFile, reading: Reading
) -> tuple[NDArray, NDArray[np.uint8], Values, Place]:
    """`inspect_pair` of two files that are open already."""
    place = locate(image, reading)._replace(hue=hue_of(image, reading))
    return read_pixels(image, reading, place), *_labels(pair, mask, reading, place), place


def _labels(pair: Pair, file: MaskFile, reading: Reading, place: Place) -> tuple[NDArray[np.uint8], Values]:
    mask = file.read()
    values = mask_values(mask, reading.classes, pair.mask, reading.masks, reading.ignore, reading.mask_threshold)
    check_shapes(pair, mask.shape, place)
    return rescale(reading.labels(mask), place.shape, nearest=True), values


class ReadOnce:
    """An open image or mask whose pixels are read from the file once, at the first `read`, and kept in memory."""

    def __init__(self, file: ImageFile | MaskFile):
        self._file = file
        self._pixels: NDArray | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, top: int = 0, left: int = 0, height: int | None = None, width: int | None = None) -> NDArray:
        """A view of the window at (top, left), with the same pixels as from the file."""
        if self._pixels is None:
            self._pixels = self._file.read()
        bottom = None if height is None else top + height
        return self._pixels[top:bottom, left : None if width is None else left + width]


def check_shapes(pair: Pair, mask: tuple[int, ...], place: Place) -> None:
    """Raise `InputError` if a mask of the shape `mask` does not fit its image."""
    if mask != place.source:
        swapped = " (rows and columns swapped?)" if mask == place.source[::-1] else ""
        raise InputError(f"{pair.mask}: shape {mask}, but {pair.image.name} is {place.source}{swapped}")


def read_pair_window(
    pair: Pair,
    reading: Reading,
    window: Window,
    shape: tuple[int, int],
    dtype: np.dtype,
    hue: int | None = None,
) -> tuple[NDArray, NDArray[np.uint8]]:
    """The same window of pixels (channels, H, W) and labels (H, W), reading only the necessary part of the files.

    `shape` (H, W) and `dtype` are those of the image when it was first opened, and so is `hue`, the result of `hue_of`,
    which may take a reading of the whole image.

    Raises:
        InputError: if the image has changed since.
    """
    with open_image(pair.image, reading.page_of(pair.page), reading.channel) as file:
        place = locate(file, reading)._replace(hue=hue)
        now = file.dtype if file.dtype != bool else np.dtype(np.uint8)
        if (place.shape, now) != (shape, dtype):
            raise InputError(
                f"{pair.image}: changed while it was in use: {shape} {dtype} at first, {place.shape} {now} now"
            )
        pixels = read_pixels(file, reading, place, window)
    with open_mask(pair.mask, pair.mask_page, reading) as stored:
        check_shapes(pair, stored.shape, place)
        mask = read_mask_window(stored, place, window)
    return pixels, reading.labels(mask)


def read_instances(pair: Pair, reading: Reading) -> NDArray[np.int32]:
    """Object ids (H, W) int32 of a mask of instances, at the scale of the image; 0 is background or not annotated.

    Ids that int32 does not hold, from 2^31 on, are numbered anew, in their order.
    """
    with open_image(pair.image, reading.page_of(pair.page), reading.channel) as file:
        place = locate(file, reading)
    with open_mask(pair.mask, pair.mask_page, reading) as stored:
        check_shapes(pair, stored.shape, place)
        mask = read_mask_window(stored, place, (0, 0, *place.shape))
    background = np.zeros(mask.shape, bool) if reading.ignore is None else mask == reading.ignore
    background |= mask == (1 if reading.ignore == 0 else 0)
    if mask.dtype.kind == "b" or int(mask.max()) <= np.iinfo(np.int32).max:
        ids = mask.astype(np.int32) - np.int32(reading.ignore == 0)
    else:
        ids = np.unique(mask, return_inverse=True)[1].reshape(mask.shape).astype(np.int32) + 1
    return np.where(background, 0, ids).astype(np.int32)


def read_mask_window(file: MaskFile, place: Place, window: Window) -> NDArray:
    """Stored values (H, W) of a mask at the scale of its image's `place`."""
    top, left, height, width = window
    if place.shape == place.source:
        return file.read(top, left, height, width)
    corner, size = source_window(place.source, place.shape, (top, left), (height, width))
    mask = file.read(*corner, *size)
    return rescale_window(mask, place.shape, corner, place.source, (top, left), (height, width), nearest=True)
