"""Which drawn objects count as foreground: those that a careful reader of the finished image could point at.

An object is visible where all of this holds for the light it adds at its own place, after blur, illumination and
saturation: its signal-to-noise ratio over its own area is `snr` or more (Rose's criterion for detection says 5), it
stands out from what lies under and around it by the share `prominence` or more, it changes the grey value by one level
or more, and its brightness is `faintest` or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from segexp.synthesis import optics
from segexp.synthesis.ranges import Range

SEEN: dict[str, Range] = {
    "snr": Range(5.0, 5.0, "ratio", "signal-to-noise ratio over its own area that an object in the mask needs"),
    "prominence": Range(0.08, 0.08, "share", "brightness over what lies under and around it that an object needs"),
    "faintest": Range(0.0, 0.0, "brightness", "least brightness of an object in the mask"),
}


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
            (share * area.sqrt() >= self.p["snr"][image] * noise)
            & (share >= self.p["prominence"][image] * around)
            & (signal >= self.p["faintest"][image])
            & (share * optics.levels(self.p)[image] >= 1.0)
        )
