"""Image features to which the generator is fitted, and the distance between two sets of images.

Four groups of features have equal weight: the histogram, the power spectrum, the noise as a function of the mean, and
the blobs or ridges. All are computed from the image as the network will see it: its black level (first percentile) is
subtracted, and it is divided by its own standard deviation. The camera's offset and gain therefore have no influence.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segexp.data.normalization import image_statistics

LEVELS = (2, 10, 25, 50, 75, 90, 97, 99, 99.7, 99.95)
"""Percentiles of the histogram."""
BANDS = 12
"""Rings of the power spectrum, evenly in the logarithm of frequency."""
BINS = 8
"""Groups of pixels with similar local means, each an eighth of the image."""
SCALES = {"vesicle": (1.0, 1.7, 2.8, 4.7, 8.0), "cytoskeleton": (1.0, 1.6, 2.5, 4.0)}
"""Gaussian sigmas at which blobs and ridges are detected, px."""
PEAKS = (75, 95, 99, 99.8)
"""Percentiles of the response to blobs or ridges."""
STRIDE = 3
"""Percentiles are computed from every third pixel, in a third of the time."""
SHARES = np.linspace(0.1, 0.9, 9)

GROUPS = ("histogram", "spectrum", "noise", "structures")


def describe(image: ArrayLike, task: str) -> NDArray[np.float64]:
    """Return the features of an image (H, W) of any dtype, 32 px a side or more: (F,), in the order of `GROUPS`."""
    scaled = scale(np.asarray(image, np.float32))
    return np.concatenate([histogram(scaled), spectrum(scaled), noise(scaled), structures(scaled, task)])


def scale(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the black level of an image (H, W), and divide by its standard deviation; the result has no unit."""
    black, deviation = image_statistics(plane[None], "log")
    return (plane - black) / deviation


def groups_of(task: str) -> dict[str, slice]:
    """Return the slice of each group in the result of `describe`."""
    lengths = (len(LEVELS) + 1, BANDS, BINS, len(SCALES[task]) * (len(PEAKS) + 1) + (task == "cytoskeleton"))
    ends = np.cumsum(lengths)
    return {name: slice(int(end - n), int(end)) for name, n, end in zip(GROUPS, lengths, ends, strict=True)}


def histogram(scaled: NDArray) -> NDArray:
    """Return percentiles, linear near black and logarithmic far from it, and the share of saturated pixels (log10)."""
    values = np.percentile(scaled.ravel()[::STRIDE], LEVELS)
    saturated = float((scaled >= scaled.max()).mean())
    return np.append(np.arcsinh(values), np.log10(saturated + 1e-4))


def spectrum(scaled: NDArray) -> NDArray:
    """Return log10 of the mean power in rings of frequency, from 2 / 256 to 0.5 cycles per px; Hann window."""
    height, width = scaled.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    power = np.abs(np.fft.rfft2((scaled - scaled.mean()) * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    edges = np.geomspace(2.0 / 256, 0.5, BANDS + 1)
    ring = np.digitize(radius.ravel(), edges)
    sums = np.bincount(ring, power.ravel(), BANDS + 2)[1 : BANDS + 1]
    counts = np.bincount(ring, minlength=BANDS + 2)[1 : BANDS + 1]
    return np.log10(sums / np.maximum(counts, 1) + 1e-6)


def noise(scaled: NDArray) -> NDArray:
    """Return log10 of the noise's standard deviation in groups of pixels, from the darkest to the brightest.

    The noise is the result of Immerkaer's operator (Computer Vision and Image Understanding 64, 1996). Its standard
    deviation is estimated from the median of its magnitude, which structures hardly change.
    """
    mask = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6.0
    residual = np.abs(cv2.filter2D(scaled, -1, mask))
    mean = cv2.blur(scaled, (5, 5))
    mean, residual = mean.ravel()[::STRIDE], residual.ravel()[::STRIDE]
    order = np.argsort(mean, kind="stable")
    return np.array([np.log10(1.4826 * np.median(part) + 1e-4) for part in np.array_split(residual[order], BINS)])


def structures(scaled: NDArray, task: str) -> NDArray:
    """Return the strength of blobs or ridges at several scales, and further descriptors of them.

    For vesicles, that is the density of blobs at each scale; for filaments, the strength of dark ridges at each scale,
    and the straightness.
    """
    responses: list[float] = []
    for sigma in SCALES[task]:
        smooth = cv2.GaussianBlur(scaled, (0, 0), sigma)
        dyy, dxx = (cv2.Sobel(smooth, -1, dx, 2 - dx, ksize=3) * (sigma**2 / 4) for dx in (0, 2))
        if task == "vesicle":
            strength = -(dxx + dyy)
            wide = 2 * int(np.ceil(sigma)) + 1
            top = (strength == cv2.dilate(strength, np.ones((wide, wide), np.uint8))) & (strength > 0.1)
            last = np.log10(top.mean() + 1e-5)
        else:
            dxy = cv2.Sobel(smooth, -1, 1, 1, ksize=3) * (sigma**2 / 4)
            half, turn = (dxx + dyy) / 2, np.hypot((dxx - dyy) / 2, dxy)
            strength = turn - half  # minus the lower eigenvalue: large on a bright ridge
            last = np.arcsinh(10 * float(np.percentile((half + turn).ravel()[::STRIDE], 99)))  # upper one: dark ridges
        responses += [*np.arcsinh(10 * np.percentile(strength.ravel()[::STRIDE], PEAKS)), last]
    if task == "cytoskeleton":
        responses.append(_straightness(scaled))
    return np.array(responses)


def _straightness(scaled: NDArray) -> float:
    """Return the energy-weighted coherence of the structure tensor over 8 px: 0 for noise, 1 for parallel lines."""
    smooth = cv2.GaussianBlur(scaled, (0, 0), 1.5)
    gy, gx = (ndimage.sobel(smooth, axis) for axis in (0, 1))
    yy, xx, xy = (cv2.GaussianBlur(part, (0, 0), 8.0) for part in (gy * gy, gx * gx, gx * gy))
    return float(np.hypot(yy - xx, 2 * xy).sum() / max(float((yy + xx).sum()), 1e-12))


def distance(ours: NDArray, theirs: NDArray, scale: NDArray, task: str) -> dict[str, float]:
    """Return the distance between two sets of features, (N, F) and (M, F), by group, and as ``all`` the groups' mean.

    The distance of a group is the mean over its features of the Wasserstein distance between the two distributions of
    the feature, in units of `scale` (F,).
    """
    levels = [np.quantile(numbers, SHARES, axis=0) for numbers in (ours, theirs)]
    gap = np.abs(levels[0] - levels[1]).mean(0) / scale
    by_group = {name: float(gap[part].mean()) for name, part in groups_of(task).items()}
    return by_group | {"all": float(np.mean(list(by_group.values())))}
