"""From a plan of crops to an endless stream of batches, fetched ahead of the step that needs them."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segexp.data.sampler import Batch, CropBatches, CropPlan, DeviceBatches, Position
from segexp.errors import InputError

PREFETCH = 4
"""Batches that each reading process holds ready."""
SHARED = Path("/dev/shm")  # noqa: S108 looked at, never written to
"""Where batches lie on their way from a reading process."""


class Positions(Sampler):
    """(epoch, step) without end from `first` on: the workers never pause between epochs."""

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
    """Batches from position `first` on, without end.

    Args:
        source: images on the device, in memory, or in files.
        first: epoch and step to begin with.
        device: where the batches are used. For a GPU they are copied to pinned memory and on, one batch ahead.
        workers: processes that read files; none are started for images in memory.
        start_method: how they are started: fork, spawn or forkserver; None: the operating system's own way.
        log: called with one line where shared memory is too small for worker processes and this process reads.

    Raises:
        InputError: names the file that cannot be read any more.
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
    loader = DataLoader(
        _Guarded(source),
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context=start_method if workers else None,
    )
    batches = _named(loader, positions, source.plan)
    yield from _ahead(batches, device) if device.type == "cuda" else batches


class _Guarded(Dataset):
    """A file that cannot be read comes back as the error itself: a reading process would wrap it in its traceback."""

    def __init__(self, source: CropBatches):
        self.source = source

    def __getitem__(self, position: Position) -> Batch | InputError:
        try:
            return self.source[position]
        except InputError as error:
            return error


def _named(loader: DataLoader, positions: Positions, plan: CropPlan) -> Iterator[Batch]:
    """The loader's batches; a reading process that dies is reported with the files it was reading."""
    batches = iter(loader)
    for position in positions:
        try:
            batch = next(batches)
        except RuntimeError as error:
            reason = str(error)
            if "DataLoader worker" not in reason:
                raise
            full = "No space left on device" in reason or "shm" in reason
            if full or ("Bus error" in reason and shared_memory_too_small(plan, loader.num_workers)):
                raise InputError(_shared_memory_words(plan, loader.num_workers)) from None
            files = ", ".join(plan.names(position))
            raise InputError(
                f"a reading process died, at or soon after one of these files: {files} ({reason.splitlines()[0]})"
            ) from None
        if isinstance(batch, InputError):
            raise batch
        yield batch


def shared_memory_too_small(plan: CropPlan, workers: int, folder: Path = SHARED) -> str:
    """A warning where reading processes would not have room for their batches in shared memory; else empty.

    Containers often have 64 MB of it. A process that writes beyond its end is killed.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # no such file system: macOS, Windows
        return ""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if workers * PREFETCH * batch_bytes(plan) * local <= 0.9 * free:
        return ""
    return f"warning: {_shared_memory_words(plan, workers, folder)}. The images are read in the main process now"


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
        f"shared memory ({folder}, {room}) is too small for {workers} reading processes: a batch takes {one:.1f} MB, "
        f"and {PREFETCH} for each process lie there at a time, {workers * PREFETCH * one:.0f} MB. Give it more "
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
