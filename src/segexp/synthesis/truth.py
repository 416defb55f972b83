"""Which drawn objects count as foreground: those that a careful reader of the finished image could point at.

An object is visible where all three hold for the light it adds at its own place, after blur, illumination and
saturation: its signal-to-noise ratio over its own area is `ROSE` or more (Rose's criterion for detection), it stands
out from what lies under and around it by `CONTRAST` or more, and it changes the grey value by one level or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from segexp.synthesis import optics

ROSE = 5.0
CONTRAST = 0.08


@dataclass
class Truth:
    """What is where in a batch."""

    labels: Tensor  # int32 (B*H*W,): k on the visible part of object k - 1 of the image
    visible: Tensor  # bool, over the whole batch's vesicles, or steps of filaments, in order
    faint: Tensor | None  # bool (B*H*W,): where objects lie that cannot be seen; None if nobody asked


@dataclass
class View:
    """What reached the camera, before noise."""

    expected: Tensor  # (B*H*W,) photons
    scale: Tensor  # (B*H*W,) photons that brightness 1 gives there: photons times illumination
    p: Mapping[str, Tensor]  # the parameters, (B,) each
    shape: tuple[int, int]

    def visible(self, image: Tensor, y: Tensor, x: Tensor, signal: Tensor, area: Tensor) -> Tensor:
        """Decide for N places (y, x in px of image number `image`) where `signal` brightness covers `area` px^2."""
        height, width = self.shape
        row, column = y.round().long().clamp(0, height - 1), x.round().long().clamp(0, width - 1)
        pixel = (image * height + row) * width + column
        total = self.expected[pixel]
        sign = 1.0 - 2.0 * self.p["dark"][image]
        added = torch.minimum(sign * signal * self.scale[pixel], total)
        around = total - added
        empty, full = optics.floor(self.p)[image], optics.ceiling(self.p)[image]
        share = (torch.clamp(total, empty, full) - torch.clamp(around, empty, full)).abs()
        noise = (total + self.p["read_noise"][image] ** 2).sqrt()
        return (
            (share * area.sqrt() >= ROSE * noise)
            & (share >= CONTRAST * around)
            & (share * optics.levels(self.p)[image] >= 1.0)
        )
