"""The rows of one image: one for each class, with the scores of `segexp.metrics.registry`."""

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
from segexp.metrics.registry import ALONE, SCORES, number_of
from segexp.metrics.skeleton import centreline_dice, piece_lengths, skeleton, skeleton_scores
from segexp.metrics.surface import surface_scores
from segexp.metrics.topology import topology_scores


class ClassScores(NamedTuple):
    """The results of one class in one image.

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
        known: False where nobody annotated; None if everything is.
        families: of `segexp.metrics.registry.FAMILIES`, and scores to be had alone, of `ALONE` there.
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
    own = [ALONE[name] for name in families if name in ALONE]
    if "cldice" not in scores and SCORES["cldice"] in own:  # as above: the border of what is known bends no line
        scores["cldice"] = centreline_dice(predicted, true, skeleton(predicted, known), skeleton(true))
    for score in own:
        if score.name not in scores:
            scores[score.name] = number_of(score, predicted if known is None else predicted & known, true)
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
    of the first class. Every score of an image without annotation is NaN, so that it counts in no mean.
    """
    known = truth != IGNORE
    some = None if known.all() else known
    rows = []
    for index, name in enumerate(classes, 1):
        predicted, true = labels == index, truth == index
        ids = objects if index == 1 else None
        scores = score_class(probabilities[index - 1], predicted, true, some, families, tolerance, spacing, ids)
        own = scores.row if known.any() else scores.row | dict.fromkeys(scores.row.keys() & SCORES.keys(), math.nan)
        row: Row = {"image": image, "class": name, "group": group, **own}
        rows.append(scores._replace(row=row))
    return rows


def cross_entropy(probability: NDArray, true: NDArray, known: NDArray | None = None) -> float:
    """Mean binary cross-entropy in nats, the validation loss; 0 if no pixel is known."""
    likelihood = np.abs(probability - ~true)
    if known is not None:
        likelihood = likelihood[known]
    return -float(np.log(np.maximum(likelihood, 1e-7)).mean(dtype=np.float64)) if likelihood.size else 0.0


def is_number(value: object) -> bool:
    """Whether a cell of a row holds a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
