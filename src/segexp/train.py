"""The composition root: a checked configuration becomes parts, the parts are trained, the result is written down.

``python train.py task=vesicle`` and ``segexp train task=vesicle`` both end in `main`.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from segexp import __version__, checkpoint, synthesis
from segexp.config import RunConfig, build, conf_dir, read
from segexp.data.crops import CropBatches, batch_loader, crop_size
from segexp.data.pairs import Sample, make_sample, pixel_bytes, read_folder
from segexp.device import choose_device, choose_precision
from segexp.errors import InputError
from segexp.evaluation import Row, evaluate, summarize
from segexp.inference.predictor import Predictor
from segexp.losses import SegmentationLoss
from segexp.models.unet import UNet, set_prior
from segexp.overlay import overlay, write_png
from segexp.sweep import FAILURE
from segexp.training.loop import TrainState, fit, prepare
from segexp.training.runlog import RunLog, clock
from segexp.training.schedule import Budget


def main(arguments: list[str] | None = None) -> None:
    """Run Hydra on `arguments` (default: the command line). Exits with 1 where the settings or files do not fit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        arguments = with_resume(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")
    sys.argv = [sys.argv[0], *arguments]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    entry()


def job(cfg: DictConfig) -> float:
    """One run, or one job of a sweep: there a failure is written to its folder and the sweep goes on."""
    hydra_config = HydraConfig.get()
    # unresolved: a folder called ${x} is a name and not a reference
    folder = Path(OmegaConf.to_container(hydra_config, resolve=False)["runtime"]["output_dir"])  # type: ignore[index,call-overload]
    if hydra_config.mode != RunMode.MULTIRUN:
        try:
            return run(read(cfg), folder, bool(cfg.get("resume")))
        except InputError as error:
            sys.exit(f"error: {error}")
    print(f"job {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}", flush=True)
    try:
        return run(read(cfg), folder, resume=False)
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, InputError) else traceback.format_exc()
        (folder / FAILURE).write_text(text, encoding="utf-8")
        print(f"job {hydra_config.job.num} failed: {text.strip().splitlines()[-1]} ({folder / FAILURE})", flush=True)
        return float("nan")


def with_resume(arguments: list[str]) -> list[str]:
    """Replace ``resume=D`` by the settings that the run in D was started with, followed by those given now."""
    given = [argument for argument in arguments if argument.startswith("resume=") and argument != "resume=null"]
    if not given:
        return arguments
    folder = Path(given[-1].removeprefix("resume=").strip("'\"")).expanduser()
    stored = folder / ".hydra" / "overrides.yaml"
    if not (folder / "last.pth").is_file() or not stored.is_file():
        raise InputError(f"resume={folder}: wanted a run folder with last.pth and .hydra/overrides.yaml in it")
    try:
        overrides = yaml.safe_load(stored.read_text(encoding="utf-8")) or []
    except yaml.YAMLError as error:
        raise InputError(f"{stored}: not YAML ({error})") from None
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise InputError(f"{stored}: wanted a list of overrides")
    # a run folder may come from somebody else, and Hydra would run what its own section names
    own = ("hydra", "allow_targets", "resume=", "output_dir=")
    overrides = [item for item in overrides if not item.lstrip("+~").startswith(own)]
    others = [argument for argument in arguments if argument not in given and not argument.startswith("output_dir=")]
    place = str(folder.absolute())
    return [*overrides, f"resume={quote(place)}", f"output_dir={quote(place)}", *others]


def quote(value: str) -> str:
    """A value that Hydra's override grammar reads back unchanged, whatever is in it.

    Quotes are escaped, backslashes doubled only before a quote or the end (elsewhere Hydra keeps them), ``${`` escaped.
    """
    quoted, backslashes = "", 0
    for index, character in enumerate(value):
        if character == "\\":
            backslashes += 1
            continue
        if character == "'":
            quoted += "\\" * (2 * backslashes) + "\\'"
        elif value.startswith("${", index):
            quoted += "\\" * (2 * backslashes) + "\\$"
        else:
            quoted += "\\" * backslashes + character
        backslashes = 0
    return f"'{quoted}{chr(92) * (2 * backslashes)}'"


