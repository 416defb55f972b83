"""Optics and camera, from light to grey values: the steps that vesicles and filaments have in common.

The steps, all in float32 on batches (B, H, W): fluorophore density (brightness 1 = the nominal object) -> Gaussian
PSF with a share of the light in a wide halo -> background, cell haze and out-of-focus light, computed on a grid
`COARSE` times coarser -> illumination -> expected photons -> shot noise, read noise, gain, offset, hot pixels,
saturation, bit depth -> grey values.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import erf
from torch import Tensor

from segexp.synthesis.ranges import Range

COARSE = 4  # px, side of a cell of the grid on which smooth light is computed: 16 times fewer values

OPTICS: dict[str, Range] = {
    "psf": Range(0.8, 1.8, "px", "Gaussian sigma of the point spread function", "log"),
    "halo": Range(0.0, 0.25, "share", "share of each object's light in the wide part of the PSF"),
    "halo_psf": Range(4.0, 14.0, "px", "Gaussian sigma of this wide part", "log"),
    "photons": Range(15.0, 1500.0, "photons/px", "photons of an object of brightness 1", "log"),
    "background": Range(0.01, 0.3, "brightness", "mean background level", "log"),
    "unevenness": Range(0.0, 0.8, "share", "largest deviation of the background from its mean"),
    "vignetting": Range(0.0, 0.4, "share", "illumination lost in the corners"),
    "bleaching": Range(0.0, 0.3, "share", "illumination lost from one side to the other"),
    "defocus": Range(3.0, 9.0, "px", "Gaussian sigma of objects out of focus", "log"),
    "read_noise": Range(0.5, 4.0, "photons", "standard deviation of the camera's read noise"),
    "noise_blur": Range(0.0, 0.6, "px", "Gaussian sigma of a smoothing of the noise that keeps its variance"),
    "bits": Range(8, 16, "bit", "bit depth of the camera", "integer"),
    "exposure": Range(0.05, 1.5, "share of full scale", "grey value of brightness 1 on the mean background", "log"),
    "offset": Range(0.0, 0.03, "share of full scale", "grey value of no light"),
    "stretch": Range(0, 1, "probability", "grey values rescaled from the camera's bit depth to 16 bits", "chance"),
    "hot_pixels": Range(0.0, 4e-5, "share of pixels", "single pixels with added charge"),
    "grain": Range(0.0, 0.1, "share", "standard deviation of the background's and the haze's fine texture"),
    "grain_size": Range(2.0, 9.0, "px", "Gaussian sigma of this texture", "log"),
    "dark": Range(0.0, 0.0, "probability", "objects darken what is behind them instead of shining", "chance"),
    "airy": Range(0.0, 0.0, "probability", "Airy pattern of the same width instead of a Gaussian", "chance"),
    "subtracted": Range(0.0, 0.2, "probability", "mean background subtracted, lower values set to 0", "chance"),
    "jpeg": Range(0.1, 0.1, "probability", "stored as JPEG, 8 bits", "chance"),
    "quality": Range(60, 96, "of 100", "JPEG's quality", "integer"),
}


def coarse_shape(height: int, width: int) -> tuple[int, int]:
    """Return the coarse grid that covers an image: (rows, columns)."""
    return -(-height // COARSE), -(-width // COARSE)


def gaussian(sigma: np.ndarray) -> np.ndarray:
    """Return one half of each normalised Gaussian kernel, centre first, cut at 4 sigma: (B,) -> float32 (B, K)."""
    reach = np.ceil(4.0 * sigma)
    steps = np.arange(int(reach.max()) + 1)
    weights = np.exp(-0.5 * (steps / np.maximum(sigma, 1e-3)[:, None]) ** 2) * (steps <= reach[:, None])
    return (weights / (2.0 * weights.sum(1, keepdims=True) - 1.0)).astype(np.float32)


def blur(images: Tensor, sigma: np.ndarray) -> Tensor:
    """Blur each image with its own Gaussian, edges repeated: (B, H, W), sigma (B,) in px -> (B, H, W).

    Computed as sums of shifted images, not by a convolution call: four times faster for one channel on a CPU. `sigma`
    is on the CPU, so that the kernel's length is known without waiting for the images' device.
    """
    kernel = torch.from_numpy(gaussian(sigma)).to(images.device)
    reach = kernel.shape[1] - 1
    height, width = images.shape[-2:]
    padded = F.pad(images[None], (reach, reach, reach, reach), mode="replicate")[0]
    rows = padded[..., reach : reach + width] * kernel[:, 0, None, None]
    for k in range(1, reach + 1):
        pair = padded[..., reach - k : reach - k + width] + padded[..., reach + k : reach + k + width]
        rows.addcmul_(pair, kernel[:, k, None, None])
    result = rows[:, reach : reach + height] * kernel[:, 0, None, None]
    for k in range(1, reach + 1):
        pair = rows[:, reach - k : reach - k + height] + rows[:, reach + k : reach + k + height]
        result.addcmul_(pair, kernel[:, k, None, None])
    return result


def refined(coarse: Tensor, height: int, width: int) -> Tensor:
    """Interpolate coarse images to full size, bilinearly: (B, C, h, w) -> (B, C, height, width).

    Columns are interpolated by a matrix product, rows by weighted sums of neighbours: twice as fast as `interpolate`.
    """
    columns = coarse.shape[-1]
    position = ((torch.arange(width, device=coarse.device) + 0.5) / COARSE - 0.5).clamp(0.0, columns - 1.0)
    weights = (1.0 - (position - torch.arange(columns, device=coarse.device)[:, None]).abs()).clamp_min_(0.0)
    wide = coarse @ weights
    before = torch.cat([wide[..., :1, :], wide], dim=-2)  # (rows + 1): pairs of neighbours around each cell's edges
    after = torch.cat([wide, wide[..., -1:, :]], dim=-2)
    share = ((torch.arange(COARSE, device=coarse.device) + 0.5) / COARSE)[:, None]
    between = torch.lerp(before.unsqueeze(-2), after.unsqueeze(-2), share)  # (..., rows + 1, COARSE, width)
    return between.flatten(-3, -2)[..., COARSE // 2 : COARSE // 2 + height, :]


def coarsened(images: Tensor) -> Tensor:
    """Average over the coarse grid's cells: (B, H, W) -> (B, h, w)."""
    height, width = images.shape[-2:]
    padded = F.pad(images[None], (0, -width % COARSE, 0, -height % COARSE), mode="replicate")
    return F.avg_pool2d(padded, COARSE)[0]


