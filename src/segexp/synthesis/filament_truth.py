"""The masks of filaments: all pixels whose centres lie within half a mask's width of a visible centreline."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis.filament_light import POINTS, Columns, Steps, steps
from segexp.synthesis.filaments import NARROWEST, Filaments
from segexp.synthesis.foreground import Foreground, bar_width
from segexp.synthesis.truth import Truth, View

THIN = (2.0, 2.5)  # px, mask widths so narrow that testing pixels along columns or rows misses none at bends
WIDEST_THIN = THIN[-1]
AT_ONCE = 2_000_000  # pixels tested at once: about 100 MB
AROUND = 5  # steps to either side whose majority decides whether a step is visible: about 30 px in all


def _majority(visible: Tensor, columns: Columns) -> Tensor:
    """Return the majority of the steps within `AROUND` on the same chain: no specks of mask, no gaps at crossings."""
    position = np.arange(len(columns["chain"]))
    new = (np.diff(columns["chain"], prepend=-1) != 0) | (np.diff(columns["image"], prepend=-1) != 0)
    start = np.flatnonzero(new)
    end = np.append(start[1:], len(position)) if len(start) else start
    low = np.maximum(position - AROUND, np.repeat(start, end - start))
    high = np.minimum(position + AROUND + 1, np.repeat(end, end - start))
    counted = torch.nn.functional.pad(visible.to(torch.int32).cumsum(0), (1, 0))
    first, last = torch.from_numpy(low).to(visible.device), torch.from_numpy(high).to(visible.device)
    return 2 * (counted[last] - counted[first]) > last - first


def _to_segment(s: Steps, pick: Tensor, across: Tensor, forth: Tensor, length: Tensor) -> Tensor:
    """Return the squared distances of pixels from their steps; `across` and `forth` are px across and along, (S, ...).

    Beyond a step's ends, the distance is that to the nearer end. Beyond a chain's ends it is made so large that no
    pixel is covered.
    """
    trailing = (-1,) + (1,) * (across.dim() - 1)
    before = torch.where(s.first[pick], 1e3, 1.0).view(trailing)
    after = torch.where(s.last[pick], 1e3, 1.0).view(trailing)
    beyond = (forth - length.view(trailing)).clamp_min_(0.0).mul_(after)
    beyond += forth.neg_().clamp_min_(0.0).mul_(before)
    return across.square_().addcmul_(beyond, beyond)


def _write(labels: Tensor, s: Steps, pick: Tensor, pixel: Tensor, covered: Tensor) -> None:
    pixel = torch.where(covered, pixel, labels.shape[0] - 1)
    values = s.chain[pick].view((-1,) + (1,) * (pixel.dim() - 1)).expand_as(pixel)
    labels.scatter_reduce_(0, pixel.flatten(), values.flatten(), "amax")


def _label_thin(
    labels: Tensor, s: Steps, pick: Tensor, steep: Tensor, reach: Tensor, half: int, shape: tuple[int, int]
) -> None:
    """Label along steps: at each of `POINTS` points, the pixels of its column are tested, or of its row where `steep`.

    As the points are less than 1 px apart, no pixel within 1.25 px of the filament is missed, and few are tested twice.
    """
    height, width = shape
    t = (torch.arange(POINTS, device=labels.device) + 0.5) / POINTS
    dy, dx, steep = s.dy[pick][:, None], s.dx[pick][:, None], steep[:, None]
    length = torch.hypot(dy, dx)
    ty, tx = dy / length, dx / length
    py, px = s.y[pick][:, None] + t * dy, s.x[pick][:, None] + t * dx
    row, column = py.round(), px.round()
    oy, ox = row - py, column - px
    # Position of the window's middle pixel across and along the line, and the change of both to the next pixel
    across, forth = ox * ty - oy * tx, ox * tx + oy * ty + t * length
    across_step, forth_step = torch.where(steep, ty, -tx), torch.where(steep, tx, ty)
    window = torch.arange(-half, half + 1, device=labels.device, dtype=torch.float32)
    across = across[..., None] + across_step[..., None] * window
    forth = forth[..., None] + forth_step[..., None] * window
    covered = _to_segment(s, pick, across, forth, length) <= reach[:, None, None]
    inside = torch.where(steep, (row >= 0) & (row < height), (column >= 0) & (column < width))
    moving = torch.where(steep, column, row)[..., None] + window
    covered &= inside[..., None] & (moving >= 0) & (moving < torch.where(steep, width, height)[..., None])
    base = (s.image[pick][:, None] * height + row.long()) * width + column.long()
    pixel = base[..., None] + torch.where(steep, 1, width)[..., None] * window.long()
    _write(labels, s, pick, pixel, covered)


def _label_wide(labels: Tensor, s: Steps, pick: Tensor, reach: Tensor, half: int, shape: tuple[int, int]) -> None:
    """Label along steps: all pixels of a square around each step's middle are tested."""
    height, width = shape
    dy, dx = s.dy[pick][:, None], s.dx[pick][:, None]
    length = torch.hypot(dy, dx)
    window = torch.arange(-half, half + 1, device=labels.device)
    row = (s.y[pick][:, None] + 0.5 * dy).round().long() + window.repeat_interleave(2 * half + 1)
    column = (s.x[pick][:, None] + 0.5 * dx).round().long() + window.repeat(2 * half + 1)
    oy, ox = row - s.y[pick][:, None], column - s.x[pick][:, None]
    across, forth = (ox * dy - oy * dx) / length, (ox * dx + oy * dy) / length
    covered = _to_segment(s, pick, across, forth, length) <= reach[:, None]
    covered &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    _write(labels, s, pick, (s.image[pick][:, None] * height + row) * width + column, covered)


