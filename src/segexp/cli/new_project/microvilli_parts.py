"""Parts of this project's experiments: a loss, an augmentation operation, a score and a network.

The files under ``conf/`` name them by ``_target_`` (a network: by ``network``, a score: in ``task.scores``) and give
their arguments. To add a part, write it here and name it in a file of ``conf/``.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segexp.augment.base import IntensityOperation, checked_range, draw, per_sample, to_device
from segexp.metrics import Score


class EdgeLoss(nn.Module):
    """Cross-entropy of the pixels within `width` pixels of an outline of the truth, mean over these pixels."""

    def __init__(self, width: int = 1):
        super().__init__()
        self.width = width

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets, both (B, K, H, W), targets 0 or 1, to a scalar."""
        size = 2 * self.width + 1
        grown = F.max_pool2d(targets, size, stride=1, padding=self.width)
        shrunk = -F.max_pool2d(-targets, size, stride=1, padding=self.width)
        edge = grown - shrunk
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (entropy * edge).sum() / edge.sum().clamp_min(1)


class RandomStripes(IntensityOperation):
    """Add a random offset to each row of an image, as scanning microscopes do.

    Args:
        strength: lower and upper bound of the offsets' standard deviation, in the units of the normalised image.
        p: probability that an image is changed.
    """

    def __init__(self, strength: tuple[float, float] = (0.05, 0.3), p: float = 0.3):
        super().__init__(p)
        self.strength = checked_range("strength", strength, 0)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw on the CPU, a row a sample: the same seed gives the same images on every device."""
        return {
            "strength": draw(batch_shape[0], self.strength),
            "rows": torch.randn(batch_shape[0], 1, batch_shape[-2], 1),
        }

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, object], transform: Tensor | None = None
    ) -> Tensor:
        """Images (B, C, H, W) float32 to the same with stripes."""
        return input + per_sample(params["strength"], input) * to_device(params["rows"], input.device)


def area_difference(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """How far the predicted area is off, as a share of the true one; masks (H, W). NaN, undefined, where that is 0."""
    return abs(int(predicted.sum()) / int(true.sum()) - 1) if true.any() else math.nan


area_error = Score("area_error", "area error", "lower", "area too large or too small, as a share", area_difference)
"""``task.scores`` computes it; with ``task.monitor=area_error`` the best model is the one with the smallest."""


class SmallNet(nn.Module):
    """Five convolutions without pooling; images (B, in_channels, H, W) to logits (B, out_channels, H, W)."""

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = 16):
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for dilation in (1, 2, 4, 1):
            layers += [
                nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, out_channels, 1))

    def forward(self, images: Tensor) -> Tensor:
        """One logit a class and pixel."""
        return self.layers(images)
