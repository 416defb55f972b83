"""A learning curve from made-up runs whose curve is known: what it recovers, how often intervals hold, its words."""

import re

import numpy as np
import pytest

from segexp.errors import InputError
from segexp.evaluation.learning_curve import Run, describe, fit, record

PARTS = (1 / 8, 1 / 4, 1 / 2, 1)


def curve(asymptote, gap, exponent):
    return lambda images: asymptote - gap * images**-exponent


def runs_of(score, sizes, noise=0.001, seed=0, repeats=3):
    random = np.random.default_rng(seed)
    return [Run(n, str(r), score(n) + random.normal(0, noise)) for r in range(repeats) for n in sizes]


def made_up(random, most, repeats=3):
    """Runs on nested draws of `most` images, each of which has its effect on the score; a run on twice as many."""
    sizes = sorted({max(1, round(most * part)) for part in PARTS})
    score = curve(random.uniform(0.6, 0.97), random.uniform(0.02, 0.5), random.uniform(0.3, 1.5))
    own, drawn = np.exp(random.uniform(np.log([0.003, 0.005]), np.log([0.03, 0.15])))
    effects = random.normal(0, drawn * np.sqrt(sizes[0]), 2 * most)
    runs = []
    for repeat in range(repeats):
        order = random.permutation(most)
        for n in sizes:
            value = score(n / sizes[0]) + effects[order[:n]].mean() + random.normal(0, own)
            runs.append(Run(n, str(repeat), min(1.0, value)))
    return runs, min(1.0, score(2 * most / sizes[0]) + effects.mean() + random.normal(0, own))


def coverage(count):
    """How often the 90 % interval at twice the images has a run on these, and its median width."""
    random = np.random.default_rng(0)
    inside, widths = [], []
    for _ in range(count):
        most = int(random.choice([6, 10, 20, 40, 86]))
        runs, later = made_up(random, most)
        expected = fit(runs).expect(2 * most)
        inside.append(expected.low <= later <= expected.high)
        widths.append(expected.high - expected.low)
    return np.mean(inside), np.median(widths)


def test_a_curve_without_noise_is_recovered():
    score = curve(0.9, 0.4, 0.7)
    found = fit(runs_of(score, [5, 10, 20, 40]))
    for images in (5, 40, 80, 160):
        expected = found.expect(images)
        assert expected.score == pytest.approx(score(images), abs=0.006)
        assert expected.low < score(images) < expected.high
    assert found.expect(160).high - found.expect(160).low > found.expect(40).high - found.expect(40).low
    enough = (0.4 * (1 - 2**-0.7) / 0.005) ** (1 / 0.7)
    assert found.enough().low < enough < found.enough().high


def test_most_intervals_hold():
    inside, width = coverage(12)
    assert inside >= 0.75
    assert width < 0.15


@pytest.mark.slow
@pytest.mark.long
def test_nine_of_ten_intervals_hold():
    inside, width = coverage(200)
    assert 0.85 <= inside <= 0.97
    assert width < 0.12


def test_the_order_of_the_runs_and_a_second_fit_change_nothing():
    runs = runs_of(curve(0.9, 0.4, 0.7), [2, 4, 8], 0.01)
    first, again = fit(runs).expect(16), fit(runs[::-1]).expect(16)
    assert first == fit(runs).expect(16)
    assert again == pytest.approx(first, abs=0.005)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (
            curve(0.8, 0.0, 1.0),
            "the present images are enough: with 40 images, twice as many images gain less than 0.005",
        ),
        (curve(1.0, 0.9, 0.3), "more images help: with 160, twice as many still gain 0.005 or more"),
        (curve(0.9, 0.4, 0.7), "little is gained: twice as many images gain less than 0.005"),
    ],
)
def test_what_it_says(score, words):
    now, ahead, enough = describe(fit(runs_of(score, [5, 10, 20, 40])), "Dice")
    assert re.match(r"Dice with 40 images: 0\.\d{3}, the mean of 3 runs; expected of a run: 0\.\d{3} \(0", now)
    assert float(now.split()[4].rstrip(",")) == pytest.approx(score(40), abs=0.003)
    assert ahead.startswith("expected with 80 images 0.")
    assert "and with 160 images 0." in ahead
    assert words in enough


def test_runs_that_cannot_say_say_so():
    lines = describe(fit(runs_of(curve(0.8, 0.3, 0.5), [1, 2, 4], 0.06)), "Dice")
    assert "these runs cannot tell from how many images on" in lines[-1]


def test_the_record_has_the_runs_and_the_forecasts():
    runs = runs_of(curve(0.8, 0.2, 0.5), [5, 10, 20, 40])
    content = record(fit(runs), "Dice")
    assert [run["images"] for run in content["runs"]] == [run.images for run in runs]
    drawn = [point["images"] for point in content["curve"]]
    assert drawn == sorted(set(drawn))
    assert {5, 10, 20, 40, 80, 160} <= {*drawn}
    assert all(point["low"] <= point["score"] <= point["high"] <= 1 for point in content["curve"])


def test_mistakes():
    with pytest.raises(InputError, match=r"needs runs on 3 or more different numbers of images; found 2 \(5, 10\)"):
        fit(runs_of(curve(0.8, 0.2, 0.5), [5, 10]))
    with pytest.raises(InputError, match="needs scores of at most 1, such as Dice; found 12"):
        fit([Run(n, "0", 12.0) for n in (1, 2, 4)])
    with pytest.raises(InputError, match="found nan"):
        fit([Run(n, "0", float("nan")) for n in (1, 2, 4)])
