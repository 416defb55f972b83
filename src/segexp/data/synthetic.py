"""Generated images among the training crops: which image each crop is cut from, and where that image comes from.

Crops that are to be cut from generated images are numbered 0, 1, 2, ... over the whole run. `Pool` holds a fixed set of
images; `Stream` generates new ones endlessly, each when it is first needed, and keeps the few that are needed again.
The image of crop k is a function of k, and image i of a seed is always the same, so a resumed run continues with the
same images as an uninterrupted one, whatever processes and threads draw them.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from segexp import synthesis
from segexp.data.dataset import Sample, make_sample

ROWS = 8
"""ROWS times ROWS images of a stream are in use at once; successive crops of one image are as many crops apart."""


@dataclass(frozen=True)
class Recipe:
    """Which images are generated.

    Attributes:
        task: one of `segexp.synthesis.TASKS`.
        size: pixels a side.
        seed: image i of a seed is the same everywhere.
        channels: each image is repeated this many times along its first axis.
        normalization: determines which statistics of the whole image are computed.
        ranges: parameter ranges for `segexp.synthesis.generate`, ``style`` included.
    """

    task: str
    size: int
    seed: int
    channels: int = 1
    normalization: str = "standard"
    ranges: Mapping[str, Any] | None = None

    def samples(
        self, numbers: Sequence[int], device: str | torch.device = "cpu", threads: int | None = None
    ) -> list[Sample]:
        """Images of these numbers with their masks and statistics, in memory; drawn on `device`."""
        images, masks = synthesis.render(
            self.task, numbers, self.size, self.seed, device, threads, **(self.ranges or {})
        )
        return [
            make_sample(
                f"generated_{number:05}", np.repeat(image[None], self.channels, axis=0), mask, 1, self.normalization
            )
            for number, image, mask in zip(numbers, images.cpu().numpy(), masks.cpu().numpy(), strict=True)
        ]


class Pool:
    """A fixed set of generated images; each pass over it takes every image once, in an order of its own."""

    def __init__(self, samples: Sequence[Sample], seed: int):
        self.samples, self.seed = list(samples), seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def number(self, crop: int) -> int:
        """The image that a crop is cut from."""
        turn, place = divmod(crop, len(self.samples))
        if self._order[0] != turn:
            rng = np.random.default_rng((self.seed, turn, len(self.samples)))
            self._order = turn, rng.permutation(len(self.samples))
        return int(self._order[1][place])

    def __getitem__(self, number: int) -> Sample:
        return self.samples[number]

    def ask(self, numbers: Iterable[int]) -> None:
        """Nothing to do: all images exist."""


class Stream:
    """An endless stream of generated images, each of which gives `crops` crops and is then discarded.

    With crops=1 no image is seen twice. In the process that trains, images are drawn ahead by background threads, on
    `device`; in a process that reads files for it, when they are needed and on the CPU.
    """

    def __init__(self, recipe: Recipe, first: int = 0, crops: int = 1, device: str | torch.device = "cpu"):
        self.recipe, self.first, self.crops, self.device = recipe, first, crops, torch.device(device)
        self._clear()

    def _clear(self) -> None:
        self._process = os.getpid()
        self._drawn: OrderedDict[int, tuple[Future[list[Sample]], int]] = OrderedDict()
        self._lock = Lock()
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state for another process, which generates its images itself."""
        kept = ("recipe", "first", "crops", "device")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    def number(self, crop: int) -> int:
        """The image that a crop is cut from.

        Crops are assigned to ROWS rows in turn. A row cycles through ROWS images until each has given its crops, then
        continues with the next ROWS; rows start one after another, so that new images are needed at an even rate.
        """
        turn, row = divmod(crop, ROWS)
        turn += row * self.crops
        block, slot = turn // (ROWS * self.crops), turn % ROWS
        return (block * ROWS + slot) * ROWS + row

    def ask(self, numbers: Iterable[int]) -> None:
        """Start drawing these images in the background, unless they exist or are being drawn."""
        if get_worker_info() is not None:
            return
        self._require_own()
        unique = list(dict.fromkeys(numbers))
        with self._lock:
            for number in unique:
                if number in self._drawn:
                    self._drawn.move_to_end(number)
            missing = [number for number in unique if number not in self._drawn]
            if self._threads is None and missing:
                self._threads = ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 1) // 4)), "generate")
            each = 1 if self.device.type == "cpu" else max(1, len(missing))
            for first in range(0, len(missing), each):
                together = missing[first : first + each]
                assert self._threads is not None
                future = self._threads.submit(self._draw, together, self.device)
                for place, number in enumerate(together):
                    self._drawn[number] = future, place
            while len(self._drawn) > 2 * (ROWS**2 + len(unique)):
                self._drawn.popitem(last=False)

    def _require_own(self) -> None:
        """Start again in a forked process: images that were being drawn at the fork are never finished here."""
        if self._process != os.getpid():
            self._clear()

    def __getitem__(self, number: int) -> Sample:
        self._require_own()
        if number not in self._drawn:
            if get_worker_info() is None:
                self.ask([number])
            else:
                done: Future[list[Sample]] = Future()
                done.set_result(self._draw([number], torch.device("cpu")))
                self._drawn[number] = done, 0
                if len(self._drawn) > 2 * ROWS**2:
                    self._drawn.popitem(last=False)
        future, place = self._drawn[number]
        return future.result()[place]

    def wait(self) -> None:
        """Wait until all requested images are drawn."""
        for future, _ in list(self._drawn.values()):
            future.result()

    def _draw(self, numbers: list[int], device: torch.device) -> list[Sample]:
        return self.recipe.samples([self.first + number for number in numbers], device, threads=1)


@dataclass(frozen=True)
class Mix:
    """Generated crops among others.

    Attributes:
        share: share of generated crops among all, more than 0; 1: all.
        images: what they are cut from.
        epoch_crops: crops an epoch if all are generated.
    """

    share: float
    images: Pool | Stream
    epoch_crops: int = 0

    def before(self, crop: int) -> int:
        """How many of the first `crop` crops of the run are generated; they are spread as evenly as possible."""
        return int(np.floor(crop * self.share + 1e-9))