def smooth_field(knots: Tensor, shape: tuple[int, int]) -> Tensor:
    """Interpolate random knots to a smooth field: (B, k, k) standard normal -> (B, *shape) in [-1, 1]."""
    field = F.interpolate(knots[:, None], size=shape, mode="bicubic", align_corners=True)[:, 0]
    return torch.tanh(0.7 * field)


def ramp(angle: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a plane rising along an angle: (B,) radians -> (B, *shape) in [-1, 1]."""
    y = torch.linspace(-1.0, 1.0, shape[0], device=angle.device)[None, :, None]
    x = torch.linspace(-1.0, 1.0, shape[1], device=angle.device)[None, None, :]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return (cos * x + sin * y) / (cos.abs() + sin.abs())


def illumination(p: Mapping[str, Tensor], angle: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the share of illumination at each pixel: vignetting towards the corners, bleaching along an angle."""
    y = torch.linspace(-1.0, 1.0, shape[0], device=angle.device)[:, None]
    x = torch.linspace(-1.0, 1.0, shape[1], device=angle.device)[None, :]
    corners = 0.5 * (y**2 + x**2)
    lost = -torch.log1p(-p["bleaching"])[:, None, None] * 0.5 * (1.0 + ramp(angle, shape))
    return (1.0 - p["vignetting"][:, None, None] * corners) * torch.exp(-lost)


def psf_sigma(
    wavelength: float, aperture: float, pixel: float, index: float = 1.515, excitation: float | None = None
) -> float:
    """Return the sigma in px of the Gaussian nearest to a microscope's in-focus point spread function.

    `wavelength` is that of the emission in nm, `aperture` the numerical aperture (below the refractive `index` of the
    immersion medium), `pixel` the pixel size in the sample in nm. The microscope is a widefield one, or, if the
    `excitation` wavelength in nm is given, a confocal one with a small pinhole. Method: Zhang, Zerubia and
    Olivo-Marin, Applied Optics 46 (2007), non-paraxial forms.

    Raises:
        ValueError: if a quantity is out of its physical range.
    """
    if not (wavelength > 0 and pixel > 0 and 0 < aperture < index and (excitation is None or excitation > 0)):
        raise ValueError(
            "expected wavelengths and pixel above 0 nm and 0 < aperture < index; got "
            f"wavelength {wavelength}, excitation {excitation}, pixel {pixel}, aperture {aperture}, index {index}"
        )
    cosine = math.sqrt(1.0 - (aperture / index) ** 2)
    a, b = cosine**1.5, cosine**3.5
    shape = (4.0 - 7.0 * a + 3.0 * b) / (7.0 * (1.0 - a))
    sigma = 1.0 / (2.0 * math.pi * index / wavelength * math.sqrt(shape))
    if excitation is not None:  # for a product of two Gaussians, the inverse squares of the widths add up
        other = sigma * excitation / wavelength
        sigma = 1.0 / math.sqrt(1.0 / sigma**2 + 1.0 / other**2)
    return sigma / pixel


def airy_blur(images: Tensor, sigma: np.ndarray) -> Tensor:
    """Blur each image with the Airy pattern whose nearest Gaussian has this sigma: (B, H, W), (B,) px -> (B, H, W).

    Uses the transfer function of an ideal lens, 0 above 2 NA / wavelength = 0.45 / sigma cycles per px (paraxial).
    """
    height, width = images.shape[-2:]
    margin = int(np.ceil(8.0 * sigma.max()))
    padded = F.pad(images[None], (margin, margin, margin, margin), mode="replicate")[0]
    rows, columns = padded.shape[-2:]
    fy = torch.fft.fftfreq(rows, device=images.device)[:, None]
    fx = torch.fft.rfftfreq(columns, device=images.device)[None, :]
    cutoff = torch.from_numpy((2.0 * 0.225 / sigma).astype(np.float32)).to(images.device)[:, None, None]
    share = (torch.hypot(fy, fx)[None] / cutoff).clamp_max(1.0)
    transfer = (2.0 / math.pi) * (torch.acos(share) - share * (1.0 - share * share).sqrt())
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(rows, columns))
    return blurred[:, margin : margin + height, margin : margin + width].clamp_min(0.0)