def run(cfg: RunConfig, folder: Path, resume: bool = False) -> float:
    """Train, evaluate and write one run folder; returns the monitored score of the best model."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    task, trainer = cfg.task, cfg.trainer
    device, device_reason = choose_device(trainer.device)
    precision, precision_reason = choose_precision(trainer.precision, device)
    with RunLog(folder, task.monitor) as log:
        train_samples, val_samples = read_data(cfg, log)
        torch.manual_seed(cfg.seed)
        model = build(cfg.model, cfg.allow_targets, in_channels=cfg.data.channels, classes=len(task.classes))
        if not isinstance(model, UNet):
            raise InputError(f"model: {type(model).__name__} is not one of segexp.models")
        set_prior(model, foreground_share(train_samples))
        augment = build(cfg.augment, cfg.allow_targets).to(device)
        predictor = Predictor(model, task.normalization, task.classes, task.threshold, device, precision)
        size = crop_size(train_samples, task.crop, model.multiple)
        batches = CropBatches(train_samples, size, trainer.batch_size, task.foreground, cfg.seed)
        log.say(f"device {device} ({device_reason}); precision {precision} ({precision_reason})")
        log.say(
            f"model {cfg.model['_target_'].rpartition('.')[2]} {model.settings['widths']}, "
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million weights; "
            f"{batches.steps} steps of {trainer.batch_size} crops of {size}x{size} an epoch"
        )
        # GPUs wait for one kernel, CPUs for each of a hundred tensors: fused is faster on both
        optimizer = torch.optim.AdamW(model.parameters(), trainer.lr, weight_decay=trainer.weight_decay, fused=True)
        state = TrainState()
        if resume:
            state = restore(folder / "last.pth", model, optimizer, device)
            log.say(f"resumed after epoch {state.epoch} (best {task.monitor} {state.best.get(task.monitor, 0):.4f})")
        facts = describe(cfg, folder, model, device, precision, train_samples, val_samples)
        write_json(folder / "run.json", facts)
        best_path = folder / f"best_{task.name}_model.pth"
        content = {key: facts[key] for key in ("task", "versions", "data")} | {
            "model": {"name": type(model).__name__, "settings": model.settings},
            "normalization": task.normalization,
            "classes": list(task.classes),
            "threshold": task.threshold,
            "pixel_size": None,
        }

        def save(now: TrainState, improved: bool) -> None:
            weights = model.state_dict()
            if improved:
                checkpoint.save(best_path, content | {"weights": weights, "metrics": now.best})
            training = {"state": now.plain(), "optimizer": optimizer.state_dict()}
            checkpoint.save(folder / "last.pth", content | {"weights": weights, "metrics": now.best} | training)

        pictures = val_samples[: trainer.pictures]

        def validate() -> dict[str, float]:
            scores = summarize(evaluate(predictor, val_samples, centreline=task.monitor == "cldice"))
            show_pictures(log, predictor, pictures, state.epoch)
            return scores

        validation_seconds = rehearse(predictor, val_samples)
        every = trainer.validate_every
        fit(
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
            validate_every=None if every == "auto" else int(every),
            patience=trainer.patience,
            precision=precision,
            seed=cfg.seed,
            log_every=trainer.log_every,
            validation_seconds=validation_seconds,
            started=started,
        )
        return finish(cfg, folder, best_path, device, precision, val_samples, state, log)


def total_steps(steps: int | None, epochs: int | None, epoch_steps: int) -> int | None:
    """The smaller of the two limits, in steps; None where neither is set."""
    limits = [limit for limit in (steps, epochs and epochs * epoch_steps) if limit is not None]
    return min(limits) if limits else None


def read_data(cfg: RunConfig, log: RunLog) -> tuple[list[Sample], list[Sample]]:
    """Training and validation images, from folders or generated; says which in its first line."""
    data, task = cfg.data, cfg.task
    folders = data.folders()
    if folders is None:
        return generate_data(cfg, log)
    train = (folders["train_img_dir"], folders["train_mask_dir"])
    val = (folders["val_img_dir"], folders["val_mask_dir"])
    need, free = pixel_bytes(*train) + pixel_bytes(*val), free_memory()
    keep = data.cache == "ram" or (data.cache == "auto" and need <= free / 2)
    place = "in memory" if keep else f"read from disk by {cfg.trainer.num_workers} workers"
    log.say(f"task {task.name}: {train[0]} and {val[0]}, {place} (pixels {need / 2**20:.0f} MiB)")
    faults: list[str] = []
    parts: list[list[Sample]] = []
    for images, masks in (train, val):
        try:
            parts.append(
                read_folder(images, masks, data.channels, len(task.classes), keep, max(1, cfg.trainer.num_workers))
            )
        except InputError as error:
            faults.append(str(error))
    if faults:
        lines = "\n".join(faults).splitlines()
        count = f"{len(lines)} fault{'s' if len(lines) > 1 else ''} in the data"
        raise InputError(f"{count}; nothing was trained\n  " + "\n  ".join(lines))
    for name, samples in zip(("train", "val"), parts, strict=True):
        log.say(f"{name}: {describe_samples(samples)}")
    return parts[0], parts[1]


def generate_data(cfg: RunConfig, log: RunLog) -> tuple[list[Sample], list[Sample]]:
    """Generated images; validation images come after the training images of the same seed."""
    synthetic, name = cfg.data.synthetic, cfg.task.name
    if name not in synthesis.TASKS:
        raise InputError(f"no data given, and only {', '.join(synthesis.TASKS)} can be generated: set data.root=DIR")
    log.say(
        f"task {name}: no data given, so {synthetic.train} + {synthetic.val} images of "
        f"{synthetic.size}x{synthetic.size} are generated (data.root=DIR for your own)"
    )
    count = synthetic.train + synthetic.val
    images, masks = synthesis.generate(name, count, synthetic.size, cfg.seed)
    samples = [
        make_sample(f"generated_{i:04}", image[None], mask, len(cfg.task.classes))
        for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    return samples[: synthetic.train], samples[synthetic.train :]


def describe_samples(samples: list[Sample]) -> str:
    """One line: how many images, their sizes, dtypes and share of foreground."""
    sizes = sorted({f"{s.shape[1]}x{s.shape[2]}" for s in samples})
    dtypes = ", ".join(sorted({str(s.dtype) for s in samples}))
    share = sum(foreground_share(samples))
    shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else "")
    return f"{len(samples)} images, {shown}, {dtypes}, foreground {100 * share:.2g} %"


def foreground_share(samples: list[Sample]) -> list[float]:
    """Share of each class among the annotated pixels."""
    counts = np.sum([sample.class_pixels for sample in samples], axis=0)
    return [float(count / max(counts.sum(), 1)) for count in counts[1:]]


def free_memory() -> int:
    """Bytes of memory that are free now, as far as the system tells; 4 GiB where it does not."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def rehearse(predictor: Predictor, samples: list[Sample]) -> float:
    """Validate two images before the first step, so that what is broken there shows now; guess the time for all."""
    tick = time.monotonic()
    summarize(evaluate(predictor, samples[:2]))
    pixels = [sample.shape[1] * sample.shape[2] for sample in samples]
    return (time.monotonic() - tick) * sum(pixels) / sum(pixels[:2])


