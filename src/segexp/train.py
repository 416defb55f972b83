"""The composition root: a checked configuration becomes parts, the parts are trained, the result is written down.

``python train.py task=vesicle`` and ``segexp train task=vesicle`` both end in `main`.
"""

import functools
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from segexp import checkpoint, provenance
from segexp.augment import Augmentation
from segexp.config import RunConfig, build, conf_dir, read
from segexp.config.differences import differences
from segexp.config.folders import existing
from segexp.config.overrides import with_resume, with_seeds
from segexp.data import sources, splits
from segexp.data.crops import CropBatches, batch_loader, crop_size
from segexp.data.pairs import Sample
from segexp.device import choose_device, choose_precision
from segexp.errors import InputError
from segexp.evaluation import evaluate, summarize
from segexp.inference.predictor import Predictor
from segexp.losses import SegmentationLoss
from segexp.models.unet import UNet, set_prior
from segexp.overlay import Picture
from segexp.preview import preview
from segexp.report import write_report
from segexp.results import sample_overlay, write_json, write_results
from segexp.sweep import FAILURE
from segexp.training.loop import TrainState, fit, prepare
from segexp.training.runlog import RunLog
from segexp.training.schedule import Budget


def main(arguments: list[str] | None = None) -> float | None:
    """Run Hydra on `arguments` (default: the command line); returns the monitored score of the last job.

    Exits with 1 where the settings or files do not fit.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        arguments = with_resume(with_seeds(arguments))
    except InputError as error:
        sys.exit(f"error: {error}")
    flags = {argument.partition("=")[0] for argument in arguments}
    asks = {"-h", "--help", "-c", "--cfg", "-i", "--info"} & flags
    if asks and not any(argument.startswith(("task=", "experiment=")) for argument in arguments):
        arguments = [*arguments, "task=vesicle"]  # Hydra composes before it helps, and fails without a task
    if {"-m", "--multirun"} & flags and not {"output_dir", "hydra.sweep.dir"} & flags:
        # where the task itself is swept, output_dir would name a folder a task, and none before the first job
        arguments = [*arguments, f"hydra.sweep.dir=runs/sweep/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"]
    sys.argv = [sys.argv[0], *arguments]
    scores: list[float] = []

    @functools.wraps(job)
    def scored(cfg: DictConfig) -> float:
        scores.append(job(cfg))
        return scores[-1]

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(scored)()
    return scores[-1] if scores else None


def job(cfg: DictConfig) -> float:
    """One run, or one job of a sweep: there a failure is written to its folder and the sweep goes on."""
    settings = HydraConfig.get()
    # unresolved: a folder called ${x} is a name and not a reference
    runtime = OmegaConf.to_container(settings.runtime, resolve=False)
    folder = Path(runtime["output_dir"])  # type: ignore[index,call-overload]
    for name, content in (("config", cfg), ("hydra", {"hydra": settings}), ("overrides", settings.overrides.task)):
        (folder / ".hydra").mkdir(exist_ok=True)
        OmegaConf.save(content, folder / ".hydra" / f"{name}.yaml")
    resume = bool(cfg.get("resume"))
    if not resume:
        forget_run(folder)
    if settings.mode != RunMode.MULTIRUN:
        try:
            return run(read(cfg), folder, resume)
        except InputError as error:
            sys.exit(f"error: {error}")
    print(f"job {settings.job.num}: {' '.join(settings.overrides.task)}", flush=True)
    try:
        return run(read(cfg), folder)
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, InputError) else traceback.format_exc()
        (folder / FAILURE).write_text(text, encoding="utf-8")
        print(f"job {settings.job.num} failed: {text.strip().splitlines()[-1]} ({folder / FAILURE})", flush=True)
        return float("nan")


def forget_run(folder: Path) -> None:
    """Remove the records of an earlier run in the same folder, so that two never mix; model files stay."""
    records = ("metrics.csv", "train.log", "run.json", "summary.json", "report.html", splits.FILE, FAILURE)
    many = ("events.out.tfevents.*", "val/*.png", "val/scores.csv", "val/evaluation.json", "val/pictures.json")
    for path in (path for pattern in (*records, *many) for path in folder.glob(pattern)):
        path.unlink()


def run(cfg: RunConfig, folder: Path, resume: bool = False) -> float:
    """Train, evaluate and write one run folder; returns the monitored score of the best model."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    task, trainer = cfg.task, cfg.trainer
    device, device_reason = choose_device(trainer.device)
    precision, precision_reason = choose_precision(trainer.precision, device)
    torch.backends.cudnn.benchmark = True  # crops have one size: the fastest kernels are worth finding
    with RunLog(folder, task.monitor) as log:
        train_samples, val_samples = read_data(cfg, log.say, folder, resume)
        torch.manual_seed(cfg.seed)
        model = build_model(cfg, train_samples)
        predictor = Predictor(
            model, task.normalization, task.classes, task.scoring().threshold or 0.5, device, precision
        )
        augment = build_augment(cfg)
        if not resume:
            image = picture(augment, train_samples, cfg, 4)
            log.tensorboard.add_image("augmentation", image, 0, dataformats="HWC")
        augment.to(device)
        size = crop_size(train_samples, task.crop, model.multiple)
        batches = CropBatches(train_samples, size, trainer.batch_size, task.foreground, cfg.seed)
        weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        log.say(f"device: {device} ({device_reason}); precision: {precision} ({precision_reason})")
        log.say(f"model: {type(model).__name__} {model.settings['widths']}, {weights:.2f} million weights")
        log.say(f"epoch: {batches.steps} steps of {trainer.batch_size} crops of {size}x{size}")
        facts = describe(cfg, folder, predictor, train_samples, val_samples)
        write_json(folder / "run.json", facts)
        best_path = folder / f"best_{task.name}_model.pth"
        state = train(cfg, best_path, facts, predictor, augment, batches, val_samples, resume, started, log)
        settings: dict[str, int | float | str] = {
            "lr": trainer.lr,
            "batch_size": trainer.batch_size,
            "crop": size,
            "seed": cfg.seed,
            "model": f"{type(model).__name__} {model.settings['widths']}",
        }
        best = write_results(folder, best_path, predictor, val_samples, state, settings, task.scoring(), log)
        show_report(folder, log)
        return best[task.monitor]


