"""Draw training crops: every batch is a pure function of the seed, the epoch and the step.

So the result is the same for any number of workers, and a resumed run draws what the uninterrupted one would have
drawn. An epoch holds about as many pixels as the data set: each image gives a share of the crops proportional to its
area, and at least one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segexp.data.pairs import Sample


class Batch(NamedTuple):
    """Raw crops on their way to the device.

    Attributes:
        pixels: (B, C, H, W) in the files' dtype.
        labels: (B, 1, H, W) uint8; 255 where nobody annotated.
        offset, scale: float32 (B, C), of the whole images the crops were cut from.
    """

    pixels: Tensor
    labels: Tensor
    offset: Tensor
    scale: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Copy to the device without waiting for it."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def crop_size(samples: Sequence[Sample], wanted: int, multiple: int = 16) -> int:
    """The side of the square crop: as wanted, or smaller where no image is that large."""
    largest = max(max(sample.shape[1:]) for sample in samples)
    return min(wanted, -(-largest // multiple) * multiple)


class CropBatches(Dataset):
    """Batches of crops, indexed by (epoch, step).

    Args:
        samples: the annotated images.
        size: side of the square crops in pixels; smaller images are extended by reflection.
        batch_size: crops a batch.
        foreground: share of the crops placed so that they contain a foreground pixel.
        seed: every draw follows from it.
    """

    def __init__(self, samples: Sequence[Sample], size: int, batch_size: int, foreground: float, seed: int):
        self.samples, self.size, self.batch_size = samples, size, batch_size
        self.foreground, self.seed = foreground, seed
        area = np.array([sample.shape[1] * sample.shape[2] for sample in samples])
        self.crops_per_image = np.maximum(1, np.rint(area / size**2)).astype(int)
        self.steps = max(1, round(int(self.crops_per_image.sum()) / batch_size))
        self.dtype = np.result_type(*{sample.dtype for sample in samples})
        if self.dtype not in (np.uint8, np.uint16, np.float32):
            self.dtype = np.dtype(np.float32)

    def order(self, epoch: int) -> NDArray:
        """Image of each crop of an epoch: (steps * batch_size,), filled up from the next epoch's permutation."""
        wanted = self.steps * self.batch_size
        images = np.repeat(np.arange(len(self.samples)), self.crops_per_image)
        rng = np.random.default_rng((self.seed, epoch))
        shuffled = [rng.permutation(images) for _ in range(-(-wanted // len(images)))]
        return np.concatenate(shuffled)[:wanted]

    def __getitem__(self, position: tuple[int, int]) -> Batch:
        epoch, step = position
        start = step * self.batch_size
        rng = np.random.default_rng((self.seed, epoch, step))
        chosen = [self.samples[i] for i in self.order(epoch)[start : start + self.batch_size]]
        shape = (len(chosen), chosen[0].shape[0], self.size, self.size)
        pixels = np.empty(shape, self.dtype)
        labels = np.empty((len(chosen), 1, self.size, self.size), np.uint8)
        for row, sample in enumerate(chosen):
            top, left = self._corner(sample, rng)
            image, mask = sample.load()
            pixels[row] = window(image, top, left, self.size)
            labels[row, 0] = window(mask, top, left, self.size)
        return Batch(
            torch.from_numpy(pixels),
            torch.from_numpy(labels),
            torch.from_numpy(np.stack([sample.offset for sample in chosen])),
            torch.from_numpy(np.stack([sample.scale for sample in chosen])),
        )

    def _corner(self, sample: Sample, rng: np.random.Generator) -> tuple[int, int]:
        """Top left pixel of a crop: anywhere, or such that a random foreground pixel lies somewhere inside."""
        room = np.maximum(np.array(sample.shape[1:]) - self.size, 0)
        uniform, within, choice = rng.random(2), rng.random(2), rng.random(2)
        if choice[0] < self.foreground and len(sample.foreground):
            point = sample.foreground[int(choice[1] * len(sample.foreground))]
            corner = point - (within * self.size).astype(int)
        else:
            corner = (uniform * (room + 1)).astype(int)
        top, left = np.clip(corner, 0, room)
        return int(top), int(left)


def window(array: NDArray, top: int, left: int, size: int) -> NDArray:
    """The square of (..., H, W) at (top, left), extended by reflection where the array ends before it."""
    cut = array[..., top : top + size, left : left + size]
    missing = (size - cut.shape[-2], size - cut.shape[-1])
    if missing == (0, 0):
        return cut
    widths = [(0, 0)] * (array.ndim - 2) + [(0, missing[0]), (0, missing[1])]
    return np.pad(cut, widths, mode="symmetric")


class Positions(Sampler):
    """(epoch, step) without end, starting at `first_epoch`: the workers never pause between epochs."""

    def __init__(self, steps: int, first_epoch: int = 0):
        self.steps, self.first_epoch = steps, first_epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.first_epoch
        while True:
            yield from ((epoch, step) for step in range(self.steps))
            epoch += 1


def batch_loader(batches: CropBatches, workers: int, first_epoch: int = 0, pin: bool = False) -> DataLoader:
    """An endless loader of batches; pixels in memory are cropped here, files are read by `workers` processes."""
    in_memory = all(sample.pixels is not None for sample in batches.samples)
    workers = 0 if in_memory else workers
    return DataLoader(
        batches,
        batch_size=None,
        sampler=Positions(batches.steps, first_epoch),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
