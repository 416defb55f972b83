"""Estimate time and disk space of a sweep before it starts, from a few steps of each kind of job.

Jobs that differ only in settings without a cost (rate, seed, fold, ...) or in their budget are of one kind, which is
measured once.
Example: ``segexp sweep-plan task=vesicle trainer.lr=1e-3,3e-4 trainer.batch_size=2,4 hydra.launcher.jobs=2``
"""

import heapq
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from segexp.config import RunConfig, read
from segexp.config.ahead import with_counts
from segexp.config.compose import sources
from segexp.config.overrides import command_line
from segexp.config.typed import is_flag
from segexp.data.dataset import Sample
from segexp.distributed import ALONE
from segexp.errors import InputError
from segexp.experiment.build import total_steps
from segexp.experiment.results import PICTURES
from segexp.experiment.run import assemble, begin_from, finish
from segexp.experiment.trainer import TrainingRun
from segexp.io.cores import cores
from segexp.sweep.weights import start_file
from segexp.training.loggers.run_log import RunLog
from segexp.training.loop import fit
from segexp.training.schedule import Budget, Schedule
from segexp.training.state import Scores, TrainState
from segexp.training.stop import StopRequest

FREE = ("seed", "data.fold", "task.foreground", "trainer.lr", "trainer.weight_decay", "trainer.warmup")
"""Settings that change neither the time of a step nor the size of a file."""

BUDGET = ("trainer.steps", "trainer.epochs", "trainer.max_time", "trainer.patience", "trainer.validate_every")
"""Settings that change how often something is done, not how long it takes."""


@dataclass(frozen=True)
class Cost:
    """The measured cost of one job.

    Attributes:
        start: seconds before the first step.
        step: seconds a step.
        epoch_steps: steps an epoch.
        validation: seconds to validate all images.
        finish: seconds after training: scores of the best model, pictures, page.
        disk: bytes of its folder.
    """

    start: float
    step: float
    epoch_steps: int
    validation: float
    finish: float
    disk: int


@dataclass(frozen=True)
class Kind:
    """Jobs of the same cost: the overrides that distinguish them from others, their number, and the cost of each."""

    overrides: tuple[str, ...]
    jobs: float
    seconds: float
    cost: Cost


@dataclass(frozen=True)
class SweepPlan:
    """A sweep in numbers: kinds of job, jobs at a time, seconds in all and bytes on disk."""

    kinds: list[Kind]
    at_once: int
    seconds: float
    disk: float

    @property
    def jobs(self) -> float:
        """Number of jobs."""
        return sum(kind.jobs for kind in self.kinds)


