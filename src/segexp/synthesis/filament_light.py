"""The filaments' light: chains are cut into steps, steps into points along and across, and points are drawn to pixels.

The light of each point is shared bilinearly among the four pixels around it. The light of crossing filaments adds up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis.chains import STEP
from segexp.synthesis.filaments import Filaments

POINTS = 3  # sample points on each step; less than 1 px apart, so that the mask has no holes
ROW = 0.8  # px between neighbouring points of light across a filament


@dataclass
class Steps:
    """The steps of all chains of a batch, (S,) each, on the device; light and mask are drawn from them."""

    image: Tensor
    chain: Tensor  # number of the chain within its image, from 1
    y: Tensor  # first node, px
    x: Tensor
    dy: Tensor  # to the next node, px
    dx: Tensor
    width: Tensor
    extent: Tensor  # width of the mask
    light: Tensor  # fluorophore density
    peak: Tensor  # brightness after blur
    along: Tensor  # px from the chain's first node
    period: Tensor
    first: Tensor  # bool: no step of the chain joins this one at its start
    last: Tensor  # bool: none joins it at its end


Columns = dict[str, np.ndarray]  # the same on the CPU, to lay out tensors without waiting for the device


def steps(batch: Sequence[Filaments], device: torch.device) -> tuple[Steps, Columns]:
    """Cut the chains of a batch into steps; breaks are left out."""
    columns: list[Columns] = []
    for b, f in enumerate(batch):
        chain = np.repeat(np.arange(len(f)), np.diff(f.start))
        node = f.steps
        joined = np.zeros(len(chain) + 1, bool)  # whether a step begins at this node; the last element is not a node
        joined[node] = True
        c = chain[node]
        light = 0.5 * (f.light[node] + f.light[node + 1])
        columns.append(
            {
                "image": np.full(len(node), b), "chain": c + 1, "y": f.y[node], "x": f.x[node],
                "dy": f.y[node + 1] - f.y[node], "dx": f.x[node + 1] - f.x[node], "width": f.width[c],
                "extent": f.extent[c], "light": light * f.density[c], "peak": light * f.peak[c],
                "along": (node - f.start[c]) * STEP, "period": f.period[c],
                "first": ~joined[node - 1], "last": ~joined[node + 1],
            }
        )  # fmt: skip
    together = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    kinds = {"image": torch.int64, "chain": torch.int32, "first": torch.bool, "last": torch.bool}
    tensors = {name: torch.from_numpy(v).to(device, kinds.get(name, torch.float32)) for name, v in together.items()}
    return Steps(**tensors), together


def _deposit(canvas: Tensor, shape: tuple[int, int], image: Tensor, y: Tensor, x: Tensor, light: Tensor) -> None:
    """Share each point's light among the four pixels around it: image (P,); y, x, light (P, M); canvas (B*H*W + 1,).

    Light outside the image goes to a border, which is cheaper than testing for each of the four pixels if it is inside.
    """
    height, width = shape
    rows, columns = height + 3, width + 3
    y, x = y.clamp(-1.0, float(height)), x.clamp(-1.0, float(width))
    top, left = y.floor(), x.floor()
    lower = light * (y - top)
    right = x - left
    upper = light - lower
    lower_right, upper_right = lower * right, upper * right
    pixel = (top + 1.0).long().mul_(columns).add_((left + 1.0).long())
    pixel = pixel.add_((image * (rows * columns))[:, None]).flatten()
    bordered = torch.zeros(canvas.shape[0] // (height * width) * rows * columns, device=canvas.device)
    bordered.index_add_(0, pixel, (upper - upper_right).flatten())
    bordered.index_add_(0, pixel + 1, upper_right.flatten())
    bordered.index_add_(0, pixel + columns, (lower - lower_right).flatten())
    bordered.index_add_(0, pixel + (columns + 1), lower_right.flatten())
    inner = bordered.view(-1, rows, columns)[:, 1 : height + 1, 1 : width + 1]
    canvas[:-1].view(-1, height, width).add_(inner)


def draw_coarse(batch: Sequence[Filaments], canvas: Tensor, shape: tuple[int, int], coarse: int) -> None:
    """Add the light to a canvas of `shape` whose pixels are `coarse` px wide; for objects blurred by more than that."""
    s, _ = steps(batch, canvas.device)
    y, x = (s.y + 0.5 * s.dy + 0.5) / coarse - 0.5, (s.x + 0.5 * s.dx + 0.5) / coarse - 0.5
    light = s.light * s.width * torch.hypot(s.dy, s.dx) / coarse**2
    _deposit(canvas, shape, s.image, y[:, None], x[:, None], light[:, None])


def draw(batch: Sequence[Filaments], canvas: Tensor, shape: tuple[int, int]) -> tuple[Steps, Columns]:
    """Add the filaments' light to a flat canvas (B*H*W + 1,); return the steps, which `truth` needs."""
    s, columns = steps(batch, canvas.device)
    rows = np.ceil(columns["width"] / ROW).astype(int)
    step = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(step)) - np.repeat(rows.cumsum() - rows, rows)
    share = torch.from_numpy(((row + 0.5) / rows[step] - 0.5).astype(np.float32)).to(canvas.device)
    many = torch.from_numpy(rows[step].astype(np.float32)).to(canvas.device)
    pick = torch.from_numpy(step).to(canvas.device)

    dy, dx, period = s.dy[pick], s.dx[pick], s.period[pick][:, None]
    length = torch.hypot(dy, dx)
    aside = share * s.width[pick] / length
    t = (torch.arange(POINTS, device=canvas.device) + 0.5) / POINTS
    y = (s.y[pick] + aside * dx)[:, None] + t * dy[:, None]
    x = (s.x[pick] - aside * dy)[:, None] + t * dx[:, None]
    along = s.along[pick][:, None] + t * length[:, None]
    on = (period == 0) | (torch.remainder(along, period.clamp_min(1.0)) < 0.5 * period)
    light = on * (s.light[pick] * s.width[pick] * length / (POINTS * many))[:, None]
    _deposit(canvas, shape, s.image[pick], y, x, light)
    return s, columns
