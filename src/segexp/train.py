"""The entry point of training: Hydra composes the settings, `segexp.experiment.run` does the run or the sweep's job.

``python train.py task=vesicle`` and ``segexp train task=vesicle`` both end in `main`.
"""

import errno
import functools
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import hydra
import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from segexp import __version__
from segexp.config import RunConfig, conf_dir, package_conf_dir, read, use_conf_beside
from segexp.config.ahead import with_counts
from segexp.config.completion import complete
from segexp.config.compose import add_folder, add_lab, compose_config, lab_folders, searched_folders
from segexp.config.overrides import command_line, one_job, stored_overrides
from segexp.config.targets import WEIGHTS
from segexp.device import out_of_memory
from segexp.distributed import Ranks, join, launched, leave, share
from segexp.errors import InputError
from segexp.experiment.build import (
    build_augment,
    build_mix,
    picture,
    read_data,
)
from segexp.experiment.run import run
from segexp.experiment.start import read_start, take_settings
from segexp.io.ownership import OwnedFolder
from segexp.io.run_folder import RunFolder
from segexp.sweep import FAILURE, PRUNED
from segexp.sweep.entry import enter, restarted, settle
from segexp.sweep.job_store import FAILED, GIVEN_UP, INTERRUPTED, RUNNING, ProgressWriter, read_job
from segexp.sweep.search.command import job_pruning
from segexp.sweep.summary import locks, remove_new_folders, resumed_by_file
from segexp.sweep.weights import start_file
from segexp.terminal import open_streams, streams
from segexp.training.stop import Pruned, Stopped, pass_on
from segexp.viz.overlay import Picture

ASKS = ("--help", "--hydra-help", "--cfg", "--info", "--shell-completion")
"""Flags that only show something."""


def main(arguments: list[str] | None = None, script: str | None = None) -> float | None:
    """Run Hydra on `arguments` (default: the command line); returns the monitored score of the last job.

    The settings come from ``conf/`` beside `script` if it exists (``train.py`` of a checkout), else from the package.
    Modules are also imported from the parent of a ``--config-dir``, which is searched last.

    Flags and overrides may be in any order. The exit code is 1 if settings or files cannot be used, and 128 plus its
    number if a signal stopped the run. Under ``torchrun`` this is one of several processes that train one model.
    """
    open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print(f"segexp {__version__}")
        return None
    if script is not None:
        use_conf_beside(script)
    try:
        arguments = command_line(arguments)
        for folder in lab_folders(arguments):
            add_lab(folder)
        for folder in searched_folders(arguments):
            add_folder(folder, "hydra.searchpath")
        if "--shell-completion" in arguments and complete(arguments):
            return None
    except InputError as error:
        sys.exit(f"error: {error}")
    flags = _names(arguments)
    asks = bool(set(ASKS) & flags)
    if asks:
        arguments = to_show(arguments, flags)
    elif "--resolve" in flags:
        sys.exit("error: --resolve: only works together with --cfg job, --cfg all, --cfg hydra or --help")
    else:
        arguments = to_run(arguments)
        flags = _names(arguments)
    sys.argv = [sys.argv[0], *arguments, *folder_and_launcher(arguments, flags, asks)]
    scores: list[float] = []

    @functools.wraps(job)
    def scored(cfg: DictConfig) -> float:
        scores.append(job(cfg))
        return scores[-1]

    # a run's results are in its folder; of settings that are shown, the text is the result
    shown = streams() if asks else nullcontext()
    try:
        with shown:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(scored)()
    finally:
        locks.close()
        leave()
    return scores[-1] if scores else None


def _names(arguments: Sequence[str]) -> set[str]:
    """The flags and the names of the settings on a command line."""
    return {argument.partition("=")[0] for argument in arguments}


def to_show(arguments: list[str], flags: set[str]) -> list[str]:
    """The command line for Hydra if something is to be shown and nothing run."""
    arguments = one_job(arguments)
    chosen = any(argument.startswith(("task=", "experiment=")) for argument in arguments)
    if "--hydra-help" in flags:  # about Hydra alone, which refuses the settings of anything else
        return ["--hydra-help"]
    if not chosen and "--shell-completion" not in flags:
        return [*arguments, "task=vesicle"]  # Hydra composes before it helps, and fails without a task
    return arguments


