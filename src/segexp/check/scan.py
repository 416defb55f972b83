"""Read every file of a data set once, in threads, and keep its statistics; a broken file becomes a fault.

At most one image a thread is in memory, and of a large one (`segexp.data.survey.LARGE`) a band of rows and every n-th
pixel.
"""

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from segexp.check.image_stats import ImageFacts, MaskFacts, grown, image_facts, mask_facts
from segexp.check.names import name_faults
from segexp.check.report import Fault
from segexp.data.dataset import Pairing, find_pairs
from segexp.data.foreign import describe_layout, describe_vendor_files, vendor_files
from segexp.data.normalization import check_finite, check_float32
from segexp.data.reading import Pair, Reading, ReadOnce, locate, open_mask
from segexp.data.sources import NO_VALIDATION
from segexp.data.survey import LARGE, band_steps, judge_mask
from segexp.errors import InputError, printable
from segexp.io.channels import to_channels
from segexp.io.images import IMAGE_SUFFIXES, ImageFile, MaskFile, open_image
from segexp.io.labels import Values, mask_values

Opened = TypeVar("Opened", ImageFile, MaskFile)


@dataclass(frozen=True)
class Folders:
    """Where one split lies; without `masks` its images are checked alone."""

    images: Path
    masks: Path | None


@dataclass(frozen=True)
class Source:
    """The files of one image and its mask, and which page of each if they are stacks."""

    split: str
    image: Path
    mask: Path | None = None
    page: int | None = None
    mask_page: int | str | None = None

    @property
    def image_name(self) -> str:
        """Path of the image, with its page."""
        return _with_page(self.image, self.page)

    @property
    def mask_name(self) -> str:
        """Path of the mask, with its page."""
        return _with_page(self.mask, self.mask_page)


@dataclass(frozen=True)
class Entry:
    """One image with its mask: the statistics of each, None for a file that could not be read.

    `values` is what the mask was found to hold, `pixel_size` the micrometres (y, x) that the image states, and
    `orientation` how it asks viewers to turn it (1: not).
    """

    source: Source
    image: ImageFacts | None
    mask: MaskFacts | None
    values: Values | None = None
    pixel_size: tuple[float, float] | None = None
    orientation: int = 1

    @property
    def split(self) -> str:
        """Its split."""
        return self.source.split


class DataFiles(NamedTuple):
    """The files of a data set: pairs of image and mask, faults, and the mask folder of each split, for messages.

    `notes` are for information: the rule by which files were paired, and the files that were ignored.
    """

    sources: list[Source]
    faults: list[Fault]
    places: dict[str, str]
    notes: list[str]


Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


def find_folders(root: Path) -> dict[str, Folders]:
    """The splits in a folder: ``train/`` and ``val/``, or ``img/`` and ``mask/``, or images lying in it.

    Raises:
        InputError: if it is none of these.
    """
    if root.is_file():
        raise InputError(f"{root}: a file; expected the folder of a data set")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    parts = {name: root / name for name in ("train", "val") if (root / name).is_dir()}
    if parts:
        return {name: Folders(part / "img", part / "mask") for name, part in parts.items()}
    if (root / "img").is_dir() or (root / "mask").is_dir():
        return {"images": Folders(root / "img", root / "mask")}
    if any(_is_image(path) for path in root.iterdir()):
        return {"images": Folders(root, None)}
    there = describe_layout(root)
    found = f"{there}; " if there else ""
    raise InputError(
        f"{root}: no data set; {found}expected {root / 'train' / 'img'}, {root / 'train' / 'mask'} and the same "
        f"under {root / 'val'}, or img and mask in one folder, or images ({', '.join(IMAGE_SUFFIXES)})"
    )


def find_sources(
    splits: Mapping[str, Folders],
    reading: Reading,
    val_names: Collection[str] = (),
    index: Mapping[str, Pairing] | None = None,
) -> DataFiles:
    """Every image with its mask, sorted by name.

    Args:
        splits: the folders, by name.
        reading: how files are read.
        val_names: stems of the images in ``train`` that are used for validation.
        index: pairings of the splits' folders that are known already.
    """
    sources: list[Source] = []
    faults: list[Fault] = []
    notes: list[str] = []
    places = {name: str(folders.masks) for name, folders in splits.items()}
    for name, folders in splits.items():
        if name == "val" and "train" in splits and not folders.images.is_dir() and splits["train"].images.is_dir():
            faults.append(Fault("folder", str(folders.images), f"no such folder{NO_VALIDATION}"))
            continue
        listed, broken, remarks = _list_split(name, folders, reading, (index or {}).get(name))
        sources += listed
        faults += broken
        notes += remarks
        mixed = describe_layout(folders.images) if folders.masks is None else ""
        if mixed:
            faults.append(Fault("folder", str(folders.images), mixed))
        if name == "images" and folders.masks is not None and listed:
            notes.append(f"{folders.images}: no validation images; train with data.val_fraction=0.2 or data.fold=1/5")
    if val_names:
        sources = [replace(source, split="val") if source.image.stem in val_names else source for source in sources]
        places |= {"val": f"{places['train']} (val)", "train": f"{places['train']} (train)"}
    return DataFiles(sources, faults, places, notes)


