"""Filaments: curved fibres with a persistence length, crossing, bundled, radial or parallel, in cells or free.

A filament is a worm-like chain: a polyline with nodes each `STEP` px whose direction takes normal steps of variance
STEP / persistence. Its light is spread on points along and across it, bilinearly: crossings add up.

Truth: a filament covers the pixels whose centres lie within W / 2 of its centreline, W = max(2 px, its own width
before blur), ends cut square. Dots closer than 9 px are one filament, so dotted labelling keeps a whole mask; in
longer breaks there is none. Filaments out of focus are never foreground, invisible stretches (see `truth`) neither,
distractor blobs neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis import cells as cell
from segexp.synthesis import discs
from segexp.synthesis.optics import bar_peak
from segexp.synthesis.ranges import Range, Style
from segexp.synthesis.truth import View

STEP = 2.9  # px between nodes: a circle of radius 10 px leaves its polyline by 0.11 px
POINTS = 3  # places looked at on each step; less than 1 px apart, so that the mask has no holes
AROUND = 5  # steps to either side that decide together whether a stretch is visible: some 30 px in all
ROW = 0.8  # px between points of light side by side
MOST = 60000.0  # px of filament in an image of 512x512

FILAMENTS: dict[str, Range] = {
    "filaments": Range(8.0, 300.0, "filaments/512x512 px", "expected number of filaments or bundles", "log"),
    "length": Range(50.0, 400.0, "px", "median length", "log"),
    "persistence": Range(40.0, 2000.0, "px", "persistence length", "log"),
    "curl": Range(0.0, 0.008, "rad/px", "standard deviation of the filaments' own constant curvature"),
    "width": Range(0.8, 2.5, "px", "median width before blur", "log"),
    "width_spread": Range(0.0, 0.35, "ln(px)", "standard deviation of the log width"),
    "contrast": Range(1.0, 12.0, "ratio", "brightest over dimmest filament; evenly in the logarithm between", "log"),
    "variation": Range(0.0, 0.4, "share", "slow change of brightness along a filament"),
    "in_cells": Range(0.0, 1.0, "share", "filaments that start in cells and end at their outlines"),
    "leaving": Range(0.0, 0.15, "share", "filaments of cells that cross the outline"),
    "order": Range(0.0, 0.6, "share", "0: any direction, 1: parallel to the cell's or the image's axis"),
    "radial": Range(0.0, 0.2, "share", "filaments that start at the cell's organising centre"),
    "bundle": Range(1.0, 2.0, "filaments", "expected filaments in a bundle"),
    "bundle_width": Range(0.8, 3.0, "px", "standard deviation of their places across the bundle"),
    "dotted": Range(0.0, 0.2, "share", "filaments with dotted labelling (periods of 4 to 9 px)"),
    "broken": Range(0.0, 0.2, "share", "filaments with long unlabelled breaks"),
    "blurred": Range(0.0, 0.4, "share", "filaments out of focus, against those in focus"),
    "blobs": Range(0.0, 40.0, "blobs/512x512 px", "expected number of distractor blobs, bright and dark"),
    "blob_radius": Range(1.0, 6.0, "px", "median radius of the blobs", "log"),
}

STYLES: dict[str, Style] = {
    # Crossing filaments all over cells
    "network": Style(0.25, {"in_cells": (0.7, 1.0), "filaments": (60.0, 400.0), "persistence": (40.0, 500.0)}),
    # Fine dense filaments in large cells that fill most of the image, thick bundles among them
    "mesh": Style(
        0.15,
        {
            "in_cells": (0.97, 1.0), "filaments": (150.0, 500.0), "length": (60.0, 200.0), "width": (0.7, 1.1),
            "radial": 0.0, "leaving": (0.0, 0.03),
            "cells": (1.5, 4.0), "cell_radius": (120.0, 260.0), "cell_elongation": (1.2, 3.0), "order": (0.0, 0.8),
            "contrast": (3.0, 12.0), "persistence": (60.0, 500.0), "haze": (0.03, 0.3), "blurred": (0.0, 0.3),
            "psf": (0.8, 1.3), "bundle": (1.0, 1.5), "dotted": 0.0,
        },
    ),
    # Microtubules from a centrosome
    "aster": Style(
        0.15,
        {
            "in_cells": 1.0, "radial": (0.7, 1.0), "filaments": (60.0, 300.0), "length": (100.0, 400.0),
            "persistence": (150.0, 2000.0), "cell_radius": (70.0, 200.0),
        },
    ),
    # Stress fibres along the cell, many of them wide and hardly brighter than the haze
    "stress": Style(
        0.15,
        {
            "in_cells": 1.0, "order": (0.7, 0.97), "radial": 0.0, "bundle": (1.0, 3.0), "persistence": (500.0, 5000.0),
            "curl": (0.0, 0.002), "filaments": (40.0, 250.0), "width": (0.8, 3.0), "contrast": (2.0, 10.0),
            "cells": (1.0, 3.0), "cell_elongation": (1.2, 3.0), "cell_radius": (80.0, 240.0), "haze": (0.08, 1.2),
            "psf": (0.9, 2.2), "dotted": 0.0,
        },
    ),
    # Purified filaments on a flat background
    "free": Style(
        0.15,
        {
            "in_cells": 0.0, "cells": 0.0, "filaments": (5.0, 80.0), "blurred": (0.0, 0.1), "unevenness": (0.0, 0.3),
            "contrast": (1.0, 3.0), "dotted": (0.0, 0.5),
        },
    ),
    # A few filaments in a hazy cell among blobs, on a noisy, uneven background
    "sparse": Style(
        0.15,
        {
            "in_cells": 1.0, "cells": (0.7, 1.5), "filaments": (12.0, 60.0), "haze": (0.2, 1.2), "leaving": (0.0, 0.05),
            "background": (0.3, 1.2), "unevenness": (0.2, 0.8), "contrast": (1.5, 5.0), "photons": (15.0, 200.0),
            "exposure": (0.2, 0.8), "psf": (1.0, 1.8), "cell_radius": (80.0, 180.0), "cell_polygons": (0.5, 1.0),
            "nucleus": 0.0, "texture": (0.0, 0.15), "curl": (0.0, 0.015), "dotted": (0.0, 0.4),
            "blobs": (15.0, 60.0), "blob_radius": (2.5, 8.0),
        },
    ),
}  # fmt: skip


@dataclass
class Filaments:
    """The truth about an image's filaments: N chains, label k is chain k - 1; all nodes in one array."""

    y: np.ndarray  # (nodes,) px
    x: np.ndarray
    light: np.ndarray  # (nodes,) share of the chain's brightness; 0 in breaks
    start: np.ndarray  # (N + 1,) where each chain's nodes begin
    width: np.ndarray  # (N,) px, before blur
    peak: np.ndarray  # (N,) brightness that the chain adds at its centreline after blur
    density: np.ndarray  # (N,) fluorophore density that this takes
    period: np.ndarray  # (N,) px between dots; 0 is continuous
    visible: np.ndarray  # (nodes,) bool: whether the step from this node is foreground

    def __len__(self) -> int:
        return len(self.width)

    @property
    def steps(self) -> np.ndarray:
        """Give the nodes from which a labelled step leads to the next node of the same chain."""
        chain = np.repeat(np.arange(len(self)), np.diff(self.start))
        lit = self.light > 0
        return np.flatnonzero((chain[:-1] == chain[1:]) & lit[:-1] & lit[1:])

    def mark(self, visible: np.ndarray, first: int) -> int:
        """Take this image's entries of a batch's visibility, from `first` on; give where the next image's begin."""
        node = self.steps
        self.visible[node] = visible[first : first + len(node)]
        return first + len(node)

    @property
    def centrelines(self) -> list[np.ndarray]:
        """Give each chain's (n, 2) nodes: y, x in px, pixel centres at whole numbers."""
        return np.split(np.stack([self.y, self.x], 1), self.start[1:-1]) if len(self) else []

    @property
    def lengths(self) -> np.ndarray:
        """Give the contour lengths (N,), px."""
        return (np.diff(self.start) - 1) * STEP

    @property
    def extent(self) -> np.ndarray:
        """Give the widths of the masks (N,), px."""
        return np.maximum(2.0, self.width)


