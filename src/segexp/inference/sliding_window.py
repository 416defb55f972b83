"""Predict images of any size by overlapping tiles, blended in bands of rows.

Three measures avoid seams between tiles. Every tile starts at a multiple of the network's coarsest pixel, because
pooling gives other results if the image moves by less than that. Tiles overlap by twice the network's receptive field,
and the outer part of each tile, where the network lacks some of the surroundings, is taken from its neighbour. The
image is extended by reflection at its border. For larger receptive fields, a wide ramp between two tiles hides the
seam. (The Gaussian weight of nnU-Net, Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, also uses each tile's outer
part and needs a third more overlap; LOG.md, 2026-11-28.)

Memory is bounded: only one row of tiles is kept, and rows that no later tile overlaps are yielded as soon as they are
complete.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segexp.device import out_of_memory

Forward = Callable[[Tensor], Tensor]
"""Raw pixels (B, C, h, w) of any dtype to probabilities (B, K, h, w) float32 on the same device."""
Progress = Callable[[int, int], None]
"""Called with the number of pixels done and the number of all pixels."""


class RowSource(Protocol):
    """An image that is read by whole rows: `shape` is (C, H, W)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1 as (C, bottom - top, W)."""
        ...


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Attributes:
        tile: largest side of a tile, px; a smaller image is predicted as a whole.
        overlap: least overlap of neighbours, px.
        blend: width of the ramp from one tile to the next in the middle of their overlap, px.
        multiple: side of the network's coarsest pixel, px; all other lengths are rounded up to it.
        margin: least width of the reflection around the image, px.
        batch: tiles in a batch.
    """

    tile: int = 1024
    overlap: int = 128
    blend: int = 16
    multiple: int = 16
    margin: int = 0
    batch: int = 1


@dataclass(frozen=True)
class Axis:
    """Tiles along one axis: `starts` in the image extended by its reflection, which begins `before` px outside."""

    starts: list[int]
    tile: int
    before: int
    length: int  # of the image itself
    weight: NDArray[np.float32]  # of a tile's places, (tile,)

    @property
    def extended(self) -> int:
        """Length with the reflection."""
        return self.starts[-1] + self.tile

    def total(self) -> NDArray[np.float32]:
        """Sum of the tiles' weights at each position of the extended axis, float32 (extended,)."""
        total = np.zeros(self.extended, np.float32)
        for start in self.starts:
            total[start : start + self.tile] += self.weight
        return total