def gain(p: Mapping[str, Tensor]) -> Tensor:
    """Return grey levels per photon, (B,): brightness 1 on the mean background gives `exposure` of the full scale."""
    full = 2.0 ** p["bits"] - 1.0
    return p["exposure"] * full * (1.0 - p["offset"]) / (p["photons"] * (1.0 + p["background"]))


def ceiling(p: Mapping[str, Tensor]) -> Tensor:
    """Return the photons at which the camera saturates, (B,)."""
    return (2.0 ** p["bits"] - 1.0) * (1.0 - p["offset"]) / gain(p) + black(p)


def levels(p: Mapping[str, Tensor]) -> Tensor:
    """Return grey levels per photon in the final image, (B,); JPEG has 8 bits and needs two levels to preserve one."""
    return gain(p) * torch.where(p["jpeg"] > 0.5, 127.5 / (2.0 ** p["bits"] - 1.0), 1.0)


def black(p: Mapping[str, Tensor]) -> Tensor:
    """Return the photons that are subtracted from every pixel, (B,)."""
    return p["subtracted"] * p["background"] * p["photons"]


def floor(p: Mapping[str, Tensor]) -> Tensor:
    """Return the photons below which the grey value is 0, (B,); negative if the offset exceeds what is subtracted."""
    return black(p) - (2.0 ** p["bits"] - 1.0) * p["offset"] / gain(p)


def detected(expected: Tensor, read_noise: Tensor, z: Tensor) -> Tensor:
    """Add shot noise and read noise to expected photons: (B, H, W), (B,) and standard normal (B, H, W) -> (B, H, W).

    A normal draw with a first-order correction for skewness: mean, variance (photons + read noise squared) and third
    moment equal those of Poisson counts plus normal read noise. One draw per pixel, several times faster than Poisson
    sampling; below about two photons without read noise, counts can be slightly negative.
    """
    variance = expected + (read_noise[:, None, None] ** 2 + 1e-6)
    skew = (expected / variance).mul_(1.0 / 6.0)
    spread = variance.addcmul_(skew, skew, value=-2.0).clamp_min_(0.0).sqrt_()
    return (z * z).sub_(1.0).mul_(skew).addcmul_(spread, z).add_(expected)


def exposed(expected: Tensor, p: Mapping[str, Tensor], z: Tensor, hot: Tensor) -> Tensor:
    """Convert expected photons, standard normal noise and hot charge (share of full scale) to grey values, int32.

    Grey values lie in [0, 2**bits - 1], or in [0, 65535] if `stretch` is 1.
    """
    full = (2.0 ** p["bits"] - 1.0)[:, None, None]
    counts = detected(expected, p["read_noise"], z)
    grey = (
        counts.sub_(black(p)[:, None, None])
        .mul_(gain(p)[:, None, None])
        .add_(full * (p["offset"][:, None, None] + hot))
    )
    grey = grey.clamp_min_(0.0).minimum(full).round_()
    stretched = torch.where(p["stretch"][:, None, None] > 0.5, 65535.0 / full, torch.ones_like(full))
    return (grey * stretched).round_().to(torch.int32)


def smoothed_noise(z: Tensor, sigma: np.ndarray) -> Tensor:
    """Blur unit noise and rescale it to variance 1; the noise of resampled or denoised micrographs is like this."""
    kernel = gaussian(sigma)
    power = torch.from_numpy(2.0 * (kernel**2).sum(1) - kernel[:, 0] ** 2).to(z.device)
    return blur(z, sigma) / power[:, None, None]


def disc_peak(radius: np.ndarray, psf: float) -> np.ndarray:
    """Return the peak of a flat disc of brightness 1 after a Gaussian PSF, all in px."""
    return 1.0 - np.exp(-0.5 * (np.asarray(radius) / psf) ** 2)


def bar_peak(width: np.ndarray, psf: float) -> np.ndarray:
    """Return the peak of a long flat bar of brightness 1 after a Gaussian PSF, all in px."""
    return erf(np.asarray(width) / (2.0 * math.sqrt(2.0) * psf))
