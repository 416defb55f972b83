"""Uniform cubic B-splines over the pixels of an image: smooth fields from a few control values.

The spline is a weighted mean of the control values around a pixel, so it never leaves their range, and it is twice
continuously differentiable. Method: Rueckert et al., "Nonrigid registration using free-form deformations" (1999).
"""

import math

import torch
from torch import Tensor


def control_points(size: int, spacing: float) -> int:
    """Return the number of control values for an axis of ``size`` pixels, with ``spacing`` pixels between them."""
    return math.floor((size - 1) / spacing) + 4


def spline_weights(size: int, spacing: float, device: torch.device, points: int | None = None) -> Tensor:
    """Return weights (size, points), float32: ``weights @ values`` is the spline at every pixel.

    Control value ``i`` lies at pixel ``(i - 1) * spacing``; every row is non-negative and sums to one. ``points`` is
    ``control_points(size, spacing)`` unless given.
    """
    points = control_points(size, spacing) if points is None else points
    pixels = torch.arange(size, device=device, dtype=torch.float32).unsqueeze(1) / spacing
    distance = (pixels - torch.arange(-1, points - 1, device=device, dtype=torch.float32)).abs()
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)