OnRead = Callable[[Pair, ImageFile, MaskFile], None]
"""Called with the files of a pair, open and with their pixels in memory, when both were read without a fault."""


def scan(
    sources: Sequence[Source],
    reading: Reading,
    workers: int | None = None,
    tick: Progress | None = None,
    on_read: OnRead | None = None,
) -> tuple[list[Entry], list[Fault]]:
    """Read all files; returns their statistics in the order of the sources, and every fault.

    `on_read` is called in the reading threads; for pairs of which a file holds more than `LARGE` values it is not.
    """
    entries: list[Entry] = []
    faults: list[Fault] = []
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        results = pool.map(lambda source: read_entry(source, reading, on_read), sources)
        for count, (entry, broken) in enumerate(results, 1):
            entries.append(entry)
            faults += broken
            if tick is not None:
                tick(count, len(sources))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends now and not after the last file
    return entries, faults + _unsettled(entries)


def read_entry(source: Source, reading: Reading, on_read: OnRead | None = None) -> tuple[Entry, Sequence[Fault]]:
    """Read one image and its mask; the mask is checked even if the image is broken."""
    faults: list[Fault] = []
    image, mask, values, size, turn = None, None, None, None, 1
    with ExitStack() as files:
        try:
            image_file = files.enter_context(open_image(source.image, reading.page_of(source.page), reading.channel))
            image_file = _once(image_file) if on_read is not None else image_file
            planes = _planes(image_file, source, reading)
            size, turn = planes.pixel_size, planes.orientation
            image = replace(image_facts(planes.pixels), shape=planes.shape)
        except (InputError, OSError, MemoryError) as error:
            faults.append(fault("image", source.image, error))
        if source.mask is None:
            return Entry(source, image, None, None, size, turn), faults
        try:
            mask_file = files.enter_context(open_mask(source.mask, source.mask_page, reading))
            mask_file = _once(mask_file) if on_read is not None else mask_file
            labels, values, shape, counts = _labels(mask_file, source, reading)
            mask = mask_facts(labels, reading.classes)
            if counts is not None:
                mask = grown(mask, _step(math.prod(shape)), counts)
            if image is not None and shape != image.shape[1:]:
                raise InputError(f"{source.mask}: {shape_fault(shape, image.shape[1:], source.image)}")
        except (InputError, OSError, MemoryError) as error:
            faults.append(fault("shape" if mask is not None else "mask", source.mask, error))
        if on_read is not None and not faults and max(math.prod(image_file.shape), math.prod(shape)) <= LARGE:
            on_read(Pair(source.image, source.mask, source.page, source.mask_page), image_file, mask_file)
    return Entry(source, image, mask, values, size, turn), faults


def _once(file: Opened) -> Opened:
    """The open file, cached so that it is read from disk only once; a large one is left as it is."""
    return file if math.prod(file.shape) > LARGE else cast(Opened, ReadOnce(file))


class ImagePixels(NamedTuple):
    """The pixels that are checked of an image.

    Attributes:
        pixels: (C, h, w), all channels at the file's own scale; every n-th pixel of a large image.
        shape: (C, H, W) of the file.
        pixel_size: micrometres (y, x) of the file's pixels, None if unknown.
        orientation: how the file asks viewers to turn it.
    """

    pixels: NDArray
    shape: tuple[int, int, int]
    pixel_size: tuple[float, float] | None
    orientation: int


def read_planes(source: Source, reading: Reading) -> ImagePixels:
    """Read an image completely.

    Raises:
        InputError: if training could not use it.
    """
    with open_image(source.image, reading.page_of(source.page), reading.channel) as file:
        return _planes(file, source, reading)


def _planes(file: ImageFile, source: Source, reading: Reading) -> ImagePixels:
    locate(file, reading)
    height, width = file.shape[:2]
    channels = math.prod(file.shape[2:])
    kept = []
    for top, rows in _bands(height, width, channels):
        raw = file.read(top, 0, rows, width)
        to_channels(raw[:1, :1], reading.channels, file.path, file.colour)
        check_finite(raw, source.image)
        raw = raw[..., :3] if file.colour else raw  # training sees no alpha channel either
        kept.append(_thinned(raw, top, _step(math.prod(file.shape))))
    raw = kept[0] if len(kept) == 1 else np.concatenate(kept)
    pixels = np.moveaxis(np.atleast_3d(raw), 2, 0)
    check_float32([pixels], source.image)
    shape = (len(pixels), height, width)
    return ImagePixels(pixels, shape, reading.size_of(file), file.orientation)


class MaskLabels(NamedTuple):
    """The labels that are checked of a mask.

    Attributes:
        labels: (h, w) uint8 at the mask's own scale; every n-th pixel of a large mask.
        values: what the mask holds.
        shape: (H, W) of the file.
        counts: of a large mask, (256,) pixels of each label in the whole of it.
    """

    labels: NDArray[np.uint8]
    values: Values
    shape: tuple[int, int]
    counts: NDArray[np.int64] | None = None


