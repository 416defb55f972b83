"""Round objects, filled or ring-like, drawn with sub-pixel precision: vesicles, and distractor blobs beside filaments.

Each disc is drawn in a small square of pixels around its centre; squares of similar size form one tensor. The light of
a pixel is proportional to the share of it that the disc covers (exact to 1 % of a pixel's light). In a mask, a pixel
belongs to the disc if the pixel's centre does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

_FINE = 4  # up to this half side, coverage is sampled at four points in each pixel, which keeps tiny discs centred
_FAR = 1 << 60  # an index beyond any pixel of any batch
_SIZES = (3, 4, 6, 8, 11, 15, 20, 28, 40, 60, 90, 130)  # half sides of the squares, px


@dataclass
class Discs:
    """N discs as arrays of length N, in px unless stated otherwise."""

    y: np.ndarray
    x: np.ndarray
    radius: np.ndarray  # of the circle of equal area
    brightness: np.ndarray  # of the fluorophore density; negative darkens
    rim: np.ndarray  # thickness of a ring's rim; 0 is filled
    lumen: np.ndarray  # brightness inside a ring relative to its rim
    flatness: np.ndarray  # 1: a flat disc, 0: the projection of a ball
    elongation: np.ndarray  # ratio of the long to the short axis
    angle: np.ndarray  # of the long axis, radians

    def __len__(self) -> int:
        return len(self.y)


def make(y: np.ndarray, x: np.ndarray, radius: np.ndarray, brightness: np.ndarray, **rest: np.ndarray | float) -> Discs:
    """Return discs that are flat, filled and round, except for the fields given in `rest`."""
    values = {"rim": 0.0, "lumen": 0.0, "flatness": 1.0, "elongation": 1.0, "angle": 0.0} | rest
    full = {name: np.broadcast_to(np.asarray(value, float), np.shape(y)).copy() for name, value in values.items()}
    return Discs(
        np.asarray(y, float), np.asarray(x, float), np.asarray(radius, float), np.asarray(brightness, float), **full
    )


def shrunk(discs: Discs, coarse: int) -> Discs:
    """Return the discs in the coordinates of a grid whose pixels are `coarse` px wide."""
    return replace(
        discs,
        y=(discs.y + 0.5) / coarse - 0.5,
        x=(discs.x + 0.5) / coarse - 0.5,
        radius=discs.radius / coarse,
        rim=discs.rim / coarse,
    )


@dataclass
class Patch:
    """Squares of one size: K pixels for each of N discs.

    Discs are the last axis, because a square has few pixels and operations on short rows are slow.
    """

    disc: Tensor  # (N,) index into the batch's concatenated discs
    pixel: Tensor  # (K, N) flat index into (B, H, W); one past the end where the square leaves the image
    distance: Tensor  # (K, N) from the centre, in px along the circle of equal area
    light: Tensor  # (K, N)


def patches(
    batch: Sequence[Discs],
    shape: tuple[int, int],
    device: torch.device,
    extents: Sequence[np.ndarray] | None = None,
) -> Iterator[Patch]:
    """Lay out the discs of a batch of images of one shape; squares are also large enough for `extents`, if given."""
    table = np.concatenate([np.stack([getattr(discs, f.name) for f in fields(Discs)]) for discs in batch], 1)
    owner = np.repeat(np.arange(len(batch)), [len(discs) for discs in batch])
    reach = table[2] if extents is None else np.maximum(table[2], np.concatenate(extents))
    reach = reach * table[7] ** 0.5 + 1.0
    group = np.searchsorted(np.array(_SIZES[:-1]), reach)
    height, width = shape
    for g in np.unique(group):
        group_discs = np.flatnonzero(group == g)
        half = _SIZES[g]
        y0, x0, radius, brightness, rim, lumen, flat, elongation, angle = (
            torch.from_numpy(table[:, group_discs].astype(np.float32)).to(device).unbind(0)
        )
        image = torch.from_numpy(owner[group_discs]).to(device)
        offset = torch.arange(-half, half + 1, device=device)[:, None]
        top, left = y0.round(), x0.round()
        iy, ix = offset + top.long(), offset + left.long()  # (2 half + 1, N) each
        row = torch.where((iy >= 0) & (iy < height), (image * height + iy) * width, _FAR)
        column = torch.where((ix >= 0) & (ix < width), ix, _FAR)
        outside = len(batch) * height * width
        pixel = (row[:, None] + column[None]).clamp_max_(outside).flatten(0, 1)
        # The squared distance is a quadratic form of dy and dx
        cos, sin = torch.cos(angle), torch.sin(angle)
        xx = cos**2 / elongation + sin**2 * elongation
        yy = sin**2 / elongation + cos**2 * elongation
        xy = 2.0 * cos * sin * (1.0 / elongation - elongation)

        def from_centre(
            v: float = 0.0, u: float = 0.0, y: Tensor = offset + (top - y0), x: Tensor = offset + (left - x0),
            form: tuple[Tensor, Tensor, Tensor] = (yy, xy, xx),
        ) -> Tensor:  # fmt: skip
            y, x = y + v, x + u
            square = (form[0] * y * y)[:, None] + (form[2] * x * x)[None]
            return square.addcmul_((form[1] * y)[:, None], x[None]).clamp_min_(0.0).sqrt_().flatten(0, 1)

        distance = from_centre()
        if half <= _FINE:
            quarters = [from_centre(v, u) for v in (-0.25, 0.25) for u in (-0.25, 0.25)]
            cover = sum(q.sub_(radius).mul_(-2.0).add_(0.5).clamp_(0.0, 1.0) for q in quarters) * 0.25
        else:
            cover = (radius + 0.5 - distance).clamp_(0.0, 1.0)
        # An edge that fades over e px adds e^2 / 12 to the radius squared: matters below 2 px
        fade = 0.5 if half <= _FINE else 1.0
        light = cover * (brightness * radius**2 / (radius**2 + fade**2 / 12.0))
        if bool((table[4, group_discs] > 0).any()):
            light *= 1.0 - ((1.0 - lumen) * (rim > 0)) * (radius - rim + 0.5 - distance).clamp_(0.0, 1.0)
        if bool((table[6, group_discs] < 1).any()):
            light *= flat + (1.0 - flat) * (1.0 - (distance / (radius + 0.5)) ** 2).clamp_min_(0.0).sqrt_()
        yield Patch(torch.from_numpy(group_discs).to(device), pixel, distance, light)


def splat(canvas: Tensor, patch: Patch) -> None:
    """Add a patch's light to a flat canvas (B*H*W + 1,), whose last element collects the light outside the images."""
    canvas.index_add_(0, patch.pixel.flatten(), patch.light.flatten())
