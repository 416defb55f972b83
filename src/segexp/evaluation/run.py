"""Score a model file on a folder of annotated images: ``segexp evaluate``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segexp.data.dataset import Sample, read_folder
from segexp.data.reading import reading_of_model, require_pixel_size
from segexp.data.sources import set_groups
from segexp.errors import InputError
from segexp.evaluation.images import Evaluation, evaluate_fully
from segexp.evaluation.io import evaluation_record, record_text, scores_text, to_json
from segexp.evaluation.robustness import robustness_curves
from segexp.evaluation.scoring import Tolerance, monitor_for, read_tolerance
from segexp.inference.misfit import KEY, misfit
from segexp.inference.predictor import Predictor
from segexp.inference.row_reader import ArrayRows
from segexp.io.ownership import OwnedFolder, digest
from segexp.measurements.measure import Settings
from segexp.metrics.registry import ALONE, FAMILIES, monitors
from segexp.viz.thumbnails import MOST, Picture, budget, make_picture, pictures_text

FILES = ("scores.csv", "scores.json", "pictures.json", "report.html")
"""Files that an evaluation writes into its folder."""


def evaluate_folder(
    predictor: Predictor,
    model: Path,
    data: Path,
    output: Path,
    families: Sequence[str] | None = None,
    tolerance: Tolerance | None = None,
    pixel_size: float | None = None,
    images: int | None = None,
    robustness: bool = False,
    progress: bool = False,
    group: str | None = None,
    samples: list[Sample] | None = None,
) -> dict[str, Any]:
    """Score a model on a data set's ``val/``, or on a folder with ``img/`` and ``mask/``; returns the record written.

    Args:
        model: the file that `predictor` was read from.
        families: of `segexp.metrics.registry.FAMILIES`; None: those that the model file names.
        tolerance: of outlines and centrelines; None: the model file's.
        pixel_size: µm, in place of what the image files say.
        images: number of images to score, spread evenly over the names; None: all.
        robustness: compute the curves of `segexp.evaluation.robustness` too.
        progress: show a progress bar.
        group: regular expression whose first parenthesis finds the group in a file's name; None: no groups.
        samples: the result of `chosen_samples`, if it was called before.

    Raises:
        InputError: if an image or a setting cannot be used, or an existing file was not written by segexp. Nothing is
            written then.
    """
    chosen = chosen_families(predictor, families)
    require_pixel_size(pixel_size)
    folder = OwnedFolder(output)
    folder.require_free(FILES)
    samples = chosen_samples(predictor, data, images, group, pixel_size) if samples is None else samples
    if predictor.facts.get("pixel_size"):
        pixel_size = None  # the samples were brought to the model's
    reach = tolerance or read_tolerance(str(predictor.facts.get("tolerance", "2")))
    evaluation, curves, pictures = _score(predictor, samples, chosen, reach, pixel_size, robustness, progress)
    facts = predictor.facts
    record = evaluation_record(
        evaluation,
        task=facts.get("task", ""),
        model=str(model),
        classes=predictor.classes,
        monitor=monitor_for(samples, _monitor(facts)),
        operating_point={
            "threshold": predictor.threshold,
            "min_size": predictor.min_size,
            "temperature": predictor.temperature,
            "chosen_on": "model" if predictor.threshold == facts.get("threshold") else "settings",
        },
        robustness=curves,
    )
    known = {"model": str(model.absolute()), "model_sha256": digest(model), "data": str(data.absolute())}
    contents = (scores_text(evaluation.rows), pictures_text(pictures), record_text(record))
    folder.remove("scores.json")  # written last: what is there belongs to the other files
    for name, content in zip(("scores.csv", "pictures.json", "scores.json"), contents, strict=True):
        folder.write(name, content, **known)
    return to_json(record)


def chosen_samples(
    predictor: Predictor, data: Path, images: int | None, group: str | None, pixel_size: float | None = None
) -> list[Sample]:
    """The samples that are scored, with their groups; the arguments are those of `evaluate_folder`."""
    samples = find_samples(predictor, data, pixel_size)
    if group is not None:
        set_groups(samples, group)
    return spread(samples, images)


def _score(
    predictor: Predictor,
    samples: list[Sample],
    families: Sequence[str],
    tolerance: Tolerance,
    pixel_size: float | None,
    robustness: bool,
    progress: bool,
) -> tuple[Evaluation, dict[str, Any] | None, list[Picture]]:
    """Scores, robustness curves if they are asked for, and pictures of the first images, under a progress bar."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("time left"), TimeRemainingColumn())
    with Progress(*columns, disable=not progress) as bar:
        track = bar.add_task("scoring", total=len(samples))
        pictures: list[Picture] = []
        misfits: dict[str, str] = {}

        def keep(index: int, sample: Sample, labels: NDArray) -> None:
            if predictor.facts.get(KEY):
                share = float(np.count_nonzero(labels)) / labels.size
                misfits[sample.name] = misfit(predictor.facts, ArrayRows(sample.load()[0]), share)
            if index < MOST:
                limit = budget(min(len(samples), MOST))
                pictures.append(make_picture(sample.name, *sample.load(), labels, predictor.classes, limit))
            bar.advance(track)

        split = Settings.of(predictor.facts).split
        evaluation = evaluate_fully(predictor, samples, families, tolerance, pixel_size, keep, split=split)
        for image in evaluation.images:
            if image["name"] in misfits:
                image["misfit"] = misfits[image["name"]]
        curves = None
        if robustness:
            track = bar.add_task("changed images", total=len(samples))
            curves = robustness_curves(
                predictor,
                samples,
                _monitor(predictor.facts),
                done=lambda: bar.advance(track),
                tolerance=tolerance,
                pixel_size=pixel_size,
                split=split,
            )
    return evaluation, curves, pictures


