"""From settings to the parts of a run: data, model, augmentation, learner.

Each builder takes the sections of the settings that it needs.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segexp import synthesis
from segexp.augment import Augmentation
from segexp.check.preflight import check_folders
from segexp.check.settings import check_settings, choose_split, run_folders
from segexp.config import build
from segexp.config.folders import DataConfig, SyntheticConfig, existing
from segexp.config.schema import TaskConfig, TrainerConfig, reading_of
from segexp.config.targets import WEIGHTS
from segexp.data import sources, splits
from segexp.data.dataset import Pair, Pairing, Sample, sample_of_files
from segexp.data.loader import CropBatches, DeviceBatches, pixel_memory, plan_samples
from segexp.data.ranges_file import read_ranges
from segexp.data.sampler import CropPlan, crop_size
from segexp.data.synthetic import Mix, Pool, Recipe, Stream
from segexp.distributed import Ranks, agree, wrap
from segexp.errors import InputError
from segexp.evaluation import evaluate, evaluate_fully, summarize
from segexp.evaluation.scoring import TWO_PIXELS, Scoring, pixel_sides
from segexp.inference.predictor import Predictor
from segexp.io.images import ImageFile, MaskFile
from segexp.models import External, Network, trusted
from segexp.models.unet import UNet, set_prior
from segexp.training.batch_size import find_batch_size
from segexp.training.cuda_graph import obstacle
from segexp.training.learner import Learner
from segexp.training.schedule import Budget, Schedule, Scheduler, check_schedule
from segexp.viz.overlay import Picture
from segexp.viz.preview import preview

LOOK = 8
"""Sample size if every image is generated anew: for the prior of the output layer and the warnings of the loop."""


def read_data(
    data: DataConfig,
    task: TaskConfig,
    seed: int,
    workers: int,
    log: Callable[[str], None],
    *,
    stored_split: Path | None = None,
    keep_split: Callable[[str], None] = lambda text: None,
    check: Callable[[], str] | None = None,
    few: int = 0,
) -> tuple[list[Sample], list[Sample]]:
    """Training and validation images, from folders or generated; the first line of the log says which.

    The folders are listed once, and each file is read once: training uses the images that the check has read.

    Args:
        data, task, seed: settings.
        workers: ``trainer.num_workers``.
        log: called with each line for the user.
        stored_split: a ``split.json`` that divides one folder in place of the settings.
        keep_split: called with the text of ``split.json`` if one folder is divided.
        check: if given, the files are checked first as by `segexp check`, unless nothing has changed since an earlier
            check; it returns the command that prints all warnings.
        few: with fewer images than this a data set needs no ``val/``; there are no validation images then.

    Raises:
        InputError: lists everything that is wrong with the files.
    """
    folders = data.folders()
    if folders is None:
        samples = _generate(data, task, seed, log)
    else:
        reading = reading_of(data, task)
        index = sources.pair_folders(folders, reading.page)
        split = choose_split(data, seed, index["train"], stored_split)
        if split is not None:
            keep_split(splits.split_text(split))
        elif data.val_img_dir is None and "val" not in index and 0 < len(index["train"].pairs) < few:
            folders = {name: path for name, path in folders.items() if name.startswith("train_")}
            split = splits.Split(tuple(pair.image.stem for pair in index["train"].pairs), ())
        keep = data.cache in ("ram", "device") or (data.cache == "auto" and sources.fits_in_memory(index, reading))
        place = "kept in memory" if keep else f"read from disk by {workers} workers"
        where = " and ".join(str(path) for name, path in folders.items() if name.endswith("img_dir"))
        log(f"task: {task.name}; images of {where}, {place}")
        if split is not None:
            log(splits.describe(split) if split.val else "no val/ folder: so few images are scored by cross-fitting")
        known = {} if check is None else _check(data, task, folders, index, split, keep, check, log)
        if data.images is not None and not index["train"].faults:
            index["train"] = _draw(data.images, data.group, seed, index["train"], split, log)
        threads = max(1, workers)
        samples = sources.read_folders(folders, index, reading, keep, threads, task.normalization, split, known)
        if data.group:
            sources.set_groups([*samples[0], *samples[1]], data.group)
        log(sources.describe_masks([*samples[0], *samples[1]], task.classes))
        for line in sources.describe_scale([*samples[0], *samples[1]], task.pixel_size):
            log(line)
    for name, part in zip(("train", "val"), samples, strict=True):
        if part:
            log(f"{name}: {sources.describe(part)}")
    return samples


def _check(
    data: DataConfig,
    task: TaskConfig,
    folders: dict[str, Path],
    index: dict[str, Pairing],
    split: splits.Split | None,
    keep: bool,
    check: Callable[[], str],
    log: Callable[[str], None],
) -> dict[Pair, Sample]:
    """Check the files of a data set and log the warnings; returns the samples that the check read on the way.

    `check` returns the command that prints all warnings. With `keep` the samples hold their pixels.
    """
    known: dict[Pair, Sample] = {}
    reading = reading_of(data, task)

    def take(pair: Pair, image: ImageFile, mask: MaskFile) -> None:
        with suppress(InputError, OSError, MemoryError):  # reading it again says what is wrong
            known[pair] = sample_of_files(pair, image, mask, reading, keep, task.normalization)

    val_names = split.val if split else ()
    settings = check_settings(data, task)
    warnings = check_folders(run_folders(folders), settings, val_names, log, index=index, on_read=take)
    for line in warnings:
        log(line)
    if warnings:
        log(f"see: {check()}")
    return known


def _draw(
    count: int, group: str | None, seed: int, pairing: Pairing, split: splits.Split | None, log: Callable[[str], None]
) -> Pairing:
    """`pairing` with `count` of its training images (``data.images``) and all of its validation images."""
    names = split.train if split else {pair.image.stem for pair in pairing.pairs}
    drawn = splits.draw(names, count, group, seed)
    log(f"images: {len(drawn)} of {len(names)} training images, drawn by seed={seed} (data.images)")
    kept = {*drawn, *(split.val if split else ())}
    return pairing._replace(pairs=[pair for pair in pairing.pairs if pair.image.stem in kept])


def _generate(
    data: DataConfig, task: TaskConfig, seed: int, log: Callable[[str], None]
) -> tuple[list[Sample], list[Sample]]:
    synthetic = data.synthetic
    count = f"{'fresh' if synthetic.online else synthetic.train} + {synthetic.val}"
    log(
        f"task: {task.name}; no data given, so {count} images of "
        f"{synthetic.size}x{synthetic.size} are generated (data.root=DIR for your own)"
    )
    generator = recipe(data, task, seed)
    if not synthetic.online:
        return sources.generated(generator, synthetic.train, synthetic.val)
    first = stream_start(synthetic)
    return (  # a few that stand for all
        generator.samples(range(first, first + LOOK)),
        generator.samples(range(synthetic.train, synthetic.train + synthetic.val)),
    )


def recipe(data: DataConfig, task: TaskConfig, seed: int) -> Recipe:
    """The recipe of a run's generated images.

    Raises:
        InputError: if nothing can be generated for the task, or it has several classes.
    """
    synthetic = data.synthetic
    if task.name not in synthesis.TASKS:
        raise InputError(f"task {task.name}: only {', '.join(synthesis.TASKS)} can be generated; set data.root=DIR")
    if len(task.classes) > 1:
        raise InputError(f"task.classes={task.classes}: generated images have one class; set data.root=DIR")
    ranges = read_ranges(existing(synthetic.ranges), task.name) if synthetic.ranges else {}
    if synthetic.styles:
        known = synthesis.tables(task.name)[1]
        if unknown := [name for name in synthetic.styles if name not in known]:
            raise InputError(
                f"data.synthetic.style: no style {', '.join(unknown)} for {task.name}; accepted: {', '.join(known)}"
            )
        ranges["style"] = synthetic.styles
    return Recipe(task.name, synthetic.size, seed, data.channels, task.normalization, ranges)


def stream_start(synthetic: SyntheticConfig) -> int:
    """Number of the first image of a stream: after those of the fixed sets."""
    return synthetic.train + synthetic.val


def build_mix(data: DataConfig, task: TaskConfig, seed: int, device: torch.device) -> Mix | None:
    """The generated images that crops are cut from, beside the training images or instead; None: there are none."""
    synthetic, own = data.synthetic, data.folders() is not None or data.unlabelled is not None
    if not (synthetic.fraction if own else synthetic.online):
        return None
    wanted = recipe(data, task, seed)
    share = float(synthetic.fraction or 0) if own else 1.0
    if synthetic.online:
        epoch_crops = synthetic.train * max(1, round(synthetic.size**2 / min(task.crop, synthetic.size) ** 2))
        return Mix(share, Stream(wanted, stream_start(synthetic), synthetic.crops, device), epoch_crops)
    return Mix(share, Pool(wanted.samples(range(synthetic.train)), seed))


def describe_mix(synthetic: SyntheticConfig, mix: Mix) -> str:
    """One line: which images are generated, and their share of the crops."""
    images = f"images of {synthetic.size}x{synthetic.size}"
    if isinstance(mix.images, Stream):
        kind = f"fresh {images}, {synthetic.crops} crops of each"
    else:
        kind = f"{synthetic.train} {images}"
    return f"generated: {100 * mix.share:g} % of the crops, from {kind}"


def mix_facts(data: DataConfig) -> dict[str, Any]:
    """What ``run.json`` and the model file record about the generated images."""
    synthetic = data.synthetic
    return {
        "share": 1.0 if data.folders() is None and data.unlabelled is None else synthetic.fraction,
        "online": synthetic.online,
        "crops": synthetic.crops if synthetic.online else None,
        "style": synthetic.styles or None,
        "ranges": synthetic.ranges,
    }


def build_augment(node: dict[str, Any], allowed: Sequence[str] = ()) -> Augmentation:
    """The augmentation of training batches, from the settings ``augment``; `allowed`: ``allow_targets``.

    Raises:
        InputError: if the node is not an `Augmentation`.
    """
    augment = build(node, tuple(allowed))
    if not isinstance(augment, Augmentation):
        raise InputError("augment: expected _target_: segexp.augment.Augmentation, with operations listed under it")
    return augment


def build_model(
    node: dict[str, Any], channels: int, classes: int, foreground: Sequence[float], allowed: Sequence[str] = ()
) -> Network:
    """The network from the settings ``model``.

    Args:
        node: the settings.
        channels: of an image.
        classes: the background not counted.
        foreground: share of each class among the pixels of the data, which the head's bias is set to.
        allowed: ``allow_targets``.

    Raises:
        InputError: if the node is not a network of segexp, or the network cannot process an image.
    """
    node = {key: value for key, value in node.items() if key != WEIGHTS}
    model = build(node, tuple(allowed), in_channels=channels, classes=classes)
    if not isinstance(model, UNet | External):
        name = f"{type(model).__module__}.{type(model).__name__}"
        raise InputError(f"model: expected _target_: segexp.models.External with network: {name} beside it")
    if isinstance(model, External):
        try_out(model)
    bias = model.prior if isinstance(model, External) else model.head.bias
    assert bias is not None
    set_prior(bias, foreground)
    return model


def try_out(model: External) -> None:
    """`InputError` if another package's network cannot predict, or could not be rebuilt from its model file."""
    model.try_out()
    try:
        with torch.device("meta"):
            External(**model.settings, allowed=trusted(model))
    except InputError as error:
        raise InputError(
            f"{error}. When a model file is opened its network is built without memory first "
            "(torch.device('meta')), and this one cannot be"
        ) from None


