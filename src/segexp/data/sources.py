"""The images of a run: from four folders, or from the generators."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segexp.data.dataset import (
    Pair,
    Pairing,
    Reading,
    Sample,
    empty_faults,
    find_pairs,
    pixel_bytes,
    read_samples,
    settle_doubts,
)
from segexp.data.splits import Split, group_names, parse_fold, read_split, split_fold, split_fraction
from segexp.data.synthetic import Recipe
from segexp.errors import InputError
from segexp.io.memory import free_memory

PARTS = ("train", "val")

NO_VALIDATION = (
    ". Without validation images of your own: data.val_fraction=0.2 holds a fifth of the training images back, "
    "data.fold=1/5 the first of five parts; data.group='^(.+)_z' would keep slices such as a_z01 and a_z02 together"
)

Samples = tuple[list[Sample], list[Sample]]
"""Training and validation images."""


def pair_folders(folders: Mapping[str, Path], page: object) -> dict[str, Pairing]:
    """The files of a data set: a pairing for ``train`` and, if such folders are given, ``val``.

    The folders are listed once; choosing a split, checking and reading all start from this index. ``val`` is missing if
    its image folder does not exist and that of ``train`` does.
    """
    index = {}
    for part in PARTS:
        images = folders.get(f"{part}_img_dir")
        if images is None or (part == "val" and not images.is_dir() and folders["train_img_dir"].is_dir()):
            continue
        index[part] = find_pairs(images, folders[f"{part}_mask_dir"], page)
    return index


def fits_in_memory(index: Mapping[str, Pairing], reading: Reading) -> bool:
    """Whether the pixels of all pairs take at most half of the free memory.

    Under ``torchrun`` each process of this machine keeps its own copy, so the memory is divided among them.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return sum(pixel_bytes(pairing.pairs, reading) for pairing in index.values()) <= free_memory() / 2 / processes


def choose_split(
    pairing: Pairing,
    stored: Path | None,
    fraction: float | None,
    fold: str | None,
    group: str | None,
    seed: int,
) -> Split:
    """Divide the images of one folder: as `stored` says, or by a fraction or fold; see `segexp.data.splits`.

    Raises:
        InputError: if there are no pairs to divide, or too few groups of them.
    """
    names = {pair.image.stem for pair in pairing.pairs}
    if not names:
        raise InputError(*pairing.faults)
    if stored is not None:
        return read_split(stored, names)
    if fold is not None:
        return split_fold(names, *parse_fold(fold), group, seed)
    assert fraction is not None
    return split_fraction(names, fraction, group, seed)


def read_folders(
    folders: Mapping[str, Path],
    index: Mapping[str, Pairing],
    reading: Reading,
    keep: bool,
    workers: int,
    normalization: str,
    split: Split | None = None,
    known: Mapping[Pair, Sample] | None = None,
) -> Samples:
    """Training and validation images of four folders, or of the first two divided by `split`.

    Args:
        folders: ``train_img_dir`` and so on.
        index: their files, from `pair_folders`.
        reading: how files are read.
        keep: whether pixels stay in memory.
        workers: threads.
        normalization: determines which statistics of the whole image are computed.
        split: how one folder is divided; None: ``val`` has folders of its own.
        known: samples that were read before.

    Raises:
        InputError: lists all that is wrong with the files.
    """
    faults: list[str] = []
    parts: dict[str, list[Sample]] = {}
    for part in PARTS if split is None else PARTS[:1]:
        if part not in index:
            faults.append(f"{folders[f'{part}_img_dir']}: no such folder{NO_VALIDATION}")
            continue
        pairs, wrong, _ = index[part]
        parts[part], unreadable = read_samples(pairs, reading, keep, workers, normalization, known)
        faults += wrong + unreadable
    faults += settle_doubts([sample for samples in parts.values() for sample in samples])
    if split is not None:
        val_names = set(split.val)
        whole = parts.pop("train")
        for part, in_val in (("train", False), ("val", True)):
            parts[part] = [sample for sample in whole if (_stem(sample) in val_names) == in_val]
    for part, samples in parts.items():
        place = folders.get(f"{part}_mask_dir", f"{folders['train_mask_dir']} ({part})")
        faults += empty_faults(samples, place) if part == "train" else []  # validated by the false positives then
    if faults:
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data"
        raise InputError(f"{count}; nothing was trained", *(f"  {fault}" for fault in faults))
    return parts["train"], parts["val"]