def _monitor(facts: dict[str, Any]) -> str:
    """The score that the model was chosen by; Dice if that is not computed here."""
    name = facts.get("monitor", "dice")
    return name if name in monitors() else "dice"


def chosen_families(predictor: Predictor, families: Sequence[str] | None) -> tuple[str, ...]:
    """The families of scores asked for, or the model file's; raises `InputError` on one that does not exist."""
    chosen = tuple(predictor.facts.get("scores", ("probability",)) if families is None else families)
    unknown = [name for name in chosen if name not in (*FAMILIES, *ALONE)]
    own = [name for name in unknown if "." in name]
    if own and families is None:  # named by the model file, and not allowed by whoever opens it
        print(
            f"{', '.join(own)}: user-defined scores are left out; if you trust their modules, type --allow-targets "
            f"{' --allow-targets '.join(dict.fromkeys(name.rpartition('.')[0] for name in own))}"
        )
        return tuple(name for name in chosen if name not in own)
    if unknown:
        raise InputError(f"--scores {','.join(unknown)}: expected some of {', '.join(FAMILIES)}")
    return chosen


def find_samples(predictor: Predictor, data: Path, pixel_size: float | None = None) -> list[Sample]:
    """The annotated images of ``data/val``, or of ``data`` itself, without pixels, which are read on demand.

    Args:
        predictor: how files are read follows from it.
        data: the folder.
        pixel_size: µm, in place of what the files say.

    Raises:
        InputError: if the folder holds no annotated images.
    """
    for folder in (data / "val", data):
        if (folder / "img").is_dir():
            channels = predictor.model.settings["in_channels"]
            reading = reading_of_model(predictor.facts, channels, len(predictor.classes))
            return read_folder(
                folder / "img",
                folder / "mask",
                replace(reading, file_pixel_size=pixel_size),
                keep=False,
                normalization=predictor.normalization,
                log=print,
            )
    raise InputError(f"{data}: holds neither val/img nor img; expected a data set, or a folder with img/ and mask/")


def spread(samples: list[Sample], count: int | None) -> list[Sample]:
    """`count` of the samples, evenly spread in their order; all if there are no more."""
    if count is None or count >= len(samples):
        return samples
    return [samples[index] for index in np.linspace(0, len(samples) - 1, count).round().astype(int)]
