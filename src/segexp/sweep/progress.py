"""Show the progress of a sweep: a line for each job, updated in place on a terminal, and plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from segexp.config.fingerprint import settings_of
from segexp.errors import printable
from segexp.evaluation.aggregate import varied
from segexp.sweep import FAILURE, LOG
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, INTERRUPTED, RUNNING, WAITING, Record, read_progress
from segexp.sweep.pool import tail
from segexp.training.loggers.run_log import clock

_COLOURS = {DONE: "green", FAILED: "red", RUNNING: "cyan", INTERRUPTED: "yellow", GIVEN_UP: "magenta", WAITING: "dim"}
_ORDER = (RUNNING, FAILED, INTERRUPTED, DONE, GIVEN_UP, WAITING)
_EVERY = 15.0
"""Seconds between two plain lines about a running job."""


class SweepProgress:
    """Shows jobs; a context manager, and the watcher of `segexp.sweep.pool.run_pool`.

    Args:
        records: all jobs, including those that are not run again.
        again: the jobs that are run now.
        jobs: how many run at once.
    """

    def __init__(self, records: Sequence[Record], again: Sequence[Record], jobs: int, console: Console | None = None):
        self.records, self.jobs = records, jobs
        self.console = console or Console(highlight=False)
        values = [settings_of(record.overrides) for record in records]
        names = varied(values)
        self._titles = {
            id(record): printable(" ".join(f"{name}={each[name]}" for name in names if name in each))
            for record, each in zip(records, values, strict=True)
        }
        self._began: dict[int, float] = {}
        self._printed: dict[int, tuple[float, int]] = {}
        self._took: list[float] = []
        self._left = {id(record) for record in again}
        self._display: Live | None = None

    def __enter__(self) -> "SweepProgress":
        for record in self.records:
            if id(record) not in self._left:
                self._print(record, self._outcome(record, "already "))
        if self.console.is_terminal:
            self._display = Live(console=self.console, get_renderable=self.render, refresh_per_second=2, transient=True)
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.stop()

    def started(self, record: Record) -> None:
        """Note the time at which a job started."""
        self._began[id(record)] = time.monotonic()
        self._printed[id(record)] = (time.monotonic(), -1)
        if self._display is None:
            self._print(record, "starts")

    def ended(self, record: Record) -> None:
        """Print the result of a job; for a failed job also the last lines of its log."""
        self._left.discard(id(record))
        if record.status == DONE:
            self._took.append(time.monotonic() - self._began[id(record)])
        self._print(record, self._outcome(record))
        if record.status == FAILED:
            lines = tail(record.folder, FAILURE)
            for line in lines[: -1 if lines[-1:] == [record.message] else None]:
                self.console.print(f"    {line}", markup=False, soft_wrap=True)
            self.console.print(f"    ({record.folder / LOG})", markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Without a terminal, print the progress of the running jobs from time to time."""
        if self._display is not None:
            return
        now = time.monotonic()
        for record in self.records:
            last, epoch = self._printed.get(id(record), (now, -1))
            if record.status != RUNNING or now - last < _EVERY:
                continue
            progress = read_progress(record.folder)
            if progress.get("epoch", epoch) != epoch:
                self._printed[id(record)] = (now, progress["epoch"])
                epochs, score, left = _progress_words(progress)
                self._print(
                    record, f"{epochs} epochs{', score ' + score if score else ''}{', ' + left if left else ''}"
                )

    def render(self) -> RenderableType:
        """The table of all jobs, as far as it fits the terminal, and a summary line."""
        table = Table(box=None, header_style="bold", expand=False)
        for name in ("job", "state", "epochs", "score", "time", "settings"):
            table.add_column(name, justify="right" if name in ("job", "epochs", "score", "time") else "left")
            table.columns[-1].no_wrap = True
        ordered = sorted(self.records, key=lambda record: (_ORDER.index(record.status), record.number))
        room = max(3, self.console.height - 4)
        for record in sorted(ordered[:room], key=lambda record: record.number):
            progress = read_progress(record.folder) if record.status == RUNNING else {}
            epochs, score, left = _progress_words(progress)
            if record.status == DONE:
                score, left = _number(record.score), "" if record.seconds is None else f"took {clock(record.seconds)}"
            cells = [str(record.number), record.status, epochs, score, left]
            style = _COLOURS[record.status]
            table.add_row(*(Text(cell, style=style) for cell in cells), Text(self._titles[id(record)]))
        more = [Text(f"... and {len(ordered) - room} more", style="dim")] if len(ordered) > room else []
        return Group(table, *more, Text(self.sentence()))

    def sentence(self) -> str:
        """The number of jobs in each state, and the time left, estimated from the finished jobs."""
        counts = [(status, sum(record.status == status for record in self.records)) for status in _ORDER]
        text = ", ".join(f"{count} {status}" for status, count in counts if count)
        if self._took and self._left:
            mean = sum(self._took) / len(self._took)
            now = time.monotonic()
            gone = sum(min(mean, now - self._began[key]) for key in self._left if key in self._began)
            text += f"; about {clock(max(0.0, mean * len(self._left) - gone) / self.jobs)} left"
        return text

    def _outcome(self, record: Record, already: str = "") -> str:
        if record.status == DONE:
            seconds = "" if record.seconds is None or already else f" in {clock(record.seconds)}"
            return f"{already}done{seconds}, score {_number(record.score)}"
        if record.status == GIVEN_UP:
            return already + record.message
        return f"{already}{record.status}{': ' if record.message else ''}{record.message}"

    def _print(self, record: Record, text: str) -> None:
        title = self._titles[id(record)]
        self.console.print(
            f"job {record.number}{' (' + title + ')' if title else ''}: {printable(text)}", markup=False, soft_wrap=True
        )


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _progress_words(progress: dict) -> tuple[str, str, str]:
    """Epochs completed, the best score, ``1:20 left``; all empty before the first step."""
    if not progress:
        return "", "", ""
    share, elapsed = progress["progress"], progress["elapsed"]
    left = f"{clock(elapsed * (1 - share) / share)} left" if share > 0 else ""
    return str(progress["epoch"]), _number(progress.get("score")), left
