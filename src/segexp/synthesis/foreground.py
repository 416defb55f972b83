"""The content of masks: the width of objects, and the value of objects that are out of focus or too faint to be seen.

Widths at a share of an object's peak are computed from the object's own blurred profile, not measured in the image, so
neighbours, background and noise do not change them.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, i0e

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_HALVINGS = 30  # bisection steps: reduce an interval of about 100 px to 1e-7 px


@dataclass(frozen=True)
class Foreground:
    """How masks are drawn; by default from the geometry of the objects (see `vesicles` and `filaments`).

    `width`: all filaments get this width, in px. `share`, from 0.05 to 0.95: an object covers the pixels where its own
    light is at least this share of its peak; 0.5 is the full width at half maximum. `faint` and `unfocused` (0 to 255)
    are the mask values of objects in focus that are invisible, and of objects out of focus: with 255 and
    `task.ignore=255` they are left out of the loss, with 2 they form a class. Visible objects lie on top of them. The
    grey values of an image depend on none of these; `labels` depend only on the first two.

    Raises:
        ValueError: if a value is out of range, or both `width` and `share` are given.
    """

    width: float | None = None
    share: float | None = None
    faint: int = 0
    unfocused: int = 0

    def __post_init__(self) -> None:
        if self.width is not None and self.share is not None:
            raise ValueError("width and share are both given; expected one of them, or neither")
        if self.width is not None and not 0.5 <= self.width <= 50.0:
            raise ValueError(f"width must be from 0.5 to 50 px; got {self.width!r}")
        if self.share is not None and not 0.05 <= self.share <= 0.95:
            raise ValueError(f"share must be from 0.05 to 0.95 of the peak; got {self.share!r}")
        for name, value in (("faint", self.faint), ("unfocused", self.unfocused)):
            if not isinstance(value, int | np.integer) or not 0 <= value <= 255:
                raise ValueError(f"{name} must be a whole number from 0 to 255; got {value!r}")


def bar_width(width: np.ndarray, psf: float, share: float) -> np.ndarray:
    """Return the full width, in px, of a long flat bar at a share of its peak, after a Gaussian PSF: (N,) -> (N,)."""
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
    """Return the radius, in px, within which a disc or ring has at least a share of its peak, after a Gaussian PSF.

    All arrays are (N,), as in `Discs`; a ring's lumen counts as inside. An elongated disc is treated as the circle of
    equal area.
    """
    edge = np.where(rim > 0, (radius - rim).clip(0.0), 0.0)
    # Nodes of Gauss-Legendre quadrature in the lumen and in the rim: (N, nodes)
    inner = edge[:, None] * (_NODES + 1.0) / 2.0
    outer = edge[:, None] + (radius - edge)[:, None] * (_NODES + 1.0) / 2.0
    position = np.concatenate([inner, outer], 1)
    weight = np.concatenate([edge[:, None] * _WEIGHTS / 2.0, (radius - edge)[:, None] * _WEIGHTS / 2.0], 1)
    ball = np.sqrt((1.0 - (position / radius[:, None]) ** 2).clip(0.0))
    light = flatness[:, None] + (1.0 - flatness[:, None]) * ball
    light[:, : len(_NODES)] *= np.where(rim > 0, lumen, 1.0)[:, None]
    mass = light * weight * position / psf**2

    def profile(r: np.ndarray) -> np.ndarray:
        gap = (r[:, None] - position) / psf
        return (mass * np.exp(-0.5 * gap * gap) * i0e(r[:, None] * position / psf**2)).sum(1)

    tried = np.linspace(0.0, 1.0, 41)
    values = np.stack([profile(radius * t) for t in tried])
    peak, low = values.max(0), radius * tried[values.argmax(0)]
    high = radius + 6.0 * psf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        inside = profile(middle) >= share * peak
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return (low + high) / 2.0