def train(
    cfg: RunConfig,
    best_path: Path,
    facts: dict[str, Any],
    predictor: Predictor,
    augment: Augmentation,
    batches: CropBatches,
    val_samples: list[Sample],
    resume: bool,
    started: float,
    log: RunLog,
) -> TrainState:
    """Hand the parts to the loop, with what it calls to validate and to save; `facts` go into the model file."""
    task, trainer = cfg.task, cfg.trainer
    model, device = predictor.model, predictor.device
    last_path = best_path.with_name("last.pth")
    optimizer = torch.optim.AdamW(model.parameters(), trainer.lr, weight_decay=trainer.weight_decay, fused=True)
    state = TrainState()
    if resume:
        state = restore(last_path, model, optimizer)
        log.resume(state.epoch)
        log.say(f"resumed after epoch {state.epoch}, best {task.monitor} {state.best.get(task.monitor, 0):.4f}")
    content = {key: facts[key] for key in ("task", "versions", "data", "model")} | {
        "normalization": task.normalization,
        "classes": list(task.classes),
        "threshold": predictor.threshold,
        "pixel_size": task.pixel_size,
        "reading": cfg.reading().facts(),
        "measure": asdict(task.measure),
    }

    def save(now: TrainState, improved: bool) -> None:
        model_file = content | {"weights": model.state_dict(), "metrics": now.best}
        if improved:
            checkpoint.save(best_path, model_file)
        checkpoint.save(last_path, model_file | {"state": now.plain(), "optimizer": optimizer.state_dict()})

    def show(index: int, sample: Sample, labels: NDArray) -> None:
        if index < trainer.pictures:
            image = sample_overlay(sample, labels, predictor, largest=1024)
            log.tensorboard.add_image(f"val/{index}_{sample.name}", image, state.epoch, dataformats="HWC")

    def validate() -> dict[str, float]:
        return summarize(evaluate(predictor, val_samples, centreline=task.monitor == "cldice", look=show))

    return fit(
        model,
        SegmentationLoss(task.loss.bce, task.loss.dice, task.loss.cldice, task.loss.cldice_iterations),
        optimizer,
        iter(batch_loader(batches, trainer.num_workers, state.epoch, pin=device.type == "cuda")),
        lambda batch: prepare(batch, device, augment, task.normalization, len(task.classes)),
        validate,
        save,
        log,
        state,
        budget=Budget(total_steps(trainer.steps, trainer.epochs, batches.steps), trainer.seconds()),
        epoch_steps=batches.steps,
        monitor=task.monitor,
        lr=trainer.lr,
        warmup=trainer.warmup,
        grad_clip=trainer.grad_clip,
        validate_every=None if trainer.validate_every == "auto" else int(trainer.validate_every),
        patience=trainer.patience,
        precision=predictor.precision,
        seed=cfg.seed,
        log_every=trainer.log_every,
        validation_seconds=rehearse(predictor, val_samples),
        started=started,
    )


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
    train_samples, _ = read_data(cfg, print)
    augment = build_augment(cfg)
    return picture(augment, train_samples, cfg, samples)


