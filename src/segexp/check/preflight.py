"""The check before a training: the same as `segexp check`, remembered while nothing changes."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from segexp.check.cache import cache_folder, fingerprint, recall, remember
from segexp.check.dataset import Wanted, check_found
from segexp.check.scan import Folders, find_sources
from segexp.errors import InputError

SHOWN = 5
"""Warnings told before a training; ``segexp check`` tells all."""


def check_folders(
    splits: Mapping[str, Folders],
    wanted: Wanted,
    held: Collection[str] = (),
    say: Callable[[str], None] = lambda line: None,
    workers: int | None = None,
    memory: Path | None = None,
) -> list[str]:
    """What is odd in the files, in lines; one `InputError` lists all that is wrong with them.

    Args:
        splits: the folders, by name.
        wanted: what the training makes of the files.
        held: stems of the images in ``train`` that are held back for validation.
        say: told how files were paired and what was passed over, and before files are read.
        workers: threads; default: one for each core.
        memory: folder of earlier results; default: the user's cache.
    """
    memory = memory or cache_folder()
    found = find_sources(splits, wanted.reading, held)
    for note in found.notes:
        say(note)
    key = None
    if not found.faults:
        try:
            key = fingerprint(found.sources, repr(wanted))
        except OSError:  # a file went away just now: the scan says which
            key = None
        known = recall(memory, key) if key else None
        if known is not None:
            return known
    say(f"checking {len(found.sources)} images and their masks (again only when a file changes)")
    report, _ = check_found("data", found, wanted, workers)
    if not report.ok:
        count = len(report.faults)
        listed = [f"  {fault.file}: {fault.message}" for fault in report.faults]
        raise InputError(f"{count} fault{'s' if count > 1 else ''} in the data; nothing was trained", *listed)
    lines = []
    for warning in report.warnings[:SHOWN]:
        first = f" ({warning.files[0].file}{', ...' if len(warning.files) > 1 else ''})" if warning.files else ""
        lines.append(f"warning: {warning.message}{first}; {warning.advice}")
    more = len(report.warnings) - SHOWN
    if more > 0:
        lines.append(f"warning: {more} more kind{'s' if more > 1 else ''} of oddity")
    if key:
        remember(memory, key, lines)
    return lines
