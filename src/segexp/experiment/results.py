"""The results of a run: scores and pictures of each image, ``summary.json``, a closing table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segexp import checkpoint
from segexp.data.dataset import Sample
from segexp.evaluation import Row, evaluate_fully, summarize
from segexp.evaluation.images import OnImage
from segexp.evaluation.io import evaluation_record, write_scores
from segexp.evaluation.operating_point import OperatingPoint, choose_operating_point
from segexp.evaluation.scoring import Scoring
from segexp.experiment.candidates import annotated
from segexp.inference import guarantee
from segexp.inference.misfit import KEY, WINDOW, describe, ranges_of, spread_evenly
from segexp.inference.misfit import MOST as MOST_DESCRIBED
from segexp.inference.predictor import Predictor
from segexp.inference.row_reader import ArrayRows
from segexp.io.atomic import write_text
from segexp.metrics.registry import shown
from segexp.models import trusted
from segexp.terminal import print_table
from segexp.training.loggers.run_log import RunLog, clock
from segexp.training.state import TrainState
from segexp.viz.overlay import Picture, overlay, write_png
from segexp.viz.thumbnails import MOST, budget, make_picture, write_pictures

PICTURES = 50
"""Largest number of validation images with an overlay: enough to inspect, and small enough to copy."""


def write_results(
    folder: Path,
    best_path: Path,
    predictor: Predictor,
    samples: list[Sample],
    state: TrainState,
    scoring: Scoring,
    log: RunLog,
    train: Sequence[Sample] = (),
    point: OperatingPoint | None = None,
) -> dict[str, float]:
    """Score the best model on the validation images and write the run's results; returns its scores.

    Args:
        folder: the run folder.
        best_path: the model file; its weights are put into `predictor`.
        scoring: which scores, and what may be chosen on the validation images and put into the model file.
        train: training images; the model file records their appearance, and that of `samples`.
        point: the operating point of the model, if it is already chosen.
    """
    network, _ = checkpoint.load_model(best_path, trusted(predictor.model))
    predictor.model.load_state_dict(network.state_dict())
    (folder / "val").mkdir(parents=True, exist_ok=True)
    pictures = []
    shares: list[float] = []

    def keep(index: int, sample: Sample, labels: NDArray) -> None:
        shares.append(float(np.count_nonzero(labels)) / labels.size)
        if index < PICTURES:
            image = sample_overlay(sample, labels, predictor)
            write_png(folder / "val" / f"{Path(sample.name).stem}.png", image)
        if index < MOST:
            limit = budget(min(len(samples), MOST))
            pictures.append(make_picture(sample.name, *sample.load(), labels, predictor.classes, limit))

    own = point is None or point.maps is None  # else other models predicted these images
    point, rows, record, misses = score_best(best_path, predictor, samples, scoring, keep, point)
    looks = annotated(train, samples) if own else list(train)  # an image that is in both would hide how images differ
    facts = ({guarantee.KEY: misses} if own else {}) | appearance(looks, shares)
    checkpoint.save(best_path, checkpoint.load(best_path) | facts)
    write_scores(rows, record, folder / "val" / "scores.csv", folder / "val" / "evaluation.json")
    write_pictures(folder / "val" / "pictures.json", pictures)
    best = state.best | summarize(rows)
    best["epoch"] = int(best["epoch"])
    summary = {
        "task": record["task"],
        "seconds": round(state.elapsed, 2),
        "epochs": state.epoch,
        "best": best,
        "model": str(best_path),
    }
    write_json(folder / "summary.json", summary)
    _log_results(log, best, state, best_path, point, scoring.monitor)
    return best


def _log_results(
    log: RunLog, best: dict[str, float], state: TrainState, best_path: Path, point: OperatingPoint, monitor: str
) -> None:
    """Log the scores of the best model `best_path`, how it is used, and the closing table."""
    log.best(best)
    log.stop_bar()
    log.record(f"best {best}; model {best_path}")
    if best.get("recall") == 0:
        log.info(
            "warning: the best model finds no foreground at all. Train longer (trainer.epochs, trainer.max_time), "
            "look at the overlays in val/, and check that the masks mark what you mean."
        )
    log.info(_in_words(point))
    print_summary(log.console, best, state, best_path, monitor)


def use(predictor: Predictor, point: OperatingPoint) -> None:
    """Set the operating point of a predictor."""
    predictor.threshold, predictor.min_size, predictor.temperature = point.threshold, point.min_size, point.temperature


def appearance(samples: Sequence[Sample], predicted: Sequence[float]) -> dict[str, Any]:
    """The appearance of a model's images, for its file: see `segexp.inference.misfit`; empty for too few images.

    Args:
        samples: its training and validation images.
        predicted: shares of foreground that the model itself finds in such images.
    """
    chosen = [samples[place] for place in spread_evenly(len(samples), 2 * MOST_DESCRIBED)]
    features = [describe_sample(sample) for sample in chosen]
    shares = [float(sample.class_pixels[1:].sum() / max(sample.class_pixels.sum(), 1)) for sample in samples]
    ranges = ranges_of([each for each in features if each is not None], [*shares, *predicted])
    return {} if ranges is None else {KEY: ranges}


def describe_sample(sample: Sample) -> NDArray | None:
    """The features of `segexp.inference.misfit.describe`; reads only the necessary part of a large image."""
    _, height, width = sample.shape
    if min(height, width) < WINDOW:
        return describe(ArrayRows(sample.load()[0]))
    window, _ = sample.window((height - WINDOW) // 2, (width - WINDOW) // 2, WINDOW)
    return describe(ArrayRows(window))


def score_best(
    best_path: Path,
    predictor: Predictor,
    samples: list[Sample],
    scoring: Scoring,
    look: OnImage,
    point: OperatingPoint | None = None,
) -> tuple[OperatingPoint, list[Row], dict[str, Any], list[dict[str, Any]]]:
    """Choose the operating point of the model, write it to the model file, and score the model.

    Returns:
        the operating point, rows, ``evaluation.json``, and the table of `segexp.inference.guarantee`.
    """
    content = checkpoint.load(best_path)
    if point is None:
        point = choose_operating_point(predictor, samples, scoring)
    else:
        use(predictor, point)
    chosen = {"threshold": point.threshold, "min_size": point.min_size, "temperature": point.temperature}
    reach = f"{scoring.tolerance.value:g}{scoring.tolerance.unit}"
    asked = {"monitor": scoring.monitor, "scores": list(scoring.families), "tolerance": reach}
    checkpoint.save(best_path, content | chosen | asked)
    maps = point.maps
    misses: list[guarantee.Counts] = []

    def answer(index: int, pixels: NDArray) -> NDArray[np.float32]:
        probabilities = predictor.probabilities(pixels) if maps is None else maps[index]
        misses.append(guarantee.count(probabilities, samples[index].load()[1], point.min_size))
        return probabilities

    found = evaluate_fully(
        predictor,
        samples,
        scoring.families,
        scoring.tolerance,
        None,
        look,
        answer,
        scoring.split,
    )
    record = evaluation_record(
        found,
        task=content["task"],
        model=str(best_path),
        classes=predictor.classes,
        monitor=scoring.monitor,
        operating_point=point.record(),
    )
    return point, found.rows, record, guarantee.table(misses)


def _in_words(point: OperatingPoint) -> str:
    """One line on the operating point, and how much the score gains from choosing it on the images that are scored."""
    line = f"threshold {point.threshold:.3g}, smallest object {point.min_size} px, temperature {point.temperature:.3g}"
    details = point.details
    if details["chosen_on"] != "validation" or point.threshold == 0.5:
        return line
    name = details["criterion"]
    return (
        f"{line}; {name} {details['score_chosen']:.4f} against {details['score_at_half']:.4f} at 0.5, "
        f"{details['score_cross_fitted']:.4f} where each image's threshold is chosen on the others"
    )


def sample_overlay(sample: Sample, labels: NDArray, predictor: Predictor, largest: int = 2048) -> Picture:
    """A validation image with outlines of truth and prediction; every n-th pixel if it is larger than `largest`."""
    pixels, truth = sample.load()
    step = -(-max(truth.shape) // largest)
    reduced = pixels[:, ::step, ::step], truth[::step, ::step], labels[::step, ::step]
    return overlay(*reduced, len(predictor.classes))


def print_summary(
    console: Console, best: dict[str, float], state: TrainState, model: Path, monitor: str = "dice"
) -> None:
    """Print the closing table, with the monitored score first if it is not among the usual ones, and the paths."""
    table = Table(box=None, header_style="bold")
    names = [name for name in shown("summary") if name in best] if "dice" in best else ["specificity"]
    names = names if monitor in names or monitor not in best else [monitor, *names]
    for name in ("best epoch", *names):
        table.add_column(name, justify="right")
    table.add_row(str(best["epoch"]), *(f"{best[name]:.4f}" for name in names))
    print_table(console, table)
    console.print(f"{state.epoch} epochs in {clock(state.elapsed)}; pictures in {model.parent / 'val'}", markup=False)
    console.print(f"model: {model}", markup=False)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON, since people open it."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
