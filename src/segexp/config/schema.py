"""Types and ranges of the settings. The values are in `conf/`."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from segexp.config.checked import Checked, require, require_positive
from segexp.config.folders import DataConfig
from segexp.data.normalization import NORMALIZATIONS
from segexp.data.reading import Reading
from segexp.device import PRECISIONS
from segexp.errors import InputError
from segexp.evaluation.scoring import Scoring, read_tolerance
from segexp.io.labels import MASKS
from segexp.measurements.measure import KINDS
from segexp.metrics.registry import ALONE, FAMILIES, find, monitors, to_compute
from segexp.model_facts import CLASS_NAME, LARGEST_OBJECT, is_class_name

BACKGROUND = ("background", "bg", "back", "_background_", "0")
"""Names of the background, which is not a class; in lower case, with _ for - and spaces."""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass
class MeasureConfig(Checked):
    """How a mask is measured; see `segexp.measurements.Settings`."""

    kind: str = MISSING
    split: float = MISSING
    spur: float = MISSING
    gap: float = MISSING
    ring: float = MISSING

    def problems(self) -> list[str]:
        faults: list[str] = []
        require(faults, self.kind in KINDS, f"task.measure.kind={self.kind}: expected one of {', '.join(KINDS)}")
        for name in ("split", "spur", "gap"):
            value = getattr(self, name)
            require(faults, 0 <= value < 100, f"task.measure.{name}={value}: expected 0 to 100 pixels")
        require(faults, 0 < self.ring < 100, f"task.measure.ring={self.ring}: expected more than 0, to 100 pixels")
        return faults


@dataclass
class TaskConfig(Checked):
    """What is segmented."""

    name: str = MISSING
    classes: list[str] = MISSING
    masks: str = MISSING
    ignore: int | None = MISSING
    mask_threshold: float | None = MISSING
    pixel_size: float | None = MISSING
    normalization: str = MISSING
    crop: int = MISSING
    foreground: float = MISSING
    threshold: str = MISSING
    min_size: str = MISSING
    monitor: str = MISSING
    scores: list[str] = MISSING
    tolerance: str = MISSING
    measure: MeasureConfig = MISSING

    def problems(self) -> list[str]:
        faults: list[str] = []
        require(
            faults,
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name) is not None,
            f"task.name={self.name}: expected letters, digits, _ and - (it becomes part of a file name)",
        )
        faults += class_faults(self.classes)
        cut = self.mask_threshold
        require(
            faults,
            cut is None or (0 < cut < math.inf and len(self.classes) == 1 and self.masks in ("auto", "binary")),
            f"task.mask_threshold={cut}: expected more than 0, with one class and task.masks=auto; or null",
        )
        require(faults, self.masks in MASKS, f"task.masks={self.masks}: expected one of {', '.join(MASKS)}")
        single = self.masks in ("auto", "classes") or len(self.classes) == 1
        require(
            faults, single, f"task.masks={self.masks}: needs a single class, but task.classes has {len(self.classes)}"
        )
        require_positive(faults, "task.pixel_size", self.pixel_size)
        require(
            faults,
            self.normalization in NORMALIZATIONS,
            f"task.normalization={self.normalization}: expected one of {', '.join(NORMALIZATIONS)}",
        )
        require(faults, 16 <= self.crop <= 8192, f"task.crop={self.crop}: expected 16 to 8192 pixels")
        require(faults, 0 <= self.foreground <= 1, f"task.foreground={self.foreground}: expected a share from 0 to 1")
        require(
            faults,
            self.threshold == "auto" or 0 < _number(self.threshold) < 1,
            f"task.threshold={self.threshold}: expected more than 0 and less than 1, or auto",
        )
        require(
            faults,
            self.min_size == "auto"
            or (re.fullmatch(r"[0-9]{1,8}", self.min_size) is not None and int(self.min_size) <= LARGEST_OBJECT),
            f"task.min_size={self.min_size}: expected a number of pixels, at most {LARGEST_OBJECT}, or auto",
        )
        return faults + self._score_faults()

    def _score_faults(self) -> list[str]:
        """Problems with ``task.scores``, ``task.tolerance`` and ``task.monitor``."""
        faults: list[str] = []
        unknown = [name for name in self.scores if name not in (*FAMILIES, *ALONE) and "." not in name]
        require(
            faults,
            not unknown,
            f"task.scores={self.scores}: expected some of {', '.join(FAMILIES)}, or a score of your own as module.name",
        )
        try:
            read_tolerance(self.tolerance)
        except InputError as error:
            faults.append(str(error).replace("tolerance ", "task.tolerance=", 1))
        near = difflib.get_close_matches(self.monitor, monitors(), n=1)
        require(
            faults,
            self.monitor in monitors(),
            f"task.monitor={self.monitor}: expected one of {', '.join(monitors())}"
            f"{f'; did you mean {near[0]}?' if near else ''}",
        )
        return faults

    def scoring(self) -> Scoring:
        """Which scores the run's evaluation computes, and what it chooses by them."""
        families = tuple(self.scores)
        if find(self.monitor).family not in families:
            families = tuple(dict.fromkeys([*families, *to_compute(self.monitor)]))
        return Scoring(
            families,
            self.monitor,
            read_tolerance(self.tolerance),
            None if self.threshold == "auto" else float(self.threshold),
            None if self.min_size == "auto" else int(self.min_size),
            self.measure.split,
        )


