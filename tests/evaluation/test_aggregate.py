"""Jobs grouped over folds and seeds: what varies, means, spreads, intervals, and which group is best."""

import numpy as np
import pytest
from scipy import stats

from segexp.evaluation.aggregate import best_group, group, repeated, varied
from segexp.metrics.interval import mean_interval


def jobs(*settings):
    return [dict(zip(("lr", "data.fold", "seed"), each, strict=True)) for each in settings]


def test_seeds_are_taken_together():
    values = jobs(("1", "", "0"), ("1", "", "1"), ("2", "", "0"), ("2", "", "1"))
    better, worse = group(values, [0.6, 0.8, 0.9, 0.7])
    assert (better.name, better.mean, better.indices, better.units) == ("lr=2", pytest.approx(0.8), [2, 3], "2 seeds")
    assert worse.spread == pytest.approx(np.std([0.6, 0.8], ddof=1))
    assert worse.interval == pytest.approx(stats.t.interval(0.95, 1, 0.7, stats.sem([0.6, 0.8])))


def test_the_fold_is_the_unit_where_there_are_several():
    """Two folds of two seeds: the spread is that of the folds' means, and the seeds' own is averaged out."""
    values = jobs(("1", "1/2", "0"), ("1", "1/2", "1"), ("1", "2/2", "0"), ("1", "2/2", "1"))
    (one,) = group(values, [0.5, 0.7, 0.8, 0.8])
    assert one.scores == pytest.approx([0.6, 0.8])
    assert (one.name, one.units) == ("all jobs", "2 folds x 2 seeds")


def test_single_jobs_have_neither_spread_nor_interval():
    first, _ = groups = group([{"lr": "1"}, {"lr": "2"}], [0.1, 0.2])
    assert not repeated(groups)
    assert (first.name, first.spread, first.interval, first.units) == ("lr=2", None, None, "1 job")


def test_a_setting_that_some_jobs_do_not_name_varies():
    assert varied([{"lr": "1", "task": "a"}, {"task": "a"}]) == ["lr"]


def test_a_setting_that_lost_a_fold_is_not_the_best():
    values = jobs(("1", "1/2", "0"), ("1", "2/2", "0"), ("2", "1/2", "0"))
    assert best_group(group(values, [0.5, 0.6, 0.9])).name == "lr=1"


def test_interval_of_a_mean():
    draws = np.random.default_rng(0).normal(0, 1, (2000, 5))
    inside = np.mean([low <= 0 <= high for low, high in map(mean_interval, draws)])
    assert 0.93 < inside < 0.97
    assert mean_interval([0.3]) is None
    assert mean_interval([0.3, np.nan]) is None
