"""How long a run lasts, what it does when, and the learning rate at each point."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Budget:
    """Limits of a run, at least one of them set; the one that is reached first ends it.

    Attributes:
        steps: optimiser steps.
        seconds: time, everything included.
        epochs: passes over the images, counted in steps of the batch size that the run has now.
    """

    steps: int | None = None
    seconds: float | None = None
    epochs: int | None = None

    def progress(self, step: int, elapsed: float, extra: int = 0) -> float:
        """Share of the run that lies behind before step number `step` (from 0) starts, in [0, 1].

        `extra` steps count for `epochs` alone: see `segexp.training.state.TrainState.extra_steps`.
        """
        return min(1.0, max(self._shares(step, elapsed, extra).values()))

    def reached(self, step: int, elapsed: float, extra: int = 0) -> str | None:
        """The setting of the limit that is reached: ``trainer.steps``, ``trainer.max_time`` or ``trainer.epochs``."""
        shares = self._shares(step, elapsed, extra)
        name = max(shares, key=lambda name: shares[name])
        return f"trainer.{name}" if shares[name] >= 1 else None

    def _shares(self, step: int, elapsed: float, extra: int) -> dict[str, float]:
        return {
            "steps": step / self.steps if self.steps else 0.0,
            "max_time": elapsed / self.seconds if self.seconds else 0.0,
            "epochs": (step + extra) / self.epochs if self.epochs else 0.0,
        }

    def less(self, reserve: float) -> "Budget":
        """The same with `reserve` seconds kept back for what comes after the last step; at most half of all."""
        if self.seconds is None:
            return self
        return replace(self, seconds=max(self.seconds - reserve, self.seconds / 2))


@dataclass(frozen=True)
class Schedule:
    """What the loop does when.

    Attributes:
        budget: when it ends.
        epoch_steps: steps an epoch.
        lr: peak learning rate.
        warmup: share of the run over which the rate rises.
        monitor: the score whose largest value marks the best model.
        validate_every: epochs between validations; None: as often as keeps them within a tenth of the time.
        patience: validations without improvement after which training stops; None: never.
        log_every: steps between two looks at the loss.
        save_every: largest number of seconds between two saves of the state.
        seed: the random draws of a step follow from it and the step's number.
    """

    budget: Budget
    epoch_steps: int
    lr: float
    warmup: float = 0.05
    monitor: str = "dice"
    validate_every: int | None = 1
    patience: int | None = None
    log_every: int = 20
    save_every: float = 300.0
    seed: int = 0


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Share of the peak rate: rises linearly over the first `warmup` of the run, then falls to 0 at its end on a
    cosine.

    Half-cosine after Loshchilov and Hutter (2017, arXiv:1608.03983), without restarts. `progress` in [0, 1].
    """
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
