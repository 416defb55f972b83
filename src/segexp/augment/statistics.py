"""Statistics of each channel of each sample: (B, C, H, W) float32 in, (B, C, 1, 1) out.

No function here subtracts large squares from each other, and none waits for the device. Functions whose names end in
``_`` overwrite their input, because a new array for a whole batch costs more time than the arithmetic on it.
"""

import math

import torch
from torch import Tensor


def centre_(images: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean in place; return the mean and the (population) standard deviation."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    norm = torch.linalg.vector_norm(images.sub_(mean), dim=(-2, -1), keepdim=True)
    return mean, norm / math.sqrt(images.shape[-2] * images.shape[-1])


def centred(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images minus their mean (B, C, H, W), the mean and the (population) standard deviation."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    difference = images - mean
    norm = torch.linalg.vector_norm(difference, dim=(-2, -1), keepdim=True)
    return difference, mean, norm / math.sqrt(images.shape[-2] * images.shape[-1])


def extent(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value."""
    return images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)


def reciprocal(values: Tensor) -> Tensor:
    """Return ``1 / values``, or 0 if a value is not above 1e-30: a constant image scaled by it becomes its mean."""
    usable = values > 1e-30
    return torch.where(usable, 1 / values.where(usable, 1.0), 0.0)


def with_moments_of(images: Tensor, model: Tensor, low: Tensor, span: Tensor) -> Tensor:
    """Give ``images`` the mean and standard deviation of ``model * span + low``; overwrites both arguments."""
    mean, deviation = centre_(model)
    _, own = centre_(images)
    return images.mul_(deviation * span * reciprocal(own)).add_(mean * span + low)
