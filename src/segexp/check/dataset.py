"""Check a whole data set: scan its files, compare them, apply the rules, and assemble the report."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from numpy.typing import NDArray

from segexp.check.near_duplicates import near_duplicates
from segexp.check.report import CheckReport
from segexp.check.rules import find_warnings, split_faults, suggest, summarize
from segexp.check.scan import DataFiles, Entry, Folders, OnRead, Progress, find_sources, read_planes, scan
from segexp.data.dataset import Pairing
from segexp.data.reading import Reading


@dataclass(frozen=True)
class CheckSettings:
    """The settings of a training that decide how its files are read.

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
    settings: CheckSettings,
    workers: int | None = None,
    tick: Progress | None = None,
    val_names: Collection[str] = (),
    index: Mapping[str, Pairing] | None = None,
) -> tuple[CheckReport, Sequence[Entry]]:
    """Check a data set; returns the report and the statistics of each file on which it is based.

    Args:
        root: name of the data set, for the report.
        splits: the folders to look at, by name.
        settings: how a training reads the files.
        workers: threads; default: one for each core.
        tick: called with the number of images read and the number of all.
        val_names: stems of the images in ``train`` that are used for validation.
        index: pairings of the folders that are known already.
    """
    return check_files(root, find_sources(splits, settings.reading, val_names, index), settings, workers, tick)


def check_files(
    root: str,
    files: DataFiles,
    settings: CheckSettings,
    workers: int | None = None,
    tick: Progress | None = None,
    on_read: OnRead | None = None,
) -> tuple[CheckReport, Sequence[Entry]]:
    """`check` of files that were found before; `on_read` as in `segexp.check.scan.scan`."""
    started = time.monotonic()
    entries, broken = scan(files.sources, settings.reading, workers, tick, on_read)
    tables = {name: summarize([entry for entry in entries if entry.split == name]) for name in files.places}
    broken += split_faults(tables, files.places)
    alike = near_duplicates(entries, lambda entry: _grey(entry, settings.reading))
    report = CheckReport(
        root=root,
        splits=tables,
        faults=(*files.faults, *broken),
        warnings=tuple(find_warnings(entries, tables, alike, settings.classes, settings.reading)),
        suggestions=tuple(suggest(tables, settings.crop)),
        seconds=round(time.monotonic() - started, 3),
        notes=tuple(files.notes),
    )
    return report, entries


def _grey(entry: Entry, reading: Reading) -> NDArray:
    planes = read_planes(entry.source, reading).pixels
    return planes[0] if len(planes) == 1 else planes.mean(axis=0)
