"""Ranges as typed become distributions, and choices become overrides that Hydra reads back."""

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from segexp.errors import InputError
from segexp.sweep.search.space import split_space, to_overrides

PARSER = OverridesParser.create()


def split(*words):
    return split_space(PARSER.parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("x=interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("x=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("x=interval(2,16)", FloatDistribution(2.0, 16.0)),
        ("x=tag(log, int(interval(2,16)))", IntDistribution(2, 16, log=True)),
        ("x=int(interval(2,16))", IntDistribution(2, 16)),
        ("x=range(16,65,16)", IntDistribution(16, 64, step=16)),
        ("x=range(16,64,16)", IntDistribution(16, 48, step=16)),
        ("x=range(5)", IntDistribution(0, 4)),
        ("x=range(5,0,-2)", IntDistribution(1, 5, step=2)),
        ("x=range(0.0,0.3,0.1)", FloatDistribution(0.0, 0.2, step=0.1)),
        ("x=choice(4,8)", CategoricalDistribution(["4", "8"])),
        ("x=4,8,4", CategoricalDistribution(["4", "8"])),
        ("x=[4,8],[8,16]", CategoricalDistribution(["[4,8]", "[8,16]"])),
        ("x=null,'a b'", CategoricalDistribution(["null", "'a b'"])),
    ],
)
def test_ranges(words, expected):
    fixed, space = split(words)
    assert fixed == {}
    assert space == {"x": expected}


def test_what_is_no_range_stays_as_typed_and_the_last_of_a_key_counts():
    fixed, space = split(
        "task=vesicle", "data.root='a = b'", "model.widths=[4,8]", "x=1,2", "+y=3", "z=1", "x=5", "z=1,2"
    )
    assert fixed == {"task": "vesicle", "data.root": "'a = b'", "model.widths": "[4,8]", "+y": "3", "x": "5"}
    assert space == {"z": CategoricalDistribution(["1", "2"])}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("x=tag(log,interval(0,1))", "above 0"),
        ("x=interval(2,1)", "a lower and a higher number"),
        ("x=tag(lgo,interval(1,2))", "tag lgo is unknown"),
        ("x=range(3,3)", "holds no number"),
    ],
)
def test_ranges_that_are_none(words, message):
    with pytest.raises(InputError, match=message):
        split(words)


@given(st.floats(1e-12, 1e12), st.integers(-1000, 1000))
def test_what_is_chosen_is_read_back(number, whole):
    words = to_overrides({"trainer.lr": number, "x": whole, "y": "[4,8]"}, {"y": "other", "task": "vesicle"})
    read = {override.get_key_element(): override.value() for override in PARSER.parse_overrides(words)}
    assert read["trainer.lr"] == pytest.approx(number, rel=1e-5)
    assert (read["x"], read["y"], read["task"]) == (whole, [4, 8], "vesicle")


def test_a_logarithmic_range_is_even_in_the_logarithm():
    _, space = split("x=tag(log,interval(1e-4,1e-2))")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    below = sum(study.ask(space).params["x"] < 1e-3 for _ in range(400))
    assert 160 < below < 240
