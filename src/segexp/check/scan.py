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

from segexp.check.facts import ImageFacts, MaskFacts, image_facts, mask_facts
from segexp.check.names import name_faults
from segexp.check.report import Fault
from segexp.data.images import IMAGE_SUFFIXES, label_map, read_image, read_mask, to_channels
from segexp.data.pairs import find_pairs
from segexp.errors import InputError


@dataclass(frozen=True)
class Folders:
    """Where one split lies; without `masks` its images are checked alone."""

    images: Path
    masks: Path | None


@dataclass(frozen=True)
class Entry:
    """One image with its mask: facts of what could be read, None of what could not."""

    split: str
    image: Path
    mask: Path | None
    image_facts: ImageFacts | None
    mask_facts: MaskFacts | None


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


def scan(
    splits: Mapping[str, Folders], channels: int, classes: int, workers: int | None = None, tick: Progress | None = None
) -> tuple[list[Entry], list[Fault]]:
    """Read all files of all splits: the facts in the order of the files' names, and every fault."""
    jobs: list[tuple[str, Path, Path | None]] = []
    faults: list[Fault] = []
    for name, folders in splits.items():
        found, wrong = _list_split(folders)
        jobs += [(name, image, mask) for image, mask in found]
        faults += wrong
    entries: list[Entry] = []
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        results = pool.map(lambda job: read_entry(job[0], job[1], job[2], channels, classes), jobs)
        for count, (entry, broken) in enumerate(results, 1):
            entries.append(entry)
            faults += broken
            if tick is not None:
                tick(count, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends now and not after the last file
    return entries, faults


def read_entry(
    split: str, image: Path, mask: Path | None, channels: int, classes: int
) -> tuple[Entry, Sequence[Fault]]:
    """Read one image and its mask; both are looked at even where the first is broken."""
    faults: list[Fault] = []
    facts, labels = None, None
    try:
        pixels = np.moveaxis(np.atleast_3d(read_image(image)), 2, 0)
        to_channels(np.moveaxis(pixels[:, :1, :1], 0, 2), channels, image)  # whether training would take it
        if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
            raise InputError(f"{image}: holds NaN or infinite values")
        facts = image_facts(pixels)
    except (InputError, OSError, MemoryError) as error:
        faults.append(fault("image", image, error))
    if mask is None:
        return Entry(split, image, mask, facts, None), faults
    try:
        array = label_map(read_mask(mask), classes, mask)
        labels = mask_facts(array, classes)
        if facts is not None and array.shape != facts.shape[1:]:
            raise InputError(f"{mask}: {shape_fault(array.shape, facts.shape[1:], image)}")
    except (InputError, OSError, MemoryError) as error:
        faults.append(fault("shape" if labels is not None else "mask", mask, error))
    return Entry(split, image, mask, facts, labels), faults


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


def _list_split(folders: Folders) -> tuple[list[tuple[Path, Path | None]], list[Fault]]:
    if folders.masks is None:
        images = sorted(path for path in folders.images.iterdir() if _is_image(path))
        return [(path, None) for path in images], name_faults(images)
    try:
        pairs, texts = find_pairs(folders.images, folders.masks)
    except OSError as error:
        return [], [fault("folder", Path(error.filename or folders.images), error)]
    kind = "pair" if folders.images.is_dir() and folders.masks.is_dir() else "folder"
    faults = [split_message(kind, text) for text in texts]
    return [(pair.image, pair.mask) for pair in pairs], faults + name_faults([pair.image for pair in pairs])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
