"""The check before training: the same as `segexp check`, cached while the files do not change."""

from collections.abc import Callable, Collection, Mapping

from segexp.check.cache import cache_folder, fingerprint, recall, remember
from segexp.check.dataset import CheckSettings, check_files
from segexp.check.scan import Folders, OnRead, find_sources
from segexp.data.dataset import Pairing
from segexp.errors import InputError

SHOWN = 5
"""Warnings printed before training; ``segexp check`` prints all."""


def check_folders(
    splits: Mapping[str, Folders],
    settings: CheckSettings,
    val_names: Collection[str] = (),
    log: Callable[[str], None] = lambda line: None,
    index: Mapping[str, Pairing] | None = None,
    on_read: OnRead | None = None,
) -> list[str]:
    """Check the files of a data set; return one line for each warning.

    Args:
        splits: the folders, by name.
        settings: how the training reads the files.
        val_names: stems of the images in ``train`` that are used for validation.
        log: called with a line on how files were paired, on ignored files, and before files are read.
        index: pairings of the folders that are known already.
        on_read: called with each pair of files as it is read, see `segexp.check.scan.scan`; not called if a cached
            result is used.

    Raises:
        InputError: with one line for each faulty file.
    """
    memory = cache_folder()
    data_files = find_sources(splits, settings.reading, val_names, index)
    for note in data_files.notes:
        log(note)
    key = None
    if not data_files.faults:
        try:
            key = fingerprint(data_files.sources, repr(settings))
        except OSError:  # a file went away just now: the scan says which
            key = None
        known = recall(memory, key) if key else None
        if known is not None:
            return known
    log(f"checking {len(data_files.sources)} images and their masks (again only when a file changes)")
    report, _ = check_files("data", data_files, settings, on_read=on_read)
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
        lines.append(f"warning: {more} more warning{'s' if more > 1 else ''}; run `segexp check DIR` to see all")
    if key:
        remember(memory, key, lines)
    return lines
