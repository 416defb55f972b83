"""Check a whole data set: scan its files, compare them, judge, and put the result together."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from numpy.typing import NDArray

from segexp.check.near_duplicates import near_duplicates
from segexp.check.report import Report
from segexp.check.rules import find_warnings, split_faults, suggest, summarize
from segexp.check.scan import Entry, Folders, Found, Progress, find_sources, read_planes, scan
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
    root: str,
    splits: Mapping[str, Folders],
    wanted: Wanted,
    workers: int | None = None,
    tick: Progress | None = None,
    held: Collection[str] = (),
) -> tuple[Report, Sequence[Entry]]:
    """Everything about a data set: the report, and the facts of each file that it rests on.

    Args:
        root: what the report is about, in words.
        splits: the folders to look at, by name.
        wanted: what a training would make of the files.
        workers: threads; default: one for each core.
        tick: told about progress.
        held: stems of the images in ``train`` that are held back for validation.
    """
    return check_found(root, find_sources(splits, wanted.reading, held), wanted, workers, tick)


def check_found(
    root: str, found: Found, wanted: Wanted, workers: int | None = None, tick: Progress | None = None
) -> tuple[Report, Sequence[Entry]]:
    """`check` of files that were found before."""
    started = time.monotonic()
    entries, broken = scan(found.sources, wanted.reading, workers, tick)
    tables = {name: summarize([entry for entry in entries if entry.split == name]) for name in found.places}
    broken += split_faults(tables, found.places)
    alike = near_duplicates(entries, lambda entry: _grey(entry, wanted.reading))
    report = Report(
        root=root,
        splits=tables,
        faults=(*found.faults, *broken),
        warnings=tuple(find_warnings(entries, tables, alike, wanted.classes, wanted.reading)),
        suggestions=tuple(suggest(tables, wanted.crop)),
        seconds=round(time.monotonic() - started, 3),
        notes=tuple(found.notes),
    )
    return report, entries


def _grey(entry: Entry, reading: Reading) -> NDArray:
    planes = read_planes(entry.source, reading).pixels
    return planes[0] if len(planes) == 1 else planes.mean(axis=0)
