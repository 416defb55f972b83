"""Each common failure is named, and a healthy run is not bothered."""

import pytest

from segexp.training.diagnostics import ValidatedEpoch, watch

HEALTHY = [ValidatedEpoch(1.0 / epoch, {"recall": 0.8, "precision": 0.7, "bce": 0.3 / epoch}) for epoch in range(1, 6)]


def looks(losses=(1.0, 0.9, 0.8, 0.7, 0.6), **scores):
    return [ValidatedEpoch(loss, {name: values[i] for name, values in scores.items()}) for i, loss in enumerate(losses)]


def test_a_healthy_run_hears_nothing():
    assert watch(HEALTHY, 0.4, 0.05) == {}
    assert watch([], 0.0, 0.05) == {}


@pytest.mark.parametrize(
    ("name", "history", "empty", "words"),
    [
        ("empty crops", HEALTHY, 0.9, "task.foreground=0.9"),
        ("all background", looks(recall=[0.0] * 5), 0.0, "segexp check"),
        ("all foreground", looks(recall=[1.0] * 5, precision=[0.05] * 5), 0.0, "inverted"),
        ("flat loss", looks(losses=[0.70, 0.70, 0.699, 0.70]), 0.0, "trainer.lr"),
        ("drifting apart", looks(bce=[0.3, 0.2, 0.31, 0.4, 0.5]), 0.0, "trainer.patience=10"),
    ],
)
def test_each_failure_is_named_with_what_to_try(name, history, empty, words):
    found = watch(history, empty, 0.05)
    assert list(found) == [name]
    assert words in found[name]


def test_what_passes_early_is_given_time():
    history = looks(recall=[0.0, 0.0, 0.3, 0.5, 0.6])
    assert watch(history[:2], 0.0, 0.05) == {}
    assert watch(history, 0.0, 0.05) == {}


def test_data_that_are_nearly_all_foreground_may_be_called_so():
    assert watch(looks(recall=[1.0] * 5, precision=[0.97] * 5), 0.0, 0.96) == {}
