"""Read every file of a data set once, in threads, and keep its facts; a broken file becomes a fault and stops nothing.

At most one image a thread is in memory.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.check.facts import ImageFacts, MaskFacts, image_facts, mask_facts
from segexp.check.names import name_faults
from segexp.check.report import Fault
from segexp.data.channels import to_channels
from segexp.data.images import IMAGE_SUFFIXES, MaskFile, open_image
from segexp.data.labels import Values, mask_values, to_labels
from segexp.data.pairs import find_pairs
from segexp.data.reading import Reading, locate
from segexp.errors import InputError


@dataclass(frozen=True)
class Folders:
    """Where one split lies; without `masks` its images are checked alone."""

    images: Path
    masks: Path | None


@dataclass(frozen=True)
class Source:
    """The files of one image and its mask, and which page of each where they are stacks."""

    split: str
    image: Path
    mask: Path | None = None
    page: int | None = None
    mask_page: int | None = None

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
    """One image with its mask: facts of what could be read, None of what could not.

    `values` is what the mask was found to hold, and `pixel_size` the micrometres (y, x) that the image states.
    """

    source: Source
    image: ImageFacts | None
    mask: MaskFacts | None
    values: Values | None = None
    pixel_size: tuple[float, float] | None = None

    @property
    def split(self) -> str:
        """Its split."""
        return self.source.split


Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


def find_folders(root: Path) -> dict[str, Folders]:
    """The splits in a folder: ``train/`` and ``val/``, or ``img/`` and ``mask/``, or images lying in it.

    Raises `InputError` where it is none of these.
    """
    if root.is_file():
        raise InputError(f"{root}: a file; wanted the folder of a data set")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    parts = {name: root / name for name in ("train", "val") if (root / name).is_dir()}
    if parts:
        return {name: Folders(part / "img", part / "mask") for name, part in parts.items()}
    if (root / "img").is_dir() or (root / "mask").is_dir():
        return {"images": Folders(root / "img", root / "mask")}
    if any(_is_image(path) for path in root.iterdir()):
        return {"images": Folders(root, None)}
    raise InputError(
        f"{root}: no data set; wanted {root / 'train' / 'img'}, {root / 'train' / 'mask'} and the same under "
        f"{root / 'val'}, or img and mask in one folder, or images ({', '.join(IMAGE_SUFFIXES)})"
    )


def find_sources(splits: Mapping[str, Folders], reading: Reading) -> tuple[list[Source], list[Fault]]:
    """Every image with its mask, sorted by name, and what does not fit together."""
    sources: list[Source] = []
    faults: list[Fault] = []
    for name, folders in splits.items():
        found, wrong = _list_split(name, folders, reading)
        sources += found
        faults += wrong
    return sources, faults


def scan(
    sources: Sequence[Source], reading: Reading, workers: int | None = None, tick: Progress | None = None
) -> tuple[list[Entry], list[Fault]]:
    """Read all files: the facts in the order of the sources, and every fault."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        results = pool.map(lambda source: read_entry(source, reading), sources)
        for count, (entry, broken) in enumerate(results, 1):
            entries.append(entry)
            faults += broken
            if tick is not None:
                tick(count, len(sources))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends now and not after the last file
    return entries, faults + _unsettled(entries)


def read_entry(source: Source, reading: Reading) -> tuple[Entry, Sequence[Fault]]:
    """Read one image and its mask; both are looked at even where the first is broken."""
    faults: list[Fault] = []
    image, mask, values, size = None, None, None, None
    try:
        pixels, size = read_planes(source, reading)
        image = image_facts(pixels)
    except (InputError, OSError, MemoryError) as error:
        faults.append(fault("image", source.image, error))
    if source.mask is None:
        return Entry(source, image, None, None, size), faults
    try:
        labels, values = read_labels(source, reading)
        mask = mask_facts(labels, reading.classes)
        if image is not None and labels.shape != image.shape[1:]:
            raise InputError(f"{source.mask}: {shape_fault(labels.shape, image.shape[1:], source.image)}")
    except (InputError, OSError, MemoryError) as error:
        faults.append(fault("shape" if mask is not None else "mask", source.mask, error))
    return Entry(source, image, mask, values, size), faults


