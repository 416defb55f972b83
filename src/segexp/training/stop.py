"""Ending a run from outside: Ctrl-C, a cluster that wants its machine back, a shutdown."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from segexp.metrics.registry import find

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
"""Ctrl-C; SIGTERM of operating systems and SLURM; the signal of SLURM's ``--signal=USR1@60`` and submitit."""

AGAIN = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals after which the cluster is asked to start the job again."""


class Stopped(Exception):
    """Training was asked to stop and has saved its state; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Pruned(Exception):
    """A search pruned the run, whose state is saved: its score was behind others at the same share of their budget.

    Attributes:
        progress: share of its budget that it has used.
        score: its best score.
        better: ``higher`` or ``lower``: which scores are better.
    """

    def __init__(self, epoch: int, progress: float, monitor: str, score: float):
        super().__init__(
            f"pruned after epoch {epoch} at {100 * progress:.0f} % of its budget: {monitor} {score:.4f} lags behind"
        )
        self.progress, self.score, self.better = progress, score, find(monitor).better


class StopRequest:
    """Whether a signal came: `number` is 0 until then. A second Ctrl-C or SIGTERM ends the process at once."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Handle `SIGNALS` inside the ``with`` block, as far as the operating system has them.

        It does nothing outside the main thread, where Python receives no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM beside the signal that was asked for, before or after it
        self.number = self.number if self.number in AGAIN else number
        # the second Ctrl-C or SIGTERM is final: whatever hangs must not outlast it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if number not in AGAIN:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pass_on(number: int) -> None:
    """Pass a signal, after the state is saved, to the handler that was set before the run.

    submitit's handler, which asks SLURM to start the job again and exits at once, therefore runs only then.
    """
    if number in AGAIN and callable(signal.getsignal(number)):
        signal.raise_signal(number)
