"""Check a whole data set: scan its files, compare them, judge, and put the result together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from segexp.check.findings import find_warnings, split_faults, suggest, summarize
from segexp.check.report import Report
from segexp.check.scan import Entry, Folders, Progress, scan
from segexp.check.similar import near_duplicates
from segexp.data.images import read_image


@dataclass(frozen=True)
class Wanted:
    """What a training would make of the files.

    Attributes:
        channels: 1 (grey) or 3 (colour).
        classes: names of the classes that masks hold, in the order of their ids.
        crop: side of the training crops in pixels.
    """

    channels: int = 1
    classes: tuple[str, ...] = ("foreground",)
    crop: int = 256


def check(
    root: str, splits: Mapping[str, Folders], wanted: Wanted, workers: int | None = None, tick: Progress | None = None
) -> tuple[Report, Sequence[Entry]]:
    """Everything about a data set: the report, and the facts of each file that it rests on.

    Args:
        root: what the report is about, in words.
        splits: the folders to look at, by name.
        wanted: what a training would make of the files.
        workers: threads; default: one for each core.
        tick: told about progress.
    """
    started = time.monotonic()
    entries, faults = scan(splits, wanted.channels, len(wanted.classes), workers, tick)
    tables = {name: summarize([entry for entry in entries if entry.split == name]) for name in splits}
    faults += split_faults(tables, {name: str(folders.masks) for name, folders in splits.items()})
    alike = near_duplicates(entries, _grey)
    report = Report(
        root=root,
        splits=tables,
        faults=tuple(faults),
        warnings=tuple(find_warnings(entries, tables, alike, wanted.classes, wanted.channels)),
        suggestions=tuple(suggest(tables, wanted.crop)),
        seconds=round(time.monotonic() - started, 3),
    )
    return report, entries


def _grey(entry: Entry) -> NDArray:
    pixels = read_image(Path(entry.image))
    return pixels if pixels.ndim == 2 else pixels.mean(axis=2)
