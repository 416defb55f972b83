"""Ask the study for settings, run them through the launcher, tell it the scores; repeat until there are enough jobs.

A job has the number of its trial, and its folder is named after it. Everything is in the study, so a stopped search is
resumed by the same command: finished jobs count, interrupted ones are run first, in their own folders.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from segexp.config.fingerprint import settings_of
from segexp.errors import InputError
from segexp.sweep.search.space import to_overrides

Launch = Callable[[list[list[str]], int], Sequence[Any]]
"""Maps the overrides of several jobs and the number of the first to their results, as Hydra's launchers do."""

ATTRIBUTES = {"ranges": "space", "settings": "settings"}
"""Names of the study's attributes that hold its ranges and settings."""

GIVE_UP = 3
"""Number of jobs at the start of a search after which it ends if all of them have failed."""


@dataclass(frozen=True)
class Plan:
    """What a search tries.

    Attributes:
        fixed: settings of every job, key -> value as typed.
        space: what is searched.
        jobs: total number of jobs, those of earlier sessions included.
        at_once: number of jobs that are asked for, and passed to the launcher, together.
    """

    fixed: dict[str, str]
    space: dict[str, BaseDistribution]
    jobs: int
    at_once: int


def search(study: optuna.Study, plan: Plan, launch: Launch, check: Callable[[list[list[str]]], None]) -> list[Any]:
    """Run the jobs that the study still lacks; returns their results. Call `check_same` first.

    Args:
        study: the study, with its sampler.
        plan: what to try.
        launch: runs jobs.
        check: raises if the overrides of jobs do not compose.
    """
    returned: list[Any] = []
    for batch in _interrupted(study, plan):
        results = launch([to_overrides(trial.params, plan.fixed) for trial in batch], batch[0].number)
        _tell_results(study, [trial.number for trial in batch], results)
        returned += results
    while (missing := plan.jobs - len(study.get_trials(deepcopy=False))) > 0:
        trials = [study.ask(plan.space) for _ in range(min(missing, plan.at_once))]
        overrides = [to_overrides(trial.params, plan.fixed) for trial in trials]
        check(overrides)
        results = launch(overrides, trials[0].number)
        _tell_results(study, [trial.number for trial in trials], results)
        returned += results
        ended = study.get_trials(deepcopy=False)
        if len(ended) >= GIVE_UP and all(trial.state == TrialState.FAIL for trial in ended):
            print(f"the first {len(ended)} jobs all failed, so the search ends here", flush=True)
            break
    return returned


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The finished trial with the best score; None if none has finished."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = min if study.direction == StudyDirection.MINIMIZE else max
    return best(done, key=lambda trial: trial.value or 0.0, default=None)


def check_same(study: optuna.Study, plan: Plan) -> None:
    """Make sure that earlier scores in the study belong to the same ranges and settings, which a new study records.

    Settings on where a search runs may differ: ``hydra.*``, ``output_dir`` and ``sweep.*``. A study without this record
    gets it.

    Raises:
        InputError: names the ranges or the settings that differ.
    """
    ranges = {key: str(distribution) for key, distribution in sorted(plan.space.items())}
    settings = settings_of([f"{key}={value}" for key, value in sorted(plan.fixed.items())])
    for name, now in (("ranges", ranges), ("settings", settings)):
        kept = study.user_attrs.get(ATTRIBUTES[name])
        if kept is None:
            continue
        changed = sorted(key for key in kept.keys() | now.keys() if kept.get(key) != now.get(key))
        if changed:
            words = [f"{key} (was {kept.get(key, 'not given')}, is {now.get(key, 'not given')})" for key in changed]
            raise InputError(
                f"{', '.join(changed if name == 'ranges' else words)}: the search in this folder was started with "
                f"other {name}, so its scores do not apply. Give the same {name} to resume it, or another output_dir "
                "to start a new search"
            )
    for name, now in (("ranges", ranges), ("settings", settings)):
        if study.user_attrs.get(ATTRIBUTES[name]) is None:
            study.set_user_attr(ATTRIBUTES[name], now)


def _interrupted(study: optuna.Study, plan: Plan) -> list[list[FrozenTrial]]:
    """Trials that were running when the search ended, in groups of consecutive numbers: launchers count jobs on."""
    groups: list[list[FrozenTrial]] = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "pruned" in trial.user_attrs:  # ended before it was told
            study.tell(trial.number, state=TrialState.PRUNED)
        elif trial.params.keys() != plan.space.keys():  # ended in the midst of asking
            study.tell(trial.number, state=TrialState.FAIL)
        elif groups and groups[-1][-1].number + 1 == trial.number:
            groups[-1].append(trial)
        else:
            groups.append([trial])
    return groups


def _tell_results(study: optuna.Study, numbers: list[int], results: Sequence[Any]) -> None:
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    for number, result in zip(numbers, results, strict=True):
        if "pruned" in trials[number].user_attrs:
            study.tell(number, state=TrialState.PRUNED)
            continue
        score = _score(result)
        if math.isfinite(score):
            study.tell(number, score)
        else:
            study.tell(number, state=TrialState.FAIL)


def _score(result: Any) -> float:
    """The score that a job returned; NaN for one that failed (its launcher or its folder says why)."""
    try:
        return float(result.return_value)
    except Exception:  # what ended the job is raised on reading, of any kind
        return math.nan
