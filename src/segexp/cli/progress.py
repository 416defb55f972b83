"""The progress of `segexp predict`: a bar with the time left on a terminal, and a line for each image."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from segexp.cli.reading import in_options
from segexp.errors import printable
from segexp.inference.job import Result


class PredictionProgress:
    """A progress bar over `files` files, to be used in a ``with`` statement; `doing` is its label."""

    def __init__(self, files: int, doing: str = "predicting"):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(file=sys.stdout), disable=not sys.stdout.isatty())
        self._track = self._bar.add_task(doing, total=files)

    def __enter__(self) -> "PredictionProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, files: float) -> None:
        """Set the number of files done; the fraction is the share of the current file."""
        self._bar.update(self._track, completed=files)

    def log(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def result(self, result: Result) -> None:
        """Print what became of a file."""
        name = printable(result.path.name, multiline=False)
        if result.error is not None:
            print(f"error: {in_options(result.error)}", file=sys.stderr, flush=True)
        elif result.skipped:
            self.log(
                f"{name}: skipped, already predicted by the same model and settings (--overwrite predicts it again)"
            )
        else:
            self.log(f"{name}: {100 * result.foreground:.2f} % foreground")
        if result.misfit:
            self.log(f"warning: {name}: {result.misfit}")
