"""Confidence intervals of means over images, and a test of the difference of two means.

The image is the sampling unit: pixels, objects and classes of one image are not independent of each other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST = 3
"""Smallest number of images for an interval: fewer say too little about others."""
DRAWN = 1 << 19
"""Values that are drawn anew and in memory at a time."""


class Difference(NamedTuple):
    """The mean of paired differences, its interval, and the chance of one as large without a real difference."""

    mean: float
    interval: tuple[float, float] | None
    p: float


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Interval of the mean of one value an image, by the bias-corrected and accelerated bootstrap (Efron 1987).

    NaN values are left out. None for fewer than `FEWEST` values. Deterministic for a seed.
    """
    clean = np.asarray(values, np.float64)
    clean = clean[~np.isnan(clean)]
    if len(clean) < FEWEST:
        return None
    if np.ptp(clean) <= 1e-12 * np.abs(clean).max(initial=0):
        return float(clean[0]), float(clean[0])
    from scipy import stats  # here, since it takes a second to import and predicting does not need it

    found = stats.bootstrap(
        (clean,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, DRAWN // len(clean)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def paired_difference(first: ArrayLike, second: ArrayLike, resamples: int = 9999, seed: int = 0) -> Difference:
    """`first` minus `second`, one value an image in the same order: mean, 95 % interval, two-sided p.

    p is that of the paired permutation test: exact for up to 13 images, else from `resamples` random exchanges of
    the two within images. Pairs with a NaN are left out; without pairs the mean is NaN and p is 1.

    Raises:
        ValueError: if the lists differ in length.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"shapes {a.shape} and {b.shape}: expected two equal lists of values")
    both = ~(np.isnan(a) | np.isnan(b))
    gap = a[both] - b[both]
    if not len(gap):
        return Difference(float("nan"), None, 1.0)
    return Difference(float(gap.mean()), bootstrap_interval(gap, seed=seed), _permutation_p(gap, resamples, seed))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean of a few repeats (seeds, folds) by Student's t; None for fewer than two values.

    It takes the repeats for independent draws. Folds share most of their training images, so for them it is a little
    too narrow (Bengio and Grandvalet 2004).
    """
    clean = np.asarray(values, np.float64)
    clean = clean[~np.isnan(clean)]
    if len(clean) < 2:
        return None
    from scipy import stats

    reach = stats.t.ppf((1 + confidence) / 2, len(clean) - 1) * clean.std(ddof=1) / np.sqrt(len(clean))
    return float(clean.mean() - reach), float(clean.mean() + reach)


def smallest_p(images: int) -> float:
    """The smallest p that the paired test can give: 2 / 2^n. Above 0.05 for five images and fewer."""
    return min(1.0, 2.0 ** (1 - images))


def _permutation_p(gap: NDArray[np.float64], resamples: int, seed: int) -> float:
    if len(gap) < 2 or not gap.any():
        return 1.0
    from scipy import stats

    test = stats.permutation_test(
        (gap, np.zeros_like(gap)),  # exchanging a pair's members turns the sign of its difference
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, DRAWN // len(gap)),
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
