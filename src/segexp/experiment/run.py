"""One run from beginning to end: assemble its parts, train, score, and write the results."""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from numpy.typing import NDArray
from rich.console import Console

from segexp import checkpoint
from segexp.augment import Augmentation
from segexp.check.settings import check_command
from segexp.config import RunConfig
from segexp.config.differences import differences
from segexp.config.fingerprint import settings_of
from segexp.config.schema import TrainerConfig, reading_of
from segexp.config.targets import WEIGHTS
from segexp.data import splits
from segexp.data.dataset import Sample
from segexp.data.sources import foreground_share
from segexp.device import choose_device, choose_precision, keep_freed_memory, set_arithmetic
from segexp.distributed import Ranks, join, share
from segexp.errors import InputError
from segexp.evaluation.scoring import monitor_for
from segexp.experiment import provenance
from segexp.experiment.adapt import pseudo_labelled
from segexp.experiment.build import (
    build_augment,
    build_mix,
    choose_cuda_graph,
    mix_facts,
    picture,
    read_data,
    rehearse,
)
from segexp.experiment.candidates import annotated
from segexp.experiment.finetune import FineTuning, Outcome, keep
from segexp.experiment.network import build_network, schedule_of
from segexp.experiment.nodes import (
    build_callbacks,
    check_nodes,
)
from segexp.experiment.results import sample_overlay, write_results
from segexp.experiment.start import (
    Started,
    read_start,
    take_settings,
    with_settings,
)
from segexp.experiment.trainer import TrainingRun
from segexp.inference.predictor import Predictor
from segexp.io.cores import limit_threads
from segexp.io.run_folder import RunFolder, require_apart
from segexp.report import write_report
from segexp.training.batch_size import LARGEST
from segexp.training.loggers.run_log import RunLog
from segexp.training.loop import fit
from segexp.training.schedule import sizes_in_words
from segexp.training.state import TrainState
from segexp.training.step_times import StepTimes
from segexp.training.stop import StopRequest


def run(
    cfg: RunConfig,
    folder: Path,
    resume: bool = False,
    on_step: Callable[[TrainState, float], None] | None = None,
    should_prune: Callable[[float, float], bool] | None = None,
    overrides: Sequence[str] = (),
    axes: Sequence[str] = (),
    files: RunFolder | None = None,
    overwrite: bool = False,
    weights: Path | None = None,
) -> float:
    """Train, evaluate and write one run folder; returns the monitored score of the best model.

    `on_step` is called after each step, `should_prune` with progress and best score at each validation. `overrides` are
    the settings that were typed, `axes` those that a sweep varies, for the records. `files` is the folder's record,
    with other files to be written when the run begins; with `overwrite` an earlier run there is moved aside. `weights`
    is the model file that ``model.weights`` names.

    Nothing in the folder is changed before all checks have passed: of the settings, the files of the data set, the
    model, and the state of a run that is resumed.

    Raises:
        InputError: if a setting, a file, the model or the state is refused.
        Pruned: if `should_prune` returns True.
        Stopped: if a signal ended the run; its state is saved.
    """
    started, ranks = time.monotonic(), join()
    with ExitStack() as stack:
        place, console = folder, None
        if not ranks.first:  # only the first process prints, and writes the run folder
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            console = Console(file=stack.enter_context(open(os.devnull, "w")))
        files = RunFolder(place) if files is None or not ranks.first else files
        stack.enter_context(files)
        stop = stack.enter_context(StopRequest().listening())
        require_folder(cfg, folder, files, ranks, resume, overwrite)
        log = stack.enter_context(RunLog(place, cfg.task.monitor, console, on_step, files=files))
        cfg, start = begin_from(cfg, folder, resume, weights, overrides, log.info)
        for line in cfg.without_effect(settings_of(overrides)):
            log.info(f"warning: {line}")
        if resume and cfg.trainer.batch_size == "auto":
            cfg = with_measured_batch(cfg, folder, ranks.world)
        training = assemble(cfg, folder, ranks, stop, log, resume, overrides, files, start)
        if resume:
            restore(training)
        validation_seconds = rehearse(training.predictor, training.val_samples, training.scoring)
        begin_records(cfg, training, resume, overwrite, overrides, axes)
        schedule = schedule_of(cfg, training)
        if schedule.sizes:
            log.info(f"crops grow: {sizes_in_words(schedule.sizes)} (trainer.grow_crops)")
        if cfg.debug.anomaly:
            stack.enter_context(torch.autograd.set_detect_anomaly(True))
        if cfg.debug.profile and ranks.first:
            time_steps(training, cfg.debug.profile)
        outcome = None
        clock = {"validation_seconds": validation_seconds, "started": started}
        if start is not None and cfg.trainer.keep_given:
            outcome = FineTuning(cfg, training, start).run(schedule, should_prune=should_prune, **clock)
        else:
            fit(training, log, schedule, should_prune=should_prune, **clock)
        score = finish(cfg, training, outcome) if ranks.first else float("nan")
        score = share(ranks, score)
        # where each job validates images of its own, a specificity must not be averaged with the others' Dice
        comparable = training.monitor == cfg.task.monitor or not cfg.data.splits
        return score if comparable else float("nan")


