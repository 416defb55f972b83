"""Ending a run from outside: Ctrl-C, a cluster that wants its machine back, a shutdown."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl-C; the end that operating systems and SLURM announce; SLURM's ``--signal=USR1@60`` before pre-emption."""


class Stopped(Exception):
    """Training was asked to stop and has saved its state; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Pruned(Exception):
    """A search gave the run up and its state is saved: it lay behind others at the same share of their budget.

    Attributes:
        progress: share of its budget that it has used.
        score: its best.
    """

    def __init__(self, epoch: int, progress: float, monitor: str, score: float):
        super().__init__(
            f"pruned after epoch {epoch} at {100 * progress:.0f} % of its budget: {monitor} {score:.4f} lags behind"
        )
        self.progress, self.score = progress, score


class StopRequest:
    """Whether a signal came: `number` is 0 until then. A second one ends the process at once."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take note of `SIGNALS` inside the ``with`` block, where the operating system has them."""
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        # the second wish is final: whatever hangs must not outlast it
        for name in SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
