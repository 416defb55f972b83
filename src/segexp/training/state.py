"""Where a run stands: plain values, saved with the weights and enough to go on as if it had never stopped."""

from dataclasses import asdict, dataclass, field
from typing import Any

Scores = dict[str, float]


@dataclass
class TrainState:
    """Where a run stands between two steps.

    Every random draw of a step follows from the seed and from `epoch` and `position`, so no generator is saved.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps taken, those that were skipped included.
        position: steps taken in the epoch that has begun.
        extra_steps: what `step` lacks of the steps that the passes over the images so far would have been, all with the
            batch size of now; 0 unless the run was resumed with another one.
        loss_sum: sum of their losses, without those that were skipped.
        position_skipped: how many of them were skipped.
        elapsed: seconds used, over all sittings.
        best: scores of the best validation so far, with its ``epoch``; empty before the first.
        stale: validations since then.
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
        """Stand at the same place of the same pass over the images where a pass has another number of steps.

        The last crops are drawn again where the place falls into the middle of a new batch.
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
