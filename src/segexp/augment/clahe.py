"""Contrast-limited adaptive histogram equalisation, for a whole batch at once and equal to OpenCV's.

Method: Zuiderveld, "Contrast limited adaptive histogram equalization" (Graphics Gems IV, 1994), in the variant of
``cv2.createCLAHE``: a grid of tiles, one clipped histogram each, the excess spread evenly over the bins, and every
pixel mapped by linear interpolation between the lookup tables of the four tiles around it.

Two backends give the same result. ``batched`` counts all tiles of all images in one scatter and maps all pixels by four
look-ups; it runs on any device. ``opencv`` calls the library's function for each image; it is used for images in host
memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from segexp.augment.base import (
    IntensityOperation,
    Range,
    cast,
    checked_range,
    draw,
    in_host_memory,
    to_device,
)
from segexp.augment.statistics import extent, reciprocal, with_moments_of

OPENCV_BINS = {256: np.uint8, 65536: np.uint16}


def clahe(
    images: Tensor,
    clip_limit: float | Tensor = 2.0,
    grid: Sequence[int] = (8, 8),
    bins: int = 256,
    backend: str = "auto",
) -> Tensor:
    """Equalise each channel of each image tile by tile, as ``cv2.createCLAHE`` does.

    Args:
        images: (B, C, H, W) floats in [0, 1]; other values are clamped. The grid need not divide the image size.
        clip_limit: largest count of a bin as a multiple of the mean count, one number or (B,); 0: no limit.
        grid: rows and columns of tiles (OpenCV's ``tileGridSize`` is the other way round).
        bins: grey levels: 256 as OpenCV for 8-bit images, 65536 as for 16-bit ones, or any number from 2 in between
            (batched only).
        backend: "batched", "opencv", or "auto": OpenCV for images in host memory, batched for all others.

    Returns:
        (B, C, H, W) of the same dtype: multiples of 1 / (bins - 1) in [0, 1].

    Raises:
        ValueError: if `grid`, `bins` or `backend` is none of these, or the images are integers.
    """
    if not images.is_floating_point():
        raise ValueError(f"images of {images.dtype}: expected floats in [0, 1], such as images / 255")
    rows, columns = _checked(grid, bins)
    if backend not in ("auto", "batched", "opencv"):
        raise ValueError(f"backend={backend!r}: expected auto, batched or opencv")
    if backend == "opencv" and (bins not in OPENCV_BINS or not in_host_memory(images)):
        raise ValueError("backend='opencv' takes images in host memory and 256 or 65536 bins")
    limits = torch.as_tensor(clip_limit, dtype=torch.float64).expand(len(images))
    if backend == "opencv" or (backend == "auto" and bins in OPENCV_BINS and in_host_memory(images)):
        return cast(_equalize_with_opencv(images.float(), limits, (rows, columns), bins), images.dtype)
    return cast(_equalize_batched(images.float(), limits, (rows, columns), bins), images.dtype)


def _checked(grid: Sequence[int], bins: int) -> tuple[int, int]:
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid={list(grid)}: expected [rows, columns], at least one of each")
    if not 2 <= bins <= 65536:
        raise ValueError(f"bins={bins}: expected 2 to 65536")
    return int(grid[0]), int(grid[1])


def _equalize_with_opencv(images: Tensor, limits: Tensor, grid: tuple[int, int], bins: int) -> Tensor:
    equalizer = cv2.createCLAHE(tileGridSize=(grid[1], grid[0]))
    result = torch.empty(images.shape)
    top = np.float32(bins - 1)
    scratch = np.empty(images.shape[-2:], dtype=np.float32)  # one plane at a time fits into the processor's cache
    levels = np.empty(images.shape[-2:], dtype=OPENCV_BINS[bins])
    for planes, target, limit in zip(images.numpy(), result.numpy(), limits.tolist(), strict=True):
        equalizer.setClipLimit(limit)
        for plane, out in zip(planes, target, strict=True):
            np.clip(plane, 0, 1, out=scratch)
            if bins == 256:
                cv2.convertScaleAbs(scratch, dst=levels, alpha=255)  # rounds, five times as fast as NumPy
            else:
                np.rint(scratch * top, out=scratch)
                np.copyto(levels, scratch, casting="unsafe")
            np.divide(equalizer.apply(levels), top, out=out)
    return result


def _equalize_batched(images: Tensor, limits: Tensor, grid: tuple[int, int], bins: int) -> Tensor:
    batch, channels, height, width = images.shape
    device = images.device
    levels = images.mul(bins - 1).round_().clamp_(0, bins - 1)
    smallest = torch.uint8 if bins <= 256 else torch.int32
    levels = levels.to(smallest, memory_format=torch.contiguous_format).view(-1, height, width)
    padded, tile = _pad_to_grid(levels, grid)
    pixels = tile[0] * tile[1]
    counts = _tile_histograms(padded, tile, grid, bins)
    del padded
    limits = to_device(limits, device).repeat_interleave(channels, output_size=batch * channels)
    sums, *spread = _clipped_sums(counts, limits, pixels)
    # Few bins: all bins are mapped, then looked up. More bins than pixels: sums are looked up, then only these mapped
    if bins <= pixels:
        position = torch.arange(bins, device=device, dtype=torch.int32)
        share, left, steps = spread
        tables, spread = _new_levels(sums, position, share, left, steps, bins, pixels), []
    else:
        tables = sums
    result = _interpolate(levels, tables, [part.view(len(levels), *grid) for part in spread], tile, grid, bins)
    return result.div_(bins - 1).view_as(images)


def _pad_to_grid(levels: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Mirror (N, H, W) at its lower and right edge until the grid divides it; also return the tile's height and width.

    As in OpenCV, both sides are padded if the grid does not divide one of them; tiles then grow by a whole pixel along
    a side that it does divide.
    """
    height, width = levels.shape[-2:]
    rows, columns = grid
    if height % rows == 0 and width % columns == 0:
        return levels, (height // rows, width // columns)
    tall, wide = height + rows - height % rows, width + columns - width % columns
    for axis, size, target in ((1, height, tall), (2, width, wide)):
        period = max(2 * (size - 1), 1)
        index = torch.arange(target, device=levels.device) % period
        levels = levels.index_select(axis, torch.minimum(index, (period - index)).clamp_(0, size - 1))
    return levels, (tall // rows, wide // columns)


def _tile_histograms(padded: Tensor, tile: tuple[int, int], grid: tuple[int, int], bins: int) -> Tensor:
    """Count the levels per tile of (N, H, W) in one scatter: int32 or int16 (N, rows * columns, bins)."""
    number = len(padded)
    rows, columns = grid
    # int16 if the counts fit, which halves a large array
    dtype = torch.int16 if tile[0] * tile[1] < min(bins, 2**15) else torch.int32
    down = torch.arange(rows, device=padded.device).repeat_interleave(tile[0], output_size=rows * tile[0])
    across = torch.arange(columns, device=padded.device).repeat_interleave(tile[1], output_size=columns * tile[1])
    first_bin = (down.unsqueeze(1) * columns + across) * bins
    slots = (padded + first_bin).view(number, -1)
    counts = torch.zeros(number, rows * columns * bins, dtype=dtype, device=padded.device)
    one = torch.ones((), dtype=dtype, device=padded.device)
    return counts.scatter_add_(1, slots, one.expand_as(slots)).view(number, rows * columns, bins)


def _clipped_sums(counts: Tensor, limits: Tensor, pixels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return running sums of clipped counts, and how the excess is distributed; overwrites ``counts``.

    Counts (N, T, bins) of tiles with ``pixels`` pixels each are clipped at ``limits`` (N,) times their mean; a limit of
    0 or less does not clip. The excess is distributed as in OpenCV: every bin gets the same whole number, ``share``,
    and the remainder, ``left``, is added one by one to bins at regular ``steps`` from bin 0; all int32 (N, T, 1). Only
    running sums are needed, so ``_new_levels`` adds the excess to these.
    """
    bins = counts.shape[-1]
    highest = (limits * pixels / bins).floor().clamp_(1, pixels).where(limits > 0, pixels).to(counts.dtype)
    kept = torch.minimum(counts, highest.view(-1, 1, 1), out=counts)
    excess = pixels - kept.sum(dim=-1, keepdim=True, dtype=torch.int32)
    share = excess // bins
    left = excess - share * bins
    steps = (bins // left.clamp(min=1)).clamp_(min=1)
    return kept.cumsum_(dim=-1), share, left, steps


def _new_levels(
    sums: Tensor, position: Tensor, share: Tensor, left: Tensor, steps: Tensor, bins: int, pixels: int
) -> Tensor:
    """Map the levels ``position``, whose clipped sums are ``sums``: float32, whole numbers in [0, bins - 1]."""
    total = torch.addcmul(sums, share, position + 1)
    total.add_(position.div(steps, rounding_mode="floor").add_(1).clamp_(max=left))
    return total.to(torch.float32).mul_((bins - 1) / pixels).round_().clamp_(0, bins - 1)


def _neighbours(size: int, tile: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return for every pixel of an axis the tile before it, the tile after it, and the weight of the tile after it."""
    position = torch.arange(size, device=device, dtype=torch.float32) * (1.0 / tile) - 0.5
    before = position.floor()
    weight = position - before
    before = before.to(torch.int64)
    return before.clamp(min=0), (before + 1).clamp(max=tiles - 1), weight


def _interpolate(
    levels: Tensor, tables: Tensor, spread: list[Tensor], tile: tuple[int, int], grid: tuple[int, int], bins: int
) -> Tensor:
    """Map levels (N, H, W) by the four tiles around each pixel: float32, whole numbers.

    Tables (N, T, bins) contain new levels or, if ``spread`` (each (N, rows, columns)) is given, sums for `_new_levels`.
    """
    number, height, width = levels.shape
    index = torch.int32 if tables.numel() < 2**31 else torch.int64
    above, below, lower = _neighbours(height, tile[0], grid[0], levels.device)
    left, right, righter = _neighbours(width, tile[1], grid[1], levels.device)
    lower = lower.unsqueeze(1)
    entries = tables.view(-1)
    first_of_image = torch.arange(0, tables.numel(), grid[0] * grid[1] * bins, device=levels.device, dtype=index)

    def mapped() -> Iterator[Tensor]:
        """Yield the levels mapped by the tile at the upper left, upper right, lower left and lower right."""
        entry, before = levels + first_of_image.view(number, 1, 1), torch.zeros((), dtype=index, device=levels.device)
        for row in (above, below):
            for column in (left, right):
                first_of_tile = (row.unsqueeze(1) * grid[1] + column).mul_(bins).to(index)
                entry.add_(first_of_tile - before)
                before = first_of_tile
                if not spread:
                    yield entries.index_select(0, entry.view(-1)).view_as(levels)
                    continue
                mapped_levels = entries.index_select(0, entry.view(-1)).view_as(levels)
                share, more, steps = (part.index_select(1, row).index_select(2, column) for part in spread)
                yield _new_levels(mapped_levels, levels, share, more, steps, bins, tile[0] * tile[1])

    corners = mapped()

    def between() -> Tensor:
        return next(corners).mul_(1 - righter).add_(next(corners).mul_(righter))

    return between().mul_(1 - lower).add_(between().mul_(lower)).round_()


class RandomCLAHE(IntensityOperation):
    """CLAHE with a random clip limit on images of any range.

    Each channel of each sample is rescaled from its own [min, max] to [0, 1] and equalised. Afterwards its former mean
    and standard deviation are restored: images that were standardised with the statistics of the whole image remain
    so, and a dark crop remains dark instead of being normalised on its own.

    Args:
        clip_limit: range from which one limit per sample is drawn.
        grid: rows and columns of tiles.
        bins: grey levels, see ``clahe``.
        restore: restore mean and standard deviation; otherwise the result lies in [0, 1].
        p: probability per sample.
    """

    def __init__(
        self,
        clip_limit: Range = (1.0, 4.0),
        grid: Sequence[int] = (8, 8),
        bins: int = 256,
        restore: bool = True,
        p: float = 0.5,
    ) -> None:
        super().__init__(p)
        self.clip_limit = checked_range("clip_limit", clip_limit, 0)
        self.grid = _checked(grid, bins)
        self.bins = int(bins)
        self.restore = bool(restore)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw ``clip_limit`` (B,)."""
        return {"clip_limit": draw(batch_shape[0], self.clip_limit)}

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Equalise float32 (B, C, H, W)."""
        low, high = extent(input)
        unit = (input - low).mul_(reciprocal(high - low))
        equalized = clahe(unit, params["clip_limit"], self.grid, self.bins)
        return with_moments_of(equalized, unit, low, high - low) if self.restore else equalized