def class_faults(classes: list[str]) -> list[str]:
    """Problems with the names in ``task.classes``."""
    faults: list[str] = []
    distinct = len(set(classes)) == len(classes)
    require(
        faults,
        1 <= len(classes) <= 254 and distinct,
        f"task.classes={classes}: expected 1 to 254 names",
    )
    invalid = [name for name in classes if not is_class_name(name)]
    require(faults, not invalid, f"task.classes={classes}: expected {CLASS_NAME} for each")
    same = len({name.casefold() for name in classes}) < len(classes)
    require(
        faults,
        not distinct or not same,
        f"task.classes={classes}: expected names that differ in more than upper and lower case",
    )
    named = [name for name in classes if name.strip().lower().replace("-", "_").replace(" ", "_") in BACKGROUND]
    unnamed = [name for name in classes if name not in named] or ["vesicle"]
    require(
        faults,
        not named,
        f"task.classes={classes}: {' and '.join(named)} is background, which is not listed: background is what "
        f"no class covers, 0 in the masks; expected 'task.classes=[{','.join(unnamed)}]'",
    )
    return faults


COMPILE = ("none", "default", "reduce-overhead", "max-autotune")
MOST_WORKERS = 256
CUDA_GRAPH = ("auto", "always", "never")
START_METHODS = (None, "fork", "spawn", "forkserver")


