"""Start a search from Hydra's settings, and the pruning decisions of a job from its settings."""

import importlib.util
import json
import shlex
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from segexp.config.targets import own_scores
from segexp.errors import InputError
from segexp.evaluation.aggregate import REPEATS
from segexp.io.ownership import OwnedFolder
from segexp.io.run_folder import RunFolder
from segexp.metrics.registry import find

TARGET = "hydra_plugins.segexp_search.SearchSweeper"
JOURNAL = "search.journal"
RESULT = "search.json"


def run_search(
    arguments: list[str],
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    check: Callable[[list[list[str]]], None],
) -> list[Any]:
    """Search as ``hydra.sweeper`` says over the ranges in `arguments`; writes ``search.json`` into the sweep's folder.

    Args:
        arguments: the command line's overrides except Hydra's own.
        config: the whole configuration of the sweep.
        loader: knows the options that a ``glob`` matches.
        launcher: runs the jobs.
        check: raises if the overrides of jobs do not compose.

    Raises:
        InputError: if there is nothing to search, if it would choose among repeats, if a setting of the search
            is out of range, or if the study in the folder was begun with other ranges or settings.
    """
    _require_optuna()
    from segexp.sweep.search.space import split_space
    from segexp.sweep.search.study import make_pruner, make_sampler, open_study
    from segexp.sweep.search.sweeper import Plan, check_same, search

    settings = config.hydra.sweeper
    ranges = [f"{key}={value}" for key, value in settings.params.items()]
    fixed, space = split_space(OverridesParser.create(loader).parse_overrides([*ranges, *arguments]))
    at_once = settings.n_jobs or OmegaConf.select(config, "hydra.launcher.jobs") or 1
    _require_searchable(space, settings, at_once)
    folder = Path(config.hydra.sweep.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    storage = _storage(config.hydra)
    pruner = make_pruner(settings.pruner, settings.first, settings.factor, settings.startup)
    lower = less_is_better(config)
    study = open_study(storage, make_sampler(settings.sampler, settings.seed, settings.startup), pruner, lower)
    plan = Plan(fixed, space, settings.n_trials, at_once)
    check_same(study, plan)
    OmegaConf.save(config, folder / "multirun.yaml")
    if (folder / JOURNAL).is_file():
        RunFolder(folder).note_beginning(JOURNAL)
    earlier = study.get_trials(deepcopy=False)
    if earlier:
        # a sampler of the same seed would draw again what it drew then
        study.sampler = make_sampler(settings.sampler, settings.seed + len(earlier), settings.startup)
        print(f"search: {len(earlier)} earlier jobs are in {storage}", flush=True)
    returned = search(study, plan, launcher.launch, check)
    _write_result(study, folder)
    return returned


def _require_searchable(space: Collection[str], settings: DictConfig, at_once: Any) -> None:
    """`InputError` if no setting has a range, a repeat has one, or a number of jobs is out of range.

    `at_once` is the number of jobs that run at the same time.
    """
    if not space:
        raise InputError(
            "nothing to search: expected ranges such as 'trainer.lr=tag(log, interval(1e-4,1e-2))' or "
            "trainer.batch_size=4,8, or hydra/sweeper=optuna_usual, which has some"
        )
    repeats = [key for key in space if key.lstrip("+") in (*REPEATS, "trainer.seeds")]
    if repeats:
        raise InputError(
            f"{', '.join(repeats)}: a search cannot choose among repeats; expected one value (no trainer.seeds, no "
            "data.fold=range(5)). Repeat the best settings afterwards: segexp train with them and trainer.seeds=3"
        )
    for name in ("n_trials", "startup"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            raise InputError(f"hydra.sweeper.{name}={settings[name]}: expected 1 or more")
    if not isinstance(at_once, int) or at_once < 1:
        raise InputError(f"hydra.sweeper.n_jobs={at_once}: expected 1 or more")


def less_is_better(config: DictConfig) -> bool:
    """Whether lower values of the monitored score are better."""
    names = [str(name) for name in OmegaConf.select(config, "task.scores") or ()]
    own_scores(names, tuple(OmegaConf.select(config, "allow_targets") or ()))
    return find(str(OmegaConf.select(config, "task.monitor"))).lower


def _write_result(study: Any, folder: Path) -> None:
    """Write ``search.json``: the number of jobs in each state, and the best job, which is also printed."""
    from segexp.sweep.search.space import to_overrides
    from segexp.sweep.search.sweeper import best_trial

    trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials)
    best = best_trial(study)
    content: dict[str, Any] = {"jobs": len(trials), "states": dict(states)}
    if best is not None:
        content["best"] = {"job": best.number, "score": best.value, "overrides": to_overrides(best.params, {})}
        command = shlex.join(content["best"]["overrides"])
        print(f"search: best of {len(trials)} jobs is {best.number} with {best.value:.4f}: {command}", flush=True)
    OwnedFolder(folder).write(RESULT, json.dumps(content, indent=2) + "\n")


def is_search(hydra: Any) -> bool:
    """Whether a job, by Hydra's own settings, belongs to a search."""
    return hydra.mode == RunMode.MULTIRUN and hydra.sweeper.get("_target_") == TARGET


def job_pruning(hydra: Any) -> Callable[[float, float], bool] | None:
    """Whether to prune a job of a search, given its progress and best score; None for any other job.

    Args:
        hydra: Hydra's own settings of the job.
    """
    if not is_search(hydra) or hydra.sweeper.pruner == "none":
        return None
    from segexp.sweep.search.pruning import open_pruning
    from segexp.sweep.search.study import make_pruner

    settings = hydra.sweeper
    pruner = make_pruner(settings.pruner, settings.first, settings.factor, settings.startup)
    return open_pruning(_storage(hydra), pruner, hydra.job.num)


def _storage(hydra: Any) -> str:
    """Where the study is kept, the same for all processes of a search."""
    given = hydra.sweeper.storage
    place = Path(hydra.runtime.cwd)
    if given is None:
        return str(place / hydra.sweep.dir / JOURNAL)
    return given if "://" in given else str(place / Path(given).expanduser())


def _require_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise InputError("hydra/sweeper=optuna: needs Optuna; pip install 'segexp[search]'")