def to_run(arguments: list[str]) -> list[str]:
    """The command line for Hydra for a run or a sweep; the process becomes ``torchrun`` if several are to train."""
    try:
        arguments, devices = with_counts(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")
    if not launched():
        launch(arguments, devices)
    verbose = [word for word in arguments if word.startswith("hydra.verbose=") and word != "hydra.verbose=false"]
    if verbose and not any(word.startswith("hydra/job_logging=") for word in arguments):
        return [*arguments, "hydra/job_logging=stdout"]  # none, the default, shows nothing
    return arguments


def folder_and_launcher(arguments: Sequence[str], flags: set[str], asks: bool) -> list[str]:
    """Overrides to add: the folder of a sweep, or of a run of several processes, unless typed, and their launcher."""
    ranks, added = join(), []
    named = {"output_dir", "hydra.sweep.dir", "hydra.run.dir"} & flags
    now = share(ranks, f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    if "--multirun" in flags and not asks and not named:
        # where the task itself is swept, output_dir would name a folder a task, and none before the first job
        added.append(f"hydra.sweep.dir=runs/sweep/{now}")
    elif ranks.world > 1 and not named:  # each process has a clock of its own
        added.append(f"output_dir=runs/${{task.name}}/{now}")
    if ranks.world > 1 and not any(argument.startswith("hydra/launcher=") for argument in arguments):
        added.append("hydra/launcher=basic")  # these processes together are a job's
    return added


def launch(arguments: list[str], devices: str) -> None:
    """If ``trainer.devices`` asks for several processes, replace this process by ``torchrun`` with the same command."""
    if devices == "auto":
        count = max(1, torch.cuda.device_count())
    elif devices.isdigit():
        count = int(devices)
    else:
        return  # the schema says what is wrong with it
    if count > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        sys.stdout.flush()
        os.execv(sys.executable, [*command, "-m", "segexp.train", *arguments])  # noqa: S606 a shell would reinterpret them


def read_job_settings(cfg: DictConfig, typed: Sequence[str], ranks: Ranks) -> RunConfig:
    """The checked settings of a run; `InputError` if a file sets what only the whole command can."""
    checked = read(cfg)
    problems = []
    if cfg.resume and not any(word.startswith("resume=") for word in typed):
        problems.append(
            f"resume={cfg.resume}: is set in a file, but a resumed run takes its settings from its own "
            f"folder; expected null there, and on the command line: {resume_command(Path(str(cfg.resume)))}"
        )
    problems += resumed_by_file(cfg.sweep.resume, typed)
    trainer = checked.trainer
    if trainer.seeds > 1:
        problems.append(
            f"trainer.seeds={trainer.seeds}: this job belongs to a sweep without such repeats; expected the same "
            "number for all its jobs, such as trainer.seeds=3 on the command line"
        )
    if str(trainer.devices) not in ("auto", "1", str(ranks.world)):
        problems.append(
            f"trainer.devices={trainer.devices}: this run has {ranks.world} process{'es' * (ranks.world > 1)}; "
            "expected the same number for all jobs of a sweep, at most that given to torchrun"
        )
    if problems:
        raise InputError(*problems)
    return checked


def job(cfg: DictConfig) -> float:
    """One run, or one job of a sweep; a failed job is recorded in its folder and the sweep continues."""
    open_streams()  # in the process of a sweep's job, too
    settings, ranks = HydraConfig.get(), join()
    if settings.job.chdir:  # relative paths are those of the command all the same
        os.chdir(settings.runtime.cwd)
    # unresolved: a folder called ${x} is a name and not a reference
    runtime = OmegaConf.to_container(settings.runtime, resolve=False)
    folder = Path(runtime["output_dir"])  # type: ignore[index,call-overload]
    if settings.mode == RunMode.MULTIRUN:
        return sweep_job(cfg, folder, ranks)
    resume, overwrite = bool(cfg.get("resume")) or is_resumed(settings, folder), bool(cfg.get("overwrite"))
    files = RunFolder(folder)
    try:
        log_sources(settings, ranks)
        typed = stored_overrides(settings)
        checked = read_job_settings(cfg, typed, ranks)
        store(cfg, files)
        weights = None if resume else start_file(checked)
        score = run(checked, folder, resume, overrides=typed, files=files, overwrite=overwrite, weights=weights)
        record = read_job(folder)
        if record is not None and ranks.first:  # a sweep's job, gone on with by hand
            settle(record, score)
        return score
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            sys.exit(f"error: {error.filename or folder}: {error.strerror}; choose a folder with write permission")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        sys.exit(f"error: {folder}: {error.strerror}. Free some space, then: {resume_command(folder)}")
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        sys.exit(
            f"error: out of memory, and a smaller micro-batch does not help: {said}. Expected settings that need less: "
            "a smaller task.crop, smaller model.widths, or trainer.precision=bf16"
        )
    except Stopped as stopped:
        if ranks.first:
            print(f"{stopped}; the state is saved. Resume with: {resume_command(folder)}")
        sys.exit(128 + stopped.number)
    finally:
        if ranks.first and not files.begun:
            remove_new_folders()


def log_sources(settings: HydraConf, ranks: Ranks) -> None:
    """Print which folders the settings come from, if not from the package alone."""
    own = str(package_conf_dir())
    folders = [str(source.path) for source in settings.runtime.config_sources if source.schema == "file"]
    if ranks.first and folders != [own]:
        places = [f"{folder} (of the package)" if folder == own else folder for folder in folders]
        print(f"settings: {', then '.join(places)}", flush=True)


def resume_command(folder: Path) -> str:
    """What to type to go on with a run, as a shell takes it: ``python train.py`` where a script was typed."""
    script = Path(sys.argv[0])
    scripted = script.suffix == ".py" and script.resolve() != Path(__file__).resolve()  # this file: under torchrun
    return shlex.join([*(["python", "train.py"] if scripted else ["segexp", "train"]), f"resume={folder}"])


def is_resumed(settings: HydraConf, folder: Path) -> bool:
    """Whether a run continues its own earlier state, as when a cluster starts the same command again in its folder."""
    if not restarted(settings):
        return False
    stored = folder / ".hydra" / "overrides.yaml"
    if not (folder / "last.pth").is_file() or not stored.is_file():
        return False
    return stored_overrides(settings) == OmegaConf.to_container(OmegaConf.load(stored), resolve=False)


def store(cfg: DictConfig, files: RunFolder) -> None:
    """Register the settings of a run, to be written to its folder when it begins."""
    settings = HydraConfig.get()
    for name, content in (("config", cfg), ("hydra", {"hydra": settings}), ("overrides", settings.overrides.task)):
        files.put(f".hydra/{name}.yaml", OmegaConf.to_yaml(content))


def sweep_job(cfg: DictConfig, target: Path, ranks: Ranks) -> float:
    """One job of a sweep, for any launcher: skipped, resumed or started, as the record in its folder says.

    An error is written to the folder and the result is NaN: Hydra would end the sweep and show one error only.
    """
    settings = HydraConfig.get()
    sweep = Path(str(settings.sweep.dir)).absolute()
    entry = share(
        ranks,
        enter(cfg, settings, sweep, target) if ranks.first else None,
    )
    assert entry is not None
    record, resume = entry.record, entry.resumes
    folder, number = record.folder, record.number
    if not entry.runs:
        print(f"job {number}: already {record.status}", flush=True)
        return float("nan") if record.score is None else record.score
    with RunFolder(folder, job=True) as files:
        print(f"job {number}: {' '.join(record.overrides)}", flush=True)
        try:
            if ranks.first:
                files.hold()
        except InputError as error:  # its record is the other process's
            print(f"job {number}: {error}", flush=True)
            return float("nan")
        try:
            if ranks.first:
                record.save(status=RUNNING, message="", sittings=record.sittings + 1)
            log_sources(settings, ranks)
            typed = stored_overrides(settings)
            checked = read_job_settings(cfg, typed, ranks)
            store(cfg, files)
            on_step = ProgressWriter(folder, checked.task.monitor, files) if ranks.first else None
            should_prune = job_pruning(settings) if ranks.first else None
            weights = None if resume else start_file(checked)
            score = run(checked, folder, resume, on_step, should_prune, typed, axes(), files, weights=weights)
            if ranks.first:
                settle(record, score)
            return score
        except Pruned as pruned:
            if ranks.first:
                OwnedFolder(folder).write(PRUNED, f"{pruned}\n")
                record.save(status=GIVEN_UP, score=pruned.score, better=pruned.better, message=str(pruned))
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
            OwnedFolder(folder).write(FAILURE, text)
            record.save(status=FAILED, message=message)
            if not isinstance(error, InputError):
                print(text, flush=True)
            print(f"job {number} failed: {message} ({folder / FAILURE})", flush=True)
            return float("nan")


def axes() -> list[str]:
    """The settings that the sweep of this job varies; empty for a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return []
    stored = Path(str(HydraConfig.get().sweep.dir)) / "multirun.yaml"
    if not stored.is_file():
        return []
    hydra = OmegaConf.load(stored).hydra
    ranges = OmegaConf.to_container(OmegaConf.select(hydra, "sweeper.params") or OmegaConf.create({}), resolve=False)
    assert isinstance(ranges, dict)
    words = [*(f"{key!s}={value}" for key, value in ranges.items()), *stored_overrides(hydra)]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.get_key_element().lstrip("+") for override in parsed if override.is_sweep_override()]


def preview_run(overrides: list[str], samples: int, config_dir: str | None = None) -> Picture:
    """The picture of `segexp preview` for the run that the overrides describe; nothing is trained or written."""
    cfg = compose_config(overrides, config_dir)
    weights = start_file(cfg)
    if weights is not None:
        cfg, _, _ = take_settings(cfg, read_start(str(cfg.model[WEIGHTS]), weights), overrides)
    few = cfg.trainer.cross_fit if weights is not None and cfg.trainer.keep_given else 0
    train_samples, _ = read_data(cfg.data, cfg.task, cfg.seed, cfg.trainer.num_workers, print, few=few)
    augment = build_augment(cfg.augment, cfg.allow_targets)
    mix = build_mix(cfg.data, cfg.task, cfg.seed, torch.device("cpu"))
    return picture(augment, cfg.task, cfg.seed, train_samples, samples, mix)


if __name__ == "__main__":
    main()