@dataclass
class TrainerConfig(Checked):
    """Length, learning rate, batches, device and precision of training."""

    epochs: int | None = MISSING
    steps: int | None = MISSING
    max_time: str | None = MISSING
    batch_size: int | str = MISSING
    micro_batch: int | None = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    warmup: float = MISSING
    grad_clip: float | None = MISSING
    ema: float = MISSING
    grow_crops: float = MISSING
    validate_every: str = MISSING
    patience: int | None = MISSING
    seeds: int = MISSING
    save_every: str = MISSING
    num_workers: int = MISSING
    start_method: str | None = MISSING
    device: str = MISSING
    devices: int | str = MISSING
    precision: str = MISSING
    compile: str = MISSING
    cuda_graph: str = MISSING
    deterministic: bool = MISSING
    log_every: int = MISSING
    pictures: int = MISSING
    freeze: list[str] = MISSING
    rates: list[str] = MISSING
    keep_given: bool = MISSING
    scratch: float = MISSING
    scratch_lr: float | None = MISSING
    cross_fit: int = MISSING

    def problems(self) -> list[str]:
        faults: list[str] = []

        def at_least(name: str, least: int) -> None:
            value = getattr(self, name)
            require(faults, value is None or value >= least, f"trainer.{name}={value}: expected {least} or more")

        for name in ("epochs", "steps", "micro_batch", "patience", "log_every"):
            at_least(name, 1)
        for name, most in (("num_workers", MOST_WORKERS), ("pictures", 1000)):
            at_least(name, 0)
            require(
                faults, getattr(self, name) <= most, f"trainer.{name}={getattr(self, name)}: expected at most {most}"
            )
        require(
            faults,
            0 < self.lr < 10,
            f"trainer.lr={self.lr}: expected more than 0 and less than 10, such as 0.001",
        )
        require(faults, 0 <= self.weight_decay <= 1, f"trainer.weight_decay={self.weight_decay}: expected 0 to 1")
        require(faults, 0 <= self.warmup < 1, f"trainer.warmup={self.warmup}: expected a share from 0 to below 1")
        if self.grad_clip is not None:
            require(faults, self.grad_clip > 0, f"trainer.grad_clip={self.grad_clip}: expected more than 0, or null")
        grow = self.grow_crops
        require(faults, 0 <= grow <= 1, f"trainer.grow_crops={grow}: expected a share from 0 (never) to 1")
        require(faults, 0 <= self.scratch < 1, f"trainer.scratch={self.scratch}: expected a share from 0 to below 1")
        rate = self.scratch_lr
        require(
            faults,
            rate is None or 0 < rate < 10,
            f"trainer.scratch_lr={rate}: expected more than 0 and less than 10, such as 0.003; or null",
        )
        require(
            faults,
            0 <= self.cross_fit <= 100,
            f"trainer.cross_fit={self.cross_fit}: expected a number of images from 0 (never) to 100",
        )
        require(faults, 1 <= self.seeds <= 1000, f"trainer.seeds={self.seeds}: expected 1 to 1000")
        require(faults, 0 <= self.ema < 1, f"trainer.ema={self.ema}: expected 0 (off) to below 1, such as 0.99")
        for name in ("batch_size", "devices"):
            value = str(getattr(self, name))
            fine = value == "auto" or (value.isdigit() and int(value) >= 1)
            require(faults, fine, f"trainer.{name}={value}: expected 1 or more, or auto")
        choices = (("compile", COMPILE), ("cuda_graph", CUDA_GRAPH), ("start_method", START_METHODS))
        for name, options in choices:
            value = getattr(self, name)
            known = ", ".join(option or "null" for option in options)
            require(faults, value in options, f"trainer.{name}={value}: expected one of {known}")
        every = self.validate_every
        require(
            faults,
            every == "auto" or (every.isdigit() and int(every) >= 1),
            f"trainer.validate_every={every}: expected a number of epochs, or auto",
        )
        require(
            faults,
            self.precision in PRECISIONS,
            f"trainer.precision={self.precision}: expected one of {', '.join(PRECISIONS)}",
        )
        if self.epochs is None and self.steps is None and self.max_time is None:
            faults.append("trainer: no limit is set; set trainer.epochs, trainer.steps or trainer.max_time=00:05:00")
        for read in (self.seconds, self.save_seconds):
            try:
                read()
            except InputError as error:
                faults += str(error).splitlines()
        return faults

    def seconds(self) -> float | None:
        """`max_time` in seconds; None: no limit.

        Raises:
            InputError: if it is not written as hours:minutes:seconds.
        """
        return None if self.max_time is None else _seconds("trainer.max_time", self.max_time)

    def save_seconds(self) -> float:
        """`save_every` in seconds.

        Raises:
            InputError: if it is not written as hours:minutes:seconds.
        """
        return _seconds("trainer.save_every", self.save_every)


def _seconds(name: str, text: str) -> float:
    """Seconds of a time written as hours:minutes:seconds."""
    parts = re.fullmatch(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d+)?)", text.strip())
    if parts is None:
        raise InputError(f"{name}={text}: expected hours:minutes:seconds, such as 00:05:00 (in YAML: in quotes)")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise InputError(f"{name}={text}: expected a time above zero")
    return total


