"""Check whether an image resembles the training images of a model, and whether its prediction does.

A model file holds the ranges of 32 features of its training and validation images (`segexp.calibration.features`: the
histogram, power spectrum and noise of the image, relative to its black level and standard deviation, and the sign of
its contrast), and the range of the share of foreground. Brightness and gain do not matter. The distance of an image
from the ranges, in standard deviations and averaged over the features, is compared with the distance that 95 % of the
training images have from all others. ``benchmarks/misfit.py`` measures how many foreign images that detects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.calibration.features import BANDS, BINS, LEVELS, histogram, noise, scale, spectrum
from segexp.inference.sliding_window import RowSource
from segexp.model_facts import FEATURES

KEY = "appearance"
"""Key of the entry in a model file."""
WINDOW = 512
"""Side of the square in the middle of an image that is examined, px: it takes 24 ms."""
SMALLEST = 32
"""Images of a shorter side are not judged."""
FEWEST = 5
"""Smallest number of images from which ranges are computed."""
MOST = 64
"""Largest number of images of each split that are examined, evenly spread."""
COUNT = len(LEVELS) + 1 + BANDS + BINS + 1
assert COUNT == FEATURES, "model files of both counts would have to be read"
GROUPS = {
    "histogram": slice(0, len(LEVELS) + 1),
    "spectrum": slice(len(LEVELS) + 1, len(LEVELS) + 1 + BANDS),
    "noise": slice(COUNT - 1 - BINS, COUNT - 1),
    "polarity": slice(COUNT - 1, COUNT),
}
_LOW, _MEDIAN, _HIGH = LEVELS.index(2), LEVELS.index(50), LEVELS.index(97)
_FLOOR = 0.1  # of a standard deviation: numbers that hardly vary over a few images do so over others
_FARTHEST = 10.0  # standard deviations that one number can count
_QUANTILE = 0.95
_SHARES = (0.05, 0.95)  # of the shares of foreground, what their range covers: generated images vary without end
_ODDS = 1.5  # factor by which the odds of foreground may leave the range


def describe(image: RowSource) -> NDArray[np.float64] | None:
    """The features (32,) of the middle of an image, at the scale that the network sees; None for a tiny image."""
    _, height, width = image.shape
    if min(height, width) < SMALLEST:
        return None
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    window = image.rows(top, min(height, top + WINDOW))[:, :, left : left + WINDOW]
    return describe_pixels(window)


def describe_pixels(pixels: NDArray) -> NDArray[np.float64]:
    """The features (32,) of pixels (C, H, W) of any real dtype; channels are averaged."""
    planes = [scale(plane.astype(np.float32)) for plane in pixels]
    plane = planes[0] if len(planes) == 1 else scale(np.mean(planes, axis=0, dtype=np.float32))
    levels = histogram(plane)
    low, median, high = np.sinh(levels[[_LOW, _MEDIAN, _HIGH]])
    polarity = (high + low - 2 * median) / max(high - low, 1e-6)  # 1: few bright pixels, -1: few dark ones
    return np.concatenate([levels, spectrum(plane), noise(plane), [polarity]])


def ranges_of(features: Sequence[NDArray], shares: Sequence[float]) -> dict[str, Any] | None:
    """The entry of a model file, from features of its images and their shares of foreground; None: too few images."""
    if len(features) < FEWEST:
        return None
    numbers = np.stack(features)
    spread = _spread(numbers)
    distances = []
    for index, own in enumerate(numbers):
        others = np.delete(numbers, index, axis=0)
        distances.append(_outside(own, others.min(axis=0), others.max(axis=0), _spread(others)).mean())
    return {
        "images": len(numbers),
        "low": [float(value) for value in numbers.min(axis=0)],
        "high": [float(value) for value in numbers.max(axis=0)],
        "spread": [float(value) for value in spread],
        "limit": float(np.quantile(distances, _QUANTILE)),
        "foreground": [float(share) for share in np.quantile(shares, _SHARES)],
    }


def misfit(facts: Mapping[str, Any], image: RowSource, share: float) -> str:
    """A sentence on how an image or its prediction differs from the training images; empty if it does not.

    Args:
        facts: of the model file; without ranges in them the result is empty.
        image: as the network sees it.
        share: of foreground in the prediction, 0 to 1.
    """
    ranges = facts.get(KEY)
    if not ranges:
        return ""
    reasons = []
    features = describe(image)
    if features is not None:
        reasons = look_reasons(ranges, features)
    reasons += share_reasons(ranges, share)
    return f"unlike the training images: {'; '.join(reasons)}" if reasons else ""


def look_reasons(ranges: Mapping[str, Any], features: NDArray[np.float64]) -> list[str]:
    """The properties of an image that are farthest outside of the ranges, at most two; empty if within the limit."""
    low, high, spread = (np.asarray(ranges[key]) for key in ("low", "high", "spread"))
    outside = _outside(features, low, high, spread)
    if outside.mean() <= ranges["limit"]:
        return []
    above = np.where(features > high, outside, -outside)
    words = {
        "histogram": "different distribution of brightness",
        "spectrum": "finer texture" if above[GROUPS["spectrum"]][BANDS // 2 :].sum() > 0 else "coarser texture",
        "noise": "more noise" if above[GROUPS["noise"]].sum() > 0 else "less noise",
        "polarity": "inverted contrast",
    }
    strength = {name: float(outside[part].mean()) for name, part in GROUPS.items()}
    if features[-1] * (low[-1] + high[-1]) >= 0:  # bright on dark as before, but for the amount
        strength.pop("polarity")
    if strength.get("polarity"):
        strength["polarity"] = np.inf
    ranked = sorted(strength, key=lambda name: -strength[name])
    return [words[name] for name in ranked[:2] if strength[name] > 0] or ["other look"]


def share_reasons(ranges: Mapping[str, Any], share: float) -> list[str]:
    """A reason if the share of foreground is outside of its range by more than half its odds."""
    low, high = ranges["foreground"]
    if low / _ODDS <= _odds(share, low) and _odds(share, high) <= _ODDS * high:
        return []
    return [f"{_percent(share)} % foreground where training had {_percent(low)} to {_percent(high)} %"]


def spread_evenly(count: int, most: int = MOST) -> list[int]:
    """Evenly spread indices of at most `most` of `count` items."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())] if count else []


def _odds(share: float, bound: float) -> float:
    """The odds of `share` in units in which those of `bound` are `bound`."""
    return share * (1 - bound) / max(1 - share, 1e-9)


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.995 else "100"


def _spread(numbers: NDArray) -> NDArray:
    return np.sqrt(numbers.var(axis=0, ddof=1) + _FLOOR**2)


def _outside(numbers: NDArray, low: NDArray, high: NDArray, spread: NDArray) -> NDArray:
    """How far each number lies outside of its range, in units of its spread."""
    return np.clip(np.maximum(low - numbers, numbers - high) / spread, 0, _FARTHEST)