def job_seconds(cost: Cost, steps: int | None, limit: float | None, validate_every: int | None) -> float:
    """How long a job takes from start to end.

    Args:
        cost: of its parts.
        steps: its steps; None: until `limit`.
        limit: time limit in seconds for everything from start to end, as ``trainer.max_time``.
        validate_every: epochs between validations; None: as often as a tenth of the time allows, the last included.
    """
    if steps is None:
        assert limit is not None
        return max(limit, cost.start + cost.step + cost.validation + cost.finish)
    training = steps * cost.step
    epochs = max(1, -(-steps // cost.epoch_steps))
    if validate_every is None:
        validations = min(epochs, 1 + int(training / (10 * cost.validation))) if cost.validation else epochs
    else:
        validations = max(1, -(-epochs // validate_every))
    whole = cost.start + training + validations * cost.validation + cost.finish
    return whole if limit is None else min(whole, max(limit, cost.start + cost.step + cost.validation + cost.finish))


def wall_seconds(jobs: Sequence[float], at_once: int) -> float:
    """When the last of `jobs` (seconds each) ends, with `at_once` jobs running at a time."""
    free = [0.0] * min(at_once, max(len(jobs), 1))
    for seconds in jobs:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def plan_sweep(
    arguments: list[str], steps: int = 4, at_once: int | None = None, config_dir: str | None = None
) -> SweepPlan:
    """Measure each kind of job of a sweep, given by its command line `arguments`, and add up.

    Args:
        arguments: Hydra overrides, ``-m`` or not.
        steps: measured steps a kind, after a first one that is not counted.
        at_once: jobs that run at the same time; None: as the launcher's settings say.
        config_dir: a folder of further options.

    Raises:
        InputError: if an argument is a flag or a pattern that fits no option, or if the settings or the data of
            a job are refused.
    """
    lab = [] if config_dir is None else [f"--config-dir={config_dir}"]
    counted, _ = with_counts(command_line(["--multirun", *lab, *arguments]))
    words = [word for word in counted if not is_flag(word)]
    foreign = [word for word in counted if is_flag(word) and word not in ("--multirun", "-m", *lab)]
    if foreign:
        raise InputError(f"{foreign[0]}: this command has no such flag; expected KEY=VALUE")
    with sources(config_dir):
        parsed = parser().parse_overrides(words)
        for word, override in zip(words, parsed, strict=True):
            if isinstance(override.value(), Glob) and not list(override.sweep_string_iterator()):
                raise InputError(f"{word}: no option has such a name")
        own = [word for word, override in zip(words, parsed, strict=True) if is_hydras(override)]
        hydra = compose("config", [*own, *_first(parsed), "output_dir=none"], return_hydra_config=True).hydra
        batches, count = job_overrides([override for override in parsed if not is_hydras(override)], hydra)
        configs = [read(compose("config", [*batch, "output_dir=none"])) for batch in batches]
    at_once = at_once or _places(hydra)
    own_process = not hydra.launcher._target_.endswith("BasicLauncher")
    startup = import_seconds() if own_process else 0.0
    threads = torch.get_num_threads()
    kinds: dict[tuple[str, ...], Cost] = {}
    by_kind: dict[tuple[str, ...], list[float]] = {}
    every: list[float] = []
    try:
        torch.set_num_threads(max(1, min(threads, cores() // at_once)))
        for batch, cfg in zip(batches, configs, strict=True):
            # an epoch's steps follow from the number of images, and where epochs are the budget the time does
            free = (*FREE, *BUDGET, *(("data.images",) if cfg.trainer.epochs is None else ()))
            kind = tuple(word for word in batch if word.partition("=")[0].lstrip("+") not in free)
            if kind not in kinds:
                cost = measure(cfg, steps, batch)
                kinds[kind] = replace(cost, start=cost.start + startup)
            seconds = _seconds(cfg, kinds[kind])
            every.append(seconds)
            by_kind.setdefault(kind, []).append(seconds)
    finally:
        torch.set_num_threads(threads)
    share = count / len(batches)
    varied = {word for kind in kinds for word in kind if any(word not in other for other in kinds)}
    table = [
        Kind(tuple(w for w in kind if w in varied), share * len(by_kind[kind]), statistics.mean(by_kind[kind]), cost)
        for kind, cost in kinds.items()
    ]
    jobs = list(itertools.islice(itertools.cycle(every), count))
    disk = sum(kind.jobs * kind.cost.disk for kind in table)
    return SweepPlan(table, at_once, wall_seconds(jobs, at_once), disk)


def parser() -> OverridesParser:
    """A parser of overrides; within `sources` it knows the options that a ``glob`` matches."""
    hydra = GlobalHydra.instance()
    return OverridesParser.create(hydra.config_loader() if hydra.is_initialized() else None)


def is_hydras(override: Override) -> bool:
    """Whether an override is for Hydra itself."""
    return override.get_key_element().lstrip("+~").startswith(("hydra.", "hydra/"))


def job_overrides(overrides: list[Override], hydra: DictConfig) -> tuple[list[list[str]], int]:
    """The overrides of each job, and the number of jobs.

    The jobs of a search are not known in advance: combinations of all options and both ends of ranges represent them,
    with equal weights.
    """
    if not hydra.sweeper._target_.endswith("SearchSweeper"):
        batch = BasicSweeper.split_arguments(overrides, None)[0]
        return [list(job) for job in batch], len(batch)
    ranges = [f"{key}={value}" for key, value in hydra.sweeper.params.items()]
    last = {one.get_key_element(): one for one in [*parser().parse_overrides(ranges), *overrides]}
    options = [[f"{key}={value}" for value in _ends(key, override)] for key, override in last.items()]
    return [list(job) for job in itertools.product(*options)], int(hydra.sweeper.n_trials)


def _ends(key: str, override: Override) -> list[str]:
    value = override.value()
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if isinstance(value, IntervalSweep):
        ends = [str(value.start), str(value.end)]
    elif isinstance(value, RangeSweep) and not value.shuffle:
        numbers = list(override.sweep_string_iterator())
        ends = [numbers[0], numbers[-1]]
    else:
        ends = list(override.sweep_string_iterator())
    return ends[:1] if key in FREE else ends


def _first(overrides: list[Override]) -> list[str]:
    """The overrides of any one job."""
    kept = [override for override in overrides if not is_hydras(override)]
    return [f"{one.get_key_element()}={_ends(one.get_key_element(), one)[0]}" for one in kept]


def _places(hydra: DictConfig) -> int:
    for name in ("jobs", "array_parallelism"):
        value = OmegaConf.select(hydra.launcher, name)
        if isinstance(value, int) and value > 0:
            return value
    return 1


def _seconds(cfg: RunConfig, cost: Cost) -> float:
    trainer = cfg.trainer
    steps = total_steps(trainer.steps, trainer.epochs, cost.epoch_steps)
    every = None if trainer.validate_every == "auto" else int(trainer.validate_every)
    return job_seconds(cost, steps, trainer.seconds(), every)


def import_seconds() -> float:
    """How long a new process takes until it has read its settings."""
    tick = time.monotonic()
    subprocess.run([sys.executable, "-c", "import segexp.train"], check=True)
    return time.monotonic() - tick


class _Clock:
    """A listener of the loop that notes when steps end."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        self.ticks.append(time.monotonic())

    def epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        return None

    def info(self, text: str) -> None:
        return None


def _finish_seconds(cfg: RunConfig, run: TrainingRun, whole: list[Sample]) -> float:
    """Time after training, for `whole`: the page's charts once, scores and pictures for each image."""
    seconds_of = []
    for count in (1, 1, 3):  # the first also imports what is imported late
        run.val_samples = whole[:count]
        tick = time.monotonic()
        finish(cfg, run)
        seconds_of.append(time.monotonic() - tick)
    pixels = [sample.shape[1] * sample.shape[2] for sample in whole]
    more = sum(pixels[1:3])
    each = max(0.0, seconds_of[2] - seconds_of[1]) / more if more else 0.0
    return max(seconds_of[1] + each * sum(pixels[1:]), seconds_of[2] if more else 0.0)


def measure(cfg: RunConfig, steps: int, overrides: Sequence[str] = (), images: int = 2) -> Cost:
    """Train `steps` + 1 steps in a temporary folder, validate and finish on a few images; returns the cost of a job.

    The time for pictures and scores of all validation images is extrapolated from `images` of them, by their pixels.
    """
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nowhere:
        folder = Path(place)
        with RunLog(folder, cfg.task.monitor, Console(file=nowhere)) as log:
            tick = time.monotonic()
            cfg, given = begin_from(cfg, folder, False, start_file(cfg), overrides, log.info)
            run = assemble(cfg, folder, ALONE, StopRequest(), log, resume=False, start=given)
            start = time.monotonic() - tick
            # those with foreground first: without any the monitored score may be undefined
            whole = sorted(run.val_samples, key=lambda sample: not sample.class_pixels[1:].any())
            run.val_samples = whole[:images]
            pixels = [sample.shape[1] * sample.shape[2] for sample in whole]
            scale = sum(pixels) / sum(pixels[:images])
            epoch_steps = run.source.plan.steps
            schedule = Schedule(Budget(steps + 1), steps + 1, run.learner.lr, monitor=run.monitor, log_every=1)
            clock = _Clock()
            fit(run, clock, schedule)
            tick = time.monotonic()
            run.validate()
            validation = (time.monotonic() - tick) * scale
            ending = _finish_seconds(cfg, run, whole)
        step = statistics.median(after - before for before, after in itertools.pairwise(clock.ticks))
        pictures = sum(path.stat().st_size for path in (folder / "val").glob("*.png"))
        other = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - pictures
        drawn = min(len(whole), PICTURES) / min(len(run.val_samples), PICTURES)
        return Cost(start, step, epoch_steps, validation, ending, round(other + pictures * drawn))
