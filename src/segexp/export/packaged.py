"""The code around the network in a bioimage.io package, in PyTorch alone: this source is copied into packages."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LOWER, UPPER = 1.0, 99.0  # percentiles of scale_range
SMALLEST_DEVIATION = 0.07


def mean(images: Tensor) -> Tensor:
    """Mean of each image and channel of (B, C, H, W), as (B, C, 1, 1).

    Row by row first: runtimes that sum in float32 lose digits over a million pixels.
    """
    return images.mean(3, keepdim=True).mean(2, keepdim=True)


def compress_range(images: Tensor) -> Tensor:
    """Divide by the standard deviation of each image and channel of (B, C, H, W), then take sign(x) log(1 + |x|).

    `images` are scaled so that the first percentile is 0 and the 99th is 1. Of such an image one pixel in a hundred is
    0 or less and one is 1 or more, so its deviation is 0.0707 or more: the limit of 0.07 never changes a whole image.
    It keeps the noise of a dark tile, cut from an image that was scaled as a whole, from being taken for signal.
    """
    deviation = mean((images - mean(images)).square()).sqrt()
    standard = images / deviation.clamp_min(SMALLEST_DEVIATION)
    return torch.sign(standard) * torch.log1p(standard.abs())


def reflected(network: Callable[[Tensor], Tensor], images: Tensor, margin: int) -> Tensor:
    """Logits (B, K, H, W) of images (B, C, H, W) that see their own reflection beyond their borders."""
    if margin == 0:
        return network(images)
    framed = F.pad(images, (margin, margin, margin, margin), mode="reflect")
    return network(framed)[..., margin:-margin, margin:-margin]
