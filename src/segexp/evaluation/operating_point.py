"""The operating point of a model: threshold, smallest object and temperature, chosen on the validation images.

The temperature comes first (it changes probabilities, not their order), then the threshold, then the smallest object.
Each keeps its neutral value (1, 0.5, 0) if there are too few images. The threshold is the one nearest to 0.5 whose mean
score lies within one standard error (of the paired difference over images) of the best: the maximum of a flat curve is
chance, and costs new images more than it gains (LOG.md, 2026-11-25). Every image (or group of images) is also scored at
the threshold that is best for the others. This cross-fitted score is free of the optimism of choosing and scoring on
the same images, which `optimism` estimates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample
from segexp.evaluation.scoring import Scoring, present_classes
from segexp.inference.predictor import Predictor, label_classes
from segexp.io.images import IGNORE
from segexp.metrics.calibration import (
    BINS,
    counts_by_threshold,
    fit_temperature,
    logit_histogram,
    probability_histogram,
    temper,
)
from segexp.metrics.objects import match_objects
from segexp.metrics.registry import find

FEWEST_IMAGES = 3
FEWEST_OBJECTS = 20
FEWEST_PIXELS = 1000
"""Least numbers of validation images, true objects and true pixels for choosing anything."""
KEPT_BYTES = 1 << 30
"""Probability maps are kept in memory up to this size; beyond it images are predicted a second time."""

FINE = np.arange(4, 61) / 64
COARSE = np.arange(2, 15) / 16
SIZES = np.array([0, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])


@dataclass
class OperatingPoint:
    """An operating point, and how it was chosen.

    Attributes:
        threshold, min_size, temperature: as the model file holds them.
        details: further entries of ``evaluation.json``.
        maps: probabilities of each image at the temperature, or None if they were not kept.
    """

    threshold: float
    min_size: int
    temperature: float
    details: dict[str, Any] = field(default_factory=dict)
    maps: list[NDArray[np.float32]] | None = None

    def record(self) -> dict[str, Any]:
        """The entry of ``evaluation.json``."""
        return {
            "threshold": self.threshold,
            "min_size": self.min_size,
            "temperature": self.temperature,
            **self.details,
        }


def choose_operating_point(predictor: Predictor, samples: Sequence[Sample], scoring: Scoring) -> OperatingPoint:
    """Predict the images once and choose the values that `scoring` leaves open; `predictor` is set to the result.

    Images without annotation are ignored, but their maps are kept.

    Details of the result: `chosen_on` (``validation`` or ``settings``); `notes`, a line for each value that was kept
    and why; `criterion`, the score that the threshold maximises; `curve` {threshold, score} of it; `score_at_half`,
    `score_chosen`, `score_cross_fitted` and `optimism`; `cross_entropy` [before, after] of the temperature.
    """
    predictor.temperature = 1.0
    annotated = [index for index, sample in enumerate(samples) if sample.class_pixels.any()]
    keep = sum(4 * s.shape[1] * s.shape[2] * len(predictor.classes) for s in samples) <= KEPT_BYTES
    kept = [predictor.probabilities(sample.load()[0]) for sample in samples] if keep else None
    notes: list[str] = []

    def maps(place: int) -> NDArray[np.float32]:
        index = annotated[place]
        return kept[index] if kept is not None else predictor.probabilities(samples[index].load()[0])

    chosen_by = [samples[index] for index in annotated]
    temperature, details = _temperature(chosen_by, maps, notes)
    predictor.temperature = temperature
    if kept is not None:
        kept = [temper(each, temperature) for each in kept]
    chosen = "validation" if scoring.threshold is None else "settings"
    threshold, curve = _threshold(chosen_by, maps, scoring, notes)
    predictor.threshold = threshold
    min_size = _min_size(chosen_by, maps, scoring, threshold, notes)
    predictor.min_size = min_size
    details = {"chosen_on": chosen, "notes": notes, **curve, **details}
    return OperatingPoint(threshold, min_size, temperature, details, kept)


def _temperature(
    samples: Sequence[Sample], maps: Callable[[int], NDArray], notes: list[str]
) -> tuple[float, dict[str, Any]]:
    total = np.zeros((2, BINS), np.int64)
    for index, sample in enumerate(samples):
        truth = sample.load()[1]
        known = truth != IGNORE
        for label, probability in enumerate(maps(index), 1):
            total += logit_histogram(probability, truth == label, known)
    if len(samples) < FEWEST_IMAGES or total.sum(axis=1).min() < FEWEST_PIXELS:
        notes.append(f"temperature 1: {_too_few(samples, total)}")
        return 1.0, {}
    temperature, before, after = fit_temperature(total)
    return round(temperature, 4), {"cross_entropy": [before, after]}


def _threshold(
    samples: Sequence[Sample], maps: Callable[[int], NDArray], scoring: Scoring, notes: list[str]
) -> tuple[float, dict[str, Any]]:
    criterion = scoring.monitor if find(scoring.monitor).chooses_threshold else "dice"
    present = present_classes(samples)
    if not present:
        if scoring.threshold is None:
            notes.append("threshold 0.5: no image has foreground to choose a threshold by")
        return scoring.threshold or 0.5, {}
    alone = find(criterion).function is not None  # computed anew for each threshold, which is slower
    grid, function = (COARSE, _values_alone) if alone else (FINE, _overlap_values)
    values = np.stack(
        [function(maps(index), sample.load()[1], grid, criterion, present) for index, sample in enumerate(samples)]
    )
    half = int(np.flatnonzero(grid == 0.5)[0])
    means = values.mean(axis=0)
    best = cautious(values, grid)
    groups = [sample.group or str(index) for index, sample in enumerate(samples)]
    crossed = cross_fitted(values, groups, grid)
    pixels = np.sum([sample.class_pixels[1:].sum() for sample in samples])
    keep = None
    if len(samples) < FEWEST_IMAGES or pixels < FEWEST_PIXELS:
        keep = f"{len(samples)} images with {pixels} foreground pixels are too few to choose by"
    elif best == half and means.max() > means[half] + 1e-4:
        top = int(means.argmax())
        keep = f"{grid[top]:.3g} scores {means[top]:.4f} and 0.5 {means[half]:.4f}, within the standard error"
    if keep is not None:
        best, crossed = half, means[half]
    details: dict[str, Any] = {"criterion": criterion, "curve": {"threshold": grid, "score": means}}
    if scoring.threshold is not None:
        return scoring.threshold, details
    if keep is not None:
        notes.append(f"threshold 0.5: {keep}")
    return float(grid[best]), details | {
        "score_at_half": float(means[half]),
        "score_chosen": float(means[best]),
        "score_cross_fitted": float(crossed),
        "optimism": float(means[best] - crossed),
    }


def cross_fitted(values: NDArray, groups: Sequence[str], grid: NDArray) -> float:
    """Mean score of images, each at the threshold that is best for the other groups' images.

    Args:
        values: (images, thresholds).
        groups: of each image; images of one group are never chosen by for each other.
        grid: the thresholds.
    """
    names = np.asarray(groups)
    fitted = []
    for name in dict.fromkeys(groups):
        inside = names == name
        others = values[~inside] if not inside.all() else np.zeros((1, len(grid)))
        fitted.append(values[inside, cautious(others, grid)])
    return float(np.concatenate(fitted).mean())


def cautious(values: NDArray, grid: NDArray) -> int:
    """Index of the threshold nearest to 0.5 among those within one standard error of the best mean.

    `values` (images, thresholds); the error is that of the difference between the best and each, paired over images.
    """
    best = int(values.mean(axis=0).argmax())
    behind = values[:, [best]] - values
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros(len(grid))
    near = np.flatnonzero(behind.mean(axis=0) <= error + 1e-4)
    return int(near[np.argmin(np.abs(grid[near] - 0.5))])


def _overlap_values(maps: NDArray, truth: NDArray, grid: NDArray, criterion: str, present: Sequence[int]) -> NDArray:
    """Dice or IoU of one image at each threshold, from one histogram a class, mean over the classes `present`."""
    known = truth != IGNORE
    likeliest = maps.argmax(axis=0) if len(maps) > 1 else None
    rows = []
    for label in present:
        probability = maps[label - 1]
        own = probability if likeliest is None else np.where(likeliest == label - 1, probability, 0)
        histogram = probability_histogram(own, truth == label, known)
        tp, fp, fn, _ = (counts[(grid * BINS).astype(int)] for counts in counts_by_threshold(histogram))  # type: ignore[index]
        part, whole = (2 * tp, 2 * tp + fp + fn) if criterion == "dice" else (tp, tp + fp + fn)
        rows.append(np.where(whole, part / np.maximum(whole, 1), 1.0))
    return np.mean(rows, axis=0)


def _values_alone(maps: NDArray, truth: NDArray, grid: NDArray, criterion: str, present: Sequence[int]) -> NDArray:
    """A score with a function of its own, of one image at each threshold, mean over the classes `present`."""
    known, function = truth != IGNORE, find(criterion).function
    assert function is not None
    values = []
    for threshold in grid:
        labels = np.where(known, label_classes(maps, threshold), 0)
        values.append(np.mean([function(labels == k, truth == k) for k in present]))
    return np.array(values)


def _min_size(
    samples: Sequence[Sample], maps: Callable[[int], NDArray], scoring: Scoring, threshold: float, notes: list[str]
) -> int:
    """The object size below which dropping predicted objects increases the F1 of all objects at IoU 0.5."""
    if scoring.min_size is not None:
        return scoring.min_size
    hits, predicted_objects, true_objects, true_areas = [], [], [], []
    for index, sample in enumerate(samples):
        truth = sample.load()[1]
        labels = label_classes(maps(index), threshold)
        row = np.zeros((3, len(SIZES)))
        known = truth != IGNORE
        for label in range(1, len(sample.class_pixels)):
            matching = match_objects(labels == label, truth == label, known)
            predicted = matching.predicted.areas
            row[0] += (predicted[matching.pairs[:, 0]][:, None] >= SIZES).sum(axis=0)
            row[1] += (predicted[:, None] >= SIZES).sum(axis=0)
            row[2] += len(matching.true.areas)
            true_areas.append(matching.true.areas)
        hits.append(row[0])
        predicted_objects.append(row[1])
        true_objects.append(row[2])
    areas = np.concatenate([*true_areas, np.empty(0)])
    if len(samples) < FEWEST_IMAGES or len(areas) < FEWEST_OBJECTS:
        notes.append(f"smallest object 0: {len(samples)} images with {len(areas)} objects are too few to choose by")
        return 0
    counts = np.stack([hits, predicted_objects, true_objects])  # (3, images, sizes)
    allowed = np.percentile(areas, 1) >= SIZES  # never a size that true objects commonly have
    best = _best_size(counts, allowed)
    others = [counts[:, np.arange(len(samples)) != index] for index in range(len(samples))]
    crossed = np.stack([counts[:, i, _best_size(fold, allowed)] for i, fold in enumerate(others)], axis=1)
    if best and _f1(crossed.sum(axis=1)) <= _f1(counts[:, :, 0].sum(axis=1)):
        notes.append("smallest object 0: a size chosen on the other images does not improve the score")
        best = 0
    return int(SIZES[best])


def _best_size(counts: NDArray, allowed: NDArray) -> int:
    """Index of the size with the largest F1 over images; the smallest of those within a ten-thousandth of it."""
    scores = np.where(allowed, _f1(counts.sum(axis=1)), -1)
    return int(np.flatnonzero(scores >= scores.max() - 1e-4)[0])


def _f1(counts: NDArray) -> Any:
    hits, predicted, true = counts
    return 2 * hits / np.maximum(predicted + true, 1)


def _too_few(samples: Sequence[Sample], total: NDArray) -> str:
    return f"{len(samples)} images with {int(total[1].sum())} foreground pixels are too few to choose by"