def chains(
    rng: np.random.Generator,
    y: np.ndarray,
    x: np.ndarray,
    direction: np.ndarray,
    nodes: int,
    persistence: float,
    curl: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grow worm-like chains from first nodes: (N,) each -> y, x (N, nodes) and direction (N, nodes - 1), radians."""
    angle = rng.standard_normal((len(y), nodes - 1), dtype=np.float32)
    angle *= np.float32(np.sqrt(STEP / persistence))
    angle += (STEP * curl[:, None]).astype(np.float32)
    angle[:, 0] = direction
    np.cumsum(angle, 1, out=angle)
    ys, xs = np.empty((len(y), nodes), np.float32), np.empty((len(y), nodes), np.float32)
    for place, first, turn in ((ys, y, np.sin), (xs, x, np.cos)):
        place[:, 0] = first
        np.multiply(turn(angle), np.float32(STEP), out=place[:, 1:])
        np.cumsum(place, 1, out=place)
    return ys, xs, angle


def _kept(inside: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Keep of each row of a bool (N, nodes) the run of True around its middle place."""
    column = np.arange(inside.shape[1])
    forward = np.logical_and.accumulate(inside | (column < middle[:, None]), 1)
    backward = np.logical_and.accumulate((inside | (column > middle[:, None]))[:, ::-1], 1)[:, ::-1]
    return forward & backward


def _slow(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Give smooth random curves along the second axis, about standard normal, that change over some 30 px."""
    knots = rng.standard_normal((shape[0], shape[1] // 10 + 2), dtype=np.float32)
    place = np.arange(shape[1], dtype=np.float32) / 10
    left = place.astype(int)
    share = place - left
    mixed = knots[:, left] * (1 - share) + knots[:, left + 1] * share
    return mixed / np.sqrt((1 - share) ** 2 + share**2)


def _sample_chains(
    rng: np.random.Generator, count: int, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> Filaments:
    """Draw bundles of chains, cut at the outlines of their cells."""
    height, width = size
    longest = max(4 * STEP, min(3.0 * p["length"], 1.2 * float(np.hypot(height, width))))
    length = (p["length"] * np.exp(0.5 * rng.standard_normal(count))).clip(4 * STEP, longest)
    nodes = np.ceil(length / STEP).astype(int) + 1
    most = int(nodes.max(initial=2))
    y, x = rng.uniform(0, height, count), rng.uniform(0, width, count)
    axis = np.full(count, rng.uniform(0, np.pi))
    radial = rng.random(count) < p["radial"]
    confined = np.zeros(count, bool)
    gain = np.ones(count)
    owner = np.zeros(count, int)
    if len(cells):
        cy, cx, owner = cells.place(rng, count)
        confined = rng.random(count) < p["in_cells"]
        centre = cells.nucleus[owner] + 0.15 * cells.nucleus[owner, 2:] * rng.standard_normal((count, 3))
        y = np.where(confined, np.where(radial, centre[:, 0], cy), y)
        x = np.where(confined, np.where(radial, centre[:, 1], cx), x)
        axis = np.where(confined, cells.angle[owner], axis)
        gain = np.where(confined, cells.gain[owner], gain)
    radial &= confined
    free = rng.uniform(0, 2 * np.pi, count)
    spread = (1 - p["order"]) * np.pi / 2 * rng.uniform(-1, 1, count)
    direction = np.where(radial, free, axis + spread + np.pi * rng.integers(0, 2, count))
    curl = p["curl"] * rng.standard_normal(count)
    ys, xs, angle = chains(rng, y, x, direction, most, p["persistence"], curl)

    # A chain that is not radial has its middle, not its end, at the drawn place
    middle = np.where(radial, 0, nodes // 2)
    row = np.arange(count)
    ys -= ys[row, middle][:, None]
    xs -= xs[row, middle][:, None]
    turned = np.where(radial, 0.0, direction - angle[row, np.minimum(middle, most - 2)])[:, None]
    cos, sin = np.cos(turned).astype(np.float32), np.sin(turned).astype(np.float32)
    ys, xs = (
        y[:, None].astype(np.float32) + cos * ys + sin * xs,
        x[:, None].astype(np.float32) - sin * ys + cos * xs,
    )
    keep = np.arange(most) < nodes[:, None]
    if len(cells):
        held = confined & (rng.random(count) >= p["leaving"])
        inside = cells.level(ys, xs, np.broadcast_to(owner[:, None], ys.shape)) > 0
        keep &= inside | ~held[:, None]
    keep = _kept(keep, middle)
    held_nodes = np.flatnonzero(keep.any(axis=0))
    if len(held_nodes):
        most = int(held_nodes[-1]) + 1
        ys, xs, keep = ys[:, :most], xs[:, :most], keep[:, :most]

    # Bundles: copies beside the chain, each wandering a little and ending where it likes
    strands = 1 + rng.poisson(p["bundle"] - 1.0, count)
    copy = np.repeat(row, strands)
    bundled = strands[copy] > 1
    along_y, along_x = ys, xs
    ys, xs, keep = ys[copy], xs[copy], keep[copy]
    if bundled.any():
        dy, dx = (np.gradient(along, STEP, axis=1)[copy] for along in (along_y, along_x))
        phase = rng.uniform(0.0, np.pi, (len(copy), 1)) + np.arange(most) * STEP / 80.0
        aside = p["bundle_width"] * rng.standard_normal((len(copy), 1)) * np.cos(phase)
        aside = ((aside + 0.7 * _slow(rng, keep.shape)) * bundled[:, None]).astype(np.float32)
        ys, xs = ys + aside * dx, xs - aside * dy
    count_kept = keep.sum(1)
    place = (np.cumsum(keep, 1) - 1) / np.maximum(count_kept - 1, 1)[:, None]  # 0 at the first kept node, 1 at the last
    ends = np.where(bundled[:, None], rng.uniform(0.0, 0.35, (len(copy), 2)), 0.0)
    keep &= ((place >= ends[:, :1]) | radial[copy][:, None]) & (place <= 1.0 - ends[:, 1:])

    margin = 6.0
    keep &= (ys > -margin) & (ys < height + margin) & (xs > -margin) & (xs < width + margin)
    keep = _kept(keep, np.where(keep.any(1), keep.argmax(1), 0))
    keep &= keep.sum(1, keepdims=True) >= 3
    light = (1.0 + p["variation"] * _slow(rng, keep.shape)).clip(0.15, 2.0)
    broken = rng.random(len(copy)) < p["broken"]
    if broken.any():
        light[broken] = np.where(_slow(rng, (int(broken.sum()), most)) < -0.5, 0.0, light[broken])
    dotted = rng.random(len(copy)) < p["dotted"]
    period = np.where(dotted, rng.uniform(4.0, 9.0, len(copy)), 0.0)
    widths = (p["width"] * np.exp(p["width_spread"] * rng.standard_normal(len(copy)))).clip(0.5, 8.0)
    peak = gain[copy] * p["contrast"] ** -rng.random(len(copy)) / strands[copy] ** 0.7

    alive = keep.any(1)
    start = np.concatenate([[0], keep[alive].sum(1).cumsum()])
    widths, peak = widths[alive], peak[alive]
    density = peak / bar_peak(widths, p["psf"])
    visible = np.zeros(start[-1], bool)
    return Filaments(ys[keep], xs[keep], light[keep], start, widths, peak, density, period[alive], visible)


def _sample_blobs(
    rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> discs.Discs:
    """Draw distractors: round, bright or dark, most of them in cells."""
    count = rng.poisson(p["blobs"] * size[0] * size[1] / 512**2)
    y, x = rng.uniform(0, size[0], count), rng.uniform(0, size[1], count)
    level = np.full(count, p["background"])
    if len(cells):
        cy, cx, owner = cells.place(rng, count)
        inside = rng.random(count) < 0.8
        y, x = np.where(inside, cy, y), np.where(inside, cx, x)
        level = np.where(inside, cells.haze[owner], level)
    radius = (p["blob_radius"] * np.exp(0.4 * rng.standard_normal(count))).clip(0.8, 15.0)
    dark = rng.random(count) < 0.4
    brightness = np.where(dark, -level * rng.uniform(0.2, 0.7, count), p["contrast"] ** -rng.random(count))
    return discs.make(
        y, x, radius, brightness, elongation=rng.uniform(1.0, 1.4, count), angle=rng.uniform(0, np.pi, count)
    )


def sample(
    rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> tuple[Filaments, Filaments, discs.Discs]:
    """Draw one image's filaments in focus, filaments out of focus, and distractor blobs."""
    scale = size[0] * size[1] / 512**2
    most = MOST * scale / (p["length"] * p["bundle"])
    count = rng.poisson(min(p["filaments"] * scale, most))
    sharp = _sample_chains(rng, count, p, size, cells)
    blurred = _sample_chains(rng, rng.poisson(p["blurred"] * count), p, size, cells)
    return sharp, blurred, _sample_blobs(rng, p, size, cells)


@dataclass
class Steps:
    """The steps of all chains of a batch, (S,) each, on the device: what light and mask are drawn from."""

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
    first: Tensor  # bool: nothing before this step, nothing after it
    last: Tensor


Columns = dict[str, np.ndarray]  # the same on the CPU, to lay out tensors without waiting for the device


def steps(batch: Sequence[Filaments], device: torch.device) -> tuple[Steps, Columns]:
    """Cut the chains of a batch into steps; breaks are left out."""
    columns: list[Columns] = []
    for b, f in enumerate(batch):
        chain = np.repeat(np.arange(len(f)), np.diff(f.start))
        node = f.steps
        joined = np.zeros(len(chain) + 1, bool)  # whether a step leads from this node; the last place is no node
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
    """Share points' light among the four pixels around each: image (P,), the rest (P, M), canvas (B*H*W + 1,).

    A border takes what falls outside: cheaper than asking each of the four whether it is inside.
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
    """Add the light to a canvas of `shape` whose pixels are `coarse` px wide: for what is blurred by more than that."""
    s, _ = steps(batch, canvas.device)
    y, x = (s.y + 0.5 * s.dy + 0.5) / coarse - 0.5, (s.x + 0.5 * s.dx + 0.5) / coarse - 0.5
    light = s.light * s.width * torch.hypot(s.dy, s.dx) / coarse**2
    _deposit(canvas, shape, s.image, y[:, None], x[:, None], light[:, None])


def draw(batch: Sequence[Filaments], canvas: Tensor, shape: tuple[int, int]) -> tuple[Steps, Columns]:
    """Add the filaments' light to a flat canvas of (B*H*W + 1,); give what `truth` needs."""
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


def _majority(visible: Tensor, columns: Columns) -> Tensor:
    """Let the steps within `AROUND` of a step on its chain decide with it: no specks of mask, no gaps at crossings."""
    place = np.arange(len(columns["chain"]))
    new = (np.diff(columns["chain"], prepend=-1) != 0) | (np.diff(columns["image"], prepend=-1) != 0)
    start = np.flatnonzero(new)
    end = np.append(start[1:], len(place)) if len(start) else start
    low = np.maximum(place - AROUND, np.repeat(start, end - start))
    high = np.minimum(place + AROUND + 1, np.repeat(end, end - start))
    counted = torch.nn.functional.pad(visible.to(torch.int32).cumsum(0), (1, 0))
    first, last = torch.from_numpy(low).to(visible.device), torch.from_numpy(high).to(visible.device)
    return 2 * (counted[last] - counted[first]) > last - first


def truth(batch: Sequence[Filaments], laid: tuple[Steps, Columns], view: View) -> tuple[Tensor, Tensor]:
    """Give labels int32 (B*H*W,) and which steps are visible, bool over the batch's steps in order.

    Each place on a step looks at the pixels of one column (of one row where the filament runs steeply): with places
    less than 1 px apart no pixel near the filament is missed, and few are looked at twice.
    """
    s, columns = laid
    height, width = view.shape
    device = view.expected.device
    labels = torch.zeros(view.expected.shape[0] + 1, dtype=torch.int32, device=device)
    dotted = torch.where(s.period > 0, 0.5, 1.0)
    area = 15.0 * s.extent
    visible = view.visible(s.image, s.y + 0.5 * s.dy, s.x + 0.5 * s.dx, s.peak * dotted, area)
    visible = _majority(visible, columns)
    t = (torch.arange(POINTS, device=device) + 0.5) / POINTS
    runs_steep = np.abs(columns["dy"]) > np.abs(columns["dx"])
    turn = np.flatnonzero(np.diff(runs_steep))
    turn = np.unique(np.concatenate([turn, turn + 1]))  # looked at both ways, or the outside of the bend is missed
    order = np.concatenate([np.arange(len(runs_steep)), turn])
    runs_steep = np.concatenate([runs_steep, ~runs_steep[turn]])
    extents = columns["extent"][order]
    seen = visible.numpy()[order] if device.type == "cpu" else True  # elsewhere asking costs more than drawing all
    for thin in (True, False):
        chosen = ((extents <= 2.5) == thin) & seen
        if not chosen.any():
            continue
        pick = torch.from_numpy(order[chosen]).to(device)
        steep = torch.from_numpy(runs_steep[chosen]).to(device)[:, None]
        half = int(np.ceil(extents[chosen].max() / 2 * 1.4143 + 0.5))
        dy, dx = s.dy[pick][:, None], s.dx[pick][:, None]
        length = torch.hypot(dy, dx)
        ty, tx = dy / length, dx / length
        py, px = s.y[pick][:, None] + t * dy, s.x[pick][:, None] + t * dx
        row, column = py.round(), px.round()
        oy, ox = row - py, column - px
        # Distances of the window's middle pixel from the line and along it, and their change to the next pixel
        across, forth = ox * ty - oy * tx, ox * tx + oy * ty + t * length
        across_step, forth_step = torch.where(steep, ty, -tx), torch.where(steep, tx, ty)
        window = torch.arange(-half, half + 1, device=device, dtype=torch.float32)
        across = across[..., None] + across_step[..., None] * window
        forth = forth[..., None] + forth_step[..., None] * window
        # Beyond a step's ends the distance is that to the end; beyond a chain's ends there is nothing
        before, after = torch.where(s.first[pick], 1e3, 1.0), torch.where(s.last[pick], 1e3, 1.0)
        beyond = (forth - length[..., None]).clamp_min_(0.0).mul_(after[:, None, None])
        beyond += forth.neg_().clamp_min_(0.0).mul_(before[:, None, None])
        square = across.square_().addcmul_(beyond, beyond)
        reach = torch.where(visible[pick], 0.25 * s.extent[pick] ** 2, -1.0)
        covered = square <= reach[:, None, None]
        inside = torch.where(steep, (row >= 0) & (row < height), (column >= 0) & (column < width))
        moving = torch.where(steep, column, row)[..., None] + window
        covered &= inside[..., None] & (moving >= 0) & (moving < torch.where(steep, width, height)[..., None])
        base = (s.image[pick][:, None] * height + row.long()) * width + column.long()
        pixel = base[..., None] + torch.where(steep, 1, width)[..., None] * window.long()
        pixel = torch.where(covered, pixel, labels.shape[0] - 1)
        values = s.chain[pick][:, None, None].expand_as(pixel)
        labels.scatter_reduce_(0, pixel.flatten(), values.flatten(), "amax")
    return labels[:-1], visible
