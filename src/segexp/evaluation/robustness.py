"""Robustness of a model's score to changes of the images: a curve for each perturbation.

Each image is changed in every way and by every value of `segexp.evaluation.corruptions`, predicted by the same tiles
as ``segexp predict``, and scored against the unchanged truth. ``evaluation.json`` holds, under ``robustness`` and the
perturbation's name:

    words, unit, scale   for people; scale is "log" or "linear"
    parameter            the values tried
    score                mean over images of the monitored score at each
    interval             95 % interval of each mean, [low, high] or null for fewer than 3 images
    neutral              the parameter that changes nothing or next to nothing
    range                [low, high]: the values around the best one over which the score stays within 0.02 of it, of
                         the values tried (so both ends were measured)
    number               the mean score of the whole curve: one number by which two models compare, on the same images
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample
from segexp.errors import InputError
from segexp.evaluation.corruptions import PERTURBATIONS, Perturbation
from segexp.evaluation.images import objects_of
from segexp.evaluation.scores import score_image
from segexp.evaluation.scoring import TWO_PIXELS, Tolerance, monitor_for, pixel_sides, present_classes
from segexp.inference.predictor import Predictor
from segexp.metrics.interval import bootstrap_interval
from segexp.metrics.registry import find, to_compute

WITHIN = 0.02


def robustness_curves(
    predictor: Predictor,
    samples: Sequence[Sample],
    monitor: str,
    perturbations: Mapping[str, Perturbation] = PERTURBATIONS,
    done: Callable[[], None] | None = None,
    tolerance: Tolerance = TWO_PIXELS,
    pixel_size: float | None = None,
    split: float = 0.0,
) -> dict[str, Any]:
    """The curves of a model on some images, as this module describes them.

    Deterministic: noise follows from the image's name, the perturbation and the value.

    Args:
        monitor: the score.
        perturbations: by name.
        done: called after each image.
        tolerance, pixel_size, split: as `segexp.evaluation.images.evaluate_fully` takes them, so that an image that is
            not changed has its score.
    """
    monitor, present = monitor_for(samples, monitor), present_classes(samples)
    sides = pixel_sides(samples, pixel_size, tolerance) if to_compute(monitor) else None
    values: dict[str, list[list[float]]] = {name: [] for name in perturbations}
    for number, sample in enumerate(samples):
        side = 1.0 if sides is None else sides[number]
        pixels, truth = sample.load()
        raw = pixels.astype(np.float32)
        for name, perturbation in perturbations.items():
            versions = [
                perturbation.change(raw, value, generator(sample.name, name, index))
                for index, value in enumerate(perturbation.values)
            ]
            values[name].append(
                [
                    _score(predictor, sample, maps, truth, monitor, present, tolerance.of(side), side, split)
                    for maps in predictor.together(versions)
                ]
            )
        if done is not None:
            done()
    return {name: curve(perturbations[name], np.array(rows), find(monitor).lower) for name, rows in values.items()}


def curve(perturbation: Perturbation, values: NDArray[np.float64], lower: bool = False) -> dict[str, Any]:
    """One entry of the result, from scores (images, values); images without the score are ignored.

    Raises:
        InputError: if no image has the monitored score at every change.
    """
    values = values[~np.isnan(values).any(axis=1)]
    if not len(values):
        raise InputError("robustness: no image has the monitored score at every change; expected another task.monitor")
    score = values.mean(axis=0)
    low, high = holding_range(-score if lower else score)
    return {
        "words": perturbation.words,
        "unit": perturbation.unit,
        "scale": perturbation.scale,
        "parameter": list(perturbation.values),
        "score": score,
        "interval": [bootstrap_interval(column) for column in values.T],
        "neutral": perturbation.neutral,
        "range": [perturbation.values[low], perturbation.values[high]],
        "number": float(score.mean()),
    }


def holding_range(score: NDArray[np.float64]) -> tuple[int, int]:
    """First and last index of the unbroken stretch around the best score that stays within `WITHIN` of it."""
    good = score >= score.max() - WITHIN - 1e-12
    low = high = int(score.argmax())
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(score) - 1 and good[high + 1]:
        high += 1
    return low, high


def generator(image: str, perturbation: str, index: int) -> np.random.Generator:
    """A random generator that is seeded by the arguments."""
    return np.random.default_rng((zlib.crc32(image.encode()), zlib.crc32(perturbation.encode()), index))


def _score(
    predictor: Predictor,
    sample: Sample,
    maps: NDArray[np.float32],
    truth: NDArray,
    monitor: str,
    present: Collection[int],
    reach: float,
    side: float,
    split: float,
) -> float:
    """The monitored score of one image, mean over the classes `present` in any image (all, if none is).

    Smaller maps are brought to the truth's size.
    """
    if maps.shape[1:] != truth.shape:
        size = (truth.shape[1], truth.shape[0])
        maps = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in maps])
    families, labels = to_compute(monitor), predictor.labels(maps)
    objects = objects_of(sample, labels, split) if "object" in families else None
    scored = score_image(maps, labels, truth, predictor.classes, "", families, "", reach, side, objects)
    chosen = [float(scores.row[monitor]) for number, scores in enumerate(scored, 1) if number in present or not present]
    known = [value for value in chosen if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
