"""Breaks, merges and holes: whether a network is connected correctly, whatever its width.

Foreground is 8-connected, background 4-connected. Where nobody annotated both masks are cut alike.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.metrics.region import Mask, bounding_box, shared_pixels


def betti_numbers(mask: NDArray) -> tuple[int, int]:
    """Pieces and holes of a boolean mask (H, W): Betti-0 by 8-connectivity, Betti-1 by 4-connected background."""
    mask = np.asarray(mask, bool)
    cut = mask[bounding_box(mask)]
    return _count(cut), _holes(cut)


def topology_scores(prediction: NDArray, truth: NDArray, known: NDArray | None = None) -> dict[str, float]:
    """Counts of topological mistakes between two boolean masks (H, W); all 0 is right, and so for two empty masks.

    Returns:
        `betti0_error` and `betti1_error`, absolute differences in pieces and in holes; `breaks`, how many pieces too
        many lie on true pieces (a filament found in three parts has two); `merges`, how many true pieces too many lie
        under predicted ones (two filaments joined are one). A piece that touches no piece of the other mask counts
        in Betti-0 only: it was missed or invented, neither broken nor merged.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if known is not None:
        prediction, truth = prediction & known, truth & known
    box = bounding_box(prediction | truth)
    prediction, truth = prediction[box], truth[box]
    if not prediction.size:
        return {"betti0_error": 0.0, "betti1_error": 0.0, "breaks": 0.0, "merges": 0.0}
    predicted, predicted_labels = cv2.connectedComponents(prediction.view(np.uint8), connectivity=8)
    true, true_labels = cv2.connectedComponents(truth.view(np.uint8), connectivity=8)
    predicted_pieces, true_pieces, _ = shared_pixels(np.asarray(predicted_labels), np.asarray(true_labels))
    return {
        "betti0_error": float(abs(predicted - true)),
        "betti1_error": float(abs(_holes(prediction) - _holes(truth))),
        "breaks": float(len(true_pieces) - len(np.unique(true_pieces))),
        "merges": float(len(predicted_pieces) - len(np.unique(predicted_pieces))),
    }


def _count(mask: Mask) -> int:
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1 if mask.size else 0


def _holes(mask: Mask) -> int:
    if not mask.size:
        return 0
    background = cv2.copyMakeBorder((~mask).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    return cv2.connectedComponents(background, connectivity=4)[0] - 2  # less the label 0 and the outside
