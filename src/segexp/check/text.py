"""A report in words, for a terminal or a log."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from segexp.check.report import CheckReport, Fault, Mention, SplitSummary, Spread
from segexp.errors import printable

LISTED = 40
"""Files named under one finding; ``--json`` and ``--html`` name all."""

_TITLES = {
    "folder": "Folders",
    "name": "File names",
    "pair": "Images and masks that do not belong together",
    "image": "Images that cannot be used",
    "mask": "Masks that cannot be used",
    "shape": "Masks of another size than their image",
    "split": "Splits",
}
_NAMES = {"train": "training", "val": "validation", "images": "images"}


def print_report(report: CheckReport, console: Console, more: str = "--json lists all") -> None:
    """Print the table of the splits, then faults, warnings and suggestions.

    Args:
        report: what to print.
        console: where; its width shapes the table.
        more: what to print if a list of files is cut short.
    """

    def write(text: str = "", style: str | None = None) -> None:
        console.print(printable(text).replace("\n", "\\n"), style=style, markup=False, highlight=False, soft_wrap=True)

    if any(split.images or split.masks for split in report.splits.values()):
        console.print(_table(report.splits))
        write()
    for note in report.notes:
        write(f"Note: {note}")
    for title, group in grouped(report.faults):
        write(f"{title} ({len(group)})", "bold red")
        shared, lines = listed(group)
        if shared:
            write(f"  {shared}")
        for line in _cut(lines, more):
            write(f"    {line}" if shared else f"  {line}")
    for warning in report.warnings:
        write(f"Warning: {warning.message}; {warning.advice}", "yellow")
        for line in _cut([mentioned(file) for file in warning.files], more):
            write(f"    {line}")
    for suggestion in report.suggestions:
        write(f"Suggestion: {suggestion.override}  ({suggestion.reason})")
    if report.warnings or report.suggestions or report.faults or report.notes:
        write()
    write(f"{report.root}: {summary_line(report)}", "bold green" if report.ok else "bold red")


def summary_line(report: CheckReport) -> str:
    """One line that says whether training can start."""
    images = sum(split.images for split in report.splits.values())
    read = f"{_many(images, 'image')} read in {report.seconds:.1f} s"
    warnings = f", {_many(len(report.warnings), 'warning')}" if report.warnings else ""
    if report.ok:
        return f"no faults{warnings} ({read})"
    return f"{_many(len(report.faults), 'fault')}{warnings} ({read}); fix them before training"


def mentioned(mention: Mention) -> str:
    """A file of a finding in one line."""
    note = f" ({mention.note})" if mention.note else ""
    return " = ".join((mention.file, *mention.others)) + note


def grouped(faults: Iterable[Fault]) -> list[tuple[str, list[Fault]]]:
    """Faults of one kind that say the same of different files, under the kind's title."""
    groups: defaultdict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        groups[fault.kind, re.sub(r"[\d.]+", "0", general(fault))].append(fault)
    order = list(_TITLES)
    return [(_TITLES[kind], group) for (kind, _), group in sorted(groups.items(), key=lambda g: order.index(g[0][0]))]


def general(fault: Fault) -> str:
    """A fault's message without the name of its file, so that files with the same fault say the same."""
    path = Path(fault.file)
    return fault.message.replace(path.name, "NAME").replace(path.stem, "NAME") if path.stem else fault.message


def rows(splits: dict[str, SplitSummary]) -> list[tuple[str, list[str]]]:
    """The table of the splits: a label and one text a split."""
    columns = [_column(split) for split in splits.values()]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    return [(label, [column.get(label, "") for column in columns]) for label in labels]


def headers(splits: dict[str, SplitSummary]) -> list[str]:
    """The splits' names in words."""
    return [_NAMES.get(name, name) for name in splits]


def _column(split: SplitSummary) -> dict[str, str]:
    cells = {"images": f"{split.images:,}"}
    if split.images:
        cells["height x width, pixels"] = _counted(split.sizes, split.images)
        cells["pixel type"] = _counted(split.dtypes, split.images)
        channels = {{"1": "grey", "3": "colour"}.get(n, f"{n} channels"): count for n, count in split.channels.items()}
        cells["channels"] = _counted(channels, split.images)
    if split.intensity is not None:
        cells["intensity: min, 1 %, median, 99 %, max"] = " · ".join(_number(value) for value in split.intensity)
    if split.saturated is not None:
        cells["at the camera's limit"] = _percents(split.saturated)
    if split.masks:
        cells["masks"] = f"{split.masks:,}" + (f", {split.empty_masks:,} of them empty" if split.empty_masks else "")
    if split.foreground is not None:
        cells["foreground"] = _percents(split.foreground)
    if len(split.class_shares) > 1:
        cells["classes"] = ", ".join(f"{i}: {100 * share:.2g} %" for i, share in enumerate(split.class_shares, 1))
    if split.ignored:
        cells["not annotated"] = f"{100 * split.ignored:.2g} %"
    if split.masks:
        cells["objects"] = f"{split.objects:,}, {split.objects / split.masks:.3g} an image"
    if split.diameter is not None:
        cells["object diameter, pixels"] = _spread(split.diameter)
    if split.width is not None:
        cells["object width, pixels"] = _spread(split.width)
    if split.pixel_size is not None:
        unknown = f", {split.unknown_scale:,} unknown" if split.unknown_scale else ""
        cells["pixel size, µm"] = _spread(split.pixel_size) + unknown
    return cells


def _table(splits: dict[str, SplitSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in headers(splits):
        table.add_column(name, overflow="fold")
    for label, texts in rows(splits):
        table.add_row(label, *texts)
    return table


def listed(group: Sequence[Fault]) -> tuple[str, list[str]]:
    """The text that a group's faults share, then a line for each file; a single fault takes one line."""
    texts = {general(fault) for fault in group}
    if len(group) > 1 and len(texts) == 1:
        return texts.pop(), [fault.file for fault in group]
    return "", [f"{fault.file}: {fault.message}" for fault in group]


def _cut(lines: Sequence[str], more: str) -> list[str]:
    hidden = len(lines) - LISTED
    return list(lines) if hidden <= 0 else [*lines[:LISTED], f"and {hidden:,} more ({more})"]


def _counted(counts: dict[str, int], total: int) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    listed = [f"{name} ({count:,})" for name, count in list(counts.items())[:3]]
    hidden = len(counts) - 3
    return ", ".join(listed) + (f" and {hidden:,} more" if hidden > 0 else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _percents(spread: Spread) -> str:
    low, median, high = (f"{100 * share:.2g}" for share in (spread.low, spread.median, spread.high))
    return f"{median} %" if low == high else f"{median} % ({low} to {high})"


def _spread(spread: Spread) -> str:
    middle, low, high = (f"{value:.3g}" for value in (spread.median, spread.low, spread.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
