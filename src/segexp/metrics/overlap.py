"""Pixel overlap: count true and false pixels once, derive every score from the counts.

The rule for empty masks: a score whose denominator is zero is 1 when prediction and truth are both empty (nothing to
find and nothing found) and 0 when only one of them is. For specificity, which looks at the background, the same holds
of two backgrounds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """Pixels of one class: true positive, false positive, false negative, true negative. Addition pools images."""

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


def confusion(prediction: NDArray, truth: NDArray, known: NDArray | None = None) -> Counts:
    """Count pixels of two boolean masks of the same shape; pixels where `known` is False count nowhere.

    Raises:
        ValueError: if the shapes differ.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, truth {truth.shape}: expected the same")
    size = prediction.size
    if known is not None:
        known = np.asarray(known, bool)
        prediction, truth, size = prediction & known, truth & known, int(np.count_nonzero(known))
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, size - tp - fp - fn)


def overlap_scores(counts: Counts) -> dict[str, float]:
    """Dice, IoU, precision, recall and specificity in [0, 1] from one class's counts (rule for empty masks above)."""
    tp, fp, fn, tn = counts
    empty = 1.0 if tp + fp + fn == 0 else 0.0
    full = 1.0 if tn + fp + fn == 0 else 0.0

    def share(part: int, whole: int, otherwise: float = empty) -> float:
        return part / whole if whole else otherwise

    return {
        "dice": share(2 * tp, 2 * tp + fp + fn),
        "iou": share(tp, tp + fp + fn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "specificity": share(tn, tn + fp, full),
    }
