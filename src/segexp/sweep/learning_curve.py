"""How many annotated images are enough: a sweep over parts of them, and the curve through its scores.

``segexp learning-curve`` is `sweep_command`, then ``segexp train -m``. The curve is fitted and written where such a
sweep ends (`segexp.sweep.summary`), however it was started: also by ``segexp train -m data.images=5,10,20 seed=0,1,2``.
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from segexp.check.settings import choose_split
from segexp.config.compose import compose_config
from segexp.config.fingerprint import settings_of
from segexp.config.schema import RunConfig, reading_of
from segexp.config.typed import as_typed, parsed
from segexp.data.sources import pair_folders
from segexp.errors import InputError
from segexp.evaluation.aggregate import REPEATS, SEED, varied
from segexp.evaluation.learning_curve import FARTHEST, FEWEST_SIZES, LearningCurve, Run, describe, fit, record
from segexp.io.ownership import OwnedFolder
from segexp.io.records import csv_text
from segexp.io.run_folder import CURVE_FILES
from segexp.metrics.registry import find
from segexp.report.learning_chart import png
from segexp.sweep.entry import monitor_of
from segexp.sweep.job_store import DONE, Record

IMAGES = "data.images"
FEWEST = 4
"""Smallest number of training images for a curve."""
VAL_FRACTION = 0.2


class OtherSweep(InputError):
    """A sweep over ``data.images`` and other settings: no curve belongs to it."""


class Plan(NamedTuple):
    """The overrides of the sweep, its numbers of images, the number of all images, and remarks on chosen defaults."""

    overrides: list[str]
    sizes: list[int]
    images: int
    notes: list[str]


def sweep_command(
    arguments: Sequence[str], parts: Sequence[Fraction], repeats: int, config_dir: str | None = None
) -> Plan:
    """The sweep over growing parts of the training images; nothing is trained or written.

    Args:
        arguments: overrides of a run, as typed.
        parts: shares of the images; each is at least one image.
        repeats: number of seeds, counted from the typed one, each with its own draws; all share the validation images.
        config_dir: a folder of further options.

    Raises:
        InputError: if the settings are a sweep already or name no images of the user's, if there are too few images,
            or if the budget would depend on the number of images.
    """
    words = as_typed(arguments)
    _require_single_values(words)
    cfg = compose_config(words, config_dir)
    folders = cfg.data.folders()
    if folders is None:
        raise InputError("a learning curve needs annotated images of your own; expected data.root=DIR")
    if find(cfg.task.monitor).lower:
        raise InputError(f"task.monitor={cfg.task.monitor}: expected a score that is better if higher, such as dice")
    index = pair_folders(folders, reading_of(cfg.data, cfg.task).page)
    cfg, added, notes = _comparable(cfg, words, "val" in index, config_dir)
    seed = cfg.seed
    split = choose_split(cfg.data, seed, index["train"])
    images = len(split.train if split else {pair.image.stem for pair in index["train"].pairs})
    sizes = sorted({max(1, round(images * part)) for part in parts})
    if images < FEWEST:
        raise InputError(
            *index["train"].faults,
            f"{folders['train_img_dir']}: {images} training image{'s' * (images != 1)}; expected {FEWEST} or more",
        )
    if len(sizes) < FEWEST_SIZES:
        raise InputError(
            f"--parts: of {images} images these parts are {', '.join(map(str, sizes))}; expected "
            f"{FEWEST_SIZES} or more different numbers"
        )
    others = [word for word in words if word.partition("=")[0] != SEED]
    seeds = ",".join(str(seed + repeat) for repeat in range(repeats))
    swept = [f"{IMAGES}={','.join(map(str, sizes))}", f"{SEED}={seeds}", "trainer.seeds=1"]
    return Plan([*others, *added, *swept], sizes, images, notes)


def _require_single_values(words: Sequence[str]) -> None:
    """`InputError` if an override is a sweep, or sets what the curve itself varies."""
    for word in words:
        override = parsed(word)
        name = word.partition("=")[0].lstrip("+")
        if name in (IMAGES, "trainer.seeds") or (
            override is not None and override.is_sweep_override() and not override.is_hydra_override()
        ):
            raise InputError(f"{word}: expected one setting; {IMAGES} and seed alone vary (--parts, --repeats)")


def _comparable(
    cfg: RunConfig, words: Sequence[str], has_val: bool, config_dir: str | None
) -> tuple[RunConfig, list[str], list[str]]:
    """What makes runs with different numbers of images comparable: one budget, one set of validation images, one way
    to score.

    Args:
        cfg: the run that `words` describe.
        words: overrides as typed.
        has_val: whether the data set has validation images of its own.
        config_dir: a folder of further options.

    Returns:
        the settings, the overrides to add, and remarks on chosen defaults.
    """
    typed, added, notes = settings_of(words), list[str](), list[str]()
    if not has_val and not cfg.data.splits:
        added.append(f"data.val_fraction={VAL_FRACTION}")
        notes.append(f"no validation images: data.val_fraction={VAL_FRACTION} holds some back, the same in all runs")
    if typed.get("trainer.epochs", "null") != "null":
        raise InputError(
            f"trainer.epochs={typed['trainer.epochs']}: fewer images would train for fewer steps; expected the same "
            "budget for all runs: trainer.max_time=00:05:00, or trainer.steps=1000"
        )
    if cfg.trainer.steps is None and cfg.trainer.max_time is None:
        added.append("trainer.max_time=00:05:00" if "trainer" in typed or "experiment" in typed else "trainer=quick")
        notes.append(f"no budget given: {added[-1]} trains each run for five minutes")
    cfg = compose_config([*words, *added], config_dir)
    if cfg.trainer.epochs is not None:
        added.append("trainer.epochs=null")
    if cfg.trainer.keep_given and cfg.trainer.cross_fit:
        if "trainer.cross_fit" in typed:
            raise InputError(
                f"trainer.cross_fit={cfg.trainer.cross_fit}: runs with few images would be scored differently from the "
                "others; expected trainer.cross_fit=0"
            )
        added.append("trainer.cross_fit=0")
        notes.append("trainer.cross_fit=0: all runs are scored on the validation images")
    if cfg.data.splits and cfg.data.split_seed is None:
        added.append(f"data.split_seed={cfg.seed}")
    return cfg, added, notes


def runs_of(records: Sequence[Record]) -> list[Run]:
    """The finished jobs of a sweep over ``data.images``; empty if it is none.

    Raises:
        OtherSweep: if the jobs differ in more than images and repeats.
    """
    values = [settings_of(each.overrides) for each in records]
    names = varied(values)
    if IMAGES not in names:
        return []
    others = [name for name in names if name not in (IMAGES, *REPEATS)]
    if others:
        raise OtherSweep(f"the jobs differ in {', '.join(others)}; expected {IMAGES} and {SEED} alone to vary")
    return [
        Run(_count(each, value), " ".join(value.get(name, "") for name in REPEATS), float(each.score))
        for each, value in zip(records, values, strict=True)
        if each.status == DONE and each.score is not None
    ]


def _count(job: Record, settings: dict[str, str]) -> int:
    """Number of training images of a job; if it took all, as in its ``run.json``."""
    typed = settings.get(IMAGES, "")
    return int(typed) if typed.isdigit() else int(json.loads((job.folder / "run.json").read_text())["data"]["train"])


def write_curve(sweep: Path, records: Sequence[Record]) -> list[str]:
    """Fit a curve to the jobs of a sweep over ``data.images`` and write `CURVE_FILES`; returns its description.

    For any other sweep, nothing is written and the description is empty.

    Raises:
        OtherSweep: if the jobs differ in more than images and repeats.
        InputError: if no curve can be fitted, or a file of such a name is not segexp's own. Files of an earlier
            curve are removed before.
    """
    owned = OwnedFolder(sweep)
    for name in CURVE_FILES:
        owned.remove(name)
    runs = runs_of(records)
    if not runs:
        return []
    folder = next(each.folder for each in records if each.status == DONE)
    label = find(monitor_of(folder)).label
    if any(each.better == "lower" for each in records):
        raise InputError(f"lower {label} is better; expected a score that is better if higher")
    curve = fit(runs)
    words = describe(curve, label)
    content = record(curve, label) | {"words": words}
    columns = ("images", "runs", "mean", "expected", "low", "high")
    shown = [*curve.sizes, *(times * curve.sizes[-1] for times in (2, FARTHEST))]
    rows = [_row(curve, images) for images in shown]
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    made: list[bytes | str] = [csv_text(rows, columns), text, png(content)]
    owned.require_free(CURVE_FILES, "output_dir")
    for name, each in zip(CURVE_FILES, made, strict=True):
        owned.write(name, each)
    return words


def _row(curve: LearningCurve, images: int) -> dict[str, float | str]:
    scores, expected = curve.scores(images), curve.expect(images)
    measured = {"images": images, "runs": len(scores), "mean": fmean(scores) if scores else ""}
    return measured | {"expected": expected.score, "low": expected.low, "high": expected.high}
