"""The composition root: a checked configuration becomes parts, the parts are trained, the result is written down.

``python train.py task=vesicle`` and ``segexp train task=vesicle`` both end in `main`.
"""

import errno
import functools
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from segexp import provenance
from segexp.config import RunConfig, conf_dir, read
from segexp.config.differences import differences
from segexp.config.overrides import quote, with_folds, with_resume, with_seeds, with_sweep
from segexp.data import splits
from segexp.data.pairs import Sample
from segexp.data.sources import foreground_share
from segexp.device import choose_device, choose_precision, set_arithmetic
from segexp.distributed import Ranks, join, launched, leave, share
from segexp.errors import InputError
from segexp.inference.predictor import Predictor
from segexp.overlay import Picture
from segexp.parts import (
    build_augment,
    build_learner,
    build_mix,
    build_model,
    build_schedule,
    build_source,
    mix_facts,
    picture,
    read_data,
    rehearse,
)
from segexp.report import write_report
from segexp.results import sample_overlay, write_json, write_results
from segexp.run import TrainingRun
from segexp.search.command import job_verdict
from segexp.sweep import FAILURE, PRUNED
from segexp.sweep.entry import enter, restarted, settle
from segexp.sweep.ledger import FAILED, GIVEN_UP, INTERRUPTED, PROGRESS, RUNNING, Teller, hold, read_job, settings_of
from segexp.training.loop import fit
from segexp.training.mlflow_log import FILE as MLFLOW
from segexp.training.mlflow_log import MlflowLog, tracking_uri
from segexp.training.runlog import RunLog
from segexp.training.state import TrainState
from segexp.training.stop import Pruned, Stopped, StopRequest, pass_on


