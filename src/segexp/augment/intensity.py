"""Changes of brightness, contrast, scale, sharpness and illumination, none of which clamps.

Images may have any range. Usually they are standardised with the statistics of the whole image, so 0 is the image's
mean and 1 its standard deviation. If an operation needs a black point or a spread, it computes them for each channel of
each sample. The functions take float32 (B, C, H, W) and one drawn value per sample (B,); the classes draw the values.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segexp.augment.base import IntensityOperation, Range, checked_range, draw, per_sample, to_device
from segexp.augment.bspline import spline_weights
from segexp.augment.statistics import centred, extent, reciprocal, with_moments_of

Params = dict[str, Tensor]


def standardize(images: Tensor) -> Tensor:
    """Rescale each channel to mean 0 and standard deviation 1; a constant channel becomes zeros.

    A channel counts as constant if its deviation is less than a millionth of its mean, which is float32 rounding.
    """
    difference, mean, deviation = centred(images)
    constant = deviation <= 1e-6 * mean.abs()
    return difference.mul_(reciprocal(deviation).masked_fill(constant, 0.0))


def brightness_contrast(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Stretch about the mean by ``contrast`` (B,), then add ``brightness`` (B,) times the standard deviation."""
    difference, mean, deviation = centred(images)
    shift = mean + deviation * per_sample(brightness, images)
    return difference.mul_(per_sample(contrast, images)).add_(shift)


def square(images: Tensor, restore: str | None = "deviation") -> Tensor:
    """Return ``x |x|``, rescaled to its former ``restore``: "deviation", "max" (of absolute values), or None."""
    squared = images * images.abs()
    if restore == "deviation":
        return squared.mul_(centred(images)[2] * reciprocal(centred(squared)[2]))
    if restore == "max":
        return squared.mul_(reciprocal(images.abs().amax(dim=(-2, -1), keepdim=True)))
    return squared


def gamma(images: Tensor, exponent: Tensor) -> Tensor:
    """Raise to the power ``exponent`` (B,) between each channel's smallest and largest value, which do not change."""
    low, high = extent(images)
    unit = (images - low).mul_(reciprocal(high - low))
    return unit.pow_(per_sample(exponent, images)).mul_(high - low).add_(low)


def blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur by ``sigma`` (B,) pixels, cut at ``radius`` pixels; the edge pixel is repeated outside."""
    batch, channels, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=sigma.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).unsqueeze(1)) ** 2)
    kernel = to_device(kernel / kernel.sum(dim=1, keepdim=True), images.device)
    kernel = kernel.repeat_interleave(channels, dim=0, output_size=batch * channels).view(batch * channels, 1, 1, -1)
    planes = images.reshape(1, batch * channels, height, width)
    with torch.autocast(images.device.type, enabled=False):
        planes = F.pad(planes, (radius, radius, radius, radius), mode="replicate")
        planes = F.conv2d(planes, kernel, groups=batch * channels)
        planes = F.conv2d(planes, kernel.mT, groups=batch * channels)
    return planes.view_as(images)


def illumination(images: Tensor, control: Tensor) -> Tensor:
    """Multiply the differences from each channel's smallest value by a smooth field.

    Args:
        images: float32 (B, C, H, W).
        control: (B, rows, columns) factors, at least 4 x 4, spread evenly over the image.
    """
    height, width = images.shape[-2:]
    points = control.shape[-2:]
    rows = spline_weights(height, max(height - 1, 1) / (points[0] - 3), images.device, points[0])
    columns = spline_weights(width, max(width - 1, 1) / (points[1] - 3), images.device, points[1])
    with torch.autocast(images.device.type, enabled=False):
        field = (rows @ to_device(control, images.device) @ columns.T).unsqueeze(1)
    low = images.amin(dim=(-2, -1), keepdim=True)
    return (images - low).mul_(field).add_(low)


class Standardize(IntensityOperation):
    """Rescale each channel of each sample to mean 0 and standard deviation 1; a constant channel becomes zeros.

    This cancels changes of brightness, contrast or scale that come before it; list those after it.
    """

    def __init__(self, p: float = 1.0) -> None:
        super().__init__(p)

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Standardise float32 (B, C, H, W)."""
        return standardize(input)


class RandomBrightnessContrast(IntensityOperation):
    """Stretch about the mean and shift, without clamping.

    It has no effect directly before a standardisation of each sample, which subtracts the shift and divides by the
    stretch; list it after one.

    Args:
        brightness: range of the shift, in standard deviations of the sample.
        contrast: range of the factor about the sample's mean, uniform in its logarithm.
        p: probability per sample.
    """

    def __init__(self, brightness: Range = (-0.3, 0.3), contrast: Range = (0.75, 1.33), p: float = 0.5) -> None:
        super().__init__(p)
        self.brightness = checked_range("brightness", brightness)
        self.contrast = checked_range("contrast", contrast, 1e-6)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``brightness`` and ``contrast`` (B,)."""
        batch = batch_shape[0]
        return {"brightness": draw(batch, self.brightness), "contrast": draw(batch, self.contrast, log=True)}

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Change float32 (B, C, H, W)."""
        return brightness_contrast(input, params["brightness"], params["contrast"])