def build_learner(
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer: TrainerConfig,
    model: Network,
    precision: str,
    ranks: Ranks,
) -> Learner:
    """The model with its loss and optimiser, compiled or distributed over processes as the settings say."""
    loss = loss.to(next(model.parameters()).device)
    forward: Callable[[torch.Tensor], torch.Tensor] = wrap(ranks, model)
    if trainer.compile != "none":
        forward = torch.compile(forward, mode=None if trainer.compile == "default" else trainer.compile)
    return Learner(
        model,
        loss,
        optimizer,
        precision,
        trainer.grad_clip,
        trainer.ema,
        trainer.micro_batch,
        forward,
    )


def choose_cuda_graph(
    trainer: TrainerConfig, learner: Learner, augment: Augmentation, ranks: Ranks
) -> tuple[bool, str]:
    """Whether the steps of a run are recorded as a CUDA graph, and a line on it for runs on a GPU.

    Raises:
        InputError: if ``trainer.cuda_graph=always`` and they cannot be recorded.
    """
    if trainer.cuda_graph == "never":
        return False, ""
    forced = trainer.cuda_graph == "always"
    modules = (learner.model, learner.loss, augment)
    why = obstacle(learner.device, ranks.world, trainer.compile != "none", learner.optimizer, modules, foreign=forced)
    if why and forced:
        raise InputError(f"trainer.cuda_graph=always: {why}; expected auto or never here")
    if learner.device.type != "cuda":
        return False, ""
    if why:
        return False, f"steps: not recorded as a CUDA graph, since {why} (trainer.cuda_graph, docs/training.md)"
    return True, "steps: recorded as a CUDA graph and replayed"


