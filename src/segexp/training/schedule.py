"""The length of a run, when it validates and saves, and the learning rate at each point."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segexp.errors import InputError
from segexp.metrics.registry import is_better


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
        """Share of the run that is over before step number `step` (from 0) starts, in [0, 1].

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

    def part(self, share: float) -> "Budget":
        """A share of each limit, a step at least."""
        steps, epochs = (limit and max(1, round(limit * share)) for limit in (self.steps, self.epochs))
        return Budget(steps, self.seconds and self.seconds * share, epochs)

    def less(self, reserve: float) -> "Budget":
        """The same budget minus `reserve` seconds for the work after the last step, at most half of it."""
        if self.seconds is None:
            return self
        return replace(self, seconds=max(self.seconds - reserve, self.seconds / 2))


class Scheduler(ABC):
    """The learning rate as a share of its peak; derive from this class for a schedule of your own.

    Progress is the share of the run's budget that is used, so that run and schedule end together, whether steps, epochs
    or time limit the run.
    """

    @abstractmethod
    def __call__(self, progress: float, step: int) -> float:
        """Factor on the rate, finite and at least 0, at `progress` in [0, 1], before step number `step` (from 0)."""


class _Warmed(Scheduler):
    """Base of the schedules that rise linearly over the first `warmup` of the run.

    Raises:
        ValueError: if `warmup` is not from 0 to below 1.
    """

    def __init__(self, warmup: float = 0.05):
        self.warmup = _share("warmup", warmup)

    def __call__(self, progress: float, step: int) -> float:
        if progress < self.warmup:
            return max(progress / self.warmup, 0.01)
        return self._fall(progress - self.warmup, 1 - self.warmup)

    @abstractmethod
    def _fall(self, done: float, whole: float) -> float:
        """The factor where `done` of the `whole` share of the run that follows the warm-up is over."""


class Cosine(_Warmed):
    """Falls to 0 on half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""

    def _fall(self, done: float, whole: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * done / whole))


class Poly(_Warmed):
    """Falls to 0 as ``(1 - progress) ** power``, as nnU-Net and DeepLab do.

    Args:
        warmup: share of the run, from 0 to below 1, over which the rate rises.
        power: more than 0, to 10.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, warmup: float = 0.0, power: float = 0.9):
        super().__init__(warmup)
        if not isinstance(power, int | float) or not 0 < power <= 10:
            raise ValueError(f"power={power}: expected more than 0, to 10")
        self.power = power

    def _fall(self, done: float, whole: float) -> float:
        return max(0.0, 1 - done / whole) ** self.power


class Constant(_Warmed):
    """Stays at the peak."""

    def _fall(self, done: float, whole: float) -> float:
        return 1.0


class OneCycle(Scheduler):
    """Rises from ``1 / start`` of the peak on half a cosine, then falls to ``1 / end`` of the peak on another.

    After Smith and Topin (2019, arXiv:1708.07120), by progress. torch's `OneCycleLR`, which counts steps, divides its
    start by 25 and that again by 10,000; its cycle of the momentum is left out.

    Args:
        rise: share of the run over which the rate rises.
        start: what the peak is divided by at the start.
        end: what the peak is divided by at the end.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, rise: float = 0.3, start: float = 25.0, end: float = 250_000.0):
        self.rise = _share("rise", rise)
        for name, value in (("start", start), ("end", end)):
            if not isinstance(value, int | float) or not 1 <= value < math.inf:
                raise ValueError(f"{name}={value}: expected 1 or more")
        self.start, self.end = 1 / start, 1 / end

    def __call__(self, progress: float, step: int) -> float:
        """Rise, then fall."""
        if progress < self.rise:
            return _between(self.start, 1.0, progress / self.rise)
        return _between(1.0, self.end, (progress - self.rise) / (1 - self.rise))


class BySteps(Scheduler):
    """A scheduler of ``torch.optim.lr_scheduler``, which counts steps and does not know the run's length.

    It drives an optimiser of its own, so that nothing has to be saved: a resumed run counts again. Only the rate is
    used, not a cycle of the momentum.

    Args:
        make: builds the scheduler of an optimiser.
        lr: the peak rate.
    """

    def __init__(self, make: Callable[[Optimizer], LRScheduler], lr: float):
        self.make, self.lr = make, lr
        self._restart()

    def _restart(self) -> None:
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=self.lr, momentum=0.9)
        self._scheduler = self.make(self._optimizer)
        self._step = 0

    def __call__(self, progress: float, step: int) -> float:
        """The factor at a step; `InputError` if torch's schedule has ended by then."""
        if step < self._step:  # back to a state that was saved
            self._restart()
        while self._step < step:
            self._optimizer.step()  # does nothing: there are no gradients; torch wants it called first
            try:
                self._scheduler.step()
            except ValueError as error:
                raise InputError(
                    f"scheduler: {type(self._scheduler).__name__} ends after step {self._step} and the run goes on: "
                    f"{str(error).rstrip('.')}. Let it count the run's steps, or take one that fits any length, "
                    "such as scheduler=cosine or scheduler=one_cycle"
                ) from None
            self._step += 1
        return float(self._optimizer.param_groups[0]["lr"]) / self.lr


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def _share(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name}={value}: expected a share from 0 to below 1")
    return value


