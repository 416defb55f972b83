"""Vesicles: blobs over a huge range of size and brightness, filled or ring-like, alone, in clusters, in cells.

Mask: a vesicle covers the pixels whose centres lie inside its outline, including the lumen of a ring. A vesicle too
small to be resolved covers a disc as wide as the full width at half maximum of its image. In px, with the PSF's sigma:
R = max(radius, 1.18 sigma). Vesicles that are out of focus or invisible (see `truth`) are never foreground.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from segexp.synthesis import cells as cell
from segexp.synthesis import discs
from segexp.synthesis.foreground import Foreground, disc_radius
from segexp.synthesis.optics import bar_peak, disc_peak
from segexp.synthesis.ranges import Range
from segexp.synthesis.truth import Truth, View

# Largest expected number of vesicles in an image of 512x512: without it, an unlucky draw of a tiny radius and a high
# coverage would take seconds
MOST = 3000

VESICLES: dict[str, Range] = {
    "coverage": Range(
        0.005, 0.4, "share", "area of all vesicles over the area they lie in (overlaps count twice)", "log"
    ),
    "radius": Range(1.2, 9.0, "px", "median radius of an image's vesicles", "log"),
    "radius_spread": Range(0.1, 0.6, "ln(px)", "standard deviation of the log radius"),
    "contrast": Range(1.5, 200.0, "ratio", "brightest over dimmest vesicle; log-uniform between them", "log"),
    "in_cells": Range(0.0, 1.0, "share", "vesicles that lie in cells"),
    "clustered": Range(0.0, 0.7, "share", "vesicles that lie in clusters"),
    "cluster": Range(4.0, 25.0, "px", "Gaussian sigma of a cluster", "log"),
    "rings": Range(0.0, 0.4, "share", "vesicles of which only the membrane is labelled"),
    "rim": Range(1.0, 2.5, "px", "thickness of a labelled membrane"),
    "lumen": Range(0.0, 0.5, "share", "brightness inside a labelled membrane, relative to the membrane"),
    "flatness": Range(0.0, 1.0, "share", "1: flat disc, 0: projected ball"),
    "elongation": Range(1.0, 1.3, "ratio", "long over short axis"),
    "blurred": Range(0.0, 0.6, "share", "vesicles out of focus per vesicle in focus"),
    "streaks": Range(
        0.0, 30.0, "streaks/512x512 px", "expected number of long distractors: autofluorescence, membranes"
    ),
    "streak_width": Range(1.5, 6.0, "px", "median width of the streaks", "log"),
}
CROWD: dict[str, Range] = {
    "apart": Range(0.0, 0.0, "probability", "vesicles touch and do not overlap", "chance"),
    "bodies": Range(0.0, 0.0, "bodies/512x512 px", "expected number of large distractors: mitochondria, dense bodies"),
    "body_radius": Range(15.0, 45.0, "px", "median radius of these bodies", "log"),
    "lumps": Range(0.0, 0.0, "lumps/512x512 px", "expected number of bright irregular lumps: aggregates, debris"),
}
"""Rows added later, at the end of the table: the rows above then draw the same values as before."""


@dataclass
class Vesicles:
    """The true vesicles of an image: arrays of length N, larger ones first; label k is entry k - 1."""

    discs: discs.Discs
    extent: np.ndarray  # radius R of the mask, px
    smallest: float  # least R of a vesicle, 1.18 sigma of the PSF, px
    peak: np.ndarray  # brightness that the vesicle adds at its centre after blur
    visible: np.ndarray  # bool: whether the vesicle is foreground

    def __len__(self) -> int:
        return len(self.discs)

    def mark(self, visible: np.ndarray, first: int) -> int:
        """Store this image's part of a batch's visibility, from index `first` on; return the index after it."""
        self.visible = visible[first : first + len(self)]
        return first + len(self)

    @property
    def centres(self) -> np.ndarray:
        """Return (N, 2): y, x in px, pixel centres at whole numbers."""
        return np.stack([self.discs.y, self.discs.x], 1)

    @property
    def radii(self) -> np.ndarray:
        """Return the true radii (N,), px."""
        return self.discs.radius


def _places(
    rng: np.random.Generator, count: int, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw where vesicles lie and how bright their cells are: (y, x, gain)."""
    y, x = rng.uniform(0, size[0], count) - 0.5, rng.uniform(0, size[1], count) - 0.5
    gain = np.ones(count)
    if len(cells):
        inside = rng.random(count) < p["in_cells"]
        cy, cx, owner = cells.place(rng, count, central=rng.uniform(-0.2, 0.5))
        y, x, gain = np.where(inside, cy, y), np.where(inside, cx, x), np.where(inside, cells.gain[owner], gain)
    joined = rng.random(count) < p["clustered"]
    parent = rng.integers(0, max(1, count // 10 + 1), count).clip(max=count - 1)
    jitter = p["cluster"] * rng.standard_normal((2, count))
    return (
        np.where(joined, y[parent] + jitter[0], y),
        np.where(joined, x[parent] + jitter[1], x),
        np.where(joined, gain[parent], gain),
    )


def _sample_discs(
    rng: np.random.Generator, count: int, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> tuple[discs.Discs, np.ndarray]:
    """Draw vesicles, the larger ones first, and the peak brightness of each after blur."""
    y, x, gain = _places(rng, count, p, size, cells) if count else (np.zeros(0),) * 3
    radius = np.sort(p["radius"] * np.exp(p["radius_spread"] * rng.standard_normal(count))).clip(0.8, 60.0)[::-1].copy()
    peak = gain * p["contrast"] ** -rng.random(count)
    ring = (rng.random(count) < p["rings"]) & (radius > 1.5 * p["rim"])
    rim = np.where(ring, p["rim"], 0.0)
    lumen = np.full(count, p["lumen"])
    response = np.where(ring, np.maximum(bar_peak(rim, p["psf"]), lumen), disc_peak(radius, p["psf"]))
    elongation = 1.0 + (p["elongation"] - 1.0) * rng.random(count)
    angle = rng.uniform(0, np.pi, count)
    if p["apart"]:
        alone = _apart(y, x, radius)
        y, x, radius, peak, rim, lumen, response, elongation, angle = (
            values[alone] for values in (y, x, radius, peak, rim, lumen, response, elongation, angle)
        )
    parameters: dict[str, np.ndarray | float] = {
        "rim": rim,
        "lumen": lumen,
        "flatness": p["flatness"],
        "elongation": elongation,
        "angle": angle,
    }
    return discs.make(y, x, radius, peak / response, **parameters), peak


def _apart(y: np.ndarray, x: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return which discs to keep (bool), so that none overlaps a larger one by more than a tenth; larger ones first."""
    kept = np.ones(len(y), bool)
    if len(y):
        centres = np.stack([y, x], 1)
        reach = 0.9 * (radius + radius[0])
        for k, near in enumerate(cKDTree(centres).query_ball_point(centres, reach)):
            larger = np.array([n for n in near if n < k and kept[n]], int)
            kept[k] = not (np.hypot(y[larger] - y[k], x[larger] - x[k]) < 0.9 * (radius[larger] + radius[k])).any()
    return kept


def _sample_bodies(rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Draw large round distractors and lumps of small bright ones: y, x, radius, brightness, elongation."""
    scale = size[0] * size[1] / 512**2
    bodies, lumps = rng.poisson(p["bodies"] * scale), rng.poisson(p["lumps"] * scale)
    radius = (p["body_radius"] * np.exp(0.3 * rng.standard_normal(bodies))).clip(5.0, 120.0)
    y, x = rng.uniform(0, size[0], bodies), rng.uniform(0, size[1], bodies)
    light, long = rng.uniform(0.1, 0.6, bodies), rng.uniform(1.0, 2.5, bodies)
    pieces = 3 + rng.poisson(9, lumps)
    lump = np.repeat(np.arange(lumps), pieces)
    wide = rng.uniform(2.0, 8.0, lumps)[lump]
    ly, lx = (rng.uniform(0, side, lumps)[lump] + wide * rng.standard_normal(len(lump)) for side in size)
    small = rng.uniform(1.0, 3.5, len(lump))
    gain = rng.uniform(0.2, 1.2, lumps)[lump] * rng.uniform(0.3, 1.0, len(lump))
    stretch = rng.uniform(1.0, 2.0, len(lump))
    both = ((y, ly), (x, lx), (radius, small), (light, gain), (long, stretch))
    return tuple(np.concatenate(pair) for pair in both)


def _sample_streaks(
    rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> discs.Discs:
    """Draw distractors: long, dim streaks, most of them in cells, 3 to 10 times as long as wide; bodies; lumps."""
    count = rng.poisson(p["streaks"] * size[0] * size[1] / 512**2)
    y, x = rng.uniform(0, size[0], count), rng.uniform(0, size[1], count)
    if len(cells):
        cy, cx, _ = cells.place(rng, count)
        inside = rng.random(count) < 0.8
        y, x = np.where(inside, cy, y), np.where(inside, cx, x)
    elongation = rng.uniform(3.0, 10.0, count)
    width = (p["streak_width"] * np.exp(0.3 * rng.standard_normal(count))).clip(1.0, 10.0)
    light, angle = rng.uniform(0.03, 0.4, count), rng.uniform(0, np.pi, count)
    by, bx, radius, gain, long = _sample_bodies(rng, p, size)
    return discs.make(
        np.append(y, by), np.append(x, bx), np.append(0.5 * width * elongation**0.5, radius), np.append(light, gain),
        elongation=np.append(elongation, long), angle=np.append(angle, rng.uniform(0, np.pi, len(by))), flatness=0.3,
    )  # fmt: skip


def sample(
    rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: cell.Cells
) -> tuple[Vesicles, discs.Discs, discs.Discs]:
    """Draw the vesicles of one image in focus, those out of focus, and distractors."""
    area = size[0] * size[1]
    if len(cells):  # a share of the vesicles lies only in cells, which overlap and may leave the image
        area *= 1.0 - p["in_cells"] * (1.0 - min(1.0, np.pi * (cells.outline**2).mean(1).sum() / area))
    typical = np.pi * p["radius"] ** 2 * np.exp(2.0 * p["radius_spread"] ** 2)
    most = MOST * max(1.0, size[0] * size[1] / 512**2)
    count = rng.poisson(min(p["coverage"] * area / typical, most))
    sharp, peak = _sample_discs(rng, count, p, size, cells)
    blurred, _ = _sample_discs(rng, rng.poisson(p["blurred"] * count), p, size, cells)
    smallest = 1.18 * p["psf"]
    vesicles = Vesicles(sharp, sharp.radius.clip(smallest), smallest, peak, np.zeros(len(sharp), bool))
    return vesicles, blurred, _sample_streaks(rng, p, size, cells)


def draw(batch: Sequence[Vesicles], canvas: Tensor, shape: tuple[int, int]) -> list[discs.Patch]:
    """Add the vesicles' light to a flat canvas (B*H*W + 1,); return the discs' patches, which `truth` needs."""
    usual = [v.discs.radius.clip(v.smallest) for v in batch]
    laid = list(discs.patches([v.discs for v in batch], shape, canvas.device, usual))
    for patch in laid:
        discs.splat(canvas, patch)
    return laid


def resized(vesicles: Vesicles, psf: float, foreground: Foreground) -> Vesicles:
    """Return the vesicles with the mask radii that `foreground` sets."""
    if foreground.share is None:
        return vesicles
    d = vesicles.discs
    extent = disc_radius(d.radius, d.rim, d.lumen, d.flatness, psf, foreground.share)
    return replace(vesicles, extent=extent)


def _cover(labels: Tensor, laid: Iterable[discs.Patch], reach: Tensor, number: Tensor) -> None:
    """Write the discs' numbers where they lie within `reach` px of their centres; the larger number wins."""
    for patch in laid:
        values = torch.where(patch.distance <= reach[patch.disc], number[patch.disc], 0)
        labels.scatter_reduce_(0, patch.pixel.flatten(), values.flatten(), "amax")


def truth(batch: Sequence[Vesicles], laid: list[discs.Patch], view: View, faint: bool) -> Truth:
    """Decide which vesicles are visible, and label them; `faint`: also mark where the invisible ones lie."""
    device = view.expected.device

    def packed(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays).astype(np.float32)).to(device)

    image = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(v) for v in batch])).to(device)
    number = torch.from_numpy(np.concatenate([np.arange(1, len(v) + 1) for v in batch])).to(device, torch.int32)
    extent, usual = packed([v.extent for v in batch]), packed([v.discs.radius.clip(v.smallest) for v in batch])
    y, x = packed([v.discs.y for v in batch]), packed([v.discs.x for v in batch])
    visible = view.visible(image, y, x, packed([v.peak for v in batch]), torch.pi * usual**2)
    if any((v.extent != v.discs.radius.clip(v.smallest)).any() for v in batch):
        laid = list(discs.patches([v.discs for v in batch], view.shape, device, [v.extent for v in batch]))
    labels = torch.zeros(view.expected.shape[0] + 1, dtype=torch.int32, device=device)
    _cover(labels, laid, torch.where(visible, extent, -1.0), number)
    unseen = torch.zeros_like(labels) if faint else None
    if unseen is not None:
        _cover(unseen, laid, torch.where(visible, -1.0, extent), number)
    return Truth(labels[:-1], visible, None if unseen is None else unseen[:-1] > 0)


def out_of_focus(
    batch: Sequence[discs.Discs], defocus: Sequence[float], shape: tuple[int, int], canvas: Tensor
) -> Tensor:
    """Return where vesicles out of focus lie, at their images' full width at half maximum, bool (B*H*W,)."""
    extents = [np.maximum(d.radius, 1.18 * sigma) for d, sigma in zip(batch, defocus, strict=True)]
    reach = torch.from_numpy(np.concatenate(extents).astype(np.float32)).to(canvas.device)
    labels = torch.zeros(canvas.shape, dtype=torch.int32, device=canvas.device)
    _cover(
        labels, discs.patches(batch, shape, canvas.device, extents), reach, torch.ones_like(reach, dtype=torch.int32)
    )
    return labels[:-1] > 0
