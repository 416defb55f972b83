"""From a plan of crops to an endless stream of batches, fetched ahead of the step that needs them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch
from torch.utils.data import DataLoader, Sampler

from segexp.data.crops import Batch, CropBatches, CropPlan, DeviceBatches, Position
from segexp.errors import InputError


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
) -> Iterator[Batch]:
    """Batches from position `first` on, without end.

    Args:
        source: images on the device, in memory, or in files.
        first: epoch and step to begin with.
        device: where the batches are used. For a GPU they are copied to pinned memory and on, one batch ahead.
        workers: processes that read files; none are started for images in memory.
        start_method: how they are started: fork, spawn or forkserver; None: the operating system's own way.
    """
    positions = Positions(source.plan.steps, first)
    if isinstance(source, DeviceBatches):
        yield from (source[position] for position in positions)
        return
    in_memory = all(sample.pixels is not None for sample in source.plan.samples)
    workers = 0 if in_memory else workers
    loader = DataLoader(
        source,
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=start_method if workers else None,
    )
    batches = _named(loader, positions, source.plan)
    yield from _ahead(batches, device) if device.type == "cuda" else batches


def _named(loader: DataLoader, positions: Positions, plan: CropPlan) -> Iterator[Batch]:
    """The loader's batches; a reading process that dies is reported with the files it was reading."""
    batches = iter(loader)
    for position in positions:
        try:
            yield next(batches)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            files = ", ".join(plan.names(position))
            raise InputError(
                f"a reading process died, at or soon after one of these files: {files} ({error})"
            ) from None


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