def read_labels(source: Source, reading: Reading) -> MaskLabels:
    """Read a mask completely.

    Raises:
        InputError: if training could not use it.
    """
    assert source.mask is not None
    with open_mask(source.mask, source.mask_page, reading) as file:
        return _labels(file, source, reading)


def _labels(file: MaskFile, source: Source, reading: Reading) -> MaskLabels:
    assert source.mask is not None
    step = _step(math.prod(file.shape))
    if step == 1:
        stored = file.read()
        settings = reading.masks, reading.ignore, reading.mask_threshold
        values = mask_values(stored, reading.classes, source.mask, *settings)
        return MaskLabels(reading.labels(stored), values, file.shape)
    values = judge_mask(file, reading)
    kept, counts = [], np.zeros(256, np.int64)
    for top, rows in _bands(*file.shape, 1):
        band = reading.labels(file.read(top, 0, rows, file.shape[1]))
        counts += np.bincount(band.ravel(), minlength=256)
        kept.append(_thinned(band, top, step))
    return MaskLabels(np.concatenate(kept), values, file.shape, counts)


def _step(values: int) -> int:
    """The stride at which rows and columns of an image with so many values are kept."""
    return 1 if values <= LARGE else math.ceil((values / (LARGE // 4)) ** 0.5)


def _bands(height: int, width: int, channels: int) -> Iterable[tuple[int, int]]:
    large = height * width * channels > LARGE
    return band_steps(height, width * channels) if large else [(0, height)]


def _thinned(rows: NDArray, top: int, step: int) -> NDArray:
    """Every `step`-th pixel of a band of rows (h, w, ...) that begins at row `top` of its image."""
    return rows if step == 1 else rows[-top % step :: step, ::step].copy()


def _unsettled(entries: Sequence[Entry]) -> list[Fault]:
    """Masks that no other mask of the set makes clear: see `segexp.data.dataset.settle_doubts`."""
    values = [(entry.values, entry.source.mask) for entry in entries if entry.values is not None]
    clear = {judged.kind for judged, _ in values if not judged.doubt}
    return [
        split_message("mask", judged.doubt, path)
        for judged, path in values
        if judged.doubt and judged.kind not in clear
    ]


def shape_fault(mask: tuple[int, ...], image: tuple[int, ...], name: Path) -> str:
    """The message for a mask whose shape does not fit its image."""
    swapped = " (rows and columns swapped?)" if mask == image[::-1] else ""
    return f"shape {mask}, but {name.name} is {image}{swapped}; expected a mask of the image's height and width"


def fault(kind: str, path: Path, error: BaseException) -> Fault:
    """An exception about a file as a fault: its text without the path in front."""
    if isinstance(error, MemoryError):
        return Fault(kind, str(path), "needs more memory than is available; use a smaller image, or cut it into tiles")
    if isinstance(error, OSError):
        return Fault(kind, str(path), f"cannot be opened ({error.strerror or error}); check its permissions")
    return split_message(kind, str(error), path)


def split_message(kind: str, text: str, path: Path | None = None) -> Fault:
    """``path: message`` as a fault; both may hold colons, so the path ends where it names something that is there."""
    shown = None if path is None else printable(str(path)).replace("\n", "\\n")  # as a message spells it
    if path is not None and text.startswith(f"{shown}: "):
        return Fault(kind, str(path), text.removeprefix(f"{shown}: "))
    ends = [match.start() for match in re.finditer(": ", text)] or [0]
    known = [end for end in ends if text[:end] == str(path) or os.path.lexists(text[:end])]
    end = (known or ends)[0]
    return Fault(kind, text[:end], text[end:].removeprefix(": "))


def _list_split(
    name: str, folders: Folders, reading: Reading, pairing: Pairing | None
) -> tuple[list[Source], list[Fault], list[str]]:
    try:
        if folders.masks is None:
            images = sorted(path for path in folders.images.iterdir() if _is_image(path))
            vendor = vendor_files(folders.images)
            notes = [f"{folders.images}: {describe_vendor_files(vendor)}"] if vendor else []
            return [Source(name, path) for path in images], name_faults(images), notes
        pairs, texts, notes = pairing or find_pairs(folders.images, folders.masks, reading.page)
    except OSError as error:
        return [], [fault("folder", Path(error.filename or folders.images), error)], []
    kind = "pair" if folders.images.is_dir() and folders.masks.is_dir() else "folder"
    faults = [split_message(kind, text) for text in texts]
    sources = [Source(name, pair.image, pair.mask, pair.page, pair.mask_page) for pair in pairs]
    return sources, faults + name_faults(dict.fromkeys(pair.image for pair in pairs)), notes


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _with_page(path: Path | None, page: int | str | None) -> str:
    return f"{path}" if page is None or page == "max" else f"{path} page {page}"
