"""The state of a run: plain values, saved with the weights and enough to resume as if it had never stopped."""

from dataclasses import asdict, dataclass, field
from typing import Any

Scores = dict[str, float]


@dataclass
class TrainState:
    """The state of a run between two steps.

    All random draws of a step are determined by the seed, `epoch` and `position`, so no generator is saved.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps taken, those that were skipped included.
        position: steps taken in the epoch that has begun.
        extra_steps: number of steps by which `step` is short of what the epochs so far would take with the current
            batch size; 0 unless the run was resumed with another batch size.
        loss_sum: sum of their losses, without those that were skipped.
        position_skipped: how many of them were skipped.
        elapsed: seconds used, over all sessions.
        best: scores of the best validation so far, with its ``epoch``; empty before the first.
        stale: number of validations since then.
        skipped: steps whose loss or gradient was not finite.
        retreats: times that training went back to the last good state.
        rate_scale: factor on the learning rate, halved at each retreat.
        warned: names of the warnings given, each of which is given once.
    """

    epoch: int = 0
    step: int = 0
    position: int = 0
    extra_steps: int = 0
    loss_sum: float = 0.0
    position_skipped: int = 0
    elapsed: float = 0.0
    best: Scores = field(default_factory=dict)
    stale: int = 0
    skipped: int = 0
    retreats: int = 0
    rate_scale: float = 1.0
    warned: list[str] = field(default_factory=list)

    def change_epoch_steps(self, before: int, now: int) -> None:
        """Keep the position within the epoch when the number of steps an epoch changes.

        The last crops are drawn again if the position falls into the middle of a new batch.
        """
        position = self.position * now // before
        passes = (self.step + self.extra_steps - self.position) / before
        self.loss_sum *= position / max(self.position - self.position_skipped, 1)
        self.position_skipped = 0
        self.extra_steps = round(passes * now) + position - self.step
        self.position = position

    def plain(self) -> dict[str, Any]:
        """As a dict, for a checkpoint."""
        return asdict(self)