def picture(augment: Augmentation, train_samples: list[Sample], cfg: RunConfig, samples: int) -> Picture:
    """A few crops of the first epoch through the augmentation, operation by operation."""
    size = crop_size(train_samples, cfg.task.crop)
    batch = CropBatches(train_samples, size, samples, cfg.task.foreground, cfg.seed)[0, 0]
    return preview(augment, batch, cfg.task.normalization, cfg.seed)


def read_data(
    cfg: RunConfig, say: Callable[[str], None], folder: Path | None = None, resume: bool = False
) -> tuple[list[Sample], list[Sample]]:
    """Training and validation images, from folders or generated; says which in its first line.

    A division of one folder is written to `folder`, and taken from there when the run is resumed.
    """
    data, task, synthetic = cfg.data, cfg.task, cfg.data.synthetic
    folders = data.folders()
    if folders is None and len(task.classes) > 1:
        raise InputError(f"task.classes={task.classes}: generated images have one class; set data.root=DIR")
    if folders is None:
        say(
            f"task: {task.name}; no data given, so {synthetic.train} + {synthetic.val} images of "
            f"{synthetic.size}x{synthetic.size} are generated (data.root=DIR for your own)"
        )
        samples = sources.generate(
            task.name, synthetic.train, synthetic.val, synthetic.size, cfg.seed, data.channels, task.normalization
        )
    else:
        reading, split = cfg.reading(), None
        if data.splits:
            stored = folder / splits.FILE if resume and folder and (folder / splits.FILE).is_file() else None
            stored = stored or (existing(data.split) if data.split else None)
            split = sources.choose_split(
                folders, reading.page, stored, data.val_fraction, data.fold, data.group, cfg.seed
            )
            if folder:
                splits.write_split(folder / splits.FILE, split)
        keep = data.cache == "ram" or (data.cache == "auto" and sources.fits_in_memory(folders, reading))
        place = "kept in memory" if keep else f"read from disk by {cfg.trainer.num_workers} workers"
        where = " and ".join(str(path) for name, path in folders.items() if name.endswith("img_dir"))
        say(f"task: {task.name}; images of {where}, {place}")
        if split is not None:
            say(splits.describe(split))
        workers = max(1, cfg.trainer.num_workers)
        samples = sources.read_folders(folders, reading, keep, workers, task.normalization, split)
        say(sources.describe_masks([*samples[0], *samples[1]], task.classes))
        for line in sources.describe_scale([*samples[0], *samples[1]], task.pixel_size):
            say(line)
    for name, part in zip(("train", "val"), samples, strict=True):
        say(f"{name}: {sources.describe(part)}")
    return samples


def build_augment(cfg: RunConfig) -> Augmentation:
    """The operations that training batches go through."""
    augment = build(cfg.augment, tuple(cfg.allow_targets))
    if not isinstance(augment, Augmentation):
        raise InputError("augment: wanted _target_: segexp.augment.Augmentation, with operations listed under it")
    return augment


def build_model(cfg: RunConfig, samples: list[Sample]) -> UNet:
    """The network for the task's channels and classes, its head set to the data's share of foreground."""
    model = build(cfg.model, tuple(cfg.allow_targets), in_channels=cfg.data.channels, classes=len(cfg.task.classes))
    if type(model).__name__ not in checkpoint.MODELS:
        raise InputError(f"model: {type(model).__name__} is none of segexp.models, so its file could not be opened")
    set_prior(model, sources.foreground_share(samples))
    return model


def total_steps(steps: int | None, epochs: int | None, epoch_steps: int) -> int | None:
    """The smaller of the two limits, in steps; None where neither is set."""
    limits = [limit for limit in (steps, epochs and epochs * epoch_steps) if limit is not None]
    return min(limits, default=None)


def rehearse(predictor: Predictor, samples: list[Sample]) -> float:
    """Validate two images before the first step, so that what is broken there shows now; guess the time for all."""
    tick = time.monotonic()
    summarize(evaluate(predictor, samples[:2]))
    pixels = [sample.shape[1] * sample.shape[2] for sample in samples]
    return (time.monotonic() - tick) * sum(pixels) / sum(pixels[:2])


def restore(path: Path, model: UNet, optimizer: torch.optim.Optimizer) -> TrainState:
    """Put model and optimiser back where `last.pth` left them; returns the state."""
    content = checkpoint.load(path)
    if content["model"]["settings"] != model.settings:
        raise InputError(f"{path}: its model has {content['model']['settings']}, this run {model.settings}")
    model.load_state_dict(content["weights"])
    optimizer.load_state_dict(content["optimizer"])
    return TrainState(**content["state"])


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