def build_source(
    data: DataConfig,
    task: TaskConfig,
    trainer: TrainerConfig,
    seed: int,
    samples: list[Sample],
    model: Network,
    precision: str,
    ranks: Ranks,
    log: Callable[[str], None],
    mix: Mix | None = None,
) -> CropBatches | DeviceBatches:
    """Training batches, read from the fastest memory that is large enough.

    Raises:
        InputError: if the batch cannot be divided among the processes, or the images cannot be kept as asked.
    """
    device = next(model.parameters()).device
    size = crop_size(samples, task.crop, model.multiple)
    if trainer.batch_size == "auto":
        most = max(1, CropPlan(samples, size, 1, task.foreground, seed, mix=mix).steps // 4)
        size = size_for_batch_norm(model, size, most, trainer.micro_batch)
        found = find_batch_size(model, (data.channels, size, size), precision, most)
        batch_size = -int(agree(ranks, -found)[0]) * ranks.world  # the smallest of those that the processes found
    else:
        batch_size = int(trainer.batch_size)
    if batch_size % ranks.world:
        raise InputError(
            f"trainer.batch_size={batch_size} over {ranks.world} processes: expected a multiple of {ranks.world}"
        )
    wanted, size = size, size_for_batch_norm(model, size, batch_size // ranks.world, trainer.micro_batch)
    if size > wanted:
        log(
            f"crops are {size}x{size}: a single one of {wanted}x{wanted} would leave one value to each batch norm at "
            "the coarsest scale (model.norm=group takes smaller ones)"
        )
    plan = CropPlan(samples, size, batch_size, task.foreground, seed, ranks.rank, ranks.world, mix)
    if mix:
        log(describe_mix(data.synthetic, mix))
    log(f"epoch: {plan.steps} steps of {batch_size} crops of {size}x{size}")
    fresh = mix is not None and isinstance(mix.images, Stream)
    if fresh and data.cache == "device":
        raise InputError("data.cache=device: newly generated images cannot be cached; leave data.cache at auto")
    if data.cache == "device" or (data.cache == "auto" and not fresh and _fits_on(device, plan_samples(plan))):
        log(f"all training images are kept on {device}")
        return DeviceBatches(plan, device)
    return CropBatches(plan)


def size_for_batch_norm(model: Network, size: int, batch_size: int, micro_batch: int | None) -> int:
    """The side of the crops, doubled if a batch norm would have to compute statistics of a single value.

    That happens if one crop goes through the network at a time, the last part of a batch included, and the coarsest
    scale is a single pixel.
    """
    part = min(micro_batch or batch_size, batch_size)
    smallest = batch_size % part or part
    return 2 * size if model.settings.get("norm") == "batch" and smallest == 1 and size == model.multiple else size


def _fits_on(device: torch.device, samples: list[Sample]) -> bool:
    """Whether the images take less than a third of the free memory of a GPU."""
    if device.type != "cuda" or any(sample.pixels is None for sample in samples):
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return pixel_memory(samples) < free / 3


def build_schedule(
    trainer: TrainerConfig,
    epoch_steps: int,
    monitor: str,
    seed: int,
    scheduler: Scheduler,
    lr: float,
    sizes: tuple[tuple[float, int], ...] = (),
) -> Schedule:
    """The schedule of the training loop.

    Args:
        trainer: settings.
        epoch_steps: steps an epoch.
        monitor: the score whose best value marks the best model.
        seed: of the run.
        scheduler, lr: the learning rate schedule, and its peak.
        sizes: sides of the crops while they grow.
    """
    check_schedule(scheduler, total_steps(trainer.steps, trainer.epochs, epoch_steps))
    return Schedule(
        budget=Budget(trainer.steps, trainer.seconds(), trainer.epochs and trainer.epochs * epoch_steps),
        epoch_steps=epoch_steps,
        lr=lr,
        scheduler=scheduler,
        monitor=monitor,
        validate_every=None if trainer.validate_every == "auto" else int(trainer.validate_every),
        patience=trainer.patience,
        log_every=trainer.log_every,
        save_every=trainer.save_seconds(),
        seed=seed,
        sizes=sizes,
    )


def total_steps(steps: int | None, epochs: int | None, epoch_steps: int) -> int | None:
    """The smaller of the two limits, in steps; None if neither is set."""
    limits = [limit for limit in (steps, epochs and epochs * epoch_steps) if limit is not None]
    return min(limits, default=None)


def picture(
    augment: Augmentation, task: TaskConfig, seed: int, samples: list[Sample], count: int, mix: Mix | None = None
) -> Picture:
    """`count` crops of the first epoch through the augmentation, operation by operation."""
    size = crop_size(samples, task.crop)
    batch = CropBatches(CropPlan(samples, size, count, task.foreground, seed, mix=mix))[0, 0]
    return preview(augment, batch, task.normalization, seed)


def rehearse(predictor: Predictor, samples: list[Sample], scoring: Scoring) -> float:
    """Validate two images before the first step, so that errors show up at once; returns the estimated time for all.

    The estimate uses the second image, if there is one: modules are loaded and kernels are chosen during the first.

    Raises:
        InputError: if a tolerance in micrometres needs pixel sizes that are not known, or a user-defined score fails.
    """
    pixel_sides(samples, None, scoring.tolerance)
    for timed in samples[:2]:
        tick = time.monotonic()
        summarize(evaluate(predictor, [timed], scoring))
        seconds = time.monotonic() - tick
    own = tuple(name for name in scoring.families if "." in name)
    if own:
        evaluate_fully(predictor, samples[:2], own, TWO_PIXELS)
    pixels = [sample.shape[1] * sample.shape[2] for sample in samples]
    return seconds * sum(pixels) / (timed.shape[1] * timed.shape[2])
