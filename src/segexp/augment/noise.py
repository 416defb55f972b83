"""Poisson-Gaussian noise in photon units, reproducible from one seed per sample on any device."""

from typing import Any

import torch
from torch import Tensor

from segexp.augment.base import IntensityOperation, Range, checked_range, draw, per_sample, to_device
from segexp.augment.statistics import extent, reciprocal

Params = dict[str, Tensor]


def photon_noise(images: Tensor, photons: Tensor, background: Tensor, read_noise: Tensor, seed: Tensor) -> Tensor:
    """Add shot noise and read noise, as if each image had been recorded with the given number of photons.

    Each channel's smallest value corresponds to ``background`` photons per pixel, and its largest value to ``photons``
    more. Poisson counts are approximated by ``(sqrt(n - 1/4) + z/2)^2``, rounded, with z standard normal: mean and
    variance are n to within 2 % from n = 4 on (inverse of the transform of Freeman and Tukey, 1950). This needs one
    normal number per pixel and is the same on every device, which exact Poisson draws are not.

    Args:
        images: float32 (B, C, H, W).
        photons: (B,) photons at the brightest pixel, above the background.
        background: (B,) photons at the darkest pixel.
        read_noise: (B,) standard deviation of the Gaussian read noise, in photons.
        seed: int64 (B,) for ``noise``.
    """
    low, high = extent(images)
    span, floor = per_sample(photons, images), per_sample(background, images)
    expected = (images - low).mul_(reciprocal(high - low) * span).add_(floor)
    shot = expected.sub_(0.25).clamp_(min=0).sqrt_().add_(noise(seed, images), alpha=0.5)
    counts = shot.clamp_(min=0).square_().round_()
    counts.add_(noise(seed + 1, images).mul_(per_sample(read_noise, images)))
    return counts.sub_(floor).mul_((high - low) / span).add_(low)


def noise(seed: Tensor, images: Tensor) -> Tensor:
    """Return standard normal numbers with the shape of ``images``, determined by one ``seed`` (int64, (B,)) per sample.

    They come from a hash of the pixel's index and the seed, so a sample's noise depends neither on its batch nor on the
    device. Hash: the two-round xorshift-multiply of C. Wellons' hash-prospector (constants of "lowbias32", 2022).
    """
    batch, *shape = images.shape
    pixels = torch.arange(shape[0] * shape[1] * shape[2], device=images.device, dtype=torch.int32)
    start = _hash(_hash(seed.to(torch.int32)) + 1)
    mixed = _hash(pixels + to_device(start, images.device).unsqueeze(1))
    return _normal((mixed >> 8) & 0xFFFFFF).view(batch, *shape)


def _normal(bits: Tensor) -> Tensor:
    """Convert whole numbers of 24 bits to standard normal numbers, float32, finite and symmetric about 0.

    Number k represents the middle of its interval, ``(k + 1/2) / 2**23 - 1``. It is computed without rounding, because
    ``k + 1/2`` takes 25 bits: rounded, the largest would become 1, whose normal number is infinite.
    """
    uniform = bits.to(torch.float32).mul_(2.0**-23).sub_(1 - 2.0**-24)
    return uniform.erfinv_().mul_(2**0.5)


def _hash(values: Tensor) -> Tensor:
    """Mix the bits of int32 values; products wrap around, and masks make the shifts logical."""
    values = values ^ ((values >> 16) & 0xFFFF)
    values = values * 0x21F0AAAD
    values = values ^ ((values >> 15) & 0x1FFFF)
    values = values * 0x735A2D97
    return values ^ ((values >> 15) & 0x1FFFF)


class RandomPhotonNoise(IntensityOperation):
    """Poisson-Gaussian noise in photons, see ``photon_noise``.

    Args:
        photons: range of the photons at the brightest pixel, uniform in its logarithm.
        background: range of the photons everywhere.
        read_noise: range of the read noise's standard deviation, in photons.
        p: probability per sample.
    """

    def __init__(
        self,
        photons: Range = (20.0, 500.0),
        background: Range = (0.0, 10.0),
        read_noise: Range = (0.0, 3.0),
        p: float = 0.3,
    ) -> None:
        super().__init__(p)
        self.photons = checked_range("photons", photons, 1e-3)
        self.background = checked_range("background", background, 0)
        self.read_noise = checked_range("read_noise", read_noise, 0)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``photons``, ``background``, ``read_noise`` and ``seed``, all (B,)."""
        batch = batch_shape[0]
        return {
            "photons": draw(batch, self.photons, log=True),
            "background": draw(batch, self.background),
            "read_noise": draw(batch, self.read_noise),
            "seed": torch.randint(0, 2**31 - 2, (batch,)),
        }

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Add noise to float32 (B, C, H, W)."""
        return photon_noise(input, **params)