def main(arguments: list[str] | None = None) -> float | None:
    """Run Hydra on `arguments` (default: the command line); returns the monitored score of the last job.

    Exits with 1 where the settings or files do not fit, with 128 + its number where a signal stopped the run. Under
    ``torchrun`` this is one of several processes that train one model.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        arguments = with_sweep(with_resume(with_folds(with_seeds(arguments))))
    except InputError as error:
        sys.exit(f"error: {error}")
    flags = {argument.partition("=")[0] for argument in arguments}
    asks = {"-h", "--help", "-c", "--cfg", "-i", "--info"} & flags
    if asks and not any(argument.startswith(("task=", "experiment=")) for argument in arguments):
        arguments = [*arguments, "task=vesicle"]  # Hydra composes before it helps, and fails without a task
    if not asks and not launched():
        launch(arguments)
    ranks = join()
    named = {"output_dir", "hydra.sweep.dir", "hydra.run.dir"} & flags
    now = share(ranks, f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    if {"-m", "--multirun"} & flags and not named:
        # where the task itself is swept, output_dir would name a folder a task, and none before the first job
        arguments = [*arguments, f"hydra.sweep.dir=runs/sweep/{now}"]
    elif ranks.world > 1 and not named:  # each process has a clock of its own
        arguments = [*arguments, f"output_dir=runs/${{task.name}}/{now}"]
    if ranks.world > 1 and not any(argument.startswith("hydra/launcher=") for argument in arguments):
        arguments = [*arguments, "hydra/launcher=basic"]  # these processes together are a job's
    sys.argv = [sys.argv[0], *arguments]
    scores: list[float] = []

    @functools.wraps(job)
    def scored(cfg: DictConfig) -> float:
        scores.append(job(cfg))
        return scores[-1]

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(scored)()
    finally:
        leave()
    return scores[-1] if scores else None


def launch(arguments: list[str]) -> None:
    """Where ``trainer.devices`` asks for several processes, become ``torchrun`` with this same command."""
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("trainer.devices=")]
    if not given or given[-1] == "1":
        return
    if given[-1] == "auto":
        count = max(1, torch.cuda.device_count())
    elif given[-1].isdigit() and int(given[-1]) > 1:
        count = int(given[-1])
    else:
        return  # the schema says what is wrong with it
    if count > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        os.execv(sys.executable, [*command, "-m", "segexp.train", *arguments])  # noqa: S606 a shell would reinterpret them


def job(cfg: DictConfig) -> float:
    """One run, or one job of a sweep: there a failure is written to its folder and the sweep goes on."""
    settings, ranks = HydraConfig.get(), join()
    # unresolved: a folder called ${x} is a name and not a reference
    runtime = OmegaConf.to_container(settings.runtime, resolve=False)
    folder = Path(runtime["output_dir"])  # type: ignore[index,call-overload]
    if settings.mode == RunMode.MULTIRUN:
        return sweep_job(cfg, folder, ranks)
    resume = bool(cfg.get("resume")) or goes_on(settings, folder)
    if ranks.first:
        store(cfg, folder, resume)
    try:
        score = run(read(cfg), folder, resume)
        record = read_job(folder)
        if record is not None and ranks.first:  # a sweep's job, gone on with by hand
            settle(record, score)
        return score
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        sys.exit(f"error: {folder}: {error.strerror}. Make room, then: python train.py resume={quote(str(folder))}")
    except Stopped as stopped:
        if ranks.first:
            print(f"{stopped}; the state is saved. Go on with: python train.py resume={quote(str(folder))}")
        sys.exit(128 + stopped.number)


def goes_on(settings: HydraConf, folder: Path) -> bool:
    """Whether a run finds its own earlier state: a cluster starts the same command again in the same folder."""
    if not restarted(settings):
        return False
    stored = folder / ".hydra" / "overrides.yaml"
    if not (folder / "last.pth").is_file() or not stored.is_file():
        return False
    return list(settings.overrides.task) == OmegaConf.to_container(OmegaConf.load(stored), resolve=False)


def store(cfg: DictConfig, folder: Path, resume: bool) -> None:
    """Write the settings of a run to its folder; one that begins forgets what an earlier run left there."""
    settings = HydraConfig.get()
    for name, content in (("config", cfg), ("hydra", {"hydra": settings}), ("overrides", settings.overrides.task)):
        (folder / ".hydra").mkdir(exist_ok=True)
        OmegaConf.save(content, folder / ".hydra" / f"{name}.yaml")
    if not resume:
        forget_run(folder)


def sweep_job(cfg: DictConfig, wanted: Path, ranks: Ranks) -> float:
    """One job of a sweep, whichever launcher runs it: passed by, gone on with, or begun, as its folder's record says.

    What goes wrong is written to the folder, and the answer is NaN: Hydra would end the sweep and show one error only.
    """
    settings = HydraConfig.get()
    sweep = Path(str(settings.sweep.dir)).absolute()
    entry = share(
        ranks,
        enter(cfg, settings, sweep, wanted) if ranks.first else None,
    )
    assert entry is not None
    record, resume = entry.record, entry.resumes
    folder, number = record.folder, record.number
    if not entry.runs:
        print(f"job {number}: {record.status} already", flush=True)
        return float("nan") if record.score is None else record.score
    with ExitStack() as stack:
        print(f"job {number}: {' '.join(record.overrides)}", flush=True)
        try:
            if ranks.first:
                stack.enter_context(hold(folder))
                record.save(status=RUNNING, message="", sittings=record.sittings + 1)
                store(cfg, folder, resume)
            checked = read(cfg)
            tell = Teller(folder, checked.task.monitor) if ranks.first else None
            score = run(checked, folder, resume, tell, job_verdict(settings) if ranks.first else None)
            if ranks.first:
                settle(record, score)
            return score
        except Pruned as pruned:
            if ranks.first:
                (folder / PRUNED).write_text(f"{pruned}\n", encoding="utf-8")
                record.save(status=GIVEN_UP, score=pruned.score, message=str(pruned))
                print(f"job {number} {pruned}", flush=True)
            return pruned.score
        except Stopped as stopped:
            record.save(status=INTERRUPTED)
            print(f"{stopped}; the state of job {number} is saved in {folder}", flush=True)
            pass_on(stopped.number)
            sys.exit(128 + stopped.number)
        except (Exception, SystemExit) as error:
            text = str(error) if isinstance(error, InputError) else traceback.format_exc()
            message = text.strip().splitlines()[-1]
            (folder / FAILURE).write_text(text, encoding="utf-8")
            record.save(status=FAILED, message=message)
            if not isinstance(error, InputError):
                print(text, flush=True)
            print(f"job {number} failed: {message} ({folder / FAILURE})", flush=True)
            return float("nan")


def forget_run(folder: Path) -> None:
    """Remove the records of an earlier run in the same folder, so that two never mix; model files stay."""
    records = ["metrics.csv", "train.log", "run.json", "summary.json", "report.html", splits.FILE]
    records += [FAILURE, PRUNED, PROGRESS, MLFLOW]
    many = ("events.out.tfevents.*", "val/*.png", "val/scores.csv", "val/evaluation.json", "val/pictures.json")
    for path in (path for pattern in (*records, *many) for path in folder.glob(pattern)):
        path.unlink()


def run(
    cfg: RunConfig,
    folder: Path,
    resume: bool = False,
    tell: Callable[[TrainState, float], None] | None = None,
    hopeless: Callable[[float, float], bool] | None = None,
) -> float:
    """Train, evaluate and write one run folder; returns the monitored score of the best model.

    `tell` hears of each step. `hopeless` is asked with progress and best score at each validation; `Pruned` is raised
    where it says so.
    """
    started, ranks = time.monotonic(), join()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        place, console = folder, None
        if not ranks.first:  # speaks and writes to nobody
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            console = Console(file=stack.enter_context(open(os.devnull, "w")))
        stop = stack.enter_context(StopRequest().listening())
        uri = tracking_uri(cfg.trainer.mlflow) if ranks.first else None
        mlflow = MlflowLog(folder, uri, cfg.task.name, print) if uri else None
        log = stack.enter_context(RunLog(place, cfg.task.monitor, console, tell, mlflow))
        training = assemble(cfg, folder, ranks, stop, log, resume)
        log.begin(compared(cfg, training), axes())
        state = TrainState()
        if resume:
            state = training.restore()
            log.resume(state.epoch)
            best = state.best.get(cfg.task.monitor, 0)
            log.say(f"resumed after epoch {state.epoch}, step {state.step}, best {cfg.task.monitor} {best:.4f}")
        schedule = build_schedule(cfg, training.source.plan.steps)
        state = fit(
            training.learner,
            training,
            log,
            state,
            schedule,
            validation_seconds=rehearse(training.predictor, training.val_samples),
            started=started,
            stop=stop,
            ranks=ranks,
            foreground=sum(foreground_share(training.source.plan.samples)),
            hopeless=hopeless,
        )
        score = state.best[cfg.task.monitor]
        if ranks.first:
            score = finish(cfg, folder, training, state, log)
        return share(ranks, score)


def assemble(cfg: RunConfig, folder: Path, ranks: Ranks, stop: StopRequest, log: RunLog, resume: bool) -> TrainingRun:
    """All parts of a run, from its settings; writes ``run.json``."""
    task, trainer = cfg.task, cfg.trainer
    name = f"cuda:{ranks.local}" if ranks.world > 1 and torch.cuda.is_available() else trainer.device
    device, device_reason = choose_device(name)
    precision, precision_reason = choose_precision(trainer.precision, device)
    set_arithmetic(precision, trainer.deterministic)
    train_samples, val_samples = read_data(cfg, log.say, folder, resume, checks=ranks.first)
    mix = build_mix(cfg, device)
    torch.manual_seed(cfg.seed)
    model = build_model(cfg, train_samples)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    log.say(f"device: {device} ({device_reason}); precision: {precision} ({precision_reason})")
    log.say(f"model: {model.title}, {weights:.2f} million weights")
    if ranks.world > 1:
        log.say(f"processes: {ranks.world}, each with its share of every batch")
    source = build_source(cfg, train_samples, model, precision, ranks, log.say, mix)
    learner = build_learner(cfg, model, precision, ranks)
    threshold = task.scoring().threshold or 0.5
    predictor = Predictor(learner.average, task.normalization, task.classes, threshold, device, precision)
    augment = build_augment(cfg)
    if ranks.first and not resume:
        image = picture(augment, train_samples, cfg, 4, mix)
        log.image("augmentation", image, 0)
    facts = describe(cfg, folder, predictor, train_samples, val_samples)
    if mix:
        facts["data"]["generated"] = mix_facts(cfg)
    if ranks.first:
        write_json(folder / "run.json", facts)
    model_facts = {key: facts[key] for key in ("task", "versions", "data", "model")} | {
        "normalization": task.normalization,
        "classes": list(task.classes),
        "threshold": predictor.threshold,
        "pixel_size": task.pixel_size,
        "reading": cfg.reading().facts(),
        "measure": asdict(task.measure),
    }

    def show(index: int, sample: Sample, labels: NDArray) -> None:
        if index < trainer.pictures and ranks.first:
            image = sample_overlay(sample, labels, predictor, largest=1024)
            log.image(f"val/{index}_{sample.name}", image, log.epochs)

    return TrainingRun(
        learner=learner,
        predictor=predictor,
        source=source,
        augment=augment.to(device),
        val_samples=val_samples,
        best_path=folder / f"best_{task.name}_model.pth",
        facts=model_facts,
        say=log.say,
        show=show,
        centreline=task.monitor == "cldice",
        workers=trainer.num_workers,
        start_method=trainer.start_method,
        stop=stop,
        ranks=ranks,
    )


def finish(cfg: RunConfig, folder: Path, training: TrainingRun, state: TrainState, log: RunLog) -> float:
    """Score the best model and write the results; returns its monitored score."""
    val, scoring = training.val_samples, cfg.task.scoring()
    best = write_results(folder, training.best_path, training.predictor, val, state, scoring, log)
    show_report(folder, log)
    return best[cfg.task.monitor]


def compared(cfg: RunConfig, training: TrainingRun) -> dict[str, int | float | str]:
    """Settings by which trackers compare runs: the usual ones as they turned out, and those typed for this run."""
    plan = training.source.plan
    usual: dict[str, int | float | str] = {
        "model": training.learner.model.title,
        "trainer.lr": cfg.trainer.lr,
        "trainer.batch_size": plan.batch_size,
        "trainer.weight_decay": cfg.trainer.weight_decay,
        "task.crop": plan.size,
        "task.foreground": cfg.task.foreground,
        "seed": cfg.seed,
    }
    typed = settings_of(HydraConfig.get().overrides.task) if HydraConfig.initialized() else {}
    places = ("data.root", "data.train_", "data.val_img", "data.val_mask", "trainer.mlflow")
    more = {name: number_or_text(text) for name, text in typed.items() if not name.startswith(places)}
    return {**more, **usual}


def axes() -> list[str]:
    """The settings that the sweep of this job varies; none for a run by itself."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return []
    stored = Path(str(HydraConfig.get().sweep.dir)) / "multirun.yaml"
    if not stored.is_file():
        return []
    hydra = OmegaConf.load(stored).hydra
    ranges = OmegaConf.to_container(OmegaConf.select(hydra, "sweeper.params") or OmegaConf.create({}), resolve=False)
    assert isinstance(ranges, dict)
    words = [*(f"{key!s}={value}" for key, value in ranges.items()), *hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.get_key_element().lstrip("+") for override in parsed if override.is_sweep_override()]


