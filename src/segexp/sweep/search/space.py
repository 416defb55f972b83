"""The search space, written as Hydra's sweep overrides: ``interval()``, ``choice()``, ``range()``."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from segexp.errors import InputError


def split_space(overrides: Iterable[Override]) -> tuple[dict[str, str], dict[str, BaseDistribution]]:
    """The fixed settings and the search space: key -> value as typed, key -> distribution. The last of a key counts.

    ``interval(1e-4,1e-2)`` is uniform, ``tag(log, interval(1e-4,1e-2))`` uniform in its logarithm,
    ``int(interval(2,16))`` whole; ``range(16,64,16)`` takes steps; ``choice(a,b)``, ``a,b`` and ``glob(*)`` are options
    without an order.
    """
    fixed: dict[str, str] = {}
    space: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        space.pop(key, None)
        if override.is_sweep_override():
            space[key] = _distribution(override, key)
        else:
            fixed[key] = override.get_value_element_as_str()
    return fixed, space


def _distribution(override: Override, key: str) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(value, key)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return _range(value, key)
    options = list(dict.fromkeys(override.sweep_string_iterator()))
    return CategoricalDistribution(options)


def _interval(sweep: IntervalSweep, key: str) -> BaseDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None
    assert high is not None
    unknown = [tag for tag in sweep.tags if tag != "log"]
    if unknown:
        raise InputError(f"{key}: tag {', '.join(sorted(unknown))} is unknown; expected log, or no tag")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{key}=interval({low},{high}): expected a lower and a higher number")
    if log and low <= 0:
        raise InputError(f"{key}=tag(log,interval({low},{high})): expected a lower end above 0 on a logarithmic scale")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(sweep: RangeSweep, key: str) -> BaseDistribution:
    """Without its end, as in Hydra."""
    assert sweep.start is not None
    assert sweep.stop is not None
    count = math.ceil(round((sweep.stop - sweep.start) / sweep.step, 9))
    if count < 1:
        raise InputError(f"{key}=range({sweep.start},{sweep.stop},{sweep.step}): holds no number")
    last = sweep.start + (count - 1) * sweep.step
    low, high = min(sweep.start, last), max(sweep.start, last)
    if all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), step=abs(int(sweep.step)))
    return FloatDistribution(float(low), float(high), step=abs(float(sweep.step)))


def to_overrides(chosen: Mapping[str, Any], fixed: Mapping[str, str]) -> list[str]:
    """The overrides of one job: the fixed settings, and the chosen ones, numbers with six digits."""
    words = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in chosen.items()}
    return [f"{key}={value}" for key, value in {**fixed, **words}.items()]
