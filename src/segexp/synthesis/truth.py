"""Visibility: the drawn objects count as foreground that a person could point at in the final image.

An object is visible if the light that it adds at its position, after blur, illumination and saturation, meets four
conditions. Its signal-to-noise ratio over the object's own area is at least `snr` (5 by Rose's criterion for
detection). It is at least the share `prominence` of the light that would be there without the object. It changes the
grey value by at least one level. The object's brightness is at least `faintest`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from segexp.synthesis import optics
from segexp.synthesis.ranges import Range

SEEN: dict[str, Range] = {
    "snr": Range(5.0, 5.0, "ratio", "least signal-to-noise ratio over its own area of an object in the mask"),
    "prominence": Range(
        0.08, 0.08, "share", "least brightness of an object in the mask relative to the light under and around it"
    ),
    "faintest": Range(0.0, 0.0, "brightness", "least brightness of an object in the mask"),
}


@dataclass
class Truth:
    """The labels and the visibility of a batch's objects."""

    labels: Tensor  # int32 (B*H*W,): k on the visible part of object k - 1 of the image
    visible: Tensor  # bool, for each vesicle or each step of a filament of the batch, in order
    faint: Tensor | None  # bool (B*H*W,): pixels of invisible objects; None if they were not requested


@dataclass
class View:
    """The light that reaches the camera, before noise."""

    expected: Tensor  # (B*H*W,) photons
    scale: Tensor  # (B*H*W,) photons of an object of brightness 1 at the pixel: `photons` times illumination
    p: Mapping[str, Tensor]  # parameters of the images, (B,) each
    shape: tuple[int, int]

    def visible(self, image: Tensor, y: Tensor, x: Tensor, signal: Tensor, area: Tensor) -> Tensor:
        """Return whether each of N objects is visible, bool (N,).

        Object n adds the brightness `signal` over `area` px^2 at the position y, x (px) of image number `image`; (N,)
        each.
        """
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
