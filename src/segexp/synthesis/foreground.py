"""The content of masks: the width of objects, and the value of objects that are out of focus or too faint to be seen.

Widths at a share of an object's peak come from its own blurred profile, worked out rather than read off the image: a
neighbour, the background or noise does not move them.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, i0e

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_HALVINGS = 30  # of an interval of some 100 px: to 1e-7 px


@dataclass(frozen=True)
class Foreground:
    """How masks are drawn; by default as the geometry says (see `vesicles` and `filaments`).

    `width`: filaments get this width, in px. `share`: an object covers the pixels where the light of itself alone is
    this share of its peak or more, from 0.05 to 0.95; 0.5 is the full width at half maximum. `faint` and `unfocused`
    (0 to 255) stand in the mask where objects are in focus but cannot be seen, and where objects are out of focus:
    255, with `task.ignore=255`, takes them out of the loss; 2 makes them a class of their own. Visible objects lie on
    top of them. The grey values of an image do not depend on any of this, `labels` do not on the last two.

    Raises:
        ValueError: if a value is out of range, or both `width` and `share` are given.
    """

    width: float | None = None
    share: float | None = None
    faint: int = 0
    unfocused: int = 0

    def __post_init__(self) -> None:
        if self.width is not None and self.share is not None:
            raise ValueError("a mask has a width or a share of the peak, not both")
        if self.width is not None and not 0.5 <= self.width <= 50.0:
            raise ValueError(f"width must be from 0.5 to 50 px; got {self.width!r}")
        if self.share is not None and not 0.05 <= self.share <= 0.95:
            raise ValueError(f"share must be from 0.05 to 0.95 of the peak; got {self.share!r}")
        for name, value in (("faint", self.faint), ("unfocused", self.unfocused)):
            if not isinstance(value, int | np.integer) or not 0 <= value <= 255:
                raise ValueError(f"{name} must be a whole number from 0 to 255; got {value!r}")


def bar_width(width: np.ndarray, psf: float, share: float) -> np.ndarray:
    """Give the full width, in px, of a long flat bar at a share of its peak, after a Gaussian PSF: (N,) -> (N,)."""
    spread = math.sqrt(2.0) * psf
    low, high = np.zeros(len(width)), width / 2.0 + 6.0 * psf
    peak = 2.0 * erf(width / 2.0 / spread)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        inside = erf((width / 2.0 + middle) / spread) + erf((width / 2.0 - middle) / spread) >= share * peak
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low + high


def disc_radius(
    radius: np.ndarray, rim: np.ndarray, lumen: np.ndarray, flatness: np.ndarray, psf: float, share: float
) -> np.ndarray:
    """Give the radius, in px, within which a disc or ring has a share of its peak or more, after a Gaussian PSF.

    All arrays (N,), as in `Discs`; a ring's lumen counts as inside. Elongated discs are taken as the circle of equal
    area.
    """
    edge = np.where(rim > 0, (radius - rim).clip(0.0), 0.0)
    # Nodes of Gauss's rule within the lumen and within the rim: (N, nodes)
    inner = edge[:, None] * (_NODES + 1.0) / 2.0
    outer = edge[:, None] + (radius - edge)[:, None] * (_NODES + 1.0) / 2.0
    place = np.concatenate([inner, outer], 1)
    weight = np.concatenate([edge[:, None] * _WEIGHTS / 2.0, (radius - edge)[:, None] * _WEIGHTS / 2.0], 1)
    ball = np.sqrt((1.0 - (place / radius[:, None]) ** 2).clip(0.0))
    light = flatness[:, None] + (1.0 - flatness[:, None]) * ball
    light[:, : len(_NODES)] *= np.where(rim > 0, lumen, 1.0)[:, None]
    mass = light * weight * place / psf**2

    def profile(r: np.ndarray) -> np.ndarray:
        gap = (r[:, None] - place) / psf
        return (mass * np.exp(-0.5 * gap * gap) * i0e(r[:, None] * place / psf**2)).sum(1)

    tried = np.linspace(0.0, 1.0, 41)
    values = np.stack([profile(radius * t) for t in tried])
    peak, low = values.max(0), radius * tried[values.argmax(0)]
    high = radius + 6.0 * psf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        inside = profile(middle) >= share * peak
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return (low + high) / 2.0
