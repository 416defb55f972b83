"""The output files of an evaluation: ``evaluation.json`` and ``scores.csv``.

In a run folder they are ``val/evaluation.json`` and ``val/scores.csv``; ``segexp evaluate --output D`` writes the same
as ``D/scores.json`` and ``D/scores.csv``.

``scores.csv`` holds a row an image and class: ``image``, ``class``, ``group`` (empty without groups), every score that
was computed, and the pixel counts ``tp fp fn tn``. An empty cell is a score that the image cannot have (an average
precision without foreground, a centre error without a matched object).

``evaluation.json`` (format 1; no NaN: what is undefined is null):

    format          1
    task, model     name, path of the model file
    created         ISO time
    classes         names
    monitor         the score that the best model was chosen by
    unit            "px", or "µm" if the size of every image's pixels is known: of every length in the file
    tolerance       {value, unit}: of centrelines and outlines
    images          [{name, group, height, width, pixel_size (µm or null), truth, pixels}] in the order of scores.csv;
                    the last two are fingerprints
    scores          {score: {words, better, unit, mean, interval, images, pooled, classes, groups}}
                    better: "higher", "lower", or "" for a fact such as a count; unit: "", "px" or "µm";
                    mean over images (classes averaged within each), interval [low, high] of that mean at 95 % or null
                    for fewer than 3 images; images: how many have the score; pooled: from all pixels or objects
                    together, or null if that is not defined; classes and groups: {name: {mean, interval, images,
                    pooled}}
    operating_point {threshold, min_size, temperature, chosen_on, ...}: see `segexp.evaluation.operating_point`
    calibration     {class: {predicted: [...], observed: [...], count: [...]}}: the reliability diagram's bins that hold
                    pixels, from low to high probability
    histograms      {kind: {unit, edges: [n + 1], truth: [n], prediction: [n]}}: counts of ``object_diameter`` or
                    ``filament_length``; the last bin holds all larger ones too
    robustness      {perturbation: {words, unit, scale, parameter: [...], score: [...], interval: [[low, high], ...],
                    neutral, range: [low, high], number}}: see `segexp.evaluation.robustness`; absent unless asked for
"""

import itertools
import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.evaluation.images import Evaluation, image_values, pooled_scores
from segexp.evaluation.scores import Row, is_number
from segexp.io import atomic
from segexp.io.records import csv_text, number, read_csv, read_json
from segexp.io.shape import Number
from segexp.metrics.calibration import average_precision, calibration_error, reliability
from segexp.metrics.interval import bootstrap_interval
from segexp.metrics.registry import SCORES, learn

FORMAT = 1
HISTOGRAM_BINS = 24