class RandomExtremeScale(IntensityOperation):
    """Multiply by a factor that may be huge, without clamping.

    In float16, values above 65,504, its largest number, become 65,504. A normalisation after this operation cancels it;
    a compressive function, such as a logarithm, keeps its effect within a usable range.

    Args:
        factor: range of the factor.
        distribution: "log_uniform" (every order of magnitude equally often) or "uniform" (nearly always huge).
        p: probability per sample.

    Raises:
        ValueError: if `distribution` is neither name, `factor` is not a range of positive numbers, or `p` lies outside
            [0, 1].
    """

    def __init__(self, factor: Range = (1.0, 65000.0), distribution: str = "log_uniform", p: float = 0.5) -> None:
        super().__init__(p)
        if distribution not in ("log_uniform", "uniform"):
            raise ValueError(f"distribution={distribution!r}: expected log_uniform or uniform")
        self.factor = checked_range("factor", factor, 1e-30)
        self.distribution = distribution

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``factor`` (B,)."""
        return {"factor": draw(batch_shape[0], self.factor, log=self.distribution == "log_uniform")}

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Multiply float32 (B, C, H, W)."""
        return input * per_sample(params["factor"], input)


class RandomSquare(IntensityOperation):
    """Square the intensities and keep their signs, which raises bright spots relative to dim ones.

    Args:
        restore: what is restored by rescaling: "deviation", "max" (of absolute values), or None.
        p: probability per sample.

    Raises:
        ValueError: if `restore` is none of these, or `p` lies outside [0, 1].
    """

    def __init__(self, restore: str | None = "deviation", p: float = 0.1) -> None:
        super().__init__(p)
        if restore not in ("deviation", "max", None):
            raise ValueError(f"restore={restore!r}: expected deviation, max or null")
        self.restore = restore

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Square float32 (B, C, H, W)."""
        return square(input, self.restore)


class RandomGamma(IntensityOperation):
    """Raise to a power between each channel's smallest and largest value, then restore mean and standard deviation.

    Args:
        gamma: range of the exponent, uniform in its logarithm; an exponent below 1 brightens dim structures.
        restore: restore mean and standard deviation; otherwise the smallest and the largest value do not change.
        p: probability per sample.
    """

    def __init__(self, gamma: Range = (0.7, 1.5), restore: bool = True, p: float = 0.3) -> None:
        super().__init__(p)
        self.restore = bool(restore)
        self.gamma = checked_range("gamma", gamma, 1e-3)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``gamma`` (B,)."""
        return {"gamma": draw(batch_shape[0], self.gamma, log=True)}

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Change float32 (B, C, H, W)."""
        if not self.restore:
            return gamma(input, params["gamma"])
        low, high = extent(input)
        unit = (input - low).mul_(reciprocal(high - low))
        return with_moments_of(unit.pow(per_sample(params["gamma"], input)), unit, low, high - low)


class RandomBlur(IntensityOperation):
    """Gaussian blur.

    Args:
        sigma: range in pixels.
        p: probability per sample.
    """

    def __init__(self, sigma: Range = (0.3, 1.5), p: float = 0.3) -> None:
        super().__init__(p)
        self.sigma = checked_range("sigma", sigma, 0)
        self.radius = max(round(3 * self.sigma[1]), 1)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``sigma`` (B,)."""
        return {"sigma": draw(batch_shape[0], self.sigma)}

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Blur float32 (B, C, H, W)."""
        return blur(input, params["sigma"], self.radius)


class RandomIllumination(IntensityOperation):
    """Uneven illumination: a smooth field of factors around 1.

    Args:
        strength: range of the largest difference of the factors from 1, below 1.
        points: control points of the field along each axis; 4 gives one bend across the image.
        p: probability per sample.

    Raises:
        ValueError: if `strength` is not a range within [0, 1], `points` is below 4, or `p` lies outside [0, 1].
    """

    def __init__(self, strength: Range = (0.1, 0.5), points: int = 5, p: float = 0.3) -> None:
        super().__init__(p)
        self.strength = checked_range("strength", strength, 0, 1)
        if points < 4:
            raise ValueError(f"points={points}: a cubic spline needs at least 4")
        self.points = int(points)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Params:
        """Draw ``control`` (B, points, points)."""
        batch = batch_shape[0]
        field = 2 * torch.rand(batch, self.points, self.points) - 1
        return {"control": 1 + field * draw(batch, self.strength).view(-1, 1, 1)}

    def apply_transform(
        self, input: Tensor, params: Params, flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Change float32 (B, C, H, W)."""
        return illumination(input, params["control"])