def lay_tiles(length: int, tiling: Tiling) -> Axis:
    """Cover `length` px by the fewest tiles, no larger than needed, that start at multiples and overlap enough.

    Tiles not larger than the overlap share all but one of the network's coarsest pixels.
    """
    unit = tiling.multiple

    def up(n: int) -> int:
        return -(-n // unit) * unit

    before, tile, overlap = up(tiling.margin), max(up(tiling.tile), unit), up(tiling.overlap)
    extended = up(before + length + tiling.margin)
    overlap = min(overlap, tile - unit)
    if extended <= tile:
        return Axis([0], extended, before, length, np.ones(extended, np.float32))
    count = -(-(extended - overlap) // (tile - overlap))
    tile = up(-(-(extended + (count - 1) * overlap) // count))
    last = (extended - tile) // unit
    starts = [(i * last // (count - 1)) * unit for i in range(count)]
    return Axis(starts, tile, before, length, ramp(tile, overlap, tiling.blend))


def ramp(length: int, overlap: int, blend: int) -> NDArray[np.float32]:
    """Weights (length,) of a tile: 1 inside, 1e-4 outside, a ramp of `blend` px in the middle of the overlap.

    The outermost positions matter where no other tile covers them: at the image's border.
    """
    blend = max(1, min(blend, overlap))
    place = np.arange(length) + 0.5
    inside = (np.minimum(place, length - place) - (overlap - blend) / 2) / blend
    return np.clip(inside, 1e-4, 1).astype(np.float32)


def reflected(first: int, last: int, length: int) -> NDArray[np.intp]:
    """Indices into an axis of `length` for positions `first` to `last` - 1 of its periodic reflection."""
    if length == 1:
        return np.zeros(last - first, np.intp)
    period = 2 * (length - 1)
    place = np.arange(first, last) % period
    return np.minimum(place, period - place)


def predict_bands(
    forward: Forward,
    image: RowSource,
    classes: int,
    tiling: Tiling,
    device: torch.device | None = None,
    log: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Probabilities of an image from top to bottom, as pairs of first row and (K, rows, W) float32 in [0, 1].

    One row of tiles is in memory while a thread reads the next one. If the device runs out of memory, the batch is
    halved and `say` is called with a line about it; `progress` is called with the pixels done.
    """
    device = device or torch.device("cpu")
    _, height, width = image.shape
    down, across = lay_tiles(height, tiling), lay_tiles(width, tiling)
    weight = torch.from_numpy(down.weight[:, None] * across.weight).to(device)
    inverse_across = 1 / torch.from_numpy(across.total()).to(device)
    inverse_down = 1 / torch.from_numpy(down.total()).to(device)
    blended = torch.zeros(classes, down.tile, across.extended, device=device)
    batch = tiling.batch
    columns = slice(across.before, across.before + width)
    with ThreadPoolExecutor(1) as reader:
        bands = _bands(image, down, across, reader)
        for number, (start, band) in enumerate(zip(down.starts, bands, strict=True)):
            batch = _add_row(forward, torch.from_numpy(band).to(device), blended, weight, across, batch, log)
            end = down.starts[number + 1] if number + 1 < len(down.starts) else down.extended
            first, last = (min(max(y - down.before, 0), height) for y in (start, end))
            if last > first:
                rows = slice(first + down.before - start, last + down.before - start)
                factor = inverse_down[start:end, None][rows.start : rows.stop] * inverse_across[columns]
                done = (blended[:, rows, columns] * factor).clamp_(0, 1)
                yield first, done.cpu().numpy()
            if progress is not None:
                progress(last * width, height * width)
            step = end - start
            blended[:, : down.tile - step] = blended[:, step:].clone()
            blended[:, down.tile - step :] = 0


def _bands(image: RowSource, down: Axis, across: Axis, reader: ThreadPoolExecutor) -> Iterator[NDArray]:
    """The raw rows of each row of tiles, (C, tile, extended width), reflected at the borders, read one ahead."""
    sideways = reflected(-across.before, across.extended - across.before, image.shape[2])

    def read(first: int, last: int) -> NDArray:
        vertical = reflected(first - down.before, last - down.before, image.shape[1])
        low = int(vertical.min())
        raw = image.rows(low, int(vertical.max()) + 1)
        return np.ascontiguousarray(raw[:, vertical - low][..., sideways])

    previous: NDArray | None = None
    ends = [start + down.tile for start in down.starts]
    waiting: Future[NDArray] = reader.submit(read, 0, ends[0])
    for number, start in enumerate(down.starts):
        fresh = waiting.result()
        if number + 1 < len(ends):
            waiting = reader.submit(read, ends[number], ends[number + 1])
        if previous is None:
            band = fresh
        else:
            band = np.concatenate([previous[:, start - down.starts[number - 1] :], fresh], axis=1)
        previous = band
        yield band


def _add_row(
    forward: Forward,
    band: Tensor,
    blended: Tensor,
    weight: Tensor,
    across: Axis,
    batch: int,
    log: Callable[[str], None],
) -> int:
    """Add the weighted probabilities of one row of tiles to `blended`; returns the batch that fitted in memory."""
    waiting = list(across.starts)
    while waiting:
        group = waiting[:batch]
        crops = [band[:, :, x : x + across.tile] for x in group]
        try:
            probabilities = forward(torch.stack(crops))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(group) == 1:
                raise
            batch = len(group) // 2
            log(f"out of memory with {len(group)} tiles at once; continuing with {batch}")
            continue
        for x, probability in zip(group, probabilities, strict=True):
            blended[:, :, x : x + across.tile].addcmul_(probability, weight)
        waiting = waiting[len(group) :]
    return batch


def assemble(bands: Iterable[tuple[int, NDArray[np.float32]]], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Join bands to (K, H, W)."""
    whole = np.empty(shape, np.float32)
    for first, rows in bands:
        whole[:, first : first + rows.shape[1]] = rows
    return whole
