"""Sample the positions of training crops: every batch is a pure function of the seed, the epoch and the step.

The result is therefore the same for any number of workers and processes and any kind of memory, and a resumed run draws
the same crops as an uninterrupted one. An epoch holds about as many pixels as the data set: each image contributes
crops in proportion to its area, at least one.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample
from segexp.data.synthetic import Mix

AHEAD = 4
"""Number of batches ahead of the current one for which generated images are drawn."""

Position = tuple[int, int]
"""An epoch and a step within it, both from 0."""


class Crops(NamedTuple):
    """The crops of a batch: numbers of their images (B,), and rows and columns of their first pixels (B, 2).

    Numbers beyond those of the plan's samples belong to generated images.
    """

    images: NDArray[np.int64]
    corners: NDArray[np.int64]


def crop_size(samples: Sequence[Sample], crop: int, multiple: int = 16) -> int:
    """The side of the square crops: the desired one, or smaller if no image is that large."""
    largest = max(max(sample.shape[1:]) for sample in samples)
    return min(crop, -(-largest // multiple) * multiple)


class CropPlan:
    """Draws the positions of crops.

    Args:
        samples: the annotated images.
        size: side of the square crops in pixels; smaller images are extended by reflection.
        batch_size: crops a batch, those of all processes together.
        foreground: share of the crops placed so that they contain a foreground pixel.
        seed: determines every draw.
        rank, world: this process takes crops number rank, rank + world, ... of each batch.
        mix: generated images from which some or all of the crops are cut instead.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        batch_size: int,
        foreground: float,
        seed: int,
        rank: int = 0,
        world: int = 1,
        mix: Mix | None = None,
    ):
        self.samples, self.size, self.batch_size = samples, size, batch_size
        self.foreground, self.seed, self.rows, self.mix = foreground, seed, slice(rank, None, world), mix
        area = np.array([sample.shape[1:] for sample in samples]).prod(axis=1)
        self.crops_per_image = np.maximum(1, np.rint(area / size**2)).astype(int)
        self.steps = max(1, round(self.epoch_crops / batch_size))
        dtypes = {sample.dtype for sample in samples} | ({np.dtype(np.uint16)} if mix else set())
        self.dtype = np.result_type(*dtypes)
        if self.dtype not in (np.uint8, np.uint16, np.float32):
            self.dtype = np.dtype(np.float32)
        self._order: tuple[int, NDArray] = (-1, np.empty(0))

    @property
    def epoch_crops(self) -> float:
        """Number of crops of an epoch: as many as cover the area of the samples, plus generated ones."""
        if self.mix and self.mix.share == 1:
            return self.mix.epoch_crops
        return int(self.crops_per_image.sum()) / (1 - (self.mix.share if self.mix else 0))

    def of_size(self, size: int | None) -> "CropPlan":
        """The same plan with crops of another side and the same number of steps an epoch. None: unchanged."""
        if size is None or size == self.size:
            return self
        other = copy(self)
        other.size = size
        return other

    def sample(self, image: int) -> Sample:
        """The image of that number."""
        if image < len(self.samples):
            return self.samples[image]
        assert self.mix is not None
        return self.mix.images[image - len(self.samples)]

    def order(self, epoch: int) -> NDArray:
        """Image of each crop of an epoch: (steps * batch_size,), filled up from another permutation."""
        if self._order[0] != epoch:
            count = self.steps * self.batch_size
            images = np.repeat(np.arange(len(self.samples)), self.crops_per_image)
            rng = np.random.default_rng((self.seed, epoch))
            shuffled = [rng.permutation(images) for _ in range(-(-count // len(images)))]
            self._order = epoch, np.concatenate(shuffled)[:count]
        return self._order[1]

    def images(self, position: Position) -> NDArray[np.int64]:
        """The image of each crop of a batch that this process takes."""
        epoch, step = position
        order, first = self.order(epoch), step * self.batch_size
        if self.mix is None:
            return order[first : first + self.batch_size][self.rows]
        images, start = [], epoch * self.steps * self.batch_size
        for crop in range(first, first + self.batch_size)[self.rows]:
            before, after = self.mix.before(start + crop), self.mix.before(start + crop + 1)
            if after > before:
                images.append(len(self.samples) + self.mix.images.number(before))
            else:
                images.append(order[crop - (before - self.mix.before(start))])
        return np.array(images, np.int64)

    def ask(self, position: Position) -> None:
        """Start drawing the generated images for this batch and the next few."""
        if self.mix is None:
            return
        epoch, step = position
        later = [divmod(epoch * self.steps + step + ahead, self.steps) for ahead in range(AHEAD + 1)]
        images = np.concatenate([self.images(following) for following in later])
        self.mix.images.ask(int(image) - len(self.samples) for image in images if image >= len(self.samples))

    def draw(self, position: Position) -> Crops:
        """The crops of one batch that this process takes: anywhere, or around a random foreground pixel."""
        epoch, step = position
        images = self.images(position)
        draws = np.random.default_rng((self.seed, epoch, step)).random((self.batch_size, 6))[self.rows]
        chosen = [self.sample(image) for image in images]
        room = np.maximum(np.array([sample.shape[1:] for sample in chosen]) - self.size, 0)
        corners = (draws[:, 0:2] * (room + 1)).astype(np.int64)
        for row, sample in enumerate(chosen):
            points = sample.foreground
            if draws[row, 4] < self.foreground and len(points):
                point = points[int(draws[row, 5] * len(points))]
                corners[row] = point - (draws[row, 2:4] * self.size).astype(np.int64)
        return Crops(images, corners.clip(0, room))

    def names(self, position: Position) -> list[str]:
        """Names of the images that the crops of a batch come from, each once."""
        return list(dict.fromkeys(self.sample(image).name for image in self.images(position)))
