"""Filaments: curved fibres, crossing, bundled, branching, radial or parallel, in cells or free.

`chains` grows their courses, `filament_light` draws their light and `filament_truth` their mask.

Mask: a filament covers the pixels whose centres lie within W / 2 of its centreline, with W = max(2 px, its own width
before blur) and square ends. Dotted labelling (dots less than 9 px apart) has an unbroken mask; longer breaks are left
out. These are not foreground: filaments out of focus, invisible stretches (see `truth`), distractor blobs and the
structures that `untraced` draws. A person traces only filaments that stand out, so a filament that adds less than
`prominence` to the light under and around it, or that is dimmer than `faintest`, is not foreground either.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segexp.synthesis import cells as cell
from segexp.synthesis import chains, discs
from segexp.synthesis.chains import STEP
from segexp.synthesis.optics import bar_peak
from segexp.synthesis.ranges import Range

NARROWEST = 2.0  # px, least width of a mask
MOST = 60000.0  # px, largest expected total length of filaments in an image of 512x512

FILAMENTS: dict[str, Range] = {
    "filaments": Range(8.0, 300.0, "filaments/512x512 px", "expected number of filaments or bundles", "log"),
    "length": Range(50.0, 400.0, "px", "median length", "log"),
    "persistence": Range(40.0, 2000.0, "px", "persistence length", "log"),
    "curl": Range(0.0, 0.008, "rad/px", "standard deviation of the filaments' own constant curvature"),
    "width": Range(0.8, 2.5, "px", "median width before blur", "log"),
    "width_spread": Range(0.0, 0.35, "ln(px)", "standard deviation of the log width"),
    "contrast": Range(1.0, 12.0, "ratio", "brightest over dimmest filament; log-uniform between them", "log"),
    "variation": Range(0.0, 0.4, "share", "slow change of brightness along a filament"),
    "in_cells": Range(0.0, 1.0, "share", "filaments that start in cells and end at their outlines"),
    "leaving": Range(0.0, 0.15, "share", "filaments of cells that cross the outline"),
    "order": Range(0.0, 0.6, "share", "0: any direction, 1: parallel to the cell's or the image's axis"),
    "radial": Range(0.0, 0.2, "share", "filaments that start at the cell's organising centre"),
    "cortex": Range(0.0, 0.15, "share", "filaments of cells that run along the outline"),
    "spikes": Range(0.0, 0.1, "share", "filaments of cells that stick out of the outline, as filopodia do"),
    "branches": Range(0.0, 0.0, "branches/100 px", "expected branches along a filament, at 70 degrees"),
    "spacing": Range(0.0, 0.0, "px", "distance between the lines of a parallel array; 0: no lines"),
    "bundle": Range(1.0, 2.0, "filaments", "expected filaments in a bundle"),
    "bundle_width": Range(0.8, 3.0, "px", "standard deviation of the filaments' positions across a bundle"),
    "dotted": Range(0.0, 0.2, "share", "filaments with dotted labelling (periods of 4 to 9 px)"),
    "broken": Range(0.0, 0.2, "share", "filaments with long unlabelled breaks"),
    "blurred": Range(0.0, 0.4, "share", "filaments out of focus per filament in focus"),
    "blobs": Range(0.0, 40.0, "blobs/512x512 px", "expected number of distractor blobs, bright and dark"),
    "blob_radius": Range(1.0, 6.0, "px", "median radius of the blobs", "log"),
}


@dataclass
class Filaments:
    """The true filaments of an image: N chains, of which label k is chain k - 1; all nodes are in one array."""

    y: np.ndarray  # (nodes,) px
    x: np.ndarray
    light: np.ndarray  # (nodes,) share of the chain's brightness; 0 in breaks
    start: np.ndarray  # (N + 1,) where each chain's nodes begin
    width: np.ndarray  # (N,) px, before blur
    extent: np.ndarray  # (N,) px, of the mask
    peak: np.ndarray  # (N,) brightness that the chain adds at its centreline after blur
    density: np.ndarray  # (N,) fluorophore density that gives this peak
    period: np.ndarray  # (N,) px between dots; 0: continuous
    visible: np.ndarray  # (nodes,) bool: whether the step from this node is foreground

    def __len__(self) -> int:
        return len(self.width)

    @property
    def steps(self) -> np.ndarray:
        """Return the nodes at which a labelled step to the next node of the same chain begins."""
        chain = np.repeat(np.arange(len(self)), np.diff(self.start))
        lit = self.light > 0
        return np.flatnonzero((chain[:-1] == chain[1:]) & lit[:-1] & lit[1:])

    def mark(self, visible: np.ndarray, first: int) -> int:
        """Store this image's part of a batch's visibility, from index `first` on; return the index after it."""
        node = self.steps
        self.visible[node] = visible[first : first + len(node)]
        return first + len(node)

    @property
    def centrelines(self) -> list[np.ndarray]:
        """Return each chain's (n, 2) nodes: y, x in px, pixel centres at whole numbers."""
        return np.split(np.stack([self.y, self.x], 1), self.start[1:-1]) if len(self) else []

    @property
    def lengths(self) -> np.ndarray:
        """Return the contour lengths (N,), px, of the parts in the image and 6 px around it."""
        walked = np.append(0.0, np.hypot(np.diff(self.y), np.diff(self.x)).cumsum())
        return walked[self.start[1:] - 1] - walked[self.start[:-1]] if len(self) else np.zeros(0)


