"""Batches of a crop plan, cut from files or memory or gathered on the device, and an endless stream of them.

The stream prefetches batches before the step that needs them.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from itertools import count
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from segexp.data.dataset import Sample
from segexp.data.sampler import CropPlan, Position
from segexp.data.synthetic import Pool
from segexp.errors import InputError

PREFETCH = 4
"""Batches that each worker process prefetches."""
SHARED = Path("/dev/shm")  # noqa: S108 looked at, never written to
"""Folder of the shared memory through which worker processes pass batches."""


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


class CropBatches(Dataset):
    """Batches of a plan, cut out in memory or read from files, indexed by (epoch, step)."""

    def __init__(self, plan: CropPlan):
        self.plan = plan

    def of_size(self, size: int | None) -> "CropBatches":
        """The same with crops of another side; None: unchanged."""
        return CropBatches(self.plan.of_size(size))

    def __getitem__(self, position: Position) -> Batch:
        size = self.plan.size
        self.plan.ask(position)
        images, corners = self.plan.draw(position)
        chosen = [self.plan.sample(image) for image in images]
        pixels = np.empty((len(chosen), chosen[0].shape[0], size, size), self.plan.dtype)
        labels = np.empty((len(chosen), 1, size, size), np.uint8)
        for row, (sample, (top, left)) in enumerate(zip(chosen, corners, strict=True)):
            image, mask = sample.window(int(top), int(left), size)
            pixels[row] = extend(image, size)
            labels[row, 0] = extend(mask, size)
        return Batch(
            torch.from_numpy(pixels),
            torch.from_numpy(labels),
            torch.from_numpy(np.stack([sample.offset for sample in chosen])),
            torch.from_numpy(np.stack([sample.scale for sample in chosen])),
        )


class DeviceBatches:
    """Batches of a plan whose images are all on the device: a batch is one gather there, whatever the images' sizes.

    The crops equal those of `CropBatches`. Pixels are stored in one flat tensor, image after image.
    """

    def __init__(self, plan: CropPlan, device: torch.device):
        self.plan, self.device = plan, device
        samples = plan_samples(plan)
        loaded = [sample.load() for sample in samples]
        self._pixels = _flat([pixels for pixels, _ in loaded], plan.dtype).to(device)
        self._labels = _flat([labels for _, labels in loaded], np.dtype(np.uint8)).to(device)
        shapes = torch.tensor([sample.shape for sample in samples])
        ends = shapes.prod(1).cumsum(0)
        areas = shapes[:, 1] * shapes[:, 2]
        # (images, 5): height, width, area, first pixel, first label
        self._places = torch.stack([shapes[:, 1], shapes[:, 2], areas, ends - shapes.prod(1), areas.cumsum(0) - areas])
        self._places = self._places.T.contiguous().to(device)
        self._offset = torch.from_numpy(np.stack([sample.offset for sample in samples])).to(device)
        self._scale = torch.from_numpy(np.stack([sample.scale for sample in samples])).to(device)

    def of_size(self, size: int | None) -> "DeviceBatches":
        """The same, sharing the pixels, with crops of another side; None: unchanged."""
        other = copy(self)
        other.plan = self.plan.of_size(size)
        return other

    def __getitem__(self, position: Position) -> Batch:
        crops = self.plan.draw(position)
        drawn = torch.from_numpy(np.column_stack([crops.images, crops.corners]))
        if self.device.type == "cuda":
            drawn = drawn.pin_memory().to(self.device, non_blocking=True)
        images, tops, lefts = drawn.T
        height, width, area, first, first_label = self._places[images].T[..., None]
        steps = torch.arange(self.plan.size, device=self.device)
        # (B, S, S) places within one channel
        place = (mirrored(tops[:, None] + steps, height) * width)[:, :, None]
        place = place + mirrored(lefts[:, None] + steps, width)[:, None, :]
        channels = torch.arange(self._offset.shape[1], device=self.device)
        starts = first + channels * area  # (B, C)
        pixels = self._pixels[starts[:, :, None, None] + place[:, None]]
        labels = self._labels[(first_label[..., None] + place)[:, None]]
        return Batch(pixels.view(_TORCH[self.plan.dtype]), labels, self._offset[images], self._scale[images])


def plan_samples(plan: CropPlan) -> list[Sample]:
    """All images of a plan, in the order of their numbers; not for images of a `Stream`."""
    if plan.mix is None:
        return list(plan.samples)
    assert isinstance(plan.mix.images, Pool)
    return [*plan.samples, *plan.mix.images.samples]


def pixel_memory(samples: Sequence[Sample]) -> int:
    """Bytes that `DeviceBatches` keeps for images and labels, in the widest dtype; float32 for most dtypes."""
    common = np.result_type(*{sample.dtype for sample in samples})
    width = common.itemsize if common in _TORCH else np.dtype(np.float32).itemsize
    return sum((sample.shape[0] * width + 1) * sample.shape[1] * sample.shape[2] for sample in samples)


_TORCH = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16, np.dtype(np.float32): torch.float32}


def _flat(arrays: list[NDArray], dtype: np.dtype) -> Tensor:
    """All values one after another; uint16 as int16 of the same bits, since CUDA does not index uint16."""
    whole = np.concatenate([np.asarray(array, dtype).ravel() for array in arrays])
    return torch.from_numpy(whole.view(np.int16) if dtype == np.uint16 else whole)


def mirrored(places: Tensor, length: Tensor) -> Tensor:
    """Indices beyond the end of an axis, reflected with the last pixel repeated, as in `extend`."""
    folded = places % (2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)


def extend(array: NDArray, size: int) -> NDArray:
    """Bring (..., h, w) to (..., size, size) by reflection at the bottom and right, the last pixel repeated."""
    missing = (size - array.shape[-2], size - array.shape[-1])
    if missing == (0, 0):
        return array
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, missing[0]), (0, missing[1])], mode="symmetric")


class Positions(Sampler):
    """An endless sequence of (epoch, step) from `first` on: the workers never pause between epochs."""

    def __init__(self, steps: int, first: Position = (0, 0)):
        self.steps, self.first = steps, first

    def __iter__(self) -> Iterator[Position]:
        epoch, step = self.first
        yield from ((epoch, later) for later in range(step, self.steps))
        for following in count(epoch + 1):
            yield from ((following, later) for later in range(self.steps))


def open_feed(
    source: CropBatches | DeviceBatches,
    first: Position,
    device: torch.device,
    workers: int = 0,
    start_method: str | None = None,
    log: Callable[[str], None] = print,
) -> Iterator[Batch]:
    """An endless stream of batches from position `first` on.

    Args:
        source: images on the device, in memory, or in files.
        first: epoch and step to begin with.
        device: where the batches are used. For a GPU they are copied to pinned memory and on, one batch ahead.
        workers: processes that read files; none are started for images in memory.
        start_method: how they are started: fork, spawn or forkserver; None: the operating system's default.
        log: called with a warning if shared memory is too small for worker processes, so that this process reads.

    Raises:
        InputError: if a file can no longer be read; the message names it.
    """
    positions = Positions(source.plan.steps, first)
    if isinstance(source, DeviceBatches):
        yield from (source[position] for position in positions)
        return
    in_memory = all(sample.pixels is not None for sample in source.plan.samples)
    workers = 0 if in_memory else workers
    small = shared_memory_too_small(source.plan, workers) if workers else ""
    if small:
        log(small)
        workers = 0
    leaving = RawValue("b", 0) if workers else None
    loader = DataLoader(
        _Guarded(source),
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context=start_method if workers else None,
        worker_init_fn=partial(ignore_signals, leaving) if workers else None,
    )
    batches = _named(loader, positions, source.plan)
    if leaving is not None:
        batches = _until_left(batches, leaving)
    yield from _ahead(batches, device) if device.type == "cuda" else batches


def _until_left(batches: Iterator[Batch], leaving: Any) -> Iterator[Batch]:
    """Set `leaving` before PyTorch ends its worker processes, or Python does at exit if the stream is still open."""
    leave = Finalize(None, setattr, (leaving, "value", 1), exitpriority=1)
    try:
        for batch in batches:  # noqa: UP028 yield from would close the loader before `leave` is called
            yield batch
    finally:
        leave()


def ignore_signals(leaving: Any, worker: int) -> None:
    """Make a worker process ignore signals, so that the main process can save its state and end the run.

    Ctrl-C, `timeout` and SLURM send a signal to each process of a run. If a worker process ended by it, PyTorch would
    raise an error in the main process, at any point of a step. Once the main process has stopped reading or has ended,
    SIGTERM ends a worker: PyTorch sends one to a process that hangs, and Python to each at exit.

    Args:
        leaving: in shared memory; its value is not 0 once the main process has stopped reading.
        worker: the number of the process.
    """
    main = os.getppid()

    def note(number: int, frame: FrameType | None) -> None:
        if leaving.value or os.getppid() != main:
            os._exit(0)

    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note)


class _Guarded(Dataset):
    """Returns the error of an unreadable file as a value: raised in a worker, it would become a traceback text."""

    def __init__(self, source: CropBatches):
        self.source = source

    def __getitem__(self, position: Position) -> Batch | InputError:
        try:
            return self.source[position]
        except InputError as error:
            return error


def _named(loader: DataLoader, positions: Positions, plan: CropPlan) -> Iterator[Batch]:
    """The loader's batches; if a worker process dies, the error names the files that it was reading."""
    batches = iter(loader)
    for position in positions:
        try:
            batch = next(batches)
        except RuntimeError as error:
            reason = str(error)
            if "Too many open files" in reason:
                raise InputError(
                    f"{loader.num_workers} worker processes that read images need more open files than this process "
                    "may have (ulimit -n); set trainer.num_workers=4, or raise the limit: ulimit -n 4096"
                ) from None
            if "DataLoader worker" not in reason:
                raise
            full = "No space left on device" in reason or "shm" in reason
            if full or ("Bus error" in reason and shared_memory_too_small(plan, loader.num_workers)):
                raise InputError(_shared_memory_words(plan, loader.num_workers)) from None
            files = ", ".join(plan.names(position))
            raise InputError(
                f"a worker process that reads images died at, or soon after, one of these files: {files} "
                f"({reason.splitlines()[0]})"
            ) from None
        if isinstance(batch, InputError):
            raise batch
        yield batch


