"""The check before a training: the same as `segexp check`, remembered while nothing changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segexp.check.cache import cache_folder, fingerprint, recall, remember
from segexp.check.dataset import Wanted, check_sources
from segexp.check.report import Fault
from segexp.check.scan import Folders, Source, find_sources
from segexp.errors import InputError


def check_folders(splits: Mapping[str, Folders], wanted: Wanted, workers: int | None = None) -> list[str]:
    """`check_first` of all files in the folders of the splits."""
    sources, faults = find_sources(splits, wanted.reading)
    return check_first(sources, faults, {name: str(folders.masks) for name, folders in splits.items()}, wanted, workers)


def check_first(
    sources: Sequence[Source],
    faults: Sequence[Fault],
    places: Mapping[str, str],
    wanted: Wanted,
    workers: int | None = None,
    memory: Path | None = None,
) -> list[str]:
    """What is odd in the files, in lines; one `InputError` lists all that is wrong with them.

    Args:
        sources, faults: what `segexp.check.scan.find_sources` found.
        places: the folder of each split's masks, for messages.
        wanted: what the training makes of the files.
        workers: threads; default: one for each core.
        memory: folder of earlier results; default: the user's cache.
    """
    memory = memory or cache_folder()
    key = None
    if not faults:
        try:
            key = fingerprint(sources, repr(wanted))
        except OSError:  # a file went away just now: the scan says which
            key = None
        known = recall(memory, key) if key else None
        if known is not None:
            return known
    report, _ = check_sources("data", sources, faults, places, wanted, workers)
    if not report.ok:
        count = len(report.faults)
        listed = "".join(f"\n  {fault.file}: {fault.message}" for fault in report.faults)
        raise InputError(f"{count} fault{'s' if count > 1 else ''} in the data; nothing was trained{listed}")
    lines = []
    for warning in report.warnings:
        first = f" ({warning.files[0].file}{', ...' if len(warning.files) > 1 else ''})" if warning.files else ""
        lines.append(f"warning: {warning.message}{first}; {warning.advice}")
    if key:
        remember(memory, key, lines)
    return lines
