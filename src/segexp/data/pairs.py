"""Find the image and mask files that belong together, read them, and report every fault at once.

An image and its mask share their stem: ``img/cell_01.tif`` and ``mask/cell_01.npy``.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.data.images import IGNORE, IMAGE_SUFFIXES, label_map, read_image, read_mask, to_channels
from segexp.data.normalization import image_statistics
from segexp.errors import InputError

FOREGROUND_POINTS = 4096
"""Foreground pixels remembered for each image, a uniform subset where there are more: enough to place crops on."""


class Pair(NamedTuple):
    """The two files of one annotated image."""

    image: Path
    mask: Path


@dataclass
class Sample:
    """One annotated image: its facts, and its pixels where they are kept in memory.

    Attributes:
        name: the file's name, for tables and messages.
        shape: (C, H, W).
        dtype: the file's.
        offset, scale: float32 (C,), of the whole image: see `segexp.data.normalization`.
        foreground: int32 (N, 2) rows and columns of up to `FOREGROUND_POINTS` foreground pixels.
        class_pixels: pixels of each label 0..K, int64 (K + 1,).
        pixels: (C, H, W) in the file's dtype, or None when read on demand.
        labels: (H, W) uint8, or None when read on demand.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    foreground: NDArray[np.int32]
    class_pixels: NDArray[np.int64]
    pixels: NDArray | None = None
    labels: NDArray[np.uint8] | None = None
    source: Pair | None = field(default=None, repr=False)

    def load(self) -> tuple[NDArray, NDArray[np.uint8]]:
        """Pixels (C, H, W) and labels (H, W): from memory, or from the two files."""
        if self.pixels is not None and self.labels is not None:
            return self.pixels, self.labels
        assert self.source is not None
        channels, classes = self.shape[0], len(self.class_pixels) - 1
        return read_pair(self.source, channels, classes)


def find_pairs(image_dir: str | Path, mask_dir: str | Path) -> tuple[list[Pair], list[str]]:
    """Pair the files of two folders by stem, sorted by name; the second list holds what does not fit.

    Files that are neither images nor masks (``.DS_Store``, ``Thumbs.db``, notes) are passed over.
    """
    image_dir, mask_dir = Path(image_dir), Path(mask_dir)
    faults = [f"{folder}: no such folder" for folder in (image_dir, mask_dir) if not folder.is_dir()]
    if faults:
        return [], faults
    images, image_faults = _by_stem(image_dir, IMAGE_SUFFIXES)
    masks, mask_faults = _by_stem(mask_dir, (".npy",))
    faults = image_faults + mask_faults
    if not images:
        faults.append(f"{image_dir}: no images; wanted files ending in {', '.join(IMAGE_SUFFIXES)}")
    for stem in sorted(images.keys() - masks.keys()):
        other = next((p.name for p in mask_dir.glob(f"{_escape(stem)}.*")), None)
        found = f" (there is {other}: save it as .npy)" if other else ""
        faults.append(f"{images[stem]}: no mask {mask_dir / (stem + '.npy')}{found}")
    faults += [f"{masks[stem]}: no image of that name in {image_dir}" for stem in sorted(masks.keys() - images.keys())]
    return [Pair(images[stem], masks[stem]) for stem in sorted(images.keys() & masks.keys())], faults


def read_pair(pair: Pair, channels: int, classes: int) -> tuple[NDArray, NDArray[np.uint8]]:
    """Pixels (channels, H, W) in the file's dtype and labels (H, W) uint8; `InputError` names the file at fault."""
    pixels = to_channels(read_image(pair.image), channels, pair.image)
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        raise InputError(f"{pair.image}: holds NaN or infinite values")
    labels = label_map(read_mask(pair.mask), classes, pair.mask)
    if labels.shape != pixels.shape[1:]:
        swapped = " (rows and columns swapped?)" if labels.shape == pixels.shape[:0:-1] else ""
        raise InputError(f"{pair.mask}: shape {labels.shape}, but {pair.image.name} is {pixels.shape[1:]}{swapped}")
    return pixels, labels


def make_sample(
    name: str, pixels: NDArray, labels: NDArray[np.uint8], classes: int, normalization: str = "standard"
) -> Sample:
    """Gather the facts of one image, pixels (C, H, W) and labels (H, W), and keep both."""
    offset, scale = image_statistics(pixels, normalization)
    foreground = np.flatnonzero((labels > 0) & (labels != IGNORE))
    if len(foreground) > FOREGROUND_POINTS:
        step = np.linspace(0, len(foreground) - 1, FOREGROUND_POINTS).astype(np.int64)
        foreground = foreground[step]
    points = np.stack(np.unravel_index(foreground, labels.shape), axis=1).astype(np.int32)
    counts = np.bincount(labels.ravel(), minlength=classes + 1)[: classes + 1]
    shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
    return Sample(name, shape, pixels.dtype, offset, scale, points, counts, pixels, labels)


def read_samples(
    pairs: Iterable[Pair],
    channels: int,
    classes: int,
    keep: bool,
    workers: int = 4,
    normalization: str = "standard",
) -> tuple[list[Sample], list[str]]:
    """Read every pair once, in threads; return the readable ones and the faults of the others.

    `keep=False` gathers each image's facts and drops its pixels, for data larger than memory.
    """
    pairs = list(pairs)

    def read(pair: Pair) -> Sample | str:
        try:
            sample = make_sample(pair.image.name, *read_pair(pair, channels, classes), classes, normalization)
        except InputError as error:
            return str(error)
        except OSError as error:
            return f"{pair.image}: {error}"
        sample.source = pair
        if not keep:
            sample.pixels = sample.labels = None
        return sample

    samples: list[Sample] = []
    faults: list[str] = []
    with ThreadPoolExecutor(max(1, min(workers, os.cpu_count() or 1))) as pool:
        for result in pool.map(read, pairs):
            if isinstance(result, str):
                faults.append(result)
            else:
                samples.append(result)
    return samples, faults


def read_folder(
    image_dir: str | Path,
    mask_dir: str | Path,
    channels: int,
    classes: int,
    keep: bool,
    workers: int = 4,
    normalization: str = "standard",
) -> list[Sample]:
    """Every annotated image of two folders; raises one `InputError` that lists all that is wrong with them."""
    pairs, faults = find_pairs(image_dir, mask_dir)
    samples, unreadable = read_samples(pairs, channels, classes, keep, workers, normalization)
    faults += unreadable
    if samples and not any(len(sample.foreground) for sample in samples):
        faults.append(f"{mask_dir}: every mask is empty, there is nothing to learn")
    if faults:
        raise InputError("\n".join(faults))
    return samples


def pixel_bytes(image_dir: str | Path, mask_dir: str | Path) -> int:
    """Memory that the images and masks of two folders would take, guessed from one image and the number of files."""
    pairs, _ = find_pairs(image_dir, mask_dir)
    for pair in pairs:
        try:
            image, mask = read_image(pair.image), read_mask(pair.mask)
        except InputError:
            continue
        # compressed files differ in size; scale by bytes on disk where that is larger than by count
        disk = sum(p.image.stat().st_size for p in pairs) / max(pair.image.stat().st_size, 1)
        return int(max(disk, len(pairs)) * (image.nbytes + mask.size))
    return 0


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> tuple[dict[str, Path], list[str]]:
    found: dict[str, Path] = {}
    faults = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            faults.append(f"{path}: same name as {found[path.stem].name}; each image needs a name of its own")
        else:
            found[path.stem] = path
    return found, faults


def _escape(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
