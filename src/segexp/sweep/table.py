"""``summary.csv`` of a sweep, a row a job, and the closing table in the terminal."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segexp.config.fingerprint import settings_of
from segexp.errors import InputError, printable
from segexp.evaluation.aggregate import REPEATS, group, repeated, varied
from segexp.io.ownership import OwnedFolder
from segexp.io.records import csv_text
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, Record, less_is_better, read_jobs
from segexp.terminal import print_table

FILE = "summary.csv"


def write_summary(sweep: Path) -> list[Record]:
    """Write ``summary.csv`` from the records in the jobs' folders, and return the records.

    Columns: job, status, score, better (if lower is), seconds, a column for each override, with fold and seed last,
    folder, message.

    Raises:
        InputError: if a file of that name is not segexp's own, or was changed by hand.
        OSError: if it cannot be written.
    """
    records = read_jobs(sweep)
    rows = [_row(record, sweep) for record in records]
    names = dict.fromkeys(key for row in rows for key in row)
    first = ("job", "status", "score", *(["better"] if less_is_better(records) else []), "seconds")
    last = ("folder", "message")
    columns = [*first, *(name for name in names if name not in (*first, *last, *REPEATS))]
    columns += [name for name in REPEATS if name in names] + list(last)
    OwnedFolder(sweep).write(FILE, csv_text(rows, columns))
    return records


def update_summary(sweep: Path, log: Callable[[str], None]) -> None:
    """As `write_summary`, while jobs run: if the table cannot be written, `log` gets a warning and jobs continue."""
    try:
        write_summary(sweep)
    except (InputError, OSError) as error:
        log(f"warning: {FILE} was not written: {printable(str(error))}")


def _row(record: Record, sweep: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "job": record.number,
        "status": record.status,
        "score": "" if record.score is None else record.score,
        "seconds": "" if record.seconds is None else record.seconds,
        "folder": record.folder.relative_to(sweep).as_posix(),
        "message": record.message,
    }
    if record.better == "lower":
        row["better"] = "lower"
    return row | settings_of(record.overrides)


def print_jobs(records: Sequence[Record], console: Console) -> None:
    """Print the jobs, best first, and the means of settings with several folds or seeds."""
    values = [settings_of(record.overrides) for record in records]
    names = varied(values)
    table = Table(box=None, header_style="bold")
    for name in ("job", "score", "seconds", *names, "status"):
        last = name == "status"
        table.add_column(name, justify="left" if last else "right", overflow="fold" if last else "ellipsis")
    sign = -1 if less_is_better(records) else 1
    order = sorted(range(len(records)), key=lambda index: -_rank(records[index].score, sign))
    for index in order:
        record = records[index]
        score = "" if record.score is None else f"{record.score:.4f}"
        seconds = "" if record.seconds is None else f"{record.seconds:.1f}"
        status = record.status + (f": {record.message}" if record.message else "")
        cells = [str(record.number), score, seconds, *(values[index].get(name, "") for name in names), status]
        table.add_row(*(escape(printable(cell)) for cell in cells))
    print_table(console, table)
    for line in group_lines(records):
        console.print(printable(line), markup=False, soft_wrap=True)


def group_lines(records: Sequence[Record]) -> list[str]:
    """A line for each setting, best first, with mean, spread and interval; empty if nothing was repeated."""
    done = [record for record in records if record.status == DONE and record.score is not None]
    scores = [_rank(record.score) for record in done]
    groups = group([settings_of(record.overrides) for record in done], scores, less_is_better(records))
    if not repeated(groups):
        return []
    lines = []
    for each in groups:
        spread = "" if each.spread is None else f" ± {each.spread:.4f}"
        ends = "" if each.interval is None else f", 95 % interval {each.interval[0]:.4f} to {each.interval[1]:.4f}"
        lines.append(f"{each.name}: {each.mean:.4f}{spread} over {each.units}{ends}")
    return lines


def closing_line(records: Sequence[Record]) -> str:
    """A sentence on failed and unfinished jobs; empty if there are none."""
    failed = sum(record.status == FAILED for record in records)
    others = sum(record.status not in (DONE, FAILED, GIVEN_UP) for record in records)
    parts = [f"{failed} of {len(records)} jobs failed"] if failed else []
    parts += [f"{others} of {len(records)} jobs are not finished"] if others else []
    return "; ".join(parts)


def _rank(score: float | None, sign: int = 1) -> float:
    return -math.inf if score is None or math.isnan(score) else sign * score
