"""Shapes with known measures, drawn pixel by pixel: a pixel belongs to what covers its centre."""

import numpy as np


def grid(shape):
    return np.mgrid[: shape[0], : shape[1]].astype(float)


def ellipse(shape, y, x, a, b=None, angle=0.0):
    """Half axes `a` along `angle` (radians, counter-clockwise as seen) and `b` across; a disc without `b`."""
    ys, xs = grid(shape)
    along = (xs - x) * np.cos(angle) - (ys - y) * np.sin(angle)
    across = (xs - x) * np.sin(angle) + (ys - y) * np.cos(angle)
    return (along / a) ** 2 + (across / (b or a)) ** 2 <= 1


def line(shape, y, x, length, width, angle):
    """A rectangle about (y, x), `angle` in radians, counter-clockwise as seen."""
    ys, xs = grid(shape)
    along = (xs - x) * np.cos(angle) - (ys - y) * np.sin(angle)
    across = (xs - x) * np.sin(angle) + (ys - y) * np.cos(angle)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def ring(shape, y, x, radius, width):
    ys, xs = grid(shape)
    return np.abs(np.hypot(ys - y, xs - x) - radius) <= width / 2