def require_folder(cfg: RunConfig, folder: Path, files: RunFolder, ranks: Ranks, resume: bool, overwrite: bool) -> None:
    """Make sure that the run may write to its folder. The first process checks; all processes end if it may not.

    Raises:
        InputError: in the first process, with the reason.
        SystemExit: in the other processes.
    """
    refusal = None
    if ranks.first:
        try:
            require_apart(folder, cfg.data.all_folders())
            files.peek()
            files.require(resume, overwrite)
        except InputError as error:
            refusal = error
    if share(ranks, refusal is not None):
        raise refusal or SystemExit(1)


def restore(training: TrainingRun) -> None:
    """Load the state that a resumed run left, and log how far it was."""
    training.restore()
    state, monitor = training.state, training.monitor
    best = f"best {monitor} {state.best[monitor]:.4f}" if monitor in state.best else "no validation yet"
    training.log.info(f"resumed after epoch {state.epoch}, step {state.step}, {best}")


def begin_records(
    cfg: RunConfig,
    training: TrainingRun,
    resume: bool,
    overwrite: bool,
    overrides: Sequence[str],
    axes: Sequence[str],
) -> None:
    """Write the first files of a run and open its loggers: from here on the run folder changes."""
    folder, files, log, first = training.folder, training.files, training.log, training.ranks.first
    log.callbacks = build_callbacks(cfg) if first else []
    for callback in log.callbacks:
        for name, text in callback.prepare(folder, cfg.task.name, print).items():
            files.put(name, text)
    message = files.begin(resume, overwrite) if first else ""
    log.open()
    if message:
        log.info(message)
    training.begin(tuple(name for name in (".hydra", "run.json") if (folder / name).exists()))
    log.begin(compared(cfg, training, overrides), list(axes))
    if resume:
        log.resume(training.state.epoch)


def time_steps(training: TrainingRun, steps: int) -> None:
    """Have the parts of the first `steps` training steps timed and logged (``debug.profile``)."""
    learner, log = training.learner, training.log
    step_times = StepTimes(steps, training.device, log.info)
    step_times.watch(training.augment, learner.model, learner.loss, learner.optimizer)
    training.step_times, log.callbacks = step_times, [*log.callbacks, step_times]


