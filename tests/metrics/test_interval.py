"""Intervals and paired tests: cases with a known answer, coverage, and false alarms."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segexp.metrics import interval
from segexp.metrics.interval import bootstrap_interval, paired_difference, smallest_p


def test_an_interval_holds_the_mean_and_shrinks_with_the_number_of_images():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.8, 0.1, 12), rng.normal(0.8, 0.1, 1200)
    for values in (few, many):
        low, high = bootstrap_interval(values)
        assert low < values.mean() < high
    assert np.ptp(bootstrap_interval(few)) > 5 * np.ptp(bootstrap_interval(many))
    # for many images it is the normal interval
    expected = many.mean() + np.array([-1.96, 1.96]) * many.std() / np.sqrt(1200)
    np.testing.assert_allclose(bootstrap_interval(many), expected, atol=5e-4)


def test_when_there_is_nothing_to_say():
    assert bootstrap_interval([0.5, 0.7]) is None
    assert bootstrap_interval([0.5, np.nan, np.nan, 0.7]) is None
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert bootstrap_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)


def test_undefined_values_are_left_out_and_the_same_seed_gives_the_same():
    values = [0.2, 0.4, 0.9, 0.3]
    assert bootstrap_interval([*values, np.nan]) == bootstrap_interval(values)


@pytest.mark.parametrize("resamples", [0, 800])
def test_thousands_of_images_need_little_memory(monkeypatch, resamples):
    """Of the interval, then of the paired test alone."""
    values = np.random.default_rng(0).random(4000)
    if resamples:
        monkeypatch.setattr(interval, "bootstrap_interval", lambda *_, **__: None)
    tracemalloc.start()
    try:
        paired_difference(values, values[::-1], resamples) if resamples else bootstrap_interval(values)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_coverage():
    """Of 200 intervals from 20 skewed values each, about 95 % hold the true mean (binomial: 4 standard errors)."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.beta(8, 2, 20), resamples=500)
        held += low <= 0.8 <= high
    assert 174 <= held <= 200


@given(arrays(float, st.integers(2, 8), elements=st.floats(-1, 1).map(lambda x: round(x, 2))))
def test_p_is_the_share_of_sign_changes_that_reach_as_far(gap):
    found = paired_difference(gap, np.zeros_like(gap))
    signs = np.array(list(itertools.product([1, -1], repeat=len(gap))))
    means = (signs * gap).mean(axis=1)
    expected = min(1.0, 2 * min((means >= gap.mean() - 1e-9).mean(), (means <= gap.mean() + 1e-9).mean()))
    assert found.p == pytest.approx(expected)
    assert found.mean == pytest.approx(gap.mean())


def test_a_real_difference_and_its_mirror():
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 0.9, 30)
    second = first - 0.02 + rng.normal(0, 0.01, 30)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.p < 0.001
    assert there.interval[0] > 0
    assert there.mean == pytest.approx(-back.mean)
    # images differ far more than the runs: unpaired, nothing could be seen
    assert np.ptp(bootstrap_interval(first)) > 0.05


def test_no_difference_is_no_difference():
    values = np.random.default_rng(0).random(10)
    found = paired_difference(values, values)
    assert (found.mean, found.interval, found.p) == (0, (0, 0), 1)


def test_false_alarms():
    """Under no difference p < 0.05 in about one of twenty comparisons (200 tries, 4 standard errors)."""
    rng = np.random.default_rng(2)
    alarms = sum(paired_difference(rng.random(10), rng.random(10)).p < 0.05 for _ in range(200))
    assert alarms <= 10 + 4 * np.sqrt(200 * 0.05 * 0.95)


def test_pairs_that_miss_one_are_left_out():
    found = paired_difference([0.5, np.nan, 0.7], [0.4, 0.5, np.nan])
    assert found.mean == pytest.approx(0.1)
    assert found.interval is None
    with pytest.raises(ValueError, match="equal"):
        paired_difference([1.0], [1.0, 2.0])
    assert np.isnan(paired_difference([np.nan], [1.0]).mean)


def test_the_smallest_p():
    assert smallest_p(1) == 1
    assert smallest_p(5) > 0.05 > smallest_p(6)
    assert paired_difference(np.arange(1, 7.0), np.zeros(6)).p == pytest.approx(smallest_p(6))