def _starts(
    rng: np.random.Generator, count: int, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> tuple[chains.Starts, np.ndarray, np.ndarray]:
    """Draw the starts of chains, the brightness of each chain's cell, and which chains run along outlines (bool)."""
    height, width = size
    longest = max(4 * STEP, min(3.0 * p["length"], 1.2 * float(np.hypot(height, width))))
    length = (p["length"] * np.exp(0.5 * rng.standard_normal(count))).clip(4 * STEP, longest)
    y, x = rng.uniform(0, height, count), rng.uniform(0, width, count)
    axis = np.full(count, rng.uniform(0, np.pi))
    owner, gain, confined = np.zeros(count, int), np.ones(count), np.zeros(count, bool)
    kind = rng.random(count)  # radial, along the outline, a spike, or none of these
    radial, cortex, spike = np.zeros((3, count), bool)
    if len(cells):
        cy, cx, owner = cells.place(rng, count)
        inside = rng.random(count) < p["in_cells"]
        y, x = np.where(inside, cy, y), np.where(inside, cx, x)
        axis = np.where(inside, cells.angle[owner], axis)
        gain = np.where(inside, cells.gain[owner], gain)
        confined = inside & (rng.random(count) >= p["leaving"])
        edges = np.array([p["radial"], p["cortex"], p["spikes"]]).cumsum()
        radial, cortex, spike = (inside & (np.searchsorted(edges, kind, "right") == k) for k in range(3))
    if p["spacing"] > 0:
        across = np.cos(axis) * y - np.sin(axis) * x
        moved = (np.round(across / p["spacing"]) + 0.12 * rng.standard_normal(count)) * p["spacing"] - across
        y, x = y + np.cos(axis) * moved, x - np.sin(axis) * moved
    spread = (1 - p["order"]) * np.pi / 2 * rng.uniform(-1, 1, count)
    direction = axis + spread + np.pi * rng.integers(0, 2, count)
    free = rng.uniform(0, 2 * np.pi, count)
    if radial.any():
        centre = cells.nucleus[owner] + 0.15 * cells.nucleus[owner, 2:] * rng.standard_normal((count, 3))
        y, x = np.where(radial, centre[:, 0], y), np.where(radial, centre[:, 1], x)
        direction = np.where(radial, free, direction)
    if spike.any():  # from just inside the outline outwards
        edge_y, edge_x = cells.edge(owner, free, 0.96)
        y, x = np.where(spike, edge_y, y), np.where(spike, edge_x, x)
        direction = np.where(spike, free + 0.3 * rng.standard_normal(count), direction)
        length = np.where(spike, (length * rng.uniform(0.1, 0.6, count)).clip(4 * STEP), length)
    nodes = np.ceil(length / STEP).astype(int) + 1
    # The drawn point is the middle of a chain, not its end, unless the chain grows from an origin
    middle = np.where(radial | cortex | spike, 0, nodes // 2)
    curl = p["curl"] * rng.standard_normal(count)
    starts = chains.Starts(y, x, direction, nodes, middle, curl, owner, confined & ~cortex & ~spike)
    return starts, gain, cortex


def _brightness(
    rng: np.random.Generator, shape: tuple[int, int], p: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the brightness along chains (N, nodes), 0 in breaks, and the distance between dots (N,), px."""
    count, most = shape
    light = (1.0 + p["variation"] * chains.slow(rng, shape)).clip(0.15, 2.0)
    broken = rng.random(count) < p["broken"]
    if broken.any():
        light[broken] = np.where(chains.slow(rng, (int(broken.sum()), most)) < -0.5, 0.0, light[broken])
    dotted = rng.random(count) < p["dotted"]
    return light, np.where(dotted, rng.uniform(4.0, 9.0, count), 0.0)


def sample_chains(
    rng: np.random.Generator, count: int, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> Filaments:
    """Draw bundles of chains, cut at the outlines of their cells and at the image's border."""
    starts, gain, cortex = _starts(rng, count, p, size, cells)
    courses = chains.grown(rng, starts, p["persistence"])
    chains.laid_along_outlines(rng, courses, cortex, starts.cell, cells)
    courses = chains.cut_at_outlines(courses, starts, cells)
    if p["branches"] > 0:
        courses = chains.branched(rng, courses, starts, cells, p["branches"], p["persistence"])
    strands = 1 + rng.poisson(p["bundle"] - 1.0, len(courses))
    strands_of = np.repeat(strands, strands)
    courses = chains.bundled(rng, courses, strands, p["bundle_width"], starts.middle[courses.start] > 0)
    peak = gain[courses.start] * p["contrast"] ** -rng.random(len(courses)) / strands_of**0.7
    width = (p["width"] * np.exp(p["width_spread"] * rng.standard_normal(len(courses)))).clip(0.5, 8.0)
    light, period = _brightness(rng, courses.keep.shape, p)
    inside, alive = chains.within(courses, size)
    keep = inside.keep
    width, peak, period = width[alive], peak[alive], period[alive]
    start = np.concatenate([[0], keep.sum(1).cumsum()])
    light = light[alive, : keep.shape[1]][keep]
    density = peak / bar_peak(width, p["psf"])
    extent = np.maximum(NARROWEST, width)
    visible = np.zeros(start[-1], bool)
    return Filaments(inside.y[keep], inside.x[keep], light, start, width, extent, peak, density, period, visible)


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
    """Draw one image's filaments in focus, those out of focus, and distractor blobs."""
    scale = size[0] * size[1] / 512**2
    most = MOST * scale / (p["length"] * p["bundle"] * (1.0 + 0.004 * p["branches"] * p["length"]))
    count = rng.poisson(min(p["filaments"] * scale, most))
    sharp = sample_chains(rng, count, p, size, cells)
    blurred = sample_chains(rng, rng.poisson(p["blurred"] * count), p, size, cells)
    return sharp, blurred, _sample_blobs(rng, p, size, cells)