def _label(labels: Tensor, s: Steps, columns: Columns, chosen: Tensor, shape: tuple[int, int]) -> None:
    """Write the chains' numbers into flat labels (B*H*W + 1,) around the chosen steps (bool, on the device)."""
    device = labels.device
    reach = torch.where(chosen, 0.25 * s.extent**2, -1.0)
    # On a GPU all steps are drawn: waiting for `chosen` would cost more
    drawn = chosen.numpy() if device.type == "cpu" else np.bool_(True)
    extents, length = columns["extent"], np.hypot(columns["dy"], columns["dx"])
    runs_steep = np.abs(columns["dy"]) > np.abs(columns["dx"])
    turn = np.zeros(len(extents), bool)  # steps tested along columns and rows: one alone misses the outside of the bend
    turn[1:] = np.diff(runs_steep)
    turn[:-1] |= turn[1:]
    narrow = (extents <= WIDEST_THIN) & (length < 0.99 * POINTS)  # steps on the outside of a bundle's bend are longer
    for low, high in zip((0.0, *THIN), THIN, strict=False):
        thin = narrow & (extents > low) & (extents <= high) & drawn
        order = np.concatenate([np.flatnonzero(thin), np.flatnonzero(thin & turn)])
        if len(order):
            steep = runs_steep[order] ^ (np.arange(len(order)) >= np.count_nonzero(thin))
            pick = torch.from_numpy(order).to(device)
            half = int(0.5 * high * 2**0.5 + 0.501)  # px from the rounded position, beyond which no pixel is covered
            _label_thin(labels, s, pick, torch.from_numpy(steep).to(device), reach[pick], half, shape)
    reaches = (0.5 * (length + extents) + 0.501).astype(int)
    for half in np.unique(reaches[~narrow & drawn]):
        wide = np.flatnonzero(~narrow & drawn & (reaches == half))
        most = max(1, AT_ONCE // (2 * int(half) + 1) ** 2)
        for begin in range(0, len(wide), most):
            pick = torch.from_numpy(wide[begin : begin + most]).to(device)
            _label_wide(labels, s, pick, reach[pick], int(half), shape)


def truth(batch: Sequence[Filaments], laid: tuple[Steps, Columns], view: View, faint: bool) -> Truth:
    """Decide which steps are visible, and label them; `faint`: also mark where the invisible ones lie."""
    s, columns = laid
    labels = torch.zeros(view.expected.shape[0] + 1, dtype=torch.int32, device=view.expected.device)
    dotted = torch.where(s.period > 0, 0.5, 1.0)
    usual = s.width.clamp_min(NARROWEST)
    visible = view.visible(s.image, s.y + 0.5 * s.dy, s.x + 0.5 * s.dx, s.peak * dotted, 15.0 * usual)
    visible = _majority(visible, columns)
    _label(labels, s, columns, visible, view.shape)
    unseen = torch.zeros_like(labels) if faint else None
    if unseen is not None:
        _label(unseen, s, columns, ~visible, view.shape)
    return Truth(labels[:-1], visible, None if unseen is None else unseen[:-1] > 0)


def resized(filaments: Filaments, psf: float, foreground: Foreground) -> Filaments:
    """Return the filaments with the mask widths that `foreground` sets."""
    if foreground.width is not None:
        return replace(filaments, extent=np.full(len(filaments), float(foreground.width)))
    if foreground.share is not None:
        return replace(filaments, extent=bar_width(filaments.width, psf, foreground.share))
    return filaments


def out_of_focus(
    batch: Sequence[Filaments], defocus: Sequence[float], shape: tuple[int, int], canvas: Tensor
) -> Tensor:
    """Return where filaments out of focus lie, at their images' full width at half maximum, bool (B*H*W,)."""
    wide = [replace(f, extent=np.maximum(f.width, 2.355 * d)) for f, d in zip(batch, defocus, strict=True)]
    s, columns = steps(wide, canvas.device)
    labels = torch.zeros(canvas.shape, dtype=torch.int32, device=canvas.device)
    _label(labels, s, columns, torch.ones_like(s.first), shape)
    return labels[:-1] > 0