def shared_memory_too_small(plan: CropPlan, workers: int, folder: Path = SHARED) -> str:
    """A warning if shared memory is too small for the batches of the worker processes; else empty.

    Containers often have 64 MB of it. A process that exceeds it is killed.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # no such file system: macOS, Windows
        return ""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if workers * PREFETCH * batch_bytes(plan) * local <= 0.9 * free:
        return ""
    return f"warning: {_shared_memory_words(plan, workers, folder)}. The main process now reads the images"


def batch_bytes(plan: CropPlan) -> int:
    """Bytes of the batches that this process takes: pixels and labels."""
    crops = len(range(plan.batch_size)[plan.rows])
    return crops * plan.size**2 * (plan.samples[0].shape[0] * plan.dtype.itemsize + 1)


def _shared_memory_words(plan: CropPlan, workers: int, folder: Path = SHARED) -> str:
    one = batch_bytes(plan) / 1e6
    try:
        disk = shutil.disk_usage(folder)
        room = f"{disk.total / 1e6:.0f} MB large, {disk.free / 1e6:.0f} MB free"
    except OSError:
        room = "of unknown size"
    return (
        f"shared memory ({folder}, {room}) is too small for {workers} worker processes: a batch takes {one:.1f} MB, "
        f"and {PREFETCH} for each process are there at a time, {workers * PREFETCH * one:.0f} MB. Give it more "
        "(docker run --shm-size=2g), or set trainer.num_workers=0, or a smaller trainer.batch_size or task.crop"
    )


def _ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Fetch, pin and copy the next batch in a thread and on a stream of its own, while the step before it runs."""
    copies = torch.cuda.Stream(device)

    def fetch() -> tuple[Batch, Batch]:
        pinned = Batch(*(tensor.pin_memory() for tensor in next(batches)))
        with torch.cuda.stream(copies):
            return pinned, pinned.to(device)

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(fetch)
        while True:
            _, batch = following.result()
            torch.cuda.current_stream(device).wait_stream(copies)
            for tensor in batch:  # its memory must not be reused by the copy stream while the step reads it
                tensor.record_stream(torch.cuda.current_stream(device))
            following = thread.submit(fetch)
            yield batch
