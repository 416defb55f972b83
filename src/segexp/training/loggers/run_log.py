"""The progress of a run: on the terminal, in ``train.log`` and ``metrics.csv``, and to its loggers and callbacks."""

import csv
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from segexp.errors import printable
from segexp.io.atomic import write_text
from segexp.io.run_folder import RunFolder
from segexp.metrics import registry
from segexp.training.callbacks import Callback
from segexp.training.state import Scores, TrainState
from segexp.training.stop import Pruned, Stopped

_TIME = "%Y-%m-%d %H:%M:%S"
_LINE_EVERY = 10.0
"""Least seconds between two plain lines if the output is not a terminal; validated epochs are always printed."""


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class _LogFile(logging.FileHandler):
    """Raises errors instead of printing a traceback and continuing."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class RunLog:
    """Shows and records the progress of one run; a context manager.

    Args:
        folder: the run folder.
        monitor: the score shown beside the loss.
        console: where to print; a progress bar on a terminal, plain lines elsewhere.
        on_step: called with the state and the share of the budget used, 0 to 1, after each step and epoch.
        callbacks: loggers and callbacks; each receives the same calls.
        files: the folder's record. With it nothing is written before `open`: earlier lines are kept until then.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        console: Console | None = None,
        on_step: Callable[[TrainState, float], None] | None = None,
        callbacks: Sequence[Callback] = (),
        files: RunFolder | None = None,
    ):
        self.folder, self.monitor, self.on_step, self.callbacks = folder, monitor, on_step, callbacks
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.files = files
        self._early: list[Callable[[], None]] = []
        self._is_open = False
        self.epochs = 0
        self._last_line = 0.0
        self._scores: Scores = {}
        self._facts: list[str] = []
        self._bar: Progress | None = None
        self._incomplete: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._thread_hook = threading.excepthook

        if files is None:
            self.open()

    def open(self) -> None:
        """Create the files, and write the lines and pictures that were kept."""
        path = self.folder / "train.log"
        if self.files is not None and self.files.begun:  # each is in the record before it is made
            with self._lossy("the record of the folder"):
                for callback in self.callbacks:
                    for pattern in callback.growing:
                        self.files.announce(pattern)
            if not path.exists():
                with self._lossy(path.name):
                    self.files.replace_growing(path.name, f"{time.strftime(_TIME)} {printable(self.files.command)}\n")
        self._tell("on_open", self.folder, self.monitor)
        self._file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s", _TIME))
        self._is_open = True
        for write in self._early:
            write()
        self._early.clear()
        self._note()

    def _note(self) -> None:
        if self.files is not None and self.files.begun:
            with self._lossy("the record of the folder"):
                self.files.note_grown()

    def __enter__(self) -> "RunLog":
        threading.excepthook = self._thread_ended
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(*columns, console=self.console, transient=True, expand=True)
            self._bar.add_task("", total=1.0, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_bar()
        if not self._is_open:
            threading.excepthook = self._thread_hook
            return
        stopped = kind is not None and issubclass(kind, Stopped | Pruned | KeyboardInterrupt)
        self._tell("on_end", "KILLED" if stopped else "FAILED" if kind else "FINISHED")
        threading.excepthook = self._thread_hook
        with self._lossy("train.log"):
            self._file.close()

    @contextmanager
    def _lossy(self, name: str) -> Iterator[None]:
        """If a record cannot be written, for example to a full disk, warn once that it is incomplete, and continue."""
        try:
            yield
        except OSError as error:
            if name not in self._incomplete:
                self._incomplete.add(name)
                reason = error.strerror or error
                self.console.print(
                    f"warning: {name} of this run is incomplete ({reason}); training continues", markup=False
                )

    def _tell(self, hook: str, *values: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.callbacks:
            with self._lossy(callback.title):
                getattr(callback, hook)(*values)

    def _thread_ended(self, what: threading.ExceptHookArgs) -> None:
        """Print no traceback for TensorBoard's writing thread: it passes its error to the next call."""
        tensorboard = type(what.thread).__module__.startswith("tensorboard")
        if not (tensorboard and what.exc_type is not None and issubclass(what.exc_type, OSError)):
            self._thread_hook(what)

    def image(self, name: str, picture: NDArray, step: int) -> None:
        """A picture (H, W, 3) for the loggers."""
        if not self._is_open:
            self._early.append(lambda: self.image(name, picture, step))
            return
        self._tell("on_image", name, picture, step)

    def resume(self, epoch: int) -> None:
        """Remove rows of ``metrics.csv`` that were written after the resumed state was saved."""
        self.epochs = epoch
        self._rows = [row for row in self._rows if row["epoch"] <= epoch]
        path = self.folder / "metrics.csv"
        if not path.exists():
            return
        with self._lossy("metrics.csv"):
            lines = path.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
            header = lines[0] if lines and lines[0].startswith("epoch,") else ""
            rows: dict[int, str] = {}
            for line in lines[1:] if header else []:
                number = line.partition(",")[0]
                # the last line of a machine that stopped may be cut short
                if number.isdecimal() and int(number) <= epoch and line.count(",") == header.count(","):
                    rows[int(number)] = line
            new = [self.monitor] if header and self.monitor not in header.split(",") else []  # another than before
            lines = [f"{header}{''.join(f',{name}' for name in new)}"] if header else []
            text = "".join(f"{line}\r\n" for line in [*lines, *(f"{row}{',' * len(new)}" for row in rows.values())])
            if self.files is not None:
                self.files.replace_growing(path.name, text)
            else:
                write_text(path, text)

    def stop_bar(self) -> None:
        """Remove the progress bar, before a table is printed."""
        if self._bar is not None:
            self._bar.stop()

    def info(self, text: str) -> None:
        """Print a line and write it to ``train.log``."""
        text = printable(text)
        self.console.print(text, markup=False)
        self.record(text)

    def record(self, text: str) -> None:
        """Write text to ``train.log`` only."""
        line = logging.LogRecord("segexp", logging.INFO, "", 0, text, None, None)
        if not self._is_open:
            self._early.append(lambda: self._emit(line))
            return
        self._emit(line)

    def _emit(self, line: logging.LogRecord) -> None:
        with self._lossy("train.log"):
            self._file.emit(line)

    def begin(self, settings: Mapping[str, Any], varied: Collection[str] = ()) -> None:
        """Pass the settings by which runs are compared to the loggers."""
        self._tell("on_settings", settings, varied)

    def best(self, scores: Scores) -> None:
        """The scores of the best model."""
        self._tell("on_best", scores, self.epochs)

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """A training step was taken; `loss` is given on logging steps."""
        if self.on_step is not None:
            self.on_step(state, progress)
        self._tell("on_step", state, progress, loss, rate)
        if self._bar is not None:
            if not self._bar.live.is_started:
                self._bar.start()
            if loss is not None:
                self._facts = [f"loss {loss:.3f}"]
            score = [f"{self.monitor} {self._scores[self.monitor]:.3f}"] if self.monitor in self._scores else []
            facts = "  ".join([*self._facts, *score, self._left(state, progress)])
            description = f"epoch {state.epoch + 1}"
            self._bar.update(self._bar.task_ids[0], completed=progress, description=description, facts=facts)

    def epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """An epoch ended; `scores` is None if it was not validated."""
        if self.on_step is not None:
            self.on_step(state, progress)
        if state.epoch <= self.epochs:  # training went back to an earlier state
            self.resume(state.epoch - 1)
        self.epochs = state.epoch
        self._scores = scores or self._scores
        with self._lossy("metrics.csv"):
            self._append_csv(state, loss, rate, scores)
        self._note()
        self._tell("on_epoch", state, progress, loss, rate, scores)
        shown = "".join(f"  {name} {scores[name]:.4f}" for name in _shown(self.monitor, scores)) if scores else ""
        best = "  best" if scores and self.monitor in scores and state.stale == 0 else ""
        left = self._left(state, progress)
        line = f"epoch {state.epoch:<4} loss {loss:.4f}{shown}  {clock(state.elapsed)}, {left}{best}"
        if scores or time.monotonic() - self._last_line > _LINE_EVERY:
            self._last_line = time.monotonic()
            self.info(line)
        else:
            self.record(line)

    def _left(self, state: TrainState, progress: float) -> str:
        if progress <= 0:
            return "time left unknown"
        return f"{clock(state.elapsed * (1 - progress) / progress)} left"

    def _append_csv(self, state: TrainState, loss: float, rate: float, scores: Scores | None) -> None:
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "seconds": round(state.elapsed, 2),
            "lr": rate,
            "train_loss": loss,
        }
        self._rows.append(row | (scores or {}))
        path = self.folder / "metrics.csv"
        size = path.stat().st_size if path.exists() else 0
        columns = [*row, *dict.fromkeys(["bce", *registry.shown("validation"), self.monitor])]
        if size:
            with path.open(newline="", encoding="utf-8") as file:
                columns = next(csv.reader(file))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        if not size:
            writer.writeheader()
        writer.writerows(self._rows)
        if not size and self.files is not None and self.files.begun:
            self.files.replace_growing(path.name, text.getvalue())
            self._rows.clear()
            return
        try:
            with path.open("ab") as file:
                file.write(text.getvalue().encode())
        except OSError:  # no half of a line stays; the rows are written with the next one
            os.truncate(path, size)
            raise
        self._rows.clear()


def _shown(monitor: str, scores: Scores) -> list[str]:
    return [name for name in dict.fromkeys([monitor, "dice"]) if name in scores]
