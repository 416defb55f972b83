"""Check a whole data set: scan its files, compare them, judge, and put the result together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from numpy.typing import NDArray

from segexp.check.findings import find_warnings, split_faults, suggest, summarize
from segexp.check.report import Fault, Report
from segexp.check.scan import Entry, Folders, Progress, Source, find_sources, read_planes, scan
from segexp.check.similar import near_duplicates
from segexp.data.reading import Reading


@dataclass(frozen=True)
class Wanted:
    """What a training would make of the files.

    Attributes:
        reading: how files are read.
        classes: names of the classes that masks hold, in the order of their ids.
        crop: side of the training crops in pixels.
    """

    reading: Reading = field(default_factory=Reading)
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
    sources, faults = find_sources(splits, wanted.reading)
    places = {name: str(folders.masks) for name, folders in splits.items()}
    return check_sources(root, sources, faults, places, wanted, workers, tick)


def check_sources(
    root: str,
    sources: Sequence[Source],
    faults: Sequence[Fault],
    places: Mapping[str, str],
    wanted: Wanted,
    workers: int | None = None,
    tick: Progress | None = None,
) -> tuple[Report, Sequence[Entry]]:
    """`check` of files that were found before, with the faults of finding them; `places` are the splits' folders."""
    started = time.monotonic()
    entries, broken = scan(sources, wanted.reading, workers, tick)
    tables = {name: summarize([entry for entry in entries if entry.split == name]) for name in places}
    broken += split_faults(tables, places)
    alike = near_duplicates(entries, lambda entry: _grey(entry, wanted.reading))
    report = Report(
        root=root,
        splits=tables,
        faults=(*faults, *broken),
        warnings=tuple(find_warnings(entries, tables, alike, wanted.classes, wanted.reading)),
        suggestions=tuple(suggest(tables, wanted.crop)),
        seconds=round(time.monotonic() - started, 3),
    )
    return report, entries


def _grey(entry: Entry, reading: Reading) -> NDArray:
    planes, _ = read_planes(entry.source, reading)
    return planes[0] if len(planes) == 1 else planes.mean(axis=0)