def show_pictures(log: RunLog, predictor: Predictor, samples: list[Sample], epoch: int) -> None:
    """Validation images with outlines of truth and prediction, to TensorBoard."""
    for index, sample in enumerate(samples):
        pixels, truth = sample.load()
        labels = predictor.labels(predictor.probabilities(pixels))
        picture = overlay(pixels, truth == 1, labels > 0)
        log.tensorboard.add_image(f"val/{index}_{sample.name}", picture, epoch, dataformats="HWC")


def restore(path: Path, model: UNet, optimizer: torch.optim.Optimizer, device: torch.device) -> TrainState:
    """Put model, optimiser and state back where `last.pth` left them."""
    content = checkpoint.load(path)
    if content["model"]["settings"] != model.settings:
        raise InputError(f"{path}: its model has {content['model']['settings']}, this run {model.settings}")
    model.load_state_dict(content["weights"])
    optimizer.load_state_dict(content["optimizer"])
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainState(**content["state"])


def describe(
    cfg: RunConfig,
    folder: Path,
    model: UNet,
    device: torch.device,
    precision: str,
    train: list[Sample],
    val: list[Sample],
) -> dict[str, Any]:
    """The facts of ``run.json``: what was run, on what, with which versions."""
    packages = ("torch", "kornia", "numpy", "opencv-python-headless", "hydra-core", "omegaconf", "scipy", "tifffile")
    versions = {"segexp": __version__, "python": platform.python_version()}
    for package in packages:
        versions[package] = metadata.version(package)
    digest = hashlib.sha256()
    for sample in (*train, *val):
        digest.update(f"{sample.name} {sample.shape} {sample.dtype} {sample.class_pixels.tolist()}".encode())
        digest.update(sample.mean.tobytes() + sample.deviation.tobytes())
    folders = cfg.data.folders()
    return {
        "task": cfg.task.name,
        "command": sys.argv,
        "folder": str(folder.absolute()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seed": cfg.seed,
        "device": str(device),
        "precision": precision,
        "model": {"name": type(model).__name__, "settings": model.settings},
        "versions": versions,
        "platform": platform.platform(),
        "git_commit": git_commit(),
        "data": {
            "source": {name: str(path) for name, path in folders.items()} if folders else "generated",
            "train": len(train),
            "val": len(val),
            "fingerprint": digest.hexdigest(),
        },
    }


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with ``+`` where files were changed; None elsewhere."""
    place = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def finish(
    cfg: RunConfig,
    folder: Path,
    best_path: Path,
    device: torch.device,
    precision: str,
    samples: list[Sample],
    state: TrainState,
    log: RunLog,
) -> float:
    """Score the best model image by image, write tables and pictures, print a short table and where the model lies."""
    network, content = checkpoint.load_model(best_path)
    predictor = Predictor(
        network, content["normalization"], content["classes"], content["threshold"], device, precision
    )
    centreline = cfg.task.loss.cldice > 0 or cfg.task.monitor == "cldice"
    rows: list[Row] = []
    (folder / "val").mkdir(exist_ok=True)
    for sample in samples:
        rows += evaluate(predictor, [sample], centreline)
    for sample in samples[:50]:
        pixels, truth = sample.load()
        labels = predictor.labels(predictor.probabilities(pixels))
        write_png(str(folder / "val" / f"{Path(sample.name).stem}.png"), overlay(pixels, truth == 1, labels > 0))
    write_csv(folder / "val" / "scores.csv", rows)
    best = {**state.best, **summarize(rows)}
    best["epoch"] = int(best["epoch"])
    write_json(
        folder / "summary.json",
        {
            "task": cfg.task.name,
            "seconds": round(state.elapsed, 2),
            "epochs": state.epoch,
            "best": best,
            "model": str(best_path),
        },
    )
    log.tensorboard.add_hparams(
        {"lr": cfg.trainer.lr, "batch_size": cfg.trainer.batch_size, "crop": cfg.task.crop, "seed": cfg.seed},
        {f"best/{cfg.task.monitor}": best[cfg.task.monitor]},
        run_name=".",
    )
    log.stop_bar()
    log.record(f"best {best}; model {best_path}")
    print_summary(log.console, best, state, best_path)
    return best[cfg.task.monitor]


def print_summary(console: Console, best: dict[str, float], state: TrainState, model: Path) -> None:
    """The closing table and the paths."""
    table = Table(box=None, header_style="bold")
    shown = [name for name in ("dice", "dice_pooled", "iou", "precision", "recall", "cldice") if name in best]
    for name in ("epoch", *shown):
        table.add_column(name, justify="right")
    table.add_row(str(best["epoch"]), *(f"{best[name]:.4f}" for name in shown))
    console.print(table)
    console.print(f"{state.epoch} epochs in {clock(state.elapsed)}; pictures in {model.parent / 'val'}", markup=False)
    console.print(f"model: {model}", markup=False)


def write_csv(path: Path, rows: list[Row]) -> None:
    """A table with a header."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented, as people open it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