@dataclass
class DebugConfig(Checked):
    """Aids for finding out why a run does not learn, or what takes its time."""

    overfit: bool = MISSING
    anomaly: bool = MISSING
    profile: int = MISSING

    def problems(self) -> list[str]:
        fine = 0 <= self.profile <= 1000
        return [] if fine else [f"debug.profile={self.profile}: expected 0 to 1000 steps"]


@dataclass
class RunConfig(Checked):
    """A whole run. From `model` on they are nodes for `build`; `loss`, `logger` and `callbacks` name several each."""

    task: TaskConfig
    data: DataConfig
    trainer: TrainerConfig
    debug: DebugConfig
    model: dict[str, Any]
    augment: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    logger: dict[str, Any]
    callbacks: dict[str, Any]
    seed: int
    allow_targets: list[str]

    def problems(self) -> list[str]:
        faults: list[str] = []
        require(faults, 0 <= self.seed < 2**32, f"seed={self.seed}: expected 0 to 4294967295")
        require(
            faults,
            self.model.get("weights") is not None or not self.trainer.keep_given,
            "missing: model.weights, for trainer.keep_given (experiment=finetune sets it); expected a model file, a "
            "run, a sweep, or the name of a ready model: model.weights=vesicle",
        )
        require(
            faults,
            self.model.get("weights") is not None or self.data.unlabelled is None,
            "missing: model.weights, which labels the images of data.unlabelled; expected a model file, a run, a "
            "sweep, or the name of a ready model: model.weights=cytoskeleton",
        )
        require(
            faults,
            self.data.unlabelled is None or not self.trainer.keep_given,
            "trainer.keep_given: not with data.unlabelled, whose labels are the given model's own; evaluate both "
            "models on annotated images instead (segexp evaluate, segexp compare)",
        )
        return faults

    def without_effect(self, typed: Mapping[str, str]) -> list[str]:
        """A line for each of the settings `typed` (name -> value) that changes nothing beside the others."""
        data, synthetic = self.data, self.data.synthetic
        own = data.root is not None or data.train_img_dir is not None or data.unlabelled is not None
        known = str(self.scheduler.get("_target_")).startswith(("segexp.", "torch."))
        given = "without trainer.keep_given (experiment=finetune sets it)"
        reasons = {
            "trainer.warmup": known and "warmup" not in self.scheduler and "this scheduler has settings of its own",
            **dict.fromkeys(
                ("trainer.scratch", "trainer.scratch_lr", "trainer.cross_fit"), not self.trainer.keep_given and given
            ),
            "data.split_seed": not data.splits and "without data.val_fraction, data.fold or data.split",
            **dict.fromkeys(
                (f"data.{name}" for name in ("val_fraction", "fold", "split", "group", "page", "channel")),
                not own and "without images of your own (data.root=DIR)",
            ),
            "data.synthetic.train": synthetic.online and "with data.synthetic.online",
            "data.synthetic.crops": not synthetic.online and "without data.synthetic.online",
        }
        mixed = "your images are used alone; data.synthetic.fraction=0.5 mixes generated ones in"
        lines = []
        for name, value in typed.items():
            alone = own and not synthetic.fraction and name.startswith("data.synthetic.")
            reason = mixed if alone else reasons.get(name)
            if reason and value not in ("null", "false", "0", "0.0"):
                lines.append(f"{name}={value} has no effect: {reason}")
        return lines


def reading_of(data: DataConfig, task: TaskConfig) -> Reading:
    """How the files of a run are read."""
    return Reading(
        channels=data.channels,
        classes=len(task.classes),
        page=data.page_choice(),
        channel=data.channel_numbers(),
        masks=task.masks,
        ignore=task.ignore,
        mask_threshold=task.mask_threshold,
        pixel_size=task.pixel_size,
        file_pixel_size=data.pixel_size,
    )


@dataclass
class SweepConfig:
    """How a sweep is resumed."""

    resume: str | None = MISSING
    retry: bool = MISSING


@dataclass
class RunKeys:
    """Types of the keys at the top level."""

    seed: int = MISSING
    output_dir: str = MISSING
    overwrite: bool = MISSING
    resume: str | None = MISSING
    sweep: SweepConfig = MISSING
    allow_targets: list[str] = MISSING
