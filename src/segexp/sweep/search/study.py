"""An Optuna study in a file, shared by the process that asks and the jobs that report to it.

The file is a journal: lines that several processes and machines may append to, also on a network drive.
"""

import warnings
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from segexp.errors import InputError

NAME = "segexp"
SAMPLERS = ("tpe", "random")
PRUNERS = ("none", "median", "halving", "hyperband")


def open_study(storage: str, sampler: BaseSampler, pruner: BasePruner, lower: bool = False) -> optuna.Study:
    """The study in `storage` (a file, or an address such as ``sqlite:///search.db``); a new one if there is none.

    The objective is the monitored score of the task; `lower`: a new study minimises it, an existing one keeps its
    direction.

    Raises:
        InputError: if it cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept: str | BaseStorage = storage
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        kept = JournalStorage(JournalFileBackend(storage))
    try:
        direction = StudyDirection.MINIMIZE if lower else StudyDirection.MAXIMIZE
        return optuna.create_study(
            storage=kept, sampler=sampler, pruner=pruner, study_name=NAME, direction=direction, load_if_exists=True
        )
    except ValueError as error:  # a journal with lines that are none
        raise InputError(f"hydra.sweeper.storage={storage}: cannot be read as a study ({error})") from None


def make_sampler(name: str, seed: int, startup: int) -> BaseSampler:
    """How the next settings are chosen.

    Args:
        name: ``tpe``: a tree-structured Parzen estimator (Bergstra et al. 2011), settings together rather than one by
            one; ``random``.
        seed: of the choices; the same again with jobs one after the other.
        startup: number of random jobs before the sampler starts.

    Raises:
        InputError: if there is no such sampler.
    """
    if name == "random":
        return RandomSampler(seed=seed)
    if name != "tpe":
        raise InputError(f"hydra.sweeper.sampler={name}: expected one of {', '.join(SAMPLERS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # constant_liar: jobs that run at the same time do not all try the same place
        return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True)


def make_pruner(name: str, first: int, factor: int, startup: int) -> BasePruner:
    """Which jobs are pruned: they are compared at equal shares of their own budget, in percent.

    Args:
        name: ``none``; ``median``: worse than half of the earlier jobs; ``halving``: one of `factor` jobs goes on at
            each rung (asynchronous successive halving, Li et al. 2020, arXiv:1810.05934); ``hyperband``: that with
            several first rungs (Li et al. 2018, arXiv:1603.06560).
        first: percent of the budget at which a job may end for the first time.
        factor: of halving and hyperband; rungs lie at ``first``, ``first * factor``, ... percent.
        startup: finished jobs that the median needs.

    Raises:
        InputError: if there is no such pruner, or a number is out of range.
    """
    if not 1 <= first <= 99:
        raise InputError(f"hydra.sweeper.first={first}: expected 1 to 99 percent of a job's budget")
    if factor < 2:
        raise InputError(f"hydra.sweeper.factor={factor}: expected 2 or more")
    match name:
        case "none":
            return NopPruner()
        case "median":
            return MedianPruner(n_startup_trials=startup, n_warmup_steps=first)
        case "halving":
            return SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
        case "hyperband":
            return HyperbandPruner(min_resource=first, max_resource=100, reduction_factor=factor)
    raise InputError(f"hydra.sweeper.pruner={name}: expected one of {', '.join(PRUNERS)}")
