"""Pool the jobs of a sweep that differ only in their seed or fold: mean, spread, interval.

If a setting ran on several folds, the fold is the unit: its score is the mean over its seeds, and spread and interval
are over folds. Otherwise the seed is the unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from segexp.metrics.interval import mean_interval

FOLD, SEED = "data.fold", "seed"
REPEATS = (FOLD, SEED)
"""Settings that repeat a job rather than change it."""


@dataclass(frozen=True)
class Group:
    """One setting and its repeats.

    Attributes:
        settings: what varies in the sweep, without fold and seed, as typed.
        indices: of its jobs in the list that was grouped.
        scores: one for each unit.
        units: a description, such as "5 folds x 2 seeds".
    """

    settings: dict[str, str]
    indices: list[int]
    scores: list[float]
    units: str

    @property
    def mean(self) -> float:
        """Mean over units."""
        return fmean(self.scores)

    @property
    def spread(self) -> float | None:
        """Standard deviation over units; None for one."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean; None for one unit."""
        return mean_interval(self.scores)

    @property
    def name(self) -> str:
        """``trainer.lr=0.001 trainer.batch_size=2``; "all jobs" if nothing else varies."""
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or "all jobs"


def varied(values: Sequence[Mapping[str, str]]) -> list[str]:
    """Settings with more than one value over the jobs, including those that only some jobs name."""
    names = dict.fromkeys(name for job in values for name in job)
    return [name for name in names if len({job.get(name) for job in values}) > 1]


def group(values: Sequence[Mapping[str, str]], scores: Sequence[float], lower: bool = False) -> list[Group]:
    """Jobs by their settings without fold and seed, the best mean first.

    Args:
        values: each job's settings as typed.
        scores: each job's score.
        lower: whether a smaller score is better.
    """
    names = [name for name in varied(values) if name not in REPEATS]
    by_key: dict[tuple[str, ...], list[int]] = {}
    for index, job in enumerate(values):
        by_key.setdefault(tuple(job.get(name, "") for name in names), []).append(index)
    groups = [_group(dict(zip(names, key, strict=True)), indices, values, scores) for key, indices in by_key.items()]
    return sorted(groups, key=lambda each: each.mean if lower else -each.mean)


def repeated(groups: Sequence[Group]) -> bool:
    """Whether any setting ran more than once."""
    return any(len(each.indices) > 1 for each in groups)


def best_group(groups: Sequence[Group], lower: bool = False) -> Group:
    """The best mean among the settings with the most jobs: a missing fold alone would change the mean."""
    most = max(len(each.indices) for each in groups)
    whole = [each for each in groups if len(each.indices) == most]
    return (min if lower else max)(whole, key=lambda each: each.mean)


def _group(
    settings: dict[str, str], indices: list[int], values: Sequence[Mapping[str, str]], scores: Sequence[float]
) -> Group:
    folds = list(dict.fromkeys(values[index].get(FOLD, "") for index in indices))
    seeds = list(dict.fromkeys(values[index].get(SEED, "") for index in indices))
    unit = FOLD if len(folds) > 1 else SEED
    by_unit: dict[str, list[float]] = {}
    for index in indices:
        by_unit.setdefault(values[index].get(unit, ""), []).append(scores[index])
    words = [f"{len(each)} {name}s" for each, name in ((folds, "fold"), (seeds, "seed")) if len(each) > 1]
    units = " x ".join(words) or f"{len(indices)} job{'s' * (len(indices) != 1)}"
    return Group(settings, indices, [fmean(each) for each in by_unit.values()], units)
