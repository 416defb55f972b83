"""Where the time of a training step goes, as a table (``debug=profile``).

Hooks on augmentation, network, loss and optimiser separate the parts of a step. Each waits for the GPU, which makes the
step slower and its parts comparable.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from segexp.data.loader import Batch
from segexp.training.callbacks import Callback
from segexp.training.state import TrainState

WARMUP = 3
"""Number of first steps that are not counted, since they also allocate memory and choose kernels."""


class StepTimes(Callback):
    """Times `steps` steps after the first few, then says where their time went.

    Args:
        steps: how many are counted.
        device: where the network is.
        say: prints a line.
    """

    def __init__(self, steps: int, device: torch.device, say: Callable[[str], None]):
        self.steps, self.device, self.say = steps, device, say
        self.seconds: dict[str, float] = {}
        self._taken, self._running, self._last = 0, False, ""
        self._tick = time.perf_counter()

    def watch(self, augment: nn.Module, model: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Time these parts from now on."""
        for module, name in ((augment, "augmentation"), (model, "forward"), (loss, "loss")):
            module.register_forward_pre_hook(lambda *_: self._lap(""))
            module.register_forward_hook(lambda *_, name=name: self._lap(name))
        optimizer.register_step_pre_hook(lambda *_: self._lap(""))
        optimizer.register_step_post_hook(lambda *_: self._lap("optimiser"))

    def batches(self, feed: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; the time of waiting for each is measured."""
        while True:
            self._running, self._tick = True, time.perf_counter()
            batch: Any = next(feed)
            self._lap("waiting for the batch")
            yield batch

    def _lap(self, name: str) -> None:
        """Count the time since the last call for `name`; empty: for what lies between the two parts."""
        if not self._running:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        between = "backward and clipping" if self._last == "loss" else "moving and normalising"
        if WARMUP <= self._taken < WARMUP + self.steps:
            self.seconds[name or between] = self.seconds.get(name or between, 0.0) + now - self._tick
        self._tick, self._last = now, name or self._last

    def on_step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """Count the step; print the table after the last one."""
        self._lap("all else")
        self._running, self._last = False, ""
        self._taken += 1
        if self._taken == WARMUP + self.steps:
            whole = sum(self.seconds.values())
            self.say(f"a step takes {1000 * whole / self.steps:.1f} ms, the mean of {self.steps}:")
            for name, seconds in sorted(self.seconds.items(), key=lambda part: -part[1]):
                self.say(f"  {name:<24}{1000 * seconds / self.steps:10.1f} ms {100 * seconds / whole:5.0f} %")
