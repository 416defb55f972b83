"""Where a run's images come from: four folders, or the generators."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segexp import synthesis
from segexp.data.pairs import Reading, Sample, make_sample, pixel_bytes, read_folder
from segexp.errors import InputError

Samples = tuple[list[Sample], list[Sample]]
"""Training and validation images."""


def fits_in_memory(folders: Mapping[str, Path], reading: Reading) -> bool:
    """Whether the pixels of all four folders take at most half of the memory that is free now."""
    need = pixel_bytes(folders["train_img_dir"], folders["train_mask_dir"], reading)
    need += pixel_bytes(folders["val_img_dir"], folders["val_mask_dir"], reading)
    return need <= free_memory() / 2


def read_folders(
    folders: Mapping[str, Path], reading: Reading, keep: bool, workers: int, normalization: str
) -> Samples:
    """Read ``train_img_dir`` and the other three folders; one `InputError` lists all that is wrong with them."""
    faults: list[str] = []
    parts: list[list[Sample]] = []
    for part in ("train", "val"):
        try:
            images, masks = folders[f"{part}_img_dir"], folders[f"{part}_mask_dir"]
            parts.append(read_folder(images, masks, reading, keep, workers, normalization))
        except InputError as error:
            faults += str(error).splitlines()
    if faults:
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data"
        raise InputError(f"{count}; nothing was trained\n  " + "\n  ".join(faults))
    return parts[0], parts[1]


def generate(task: str, train: int, val: int, size: int, seed: int, channels: int, normalization: str) -> Samples:
    """Generated images of `size` pixels a side; the validation images follow the training images of the same seed."""
    if task not in synthesis.TASKS:
        raise InputError(f"no data given, and only {', '.join(synthesis.TASKS)} can be generated: set data.root=DIR")
    images, masks = synthesis.generate(task, train + val, size, seed)
    samples = [
        make_sample(f"generated_{index:05}", np.repeat(image[None], channels, axis=0), mask, 1, normalization)
        for index, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    return samples[:train], samples[train:]


def foreground_share(samples: list[Sample]) -> list[float]:
    """Share of each class among the annotated pixels."""
    counts = np.sum([sample.class_pixels for sample in samples], axis=0)
    return [float(count / max(counts.sum(), 1)) for count in counts[1:]]


def describe(samples: list[Sample]) -> str:
    """One line: how many images, their sizes, dtypes and share of foreground."""
    sizes = sorted({f"{sample.shape[1]}x{sample.shape[2]}" for sample in samples})
    dtypes = ", ".join(sorted({str(sample.dtype) for sample in samples}))
    shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else "")
    return f"{len(samples)} images, {shown}, {dtypes}, foreground {100 * sum(foreground_share(samples)):.2g} %"


def free_memory() -> int:
    """Bytes of memory that are free now, as far as the system tells; 4 GiB where it does not."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file)
        free = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return _free_pages()
    try:  # a container may be allowed less than the machine has
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _free_pages() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30
