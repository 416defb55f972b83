"""The schedule ends where the run ends."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.errors import InputError
from segexp.training.schedule import (
    Budget,
    BySteps,
    Constant,
    Cosine,
    OneCycle,
    Poly,
    Schedule,
    Scheduler,
    check_schedule,
    growing_sizes,
    sizes_in_words,
)


def test_rise_peak_and_end():
    cosine = Cosine(0.1)
    assert cosine(0.05, 0) == pytest.approx(0.5)
    assert cosine(0.1, 0) == 1
    assert cosine(0.55, 0) == pytest.approx(0.5)
    assert cosine(1.0, 0) == pytest.approx(0, abs=1e-12)
    assert Cosine(0.0)(0.0, 0) == 1


@given(a=st.floats(0, 1), b=st.floats(0, 1), warmup=st.floats(0, 0.5), kind=st.sampled_from([Cosine, Poly, Constant]))
def test_it_never_rises_after_the_warm_up(a, b, warmup, kind):
    low, high = sorted((max(a, warmup), max(b, warmup)))
    assert kind(warmup)(low, 0) >= kind(warmup)(high, 0)


def test_poly_and_one_cycle_by_hand():
    assert Poly(0.2, power=2.0)(0.6, 0) == pytest.approx(0.25)
    assert Poly(0.2)(1.0, 0) == 0
    cycle = OneCycle(rise=0.3, start=25, end=100)
    assert [cycle(place, 0) for place in (0.0, 0.15, 0.3, 1.0)] == pytest.approx([0.04, 0.52, 1.0, 0.01])


@pytest.mark.parametrize("make", [lambda: Cosine(1.0), lambda: Poly(power=0), lambda: OneCycle(start=0.5)])
def test_settings_out_of_range(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def by_steps(name, **settings):
    return BySteps(functools.partial(getattr(torch.optim.lr_scheduler, name), **settings), 0.01)


def test_a_scheduler_of_torch_is_asked_by_steps_and_goes_back_with_the_run():
    halves = by_steps("StepLR", step_size=3, gamma=0.5)
    assert [halves(0.0, step) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert halves(0.9, 2) == 1
    cycle, reference = by_steps("OneCycleLR", max_lr=0.01, total_steps=10), torch.optim.SGD([torch.zeros(1)], 0.01)
    torch.optim.lr_scheduler.OneCycleLR(reference, max_lr=0.01, total_steps=10, cycle_momentum=False)
    assert cycle(0.0, 0) * 0.01 == pytest.approx(reference.param_groups[0]["lr"])
    assert cycle(0.0, 3) == pytest.approx(1, abs=0.05)


def test_a_schedule_that_ends_before_the_run_is_refused():
    check_schedule(by_steps("OneCycleLR", max_lr=0.01, total_steps=100), 100)
    with pytest.raises(InputError, match=r"OneCycleLR ends after step 10.*scheduler=one_cycle"):
        check_schedule(by_steps("OneCycleLR", max_lr=0.01, total_steps=10), 100)
    with pytest.raises(InputError, match="learning rate is 0 after 9 % of the run"):
        check_schedule(by_steps("PolynomialLR", total_iters=10), 100)


@pytest.mark.parametrize("factor", [float("nan"), -1.0, "much", None])
def test_a_schedule_of_ones_own_that_gives_no_factor_is_refused(factor):
    class Mine(Scheduler):
        def __call__(self, progress, step):
            return factor

    with pytest.raises(InputError, match="Mine gives"):
        check_schedule(Mine(), None)


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


def test_a_part_of_a_budget_is_a_share_of_each_limit_and_at_least_a_step():
    assert Budget(steps=10, seconds=60.0).part(0.4) == Budget(steps=4, seconds=24.0)
    assert Budget(epochs=3).part(0.1) == Budget(epochs=1)


def test_crops_grow_by_half_and_three_quarters():
    assert growing_sizes(256, 0.7, 16) == ((0.35, 128), (0.7, 192))
    assert sizes_in_words(growing_sizes(256, 0.7, 16)) == "128x128 until 35 % of the run, 192x192 until 70 %"
    assert growing_sizes(256, 0.0, 16) == ()
    assert growing_sizes(64, 0.7, 16) == ()
    schedule = Schedule(Budget(steps=10), 5, 0.01, sizes=growing_sizes(256, 0.7, 16))
    assert [schedule.size(progress) for progress in (0.0, 0.34, 0.35, 0.69, 0.7, 1.0)] == [
        128,
        128,
        192,
        192,
        None,
        None,
    ]


@given(size=st.integers(1, 40), share=st.just(0.0) | st.floats(1e-6, 1), power=st.integers(1, 7))
def test_sizes_on_the_way_are_smaller_fit_the_network_and_are_no_tiny_crops(size, share, power):
    multiple = 2**power
    sizes = growing_sizes(size * multiple, share, multiple)
    sides = [side for _, side in sizes]
    assert sides == sorted(sides)
    assert all(side % multiple == 0 and max(64, 2 * multiple) <= side < size * multiple for side in sides)
    assert all(0 < end <= share for end, _ in sizes)
