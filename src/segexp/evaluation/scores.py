"""The scores by name, and the rows of one image: one a class."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.io.images import IGNORE
from segexp.io.records import Row
from segexp.metrics.calibration import average_precision, brier, calibration_error, probability_histogram
from segexp.metrics.objects import equivalent_radius, match_objects, object_scores
from segexp.metrics.overlap import confusion, overlap_scores
from segexp.metrics.skeleton import cldice, piece_lengths, skeleton, skeleton_scores
from segexp.metrics.surface import surface_scores
from segexp.metrics.topology import topology_scores

FAMILIES = ("probability", "filament", "surface", "object")
"""What can be asked for beside the overlap, which is always computed; `task.scores` holds some of these."""


class Score(NamedTuple):
    """How a column of ``scores.csv`` is to be read.

    Attributes:
        family: what computes it: ``overlap``, or one of `FAMILIES`.
        better: ``higher`` or ``lower``; empty for a fact that is neither, such as a count of objects.
        unit: empty for a share or a count, ``length`` for pixels (or µm where the pixel size is known).
        words: its name for people.
    """

    family: str
    better: str
    unit: str
    words: str


SCORES = {
    "dice": Score("overlap", "higher", "", "Dice"),
    "iou": Score("overlap", "higher", "", "IoU"),
    "precision": Score("overlap", "higher", "", "precision"),
    "recall": Score("overlap", "higher", "", "recall"),
    "specificity": Score("overlap", "higher", "", "specificity"),
    "bce": Score("overlap", "lower", "", "cross-entropy (nats)"),
    "brier": Score("probability", "lower", "", "Brier score"),
    "ece": Score("probability", "lower", "", "calibration error"),
    "average_precision": Score("probability", "higher", "", "average precision"),
    "cldice": Score("filament", "higher", "", "clDice"),
    "skeleton_precision": Score("filament", "higher", "", "centreline precision"),
    "skeleton_recall": Score("filament", "higher", "", "centreline recall"),
    "skeleton_f1": Score("filament", "higher", "", "centreline F1"),
    "length_error": Score("filament", "lower", "", "length error"),
    "length_truth": Score("filament", "", "length", "true length"),
    "length_prediction": Score("filament", "", "length", "predicted length"),
    "betti0_error": Score("filament", "lower", "", "pieces off (Betti-0)"),
    "betti1_error": Score("filament", "lower", "", "holes off (Betti-1)"),
    "breaks": Score("filament", "lower", "", "breaks"),
    "merges": Score("filament", "lower", "", "merges"),
    "surface_dice": Score("surface", "higher", "", "surface Dice"),
    "surface_distance": Score("surface", "lower", "length", "mean surface distance"),
    "hd95": Score("surface", "lower", "length", "HD95"),
    "object_f1": Score("object", "higher", "", "object F1"),
    "object_precision": Score("object", "higher", "", "object precision"),
    "object_recall": Score("object", "higher", "", "object recall"),
    "object_f1_75": Score("object", "higher", "", "object F1 at IoU 0.75"),
    "object_ap": Score("object", "higher", "", "object AP, IoU 0.5 to 0.9"),
    "panoptic_quality": Score("object", "higher", "", "panoptic quality"),
    "count_error": Score("object", "lower", "", "count error"),
    "centre_error": Score("object", "lower", "length", "centre error"),
    "radius_error": Score("object", "lower", "length", "radius error"),
    "objects_truth": Score("object", "", "", "true objects"),
    "objects_prediction": Score("object", "", "", "predicted objects"),
}


WITHOUT_TRUTH = ("specificity", "bce", "brier", "ece")
"""Scores that a class has although none of the images holds a pixel of it: they look at every pixel."""


class ClassScores(NamedTuple):
    """All that is known of one class in one image.

    Attributes:
        row: its row of ``scores.csv``.
        histogram: (2, BINS) of `probability_histogram`; None unless the family ``probability`` was asked for.
        sizes: by name (``object_diameter``, ``filament_length``) the sizes of true and of predicted objects.
    """

    row: Row
    histogram: NDArray[np.int64] | None
    sizes: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def score_class(
    probability: NDArray,
    predicted: NDArray,
    true: NDArray,
    known: NDArray | None,
    families: Collection[str] = (),
    tolerance: float = 2.0,
    spacing: float = 1.0,
    objects: tuple[NDArray, NDArray] | None = None,
) -> ClassScores:
    """Score one class of one image.

    Args:
        probability: (H, W) float32.
        predicted, true: boolean (H, W).
        known: False where nobody annotated; None where everything is.
        families: of `FAMILIES`, or ``centreline`` for clDice alone.
        tolerance: of centrelines and outlines, in the unit of `spacing`.
        spacing: a pixel's side, 1 for pixels or in µm.
        objects: predicted and true object ids (H, W), 0 outside; None: the connected pieces of the masks.
    """
    counts = confusion(predicted, true, known)
    scores = {**overlap_scores(counts), "bce": cross_entropy(probability, true, known)}
    histogram = None
    sizes = {}
    if "probability" in families:
        histogram = probability_histogram(probability, true, known)
        scores["brier"] = brier(probability, true, known)
        scores["ece"] = calibration_error(histogram)
        scores["average_precision"] = average_precision(histogram)
    if "filament" in families:
        lines = skeleton(predicted, known), skeleton(true)
        scores |= skeleton_scores(predicted, true, known, tolerance, spacing, lines)
        scores |= topology_scores(predicted, true, known)
        sizes["filament_length"] = piece_lengths(lines[1], spacing), piece_lengths(lines[0], spacing)
    elif "centreline" in families:
        scores["cldice"] = cldice(predicted, true)
    if "surface" in families:
        scores |= surface_scores(predicted, true, known, tolerance, spacing)
    if "object" in families:
        matching = match_objects(*(objects or (predicted, true)), known)
        scores |= object_scores(matching, spacing)
        true_size, predicted_size = (equivalent_radius(part.areas) for part in (matching.true, matching.predicted))
        sizes["object_diameter"] = 2 * spacing * true_size, 2 * spacing * predicted_size
    return ClassScores({**scores, **counts._asdict()}, histogram, sizes)


def score_image(
    probabilities: NDArray,
    labels: NDArray,
    truth: NDArray,
    classes: Sequence[str],
    image: str,
    families: Collection[str] = (),
    group: str = "",
    tolerance: float = 2.0,
    spacing: float = 1.0,
    objects: tuple[NDArray, NDArray] | None = None,
) -> list[ClassScores]:
    """Score one image, class by class; each row begins with image, class and group.

    Probabilities (K, H, W), predicted and true labels (H, W); `IGNORE` in the truth counts nowhere. `objects` are those
    of the first class.
    """
    known = truth != IGNORE
    some = None if known.all() else known
    rows = []
    for index, name in enumerate(classes, 1):
        predicted, true = labels == index, truth == index
        ids = objects if index == 1 else None
        scores = score_class(probabilities[index - 1], predicted, true, some, families, tolerance, spacing, ids)
        row: Row = {"image": image, "class": name, "group": group, **scores.row}
        rows.append(scores._replace(row=row))
    return rows


def cross_entropy(probability: NDArray, true: NDArray, known: NDArray | None = None) -> float:
    """Mean binary cross-entropy in nats, the validation loss; 0 where no pixel is known."""
    likelihood = np.abs(probability - ~true)
    if known is not None:
        likelihood = likelihood[known]
    return -float(np.log(np.maximum(likelihood, 1e-7)).mean(dtype=np.float64)) if likelihood.size else 0.0


def is_number(value: object) -> bool:
    """Whether a cell of a row holds a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
