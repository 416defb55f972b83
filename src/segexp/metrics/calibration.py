"""Scores of probabilities: whether 0.8 means four in five, and whether foreground ranks above background.

Everything but the Brier score comes from one histogram a class: foreground and background pixels in 1,024 equal bins of
probability. Bins are a power of two, so that "probability >= k / 1024" counts exactly the pixels from bin k on.

The rule for images without a single known pixel: Brier score and calibration error 0. Average precision needs a
foreground pixel and is NaN without: such an image takes no part in its mean.
"""

import math

import numpy as np
from numpy.typing import NDArray

from segexp.metrics.overlap import Counts

BINS = 1024


def probability_histogram(probabilities: NDArray, truth: NDArray, known: NDArray | None = None) -> NDArray[np.int64]:
    """Pixels by probability, int64 (2, `BINS`): background in row 0, foreground in row 1. 1.0 falls in the last bin."""
    bins = (np.asarray(probabilities, np.float32) * np.float32(BINS)).astype(np.int32)
    np.minimum(bins, BINS - 1, out=bins)
    bins += np.asarray(truth, bool) * np.int32(BINS)
    chosen = bins.ravel() if known is None else bins[known]
    return np.bincount(chosen, minlength=2 * BINS).reshape(2, BINS)


def counts_by_threshold(histogram: NDArray[np.int64]) -> Counts:
    """Confusion counts at the thresholds k / `BINS`, k = 0 to `BINS` - 1; each field is an array (`BINS`,)."""
    background, foreground = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    fn, tn = foreground[0] - foreground, background[0] - background
    return Counts(foreground, background, fn, tn)


def average_precision(histogram: NDArray[np.int64]) -> float:
    """Area under precision over recall, by steps, of probabilities rounded down to 1 / `BINS`; NaN without any."""
    total = int(histogram[1].sum())
    if not total:
        return math.nan
    tp, fp, _, _ = counts_by_threshold(histogram)
    precision = np.divide(tp, tp + fp, out=np.zeros(BINS), where=(tp + fp) > 0)
    return float((precision * histogram[1]).sum() / total)


def reliability(histogram: NDArray[np.int64], bins: int = 16) -> tuple[NDArray, NDArray, NDArray]:
    """The reliability diagram: mean predicted probability, observed share of foreground, and pixels, each (bins,).

    `bins` divides `BINS`. NaN if a bin holds no pixel. Probabilities are taken at the middle of their fine bin.
    """
    middle = (np.arange(BINS) + 0.5) / BINS
    fine = histogram.sum(axis=0)
    pixels = fine.reshape(bins, -1).sum(axis=1)
    some = np.where(pixels, pixels, 1)
    predicted = np.where(pixels, (fine * middle).reshape(bins, -1).sum(axis=1) / some, np.nan)
    observed = np.where(pixels, histogram[1].reshape(bins, -1).sum(axis=1) / some, np.nan)
    return predicted, observed, pixels


def calibration_error(histogram: NDArray[np.int64], bins: int = 16) -> float:
    """Expected calibration error in [0, 1]: the mean gap of the reliability diagram, weighted by pixels.

    Guo et al. (2017, arXiv:1706.04599), for the probability of foreground.
    """
    predicted, observed, pixels = reliability(histogram, bins)
    gaps = np.where(pixels, np.abs(predicted - observed), 0)
    return float((gaps * pixels).sum() / max(int(pixels.sum()), 1))


def brier(probabilities: NDArray, truth: NDArray, known: NDArray | None = None) -> float:
    """Mean squared difference between probability and truth, in [0, 1]."""
    gap = np.square(np.asarray(probabilities, np.float32) - np.asarray(truth, bool))
    if known is not None:
        gap = gap[known]
    return float(gap.mean(dtype=np.float64)) if gap.size else 0.0


def temper(probabilities: NDArray, temperature: float) -> NDArray[np.float32]:
    """Probabilities with their logits divided by `temperature`: above 1 they move towards 0.5. Order is kept."""
    if temperature == 1:
        return np.asarray(probabilities, np.float32)
    from scipy.special import expit  # here and below, since it takes a seventh of a second to import

    return expit(_logits(probabilities) / np.float32(temperature))


def logit_histogram(probabilities: NDArray, truth: NDArray, known: NDArray | None = None) -> NDArray[np.int64]:
    """Pixels by logit, int64 (2, `BINS`) over -16 to 16: background in row 0, foreground in row 1."""
    return probability_histogram((_logits(probabilities) + _REACH) / np.float32(2 * _REACH), truth, known)


def fit_temperature(histogram: NDArray[np.int64]) -> tuple[float, float, float]:
    """The temperature with the least cross-entropy, from a `logit_histogram`; and that at 1 and at it, in nats.

    Guo et al. (2017, arXiv:1706.04599). The search is bounded to 0.2 to 5.
    """
    middle = ((np.arange(BINS) + 0.5) / BINS * 2 - 1) * _REACH
    total = max(int(histogram.sum()), 1)

    def loss(log_temperature: float) -> float:
        logits = middle / math.exp(log_temperature)
        return float(histogram[0] @ np.logaddexp(0, logits) + histogram[1] @ np.logaddexp(0, -logits)) / total

    from scipy import optimize  # here, since it takes half a second to import

    optimum = optimize.minimize_scalar(loss, bounds=(math.log(0.2), math.log(5)), method="bounded")
    return math.exp(optimum.x), loss(0.0), float(optimum.fun)


_REACH = 16.0  # float32 holds no probability below 1 by less than that of a logit of about 16


def _logits(probabilities: NDArray) -> NDArray[np.float32]:
    from scipy.special import logit

    logits = logit(np.asarray(probabilities, np.float32))
    return np.clip(logits, -_REACH, _REACH, out=logits)
