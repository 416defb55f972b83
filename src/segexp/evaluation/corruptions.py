"""Corruptions of images, each with one parameter and the values to try.

A corruption takes raw pixels (C, H, W) float32, its parameter and a random generator, and returns pixels (C, H, W)
float32, of the same size except for ``downscale``. Corruptions relative to the brightness of an image use its own black
and white: its smallest value and its 99.9th percentile. Everything is deterministic for a generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


class Perturbation(NamedTuple):
    """One way to change an image.

    Attributes:
        words: its name for display.
        unit: of the parameter.
        values: the parameter's values, in order.
        neutral: the value that changes nothing, or next to nothing.
        scale: ``log`` or ``linear``: how the values are spread, and an axis should be.
        change: the function.
    """

    words: str
    unit: str
    values: tuple[float, ...]
    neutral: float
    scale: str
    change: Callable[[Pixels, float, np.random.Generator], Pixels]


def black_and_white(pixels: Pixels) -> tuple[float, float]:
    """Smallest value and 99.9th percentile of an image; they differ by 1 if it is constant."""
    black, white = float(pixels.min()), float(np.percentile(pixels, 99.9))
    return black, white if white > black else black + 1.0


def intensity(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Multiply, without saturation."""
    return pixels * np.float32(factor)


def offset(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Add a share of the range from black to white. A negative one is cut off at black, as a background subtraction."""
    black, white = black_and_white(pixels)
    return np.maximum(pixels + np.float32(share * (white - black)), np.float32(black))


def gamma(pixels: Pixels, exponent: float, rng: np.random.Generator) -> Pixels:
    """Raise to a power; black and white stay unchanged."""
    black, white = black_and_white(pixels)
    return ((pixels - black) / (white - black)) ** np.float32(exponent) * np.float32(white - black) + np.float32(black)


def photons(pixels: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """Shot noise of a camera that counts `count` photons where the image is white and none where it is black."""
    black, white = black_and_white(pixels)
    counted = rng.poisson((pixels - black) * (count / (white - black)))
    return counted.astype(np.float32) * np.float32((white - black) / count) + np.float32(black)


def blur(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian blur, `sigma` in pixels."""
    if sigma == 0:
        return pixels
    return np.stack([cv2.GaussianBlur(channel, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for channel in pixels])


def illumination(pixels: Pixels, loss: float, rng: np.random.Generator) -> Pixels:
    """Light that falls off with the square of the distance from a point left above the middle, by `loss` at most."""
    height, width = pixels.shape[1:]
    rows, columns = np.linspace(0, 1, height)[:, None] - 0.4, np.linspace(0, 1, width) - 0.35
    squares = rows**2 + columns**2
    black, _ = black_and_white(pixels)
    field = (1 - loss * squares / squares.max()).astype(np.float32)
    return (pixels - np.float32(black)) * field + np.float32(black)


def downscale(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """A smaller image, `factor` times on each side, by averaging areas; never under 16 pixels a side."""
    height, width = (max(round(side / factor), min(16, side)) for side in pixels.shape[1:])
    if (height, width) == pixels.shape[1:]:
        return pixels
    return np.stack([cv2.resize(channel, (width, height), interpolation=cv2.INTER_AREA) for channel in pixels])


def grey_levels(pixels: Pixels, levels: float, rng: np.random.Generator) -> Pixels:
    """Rounded to so many evenly spaced values from black to white, brighter pixels saturating: 256 is 8-bit."""
    black, white = black_and_white(pixels)
    step = np.float32((white - black) / (levels - 1))
    return np.rint((np.minimum(pixels, np.float32(white)) - np.float32(black)) / step) * step + np.float32(black)


def jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """Brought to 8 bits from black to white and through JPEG; three channels as colour, others one by one."""
    black, white = black_and_white(pixels)
    grey = np.clip((pixels - black) / (white - black) * 255, 0, 255).round().astype(np.uint8)
    if len(grey) == 3:
        through = np.moveaxis(_through_jpeg(np.moveaxis(grey, 0, 2)[..., ::-1], quality)[..., ::-1], 2, 0)
    else:
        through = np.stack([_through_jpeg(channel, quality) for channel in grey])
    return through.astype(np.float32) * np.float32((white - black) / 255) + np.float32(black)


def _through_jpeg(image: NDArray, quality: float) -> NDArray:
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))


PERTURBATIONS = {
    "intensity": Perturbation(
        "brightness", "times", (0.001, 0.01, 0.1, 0.5, 1, 2, 10, 100, 1000, 10000, 65000), 1, "log", intensity
    ),
    "offset": Perturbation(
        "offset", "of the range", (-0.4, -0.2, -0.1, -0.05, 0, 0.1, 0.5, 1, 2, 5), 0, "linear", offset
    ),
    "gamma": Perturbation("gamma", "exponent", (0.25, 0.35, 0.5, 0.7, 0.85, 1, 1.2, 1.4, 2, 2.8, 4), 1, "log", gamma),
    "photons": Perturbation(
        "photon noise", "photons at white", (1, 3, 10, 30, 100, 300, 1000, 10000), 10000, "log", photons
    ),
    "blur": Perturbation("blur", "px (sigma)", (0, 0.5, 1, 1.5, 2, 3, 4, 6), 0, "linear", blur),
    "illumination": Perturbation(
        "uneven illumination", "share lost at the edge", (0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95), 0, "linear", illumination
    ),
    "downscale": Perturbation("down-scaling", "times smaller", (1, 1.25, 1.5, 2, 2.5, 3, 4), 1, "log", downscale),
    "grey_levels": Perturbation("grey levels", "levels", (4, 8, 16, 32, 64, 128, 256), 256, "log", grey_levels),
    "jpeg": Perturbation("JPEG", "quality", (5, 10, 20, 30, 50, 75, 90, 100), 100, "linear", jpeg),
}