def assemble(
    cfg: RunConfig,
    folder: Path,
    ranks: Ranks,
    stop: StopRequest,
    log: RunLog,
    resume: bool,
    overrides: Sequence[str] = (),
    files: RunFolder | None = None,
    start: Started | None = None,
) -> TrainingRun:
    """Assemble a run from its settings; `files` receives the texts of ``run.json`` and ``split.json``.

    The weights of `start` are put into the network, unless the run is resumed, and its facts are recorded.
    """
    task, trainer = cfg.task, cfg.trainer
    check_nodes(cfg)
    device, precision, arithmetic = choose_arithmetic(trainer, ranks)
    files = RunFolder(folder) if files is None else files
    samples = read_samples(cfg, folder, ranks, log, resume, files.put)
    log.info(arithmetic)
    if cfg.data.unlabelled is not None:
        own = [] if cfg.data.folders() is None else samples[0]
        samples = [*own, *pseudo_labelled(cfg, start, str(device), log.info)], samples[1]
    cross_fitted = start is not None and trainer.keep_given and len(annotated(*samples)) < trainer.cross_fit
    train_samples, val_samples = (annotated(*samples), annotated(*samples)) if cross_fitted else samples
    monitor = log.monitor = choose_monitor(val_samples, task.monitor, log)
    mix = build_mix(cfg.data, task, cfg.seed, device)
    learner, predictor, source = build_network(cfg, train_samples, start, (device, precision), mix, ranks, log.info)
    augment = Augmentation([]) if cfg.debug.overfit else build_augment(cfg.augment, cfg.allow_targets)
    if cfg.debug.overfit:
        log.info("debug: training on a single batch without augmentation; its loss has to fall towards 0")
    watched = bool(cfg.debug.profile) or cfg.debug.anomaly  # they look into each step, which a replay has no place for
    cuda_graph, how = (False, "") if watched else choose_cuda_graph(trainer, learner, augment, ranks)
    if how:
        log.info(how)
    if ranks.first and not resume:
        log.image("augmentation", picture(augment, task, cfg.seed, train_samples, 4, mix), 0)
    facts = describe(cfg, folder, predictor, *samples, overrides, mixed=mix is not None, start=start)
    if ranks.first:
        files.put("run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    def on_image(index: int, sample: Sample, labels: NDArray) -> None:
        if index < trainer.pictures and ranks.first:
            image = sample_overlay(sample, labels, predictor, largest=1024)
            log.image(f"val/{index}_{sample.name}", image, log.epochs)

    return TrainingRun(
        folder=folder,
        files=files,
        log=log,
        device=device,
        normalization=task.normalization,
        classes=task.classes,
        learner=learner,
        predictor=predictor,
        source=source,
        foreground=sum(foreground_share(source.plan.samples)),
        augment=augment.to(device),
        cuda_graph=cuda_graph,
        val_samples=val_samples,
        best_path=folder / f"best_{task.name}_model.pth",
        facts=model_file_facts(cfg, facts, predictor.threshold),
        on_image=on_image,
        monitor=monitor,
        scoring=replace(task.scoring(), monitor=monitor),
        workers=trainer.num_workers,
        start_method=trainer.start_method,
        stop=stop,
        ranks=ranks,
        one_batch=cfg.debug.overfit,
        cross_fitted=cross_fitted,
    )


def choose_arithmetic(trainer: TrainerConfig, ranks: Ranks) -> tuple[torch.device, str, str]:
    """Choose and set device and precision of this process; returns both, and the log line that gives the reasons."""
    name = f"cuda:{ranks.local}" if ranks.world > 1 and torch.cuda.is_available() else trainer.device
    limit_threads()
    device, device_reason = choose_device(name)
    precision, precision_reason = choose_precision(trainer.precision, device)
    set_arithmetic(precision, trainer.deterministic)
    if device.type == "cpu":
        keep_freed_memory()
    return device, precision, f"device: {device} ({device_reason}); precision: {precision} ({precision_reason})"


def read_samples(
    cfg: RunConfig, folder: Path, ranks: Ranks, log: RunLog, resume: bool, put: Callable[[str, str], None]
) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples, checked by the first process; a resumed run keeps its ``split.json``."""
    stored = folder / splits.FILE
    return read_data(
        cfg.data,
        cfg.task,
        cfg.seed,
        cfg.trainer.num_workers,
        log.info,
        stored_split=stored if resume and stored.is_file() else None,
        keep_split=partial(put, splits.FILE),
        check=partial(check_command, cfg) if ranks.first else None,
        few=cfg.trainer.cross_fit if cfg.trainer.keep_given else 0,
    )


def choose_monitor(samples: Sequence[Sample], asked: str, log: RunLog) -> str:
    """The score that chooses the best model: `asked`, if the validation masks define it, else specificity."""
    monitor = monitor_for(samples, asked)
    if monitor != asked:
        log.info(
            f"warning: no validation mask holds any foreground, so {asked} is not defined: the best model is "
            "chosen by specificity, the share of the background left alone (docs/evaluation.md)"
        )
    return monitor


def model_file_facts(cfg: RunConfig, facts: dict[str, Any], threshold: float) -> dict[str, Any]:
    """The entries of the run's model files besides the weights: an id, parts of ``run.json``, how to predict."""
    return (
        {"run": uuid4().hex}
        | {key: facts[key] for key in ("task", "versions", "data", "model", "start") if key in facts}
        | {
            "normalization": cfg.task.normalization,
            "classes": list(cfg.task.classes),
            "threshold": threshold,
            "pixel_size": cfg.task.pixel_size,
            "reading": reading_of(cfg.data, cfg.task).facts(),
            "measure": asdict(cfg.task.measure),
        }
    )


def with_measured_batch(cfg: RunConfig, folder: Path, processes: int) -> RunConfig:
    """The settings of a resumed run, with the batch size that was measured when it began."""
    size = checkpoint.load(folder / "last.pth").get("batch_size")
    if not isinstance(size, int) or not 1 <= size <= LARGEST * processes or size % processes:
        return cfg
    return replace(cfg, trainer=replace(cfg.trainer, batch_size=size))


def begin_from(
    cfg: RunConfig,
    folder: Path,
    resume: bool,
    weights: Path | None,
    overrides: Sequence[str],
    log: Callable[[str], None],
) -> tuple[RunConfig, Started | None]:
    """The settings of a run that starts from the model file `weights`, and that model; None: from random weights.

    A resumed run has its weights, and the facts about the model it started from, in ``last.pth``: no other file is
    read.

    Raises:
        InputError: if ``model.weights`` names no model file, or another model than the resumed run started from.
    """
    typed = cfg.model.get(WEIGHTS)
    if typed is None:
        return cfg, None
    if resume:
        stored = checkpoint.load(folder / "last.pth").get("start")
        if not isinstance(stored, dict) or stored.get("weights") != typed:
            before = stored.get("weights") if isinstance(stored, dict) else None
            raise InputError(
                f"model.weights={typed}: the run that is resumed started from {before or 'random weights'}, "
                "and this cannot change; give another output_dir to start a new run"
            )
        log(f"weights: from {folder / 'last.pth'}; the run started from {stored.get('file')}")
        return with_settings(cfg, stored["settings"]), Started(stored)
    if weights is None:
        raise InputError(f"model.weights={typed}: not found; expected a model file, a run, a sweep, or a model's name")
    model = read_start(typed, weights)
    cfg, taken, rows = take_settings(cfg, model, overrides)
    return cfg, Started(model.facts(taken), model, rows)


def describe(
    cfg: RunConfig,
    folder: Path,
    predictor: Predictor,
    train: list[Sample],
    val: list[Sample],
    overrides: Sequence[str],
    *,
    mixed: bool = False,
    start: Started | None = None,
) -> dict[str, Any]:
    """The facts of ``run.json``: what was run, on what, with which versions.

    `mixed`: generated crops are mixed in among those of the images. `start`: the model that the run starts from.
    """
    folders = cfg.data.folders()
    return {
        "task": cfg.task.name,
        "command": sys.argv,
        "overrides": list(overrides),
        "cwd": str(Path.cwd()),
        "monitor": cfg.task.monitor,
        "changed": as_typed(differences(cfg), settings_of(overrides)),
        "folder": str(folder.absolute()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seed": cfg.seed,
        "device": str(predictor.device),
        "precision": predictor.precision,
        "threads": torch.get_num_threads(),
        "model": {"name": type(predictor.model).__name__, "settings": predictor.model.settings},
        "versions": provenance.versions(),
        "platform": platform.platform(),
        "git_commit": provenance.git_commit(),
        "data": {
            "source": {name: str(path) for name, path in folders.items()} if folders else "generated",
            "unlabelled": cfg.data.unlabelled,
            "train": len(train),
            "val": len(val),
            "fingerprint": provenance.fingerprint([*train, *val]),
            "contents": provenance.contents([*train, *val]),
        }
        | ({"drawn": [sample.name for sample in train]} if cfg.data.images is not None else {})
        | ({"generated": mix_facts(cfg.data)} if mixed else {}),
    } | ({} if start is None else {"start": start.facts})


def as_typed(changed: dict[str, tuple[Any, Any]], typed: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """Changed settings, with interpolations, such as of the environment, as they were typed: they may be secrets."""
    return {
        name: (before, typed[name] if "${" in typed.get(name, "") else now) for name, (before, now) in changed.items()
    }


def compared(cfg: RunConfig, training: TrainingRun, overrides: Sequence[str]) -> dict[str, int | float | str]:
    """Settings by which experiment trackers compare runs: the usual ones with their actual values, and those typed."""
    plan = training.source.plan
    usual: dict[str, int | float | str] = {
        "model": training.learner.model.title,
        "trainer.lr": training.learner.lr,
        "trainer.batch_size": plan.batch_size,
        "trainer.weight_decay": cfg.trainer.weight_decay,
        "task.crop": plan.size,
        "task.foreground": cfg.task.foreground,
        "seed": cfg.seed,
    }
    typed = settings_of(overrides)
    places = ("data.root", "data.train_", "data.val_img", "data.val_mask", "logger.")
    more = {name: number_or_text(text) for name, text in typed.items() if not name.startswith(places)}
    return {**more, **usual}


def number_or_text(text: str) -> int | float | str:
    """A typed value, converted to a number if possible."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def finish(cfg: RunConfig, training: TrainingRun, outcome: Outcome | None = None) -> float:
    """Score the best model, or that of `outcome`, and write the results; returns its monitored score.

    Raises:
        InputError: if files of the run folder were deleted during the run; model and scores have been written.
    """
    folder, files, log, state = training.folder, training.files, training.log, training.state
    val, scoring = training.val_samples, replace(cfg.task.scoring(), monitor=training.monitor)
    point = None
    if outcome is None:
        training.settle_best()
    else:
        keep(training, outcome)
        val, point, state = outcome.samples, outcome.point, replace(state, best=outcome.best)
    with files.draft() as place:
        train = training.source.plan.samples
        best = write_results(place, training.best_path, training.predictor, val, state, scoring, log, train, point)
    for name in files.present(("fold_*.npz",), {}):
        files.remove(name)
    show_report(folder, log)
    missing = training.check_records()
    if missing:
        raise InputError(
            f"{folder}: {missing} was deleted or moved during the run, so the folder lacks the record of how "
            f"the model was trained. The best model and its scores were written: {training.best_path}"
        )
    return best[training.monitor]


def show_report(folder: Path, log: RunLog) -> None:
    """Write the run's page and log its path. All other results are written by now, so a failure is only a warning."""
    try:
        log.info(f"report: {write_report(folder)}")
    except Exception as error:
        log.info(f"warning: report.html was not written ({type(error).__name__}: {error}); segexp report {folder}")
