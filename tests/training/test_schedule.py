"""The schedule ends where the run ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexp.training.schedule import Budget, learning_rate_factor


def test_rise_peak_and_end():
    assert learning_rate_factor(0.05, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(0.1, 0.1) == 1
    assert learning_rate_factor(0.55, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(1.0, 0.1) == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(0.0, 0.0) == 1


@given(a=st.floats(0, 1), b=st.floats(0, 1), warmup=st.floats(0, 0.5))
def test_it_never_rises_after_the_warm_up(a, b, warmup):
    low, high = sorted((max(a, warmup), max(b, warmup)))
    assert learning_rate_factor(low, warmup) >= learning_rate_factor(high, warmup)


def test_the_first_limit_counts():
    budget = Budget(steps=10, seconds=100)
    assert budget.progress(0, 0) == 0
    assert budget.progress(5, 10) == 0.5
    assert budget.progress(1, 90) == 0.9
    assert budget.progress(12, 0) == 1


def test_time_is_kept_back_but_never_more_than_half():
    assert Budget(seconds=100).less(10).seconds == 90
    assert Budget(seconds=100).less(1000).seconds == 50
    assert Budget(steps=3).less(10) == Budget(steps=3)


def test_epochs_count_passes_and_the_limit_that_is_reached_is_named():
    budget = Budget(steps=100, seconds=50, epochs=12)
    assert budget.progress(6, 0) == 0.5
    assert budget.progress(6, 0, extra=3) == 0.75
    assert budget.progress(6, 0, extra=-3) == 0.25
    assert budget.reached(6, 0) is None
    assert budget.reached(6, 0, extra=6) == "trainer.epochs"
    assert budget.reached(100, 0, extra=-95) == "trainer.steps"
    assert budget.reached(6, 51) == "trainer.max_time"