def read_planes(source: Source, reading: Reading) -> tuple[NDArray, tuple[float, float] | None]:
    """All channels of an image (C, H, W) at its own scale, and its pixel size; `InputError` where training cannot."""
    with open_image(source.image, reading.page_of(source.page), reading.channel) as file:
        locate(file, reading)
        raw = file.read()
        to_channels(raw[:1, :1], reading.channels, file.path, file.colour)
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise InputError(f"{source.image}: holds NaN or infinite values; wanted numbers throughout")
    return np.moveaxis(np.atleast_3d(raw), 2, 0), reading.size_of(file)


def read_labels(source: Source, reading: Reading) -> tuple[NDArray[np.uint8], Values]:
    """Labels (H, W) of a mask at its own scale, and what it was found to hold."""
    assert source.mask is not None
    with MaskFile(source.mask, source.mask_page) as file:
        stored = file.read()
    values = mask_values(stored, reading.classes, source.mask, reading.masks, reading.ignore)
    return to_labels(stored, reading.classes, reading.masks, reading.ignore), values


def _unsettled(entries: Sequence[Entry]) -> list[Fault]:
    """Masks with a few ids, in a split where no other mask shows that ids are objects."""
    sure = {e.split for e in entries if e.values is not None and e.values.kind == "instance ids" and not e.values.doubt}
    return [
        split_message("mask", entry.values.doubt, entry.source.mask)
        for entry in entries
        if entry.values is not None and entry.values.doubt and entry.split not in sure
    ]


def shape_fault(mask: tuple[int, ...], image: tuple[int, ...], name: Path) -> str:
    """What to say of a mask that does not fit its image."""
    swapped = " (rows and columns swapped?)" if mask == image[::-1] else ""
    return f"shape {mask}, but {name.name} is {image}{swapped}; wanted a mask of the image's height and width"


def fault(kind: str, path: Path, error: BaseException) -> Fault:
    """An exception about a file as a fault: its text without the path in front."""
    if isinstance(error, MemoryError):
        return Fault(kind, str(path), "needs more memory than there is; wanted a smaller image, or tiles of it")
    if isinstance(error, OSError):
        return Fault(kind, str(path), f"cannot be opened ({error.strerror or error}); wanted a file that you may read")
    return split_message(kind, str(error), path)


def split_message(kind: str, text: str, path: Path | None = None) -> Fault:
    """``path: message`` as a fault; both may hold colons, so the path ends where it names something that is there."""
    ends = [match.start() for match in re.finditer(": ", text)] or [0]
    known = [end for end in ends if text[:end] == str(path) or os.path.lexists(text[:end])]
    end = (known or ends)[0]
    return Fault(kind, text[:end], text[end:].removeprefix(": "))


def _list_split(name: str, folders: Folders, reading: Reading) -> tuple[list[Source], list[Fault]]:
    try:
        if folders.masks is None:
            images = sorted(path for path in folders.images.iterdir() if _is_image(path))
            return [Source(name, path) for path in images], name_faults(images)
        pairs, texts = find_pairs(folders.images, folders.masks, reading.page)
    except OSError as error:
        return [], [fault("folder", Path(error.filename or folders.images), error)]
    kind = "pair" if folders.images.is_dir() and folders.masks.is_dir() else "folder"
    faults = [split_message(kind, text) for text in texts]
    sources = [Source(name, pair.image, pair.mask, pair.page, pair.mask_page) for pair in pairs]
    return sources, faults + name_faults(dict.fromkeys(pair.image for pair in pairs))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _with_page(path: Path | None, page: int | None) -> str:
    return f"{path}" if page is None else f"{path} page {page}"
