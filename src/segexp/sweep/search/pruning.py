"""Pruning as seen by a job of a search: it reports each validation and asks whether to stop."""

import math
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler

from segexp.sweep.search.study import open_study

MARKS = 20
"""Number of points at which jobs are compared: every 100 / MARKS percent of their budget."""


def open_pruning(storage: str, pruner: BasePruner, number: int) -> Callable[[float, float], bool] | None:
    """``should_prune(progress, score)`` for trial `number` of the study; None if no such trial runs.

    `progress` is the share of the job's budget that is used, be it time, steps or epochs; `score` the best so far. Jobs
    are rarely validated at the same point, so each mark gets the score of the first validation at or after it.
    """
    study = open_study(storage, RandomSampler(), pruner)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number == number]
    if not trials or trials[0].state != optuna.trial.TrialState.RUNNING:
        return None
    trial = optuna.trial.Trial(study, trials[0]._trial_id)
    reported = set(trials[0].intermediate_values)

    def should_prune(progress: float, score: float) -> bool:
        for mark in range(1, math.floor(progress * MARKS + 1e-9) + 1):
            percent = mark * 100 // MARKS
            if percent not in reported:
                reported.add(percent)
                trial.report(score, percent)
        if not trial.should_prune():
            return False
        trial.set_user_attr("pruned", progress)
        return True

    return should_prune