def number_or_text(text: str) -> int | float | str:
    """A value as typed; as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def show_report(folder: Path, log: RunLog) -> None:
    """Write the run's page and say where it is. The run itself is whole by now, whatever becomes of its page."""
    try:
        log.say(f"report: {write_report(folder)}")
    except Exception as error:
        log.say(f"warning: report.html was not written ({type(error).__name__}: {error}); segexp report {folder}")


def preview_run(arguments: list[str], samples: int) -> Picture:
    """The picture of `segexp preview` for the run that these overrides describe; nothing is trained or written."""
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = read(compose("config", [*arguments, "output_dir=none"]))
    except HydraException as error:
        raise InputError(str(error)) from None
    train_samples, _ = read_data(cfg, print, checks=False)
    return picture(build_augment(cfg), train_samples, cfg, samples, build_mix(cfg, torch.device("cpu")))


def describe(
    cfg: RunConfig, folder: Path, predictor: Predictor, train: list[Sample], val: list[Sample]
) -> dict[str, Any]:
    """The facts of ``run.json``: what was run, on what, with which versions."""
    folders = cfg.data.folders()
    return {
        "task": cfg.task.name,
        "command": sys.argv,
        "overrides": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [],
        "cwd": str(Path.cwd()),
        "monitor": cfg.task.monitor,
        "changed": differences(cfg),
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
            "train": len(train),
            "val": len(val),
            "fingerprint": provenance.fingerprint([*train, *val]),
        },
    }


if __name__ == "__main__":
    main()