def set_groups(samples: Sequence[Sample], pattern: str) -> None:
    """Set the group of each image by the pattern of ``data.group``.

    Raises:
        InputError: if a name does not match.
    """
    group_of = {name: group for group, names in group_names(map(_stem, samples), pattern).items() for name in names}
    for sample in samples:
        sample.group = group_of[_stem(sample)]


def _stem(sample: Sample) -> str:
    assert sample.source is not None
    return sample.source.image.stem


def generated(recipe: Recipe, train: int, val: int) -> Samples:
    """Generated images; the validation images follow the training images of the same seed."""
    samples = recipe.samples(range(train + val))
    return samples[:train], samples[train:]


def foreground_share(samples: Sequence[Sample]) -> list[float]:
    """Share of each class among the annotated pixels."""
    counts = np.sum([sample.class_pixels for sample in samples], axis=0)
    return [float(count / max(counts.sum(), 1)) for count in counts[1:]]


def describe(samples: list[Sample]) -> str:
    """One line: how many images, their sizes, dtypes and share of foreground."""
    sizes = sorted({f"{sample.shape[1]}x{sample.shape[2]}" for sample in samples})
    dtypes = ", ".join(sorted({str(sample.dtype) for sample in samples}))
    listed = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else "")
    return f"{len(samples)} images, {listed}, {dtypes}, foreground {100 * sum(foreground_share(samples)):.2g} %"


def describe_masks(samples: Sequence[Sample], classes: Sequence[str]) -> str:
    """One line: the detected content of the masks of a set, and how it is interpreted."""
    kinds = Counter("instance ids" if sample.has_instances else sample.mask_kind for sample in samples)
    empty = kinds.pop("empty", 0)
    parts = [f"{kind} in {count} files" for kind, count in kinds.most_common()]
    parts += [f"no foreground in {empty}"] if empty else []
    reading = samples[0].reading
    cut = (reading and reading.mask_threshold) or 0.0
    meaning = {
        "instance ids": f"every id is read as {classes[0]}",
        "probabilities": f"from 0.5 on read as {classes[0]}",
        "soft": f"from {cut:g} on read as {classes[0]} (task.mask_threshold)",
    }.get(next(iter(kinds), ""), f"read as background and {_listed(classes)}")
    line = f"masks: {', '.join(parts)}; {meaning}"
    if reading is None or reading.ignore is None:
        return line
    pixels = sum(sample.shape[1] * sample.shape[2] for sample in samples)
    known = sum(int(sample.class_pixels.sum()) for sample in samples)
    return f"{line}; {reading.ignore} is not annotated ({100 * (1 - known / pixels):.3g} % of the pixels)"


def describe_scale(samples: Sequence[Sample], target: float | None) -> list[str]:
    """Lines on the images' pixel sizes, if the task has one; a warning if some are unknown."""
    if target is None:
        return []
    unknown = [sample.name for sample in samples if sample.pixel_size is None]
    lines = []
    if len(unknown) < len(samples):
        lines.append(f"scale: {len(samples) - len(unknown)} images at {target:g} micrometres a pixel (task.pixel_size)")
    if unknown:
        listed = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        lines.append(
            f"warning: {len(unknown)} images do not state their pixel size ({listed}) and are used without "
            "rescaling, although "
            f"task.pixel_size={target:g}; if all have the same pixel size, set data.pixel_size"
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