def check_schedule(scheduler: Scheduler, steps: int | None) -> None:
    """Raise `InputError` if a schedule gives no usable rate, or is at 0 with a tenth of the run to go.

    Args:
        scheduler: the schedule; evaluated at 101 points of the run.
        steps: length of the run if known; None: limited by time.
    """
    last = 0.0
    for place in range(101):
        progress = place / 100
        step = round(progress * max(0, (steps or 101) - 1))
        factor = scheduler(progress, step)
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise InputError(
                f"scheduler: {type(scheduler).__name__} gives {factor!r} at {place} % of the run; expected a factor on "
                "the learning rate, 0 or more"
            )
        if factor > 0:
            last = progress
    if last < 0.9:
        raise InputError(
            f"scheduler: the learning rate is 0 after {100 * last:.0f} % of the run, so the rest would learn nothing; "
            "expected one that lasts, such as scheduler=cosine, or a shorter run"
        )
    scheduler(0.0, 0)


SMALLEST_CROP = 64
"""Smallest side of growing crops in pixels: smaller ones would show too little of a structure."""


def growing_sizes(size: int, share: float, multiple: int) -> tuple[tuple[float, int], ...]:
    """Sides of crops that grow to `size`: half of it, then three quarters, each for half of `share` of the run.

    A step on small crops costs a fraction, so that a run takes more of them (Fischer et al. 2025, arXiv:2510.23241).

    Args:
        size: the final side, in pixels.
        share: of the run, in which they grow; 0: they have their final size throughout.
        multiple: sides are multiples of this, the size of a pixel at the network's coarsest scale.

    Returns:
        the progress up to which a side is used, and the side, for each side smaller than `size`.
    """
    least = max(SMALLEST_CROP, 2 * multiple)
    sides = [max(least, round(size * part / multiple) * multiple) for part in (0.5, 0.75)]
    return tuple((end, side) for end, side in zip((share / 2, share), sides, strict=True) if share and side < size)


def sizes_in_words(sizes: Sequence[tuple[float, int]]) -> str:
    """For the log: ``128x128 until 35 % of the run, 192x192 until 70 %``."""
    parts = [f"{side}x{side} until {100 * end:.0f} %" for end, side in sizes]
    return ", ".join([f"{parts[0]} of the run", *parts[1:]])


@dataclass(frozen=True)
class Schedule:
    """The schedule of the training loop.

    Attributes:
        budget: when training ends.
        epoch_steps: steps an epoch.
        lr: peak learning rate.
        scheduler: the share of it at each point.
        monitor: the score whose best value marks the best model.
        validate_every: epochs between validations; None: as often as keeps them within a tenth of the time.
        patience: validations without improvement after which training stops; None: never.
        log_every: steps between two readings of the loss.
        save_every: largest number of seconds between two saves of the state.
        seed: with the step's number, determines the random draws of a step.
        sizes: the result of `growing_sizes`.
    """

    budget: Budget
    epoch_steps: int
    lr: float
    scheduler: Scheduler = field(default_factory=Cosine)
    monitor: str = "dice"
    validate_every: int | None = 1
    patience: int | None = None
    log_every: int = 20
    save_every: float = 300.0
    seed: int = 0
    sizes: tuple[tuple[float, int], ...] = ()

    def size(self, progress: float) -> int | None:
        """The side of the crops when `progress` of the run is over; None: the usual one."""
        return next((size for end, size in self.sizes if progress < end), None)

    def improves(self, scores: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Whether the monitored score is at least as good as the best; of equal scores the later wins."""
        return not best or is_better(self.monitor, scores[self.monitor], best[self.monitor])
