"""Cells: their outlines contain the objects and are filled with haze, which is darker at the nucleus.

An outline is a table of radii around a centre, smooth or polygonal. The coarse grid stores the distance to the outline,
not the filled shape: interpolated to full size, the distance still gives an edge as sharp as `cell_edge` says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis.optics import COARSE
from segexp.synthesis.ranges import Range

ANGLES = 512  # radii in an outline's table: one every 2.5 px around a cell of radius 200 px

CELLS: dict[str, Range] = {
    "cells": Range(1.0, 6.0, "cells/512x512 px", "expected number of cells", "log"),
    "cell_radius": Range(50.0, 160.0, "px", "mean radius of a cell", "log"),
    "cell_elongation": Range(1.0, 2.5, "ratio", "long axis over short axis", "log"),
    "cell_roughness": Range(0.03, 0.25, "share of radius", "deviation of outlines from an ellipse"),
    "cell_polygons": Range(0.0, 0.5, "share", "share of cells with straight edges"),
    "cell_edge": Range(2.0, 8.0, "px", "width over which a cell's haze fades", "log"),
    "cell_contrast": Range(1.0, 10.0, "ratio", "brightest over dimmest cell", "log"),
    "haze": Range(0.01, 0.3, "brightness", "haze inside cells", "log"),
    "texture": Range(0.0, 0.5, "share", "variation of the haze within a cell"),
    "nucleus": Range(0.0, 0.8, "share", "reduction of the haze in the nucleus"),
}


@dataclass
class Cells:
    """The cells of one image: arrays of length C. `outline` is (C, ANGLES): radii in px, starting at the angle -pi."""

    y: np.ndarray
    x: np.ndarray
    outline: np.ndarray
    angle: np.ndarray  # of the long axis, radians
    gain: np.ndarray  # brightness of this cell and its objects relative to the brightest cell
    haze: np.ndarray
    nucleus: np.ndarray  # (C, 3): y, x, radius in px

    def __len__(self) -> int:
        return len(self.y)

    def level(self, y: np.ndarray, x: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Return how far each point lies inside its cell's outline, along the radius, in px (negative outside)."""
        dy, dx = y - self.y[cell], x - self.x[cell]
        position = (np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * ANGLES
        return self.outline[cell, position.astype(np.int64) % ANGLES] - np.hypot(dy, dx)

    def edge(self, cell: np.ndarray, theta: np.ndarray, share: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return (y, x) of the points at a share of the way from cells' centres to their outlines, at angles theta."""
        position = ((theta / (2 * np.pi) + 0.5) * ANGLES).astype(np.int64) % ANGLES
        reach = share * self.outline[cell, position]
        return self.y[cell] + reach * np.sin(theta), self.x[cell] + reach * np.cos(theta)

    def place(self, rng: np.random.Generator, count: int, central: float = 0.0) -> tuple[np.ndarray, ...]:
        """Draw points inside cells: (y, x, cell), more in larger cells; a positive `central` moves them inwards."""
        area = (self.outline**2).mean(1)
        cell = rng.choice(len(self), count, p=area / area.sum())
        theta = rng.uniform(-np.pi, np.pi, count)
        return *self.edge(cell, theta, rng.random(count) ** (0.5 + central)), cell


def _smooth(rng: np.random.Generator, theta: np.ndarray, roughness: float) -> np.ndarray:
    """Return relative radii with low-frequency lobes."""
    k = np.arange(2, 9)
    amplitude = roughness * rng.standard_normal(len(k)) * 1.6 / k
    return np.exp((amplitude[:, None] * np.cos(k[:, None] * theta + rng.uniform(0, 2 * np.pi, (len(k), 1)))).sum(0))


def _polygon(rng: np.random.Generator, theta: np.ndarray, roughness: float) -> np.ndarray:
    """Return relative radii of a polygon with 6 to 14 corners."""
    n = int(rng.integers(6, 15))
    corner = np.sort((np.arange(n) + rng.uniform(-0.35, 0.35, n)) * 2 * np.pi / n)
    radius = np.exp(1.2 * roughness * rng.standard_normal(n))
    after = np.searchsorted(corner, theta % (2 * np.pi)) % n
    before = (after - 1) % n
    span = (corner[after] - corner[before]) % (2 * np.pi)
    since = (theta - corner[before]) % (2 * np.pi)
    left, right = radius[before], radius[after]
    return left * right * np.sin(span) / (left * np.sin(since) + right * np.sin(span - since))


def sample(rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int]) -> Cells:
    """Draw the cells of one image; their centres lie in the image, their outlines may leave it."""
    height, width = size
    count = 0 if p["cells"] <= 0 else max(1, rng.poisson(p["cells"] * height * width / 512**2))
    theta = (np.arange(ANGLES) + 0.5) / ANGLES * 2 * np.pi - np.pi
    axis = rng.uniform(0, np.pi) + 0.4 * rng.standard_normal(count)
    stretch = p["cell_elongation"] ** 0.5
    radius = p["cell_radius"] * np.exp(0.25 * rng.standard_normal(count))
    outline = np.empty((count, ANGLES))
    for c in range(count):
        shape = _polygon if rng.random() < p["cell_polygons"] else _smooth
        ellipse = np.hypot(np.cos(theta - axis[c]) / stretch, np.sin(theta - axis[c]) * stretch)
        outline[c] = radius[c] * shape(rng, theta, p["cell_roughness"]) / ellipse
    y, x = rng.uniform(0, height, count), rng.uniform(0, width, count)
    gain = p["cell_contrast"] ** -rng.random(count)
    haze = p["haze"] * gain * np.exp(0.2 * rng.standard_normal(count))
    shift = 0.15 * radius * rng.standard_normal((2, count))
    nucleus = np.stack([y + shift[0], x + shift[1], radius * rng.uniform(0.3, 0.5, count)], 1)
    return Cells(y, x, outline, axis, gain, haze, nucleus)


def draw(batch: list[Cells], p: Mapping[str, Tensor], shape: tuple[int, int], texture: Tensor) -> tuple[Tensor, Tensor]:
    """Render cells on the coarse grid: (distance inside the outlines in px, haze), both (B, h, w).

    `texture` (B, h, w) in [-1, 1] varies the haze within the cells.
    """
    device = texture.device
    most = max(1, *(len(cells) for cells in batch))

    def packed(name: str, *trailing: int) -> Tensor:
        values = np.zeros((len(batch), most, *trailing), np.float32)
        for b, cells in enumerate(batch):
            values[b, : len(cells)] = getattr(cells, name)
        return torch.from_numpy(values).to(device)

    outline = packed("outline", ANGLES)  # padding has radius 0: outside everywhere
    y0, x0, nucleus = packed("y"), packed("x"), packed("nucleus", 3)
    rows = (torch.arange(shape[0], device=device) + 0.5) * COARSE - 0.5
    columns = (torch.arange(shape[1], device=device) + 0.5) * COARSE - 0.5
    dy = rows[None, None, :, None] - y0[:, :, None, None]
    dx = columns[None, None, None, :] - x0[:, :, None, None]
    # An entry of the table is the radius at the middle of its angle bin; between middles the radius is interpolated
    position = (torch.atan2(dy, dx) / (2 * np.pi) + 0.5) * ANGLES - 0.5
    left = position.floor()
    share, left = position - left, left.long()
    low = outline.gather(2, left.remainder(ANGLES).flatten(2)).view_as(position)
    high = outline.gather(2, (left + 1).remainder(ANGLES).flatten(2)).view_as(position)
    edge = torch.lerp(low, high, share)
    level, nearest = (edge - torch.hypot(dy, dx)).max(1)
    ny = rows[None, None, :, None] - nucleus[:, :, 0, None, None]
    nx = columns[None, None, None, :] - nucleus[:, :, 1, None, None]
    inside = ((nucleus[:, :, 2, None, None] - torch.hypot(ny, nx)) / 8.0 + 0.5).clamp(0.0, 1.0)
    haze = packed("haze")[:, :, None, None] * (1.0 - p["nucleus"][:, None, None, None] * inside)
    haze = haze.gather(1, nearest[:, None])[:, 0] * (1.0 + p["texture"][:, None, None] * texture)
    return level.clamp(-64.0, 64.0), haze