def evaluation_record(
    evaluation: Evaluation,
    *,
    task: str,
    model: str,
    classes: Sequence[str],
    monitor: str,
    operating_point: dict[str, Any],
    robustness: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``evaluation.json``, as this module describes it."""
    record = {
        "format": FORMAT,
        "task": task,
        "model": model,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "classes": list(classes),
        "monitor": monitor,
        "unit": evaluation.unit,
        "tolerance": evaluation.tolerance._asdict(),
        "images": evaluation.images,
        "scores": score_table(evaluation),
        "operating_point": operating_point,
        "calibration": {name: _diagram(histogram) for name, histogram in evaluation.histograms.items()},
        "histograms": {kind: _histogram(*sizes, evaluation.unit) for kind, sizes in evaluation.sizes.items()},
    }
    return record if robustness is None else record | {"robustness": robustness}


def score_table(evaluation: Evaluation) -> dict[str, Any]:
    """Every score that at least one image has: mean, interval and pooled value, in all, by class and by group."""
    rows = evaluation.rows
    table = {}
    for name, score in SCORES.items():
        if np.isnan(image_values(rows, name)).all():
            continue
        classes = {str(row["class"]): [r for r in rows if r["class"] == row["class"]] for row in rows}
        groups = {str(row["group"]): [r for r in rows if r["group"] == row["group"]] for row in rows}
        by_class = {key: _entry(part, name, evaluation, (key,)) for key, part in classes.items()}
        table[name] = {
            "words": score.label,
            "better": score.better,
            "unit": evaluation.unit if score.unit == "length" else "",
            **_entry(rows, name, evaluation, tuple(classes)),
            "classes": by_class,
            "groups": {key: _entry(part, name, None, ()) for key, part in groups.items() if key},
        }
    return table


def scores_text(rows: Sequence[Row]) -> str:
    """The content of ``scores.csv``: a row an image and class."""
    cells = ({key: "" if _undefined(value) else value for key, value in row.items()} for row in rows)
    return csv_text(cells, list(rows[0]))


def record_text(record: dict[str, Any]) -> str:
    """The content of ``evaluation.json`` (or ``scores.json``)."""
    return json.dumps(to_json(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_scores(rows: Sequence[Row], record: dict[str, Any], table: Path, details: Path) -> None:
    """Write ``scores.csv`` and ``evaluation.json`` (or ``scores.json``), each atomically."""
    atomic.write_text(table, scores_text(rows))
    atomic.write_text(details, record_text(record))


def read_rows(table: Path) -> list[Row]:
    """The rows of a ``scores.csv``: numbers as numbers, empty cells as NaN, names as text.

    Raises:
        InputError: if the table is damaged.
    """
    try:
        return [
            {key: value if key in ("image", "class", "group") else number(value) for key, value in row.items()}
            for row in read_csv(table)
        ]
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{table}: {error}") from None


_NUMBER = Number(-1e300, 1e300)
_MAYBE = (None, _NUMBER)
_ENDS = (None, [_NUMBER, _NUMBER])
_WORDS = (None, str)
_PART = {"mean?": _MAYBE, "interval?": _ENDS, "images?": _MAYBE, "pooled?": _MAYBE}
_NAMES = {"words?": _WORDS, "better?": _WORDS, "unit?": _WORDS}
_CURVE = {
    "words?": _WORDS,
    "unit?": _WORDS,
    "parameter": [_NUMBER],
    "score": [_MAYBE],
    "interval?": (None, [_ENDS]),
    "range?": _ENDS,
    "number": _NUMBER,
}
SHAPE = {
    "task?": _WORDS,
    "model?": _WORDS,
    "created?": _WORDS,
    "monitor?": _WORDS,
    "unit?": _WORDS,
    "tolerance?": (None, {"value": _NUMBER, "unit": str}),
    "images?": [{"name": str, "truth?": str, "pixels?": str}],
    "scores?": {
        str: {
            "words?": _WORDS,
            "better?": _WORDS,
            "unit?": _WORDS,
            **_PART,
            "classes?": {str: _PART},
            "groups?": {str: _PART},
        }
    },
    "operating_point?": {
        "threshold": _NUMBER,
        "min_size": _NUMBER,
        "temperature": _NUMBER,
        "chosen_on?": _WORDS,
        "notes?": [str],
        "criterion?": str,
        "curve?": (None, {"threshold": [_NUMBER], "score": [_NUMBER]}),
    },
    "calibration?": (None, {str: {"predicted": [_NUMBER], "observed": [_NUMBER]}}),
    "histograms?": (
        None,
        {str: {"unit": str, "edges": [_NUMBER], "truth": [Number(0, 1e15)], "prediction": [Number(0, 1e15)]}},
    ),
    "robustness?": (None, {str: _CURVE}),
}
"""Of ``evaluation.json``, as far as it is read back; see `segexp.io.shape`."""


def read_evaluation(path: Path) -> dict[str, Any]:
    """The content of an ``evaluation.json``, or of ``scores.json``.

    Raises:
        InputError: if it is damaged.
    """
    record = read_json(path, SHAPE)
    fault = _uneven(record)
    if fault:
        raise InputError(f"{path}: {fault}; damaged, or not written by segexp")
    learn(record.get("scores") or {})
    return record


def _uneven(record: dict[str, Any]) -> str:
    """The first lists that belong together but differ in length, in words."""
    point = record.get("operating_point") or {}
    if point.get("curve") and "criterion" not in point:
        return "operating_point.criterion is missing"
    alike = [("operating_point.curve", point.get("curve"), ("threshold", "score"), 1)]
    alike += [
        (f"calibration.{name}", bins, ("predicted", "observed"), 0) for name, bins in _items(record, "calibration")
    ]
    alike += [(f"robustness.{name}", curve, ("parameter", "score"), 0) for name, curve in _items(record, "robustness")]
    for name, entry, keys, least in alike:
        if entry and (len({len(entry[key]) for key in keys}) > 1 or len(entry[keys[0]]) < least):
            return f"{name} has different numbers of entries in {keys[0]} and {keys[1]}"
    for name, curve in _items(record, "robustness"):
        if curve.get("interval") and len(curve["interval"]) != len(curve["score"]):
            return f"robustness.{name} has different numbers of intervals and scores"
    for name, bins in _items(record, "histograms"):
        if not len(bins["edges"]) - 1 == len(bins["truth"]) == len(bins["prediction"]) or len(bins["truth"]) < 1:
            return f"histograms.{name} has different numbers of counts and bins"
        if any(low >= high for low, high in itertools.pairwise(bins["edges"])):
            return f"histograms.{name}.edges do not rise"
    return ""


def _items(record: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    return list((record.get(key) or {}).items())


def to_json(value: Any) -> Any:
    """NumPy numbers and arrays, tuples and NaN to what JSON holds: numbers, lists and null."""
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    return None if _undefined(value) else value


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _entry(rows: Sequence[Row], name: str, evaluation: Evaluation | None, classes: tuple[str, ...]) -> dict[str, Any]:
    values = image_values(rows, name)
    known = values[~np.isnan(values)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "interval": bootstrap_interval(known),
        "images": len(known),
        "pooled": _pooled(rows, name, evaluation, classes),
    }


def _pooled(rows: Sequence[Row], name: str, evaluation: Evaluation | None, classes: tuple[str, ...]) -> float | None:
    """A score from all pixels or objects of the rows together, averaged over classes; None if it is not defined."""
    if SCORES[name].family == "overlap" and name in (first := pooled_scores(rows))[next(iter(first))]:
        return _mean([scores[name] for scores in first.values()])
    if name in ("ece", "average_precision") and evaluation is not None:
        function = calibration_error if name == "ece" else average_precision
        return _mean([function(evaluation.histograms[key]) for key in classes])
    rows = [row for row in rows if is_number(row.get(name))]  # a class that no image holds has none of these
    if not rows:
        return None
    total = {key: sum(float(row.get(key) or 0) for row in rows) for key in _TOTALS}
    if name in ("object_f1", "object_precision", "object_recall"):
        matched = sum(round(float(row["object_recall"]) * float(row["objects_truth"])) for row in rows)
        predicted, true = total["objects_prediction"], total["objects_truth"]
        whole = {"object_f1": (predicted + true) / 2, "object_precision": predicted, "object_recall": true}[name]
        return matched / whole if whole else float(predicted == true)
    if name == "length_error" and total["length_truth"]:
        return abs(total["length_prediction"] / total["length_truth"] - 1)
    return None


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if is_number(value)]
    return float(np.mean(known)) if known else None


_TOTALS = ("objects_truth", "objects_prediction", "length_truth", "length_prediction")


def _diagram(histogram: NDArray[np.int64]) -> dict[str, Any]:
    predicted, observed, pixels = reliability(histogram)
    some = pixels > 0
    return {"predicted": predicted[some], "observed": observed[some], "count": pixels[some]}


def _histogram(true: list[NDArray], predicted: list[NDArray], unit: str) -> dict[str, Any]:
    """Counts in equal bins from 0 to the 99th percentile of both."""
    true_sizes, predicted_sizes = (np.concatenate([*sizes, np.empty(0)]) for sizes in (true, predicted))
    both = np.concatenate([true_sizes, predicted_sizes])
    top = float(np.percentile(both, 99)) if len(both) else 1.0
    edges = np.linspace(0, top or 1.0, HISTOGRAM_BINS + 1)
    counts = [np.histogram(np.minimum(sizes, edges[-1]), edges)[0] for sizes in (true_sizes, predicted_sizes)]
    return {"unit": unit, "edges": edges, "truth": counts[0], "prediction": counts[1]}
