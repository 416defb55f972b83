"""Scores of probabilities by hand, and against torchmetrics and plain re-thresholding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from segexp.metrics.calibration import (
    BINS,
    average_precision,
    brier,
    calibration_error,
    counts_by_threshold,
    fit_temperature,
    logit_histogram,
    probability_histogram,
    reliability,
    temper,
)
from segexp.metrics.overlap import confusion

MAPS = arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32))
MASKS = arrays(bool, (5, 6))


def test_by_hand():
    probabilities = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1], np.float32)
    truth = np.array([1, 1, 1, 0, 0, 0], bool)
    histogram = probability_histogram(probabilities, truth)
    assert brier(probabilities, truth) == pytest.approx((3 * 0.01 + 0.81 + 2 * 0.01) / 6)
    # at 0.9 three quarters are foreground (gap 0.15, 4 pixels), at 0.1 none (gap 0.1, 2 pixels)
    assert calibration_error(histogram) == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-3)
    predicted, observed, pixels = reliability(histogram, 4)
    assert pixels.tolist() == [2, 0, 0, 4]
    np.testing.assert_allclose(observed, [0, np.nan, np.nan, 0.75])
    np.testing.assert_allclose(predicted, [0.1, np.nan, np.nan, 0.9], atol=1e-3)
    assert average_precision(histogram) == pytest.approx(0.75)


def test_without_foreground_or_without_pixels():
    nothing = probability_histogram(np.full(4, 0.3), np.zeros(4, bool))
    assert math.isnan(average_precision(nothing))
    unknown = probability_histogram(np.full(4, 0.3), np.ones(4, bool), np.zeros(4, bool))
    assert unknown.sum() == 0
    assert calibration_error(unknown) == 0
    assert brier(np.full(4, 0.3), np.ones(4, bool), np.zeros(4, bool)) == 0


@given(MAPS, MASKS, MASKS, st.integers(0, BINS - 1))
def test_one_histogram_counts_what_thresholding_counts(probabilities, truth, known, step):
    threshold = step / BINS
    counts = counts_by_threshold(probability_histogram(probabilities, truth, known))
    assert tuple(int(field[step]) for field in counts) == confusion(probabilities >= threshold, truth, known)


@given(MAPS, MASKS)
def test_agrees_with_torchmetrics(probabilities, truth):
    from torchmetrics.functional.classification import binary_average_precision, binary_calibration_error

    assume(truth.any())
    rounded = np.minimum(np.floor(probabilities * BINS), BINS - 1) / BINS
    p, t = torch.from_numpy(rounded.ravel()), torch.from_numpy(truth.ravel()).long()
    histogram = probability_histogram(probabilities, truth)
    assert average_precision(histogram) == pytest.approx(binary_average_precision(p, t).item(), abs=1e-5)
    # torchmetrics bins the confidence of foreground by open-closed bins: shift by half a fine bin to the same ones
    middle = torch.from_numpy((rounded.ravel() + 0.5 / BINS).astype(np.float32))
    theirs = binary_calibration_error(middle, t, n_bins=16, norm="l1").item()
    assert calibration_error(histogram) == pytest.approx(theirs, abs=1e-5)


@given(MAPS, MASKS)
def test_brier_is_the_mean_squared_error(probabilities, truth):
    assert brier(probabilities, truth) == pytest.approx(np.mean((probabilities.astype(float) - truth) ** 2), abs=1e-6)


def test_the_temperature_that_made_the_probabilities_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, 300_000)
    truth = rng.random(len(logits)) < special.expit(logits)
    overconfident = special.expit(2.5 * logits)
    temperature, before, after = fit_temperature(logit_histogram(overconfident, truth))
    assert temperature == pytest.approx(2.5, rel=0.03)
    assert after < before
    tempered = temper(overconfident, temperature)
    assert calibration_error(probability_histogram(tempered, truth)) < 0.005
    assert calibration_error(probability_histogram(overconfident, truth)) > 0.05
    exact = -np.mean(np.where(truth, np.log(tempered), np.log1p(-tempered)))
    assert after == pytest.approx(exact, abs=1e-3)


@given(MAPS, st.floats(0.3, 4))
def test_tempering_keeps_order_and_the_half(probabilities, temperature):
    tempered = temper(probabilities, temperature)
    assert tempered.dtype == np.float32
    order = np.argsort(probabilities.ravel(), kind="stable")
    assert (np.diff(tempered.ravel()[order]) >= -1e-7).all()
    assert temper(np.array([0.5]), temperature) == 0.5
    np.testing.assert_array_equal(temper(probabilities, 1.0), probabilities)
