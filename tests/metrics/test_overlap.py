"""Overlap scores on shapes known on paper, and against torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays

from segexp.metrics import Counts, confusion, overlap_scores

MASKS = arrays(bool, (6, 7))


def test_two_squares_by_hand():
    """10x10 squares shifted by 5: 50 pixels shared, 150 in either."""
    truth, prediction = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[0:10, 0:10] = True
    prediction[0:10, 5:15] = True
    counts = confusion(prediction, truth)
    assert counts == Counts(50, 50, 50, 250)
    scores = overlap_scores(counts)
    assert scores == {"dice": 0.5, "iou": 1 / 3, "precision": 0.5, "recall": 0.5, "specificity": 250 / 300}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(0, 0, 0, 9), {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "specificity": 1}),
        (Counts(0, 3, 0, 6), {"dice": 0, "iou": 0, "precision": 0, "recall": 0, "specificity": 2 / 3}),
        (Counts(0, 0, 3, 6), {"dice": 0, "iou": 0, "precision": 0, "recall": 0, "specificity": 1}),
        (Counts(9, 0, 0, 0), {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "specificity": 1}),
        (Counts(6, 0, 3, 0), {"dice": 0.8, "iou": 2 / 3, "precision": 1, "recall": 2 / 3, "specificity": 0}),
    ],
)
def test_empty_masks(counts, expected):
    assert overlap_scores(counts) == expected


@given(prediction=MASKS, truth=MASKS)
def test_agrees_with_torchmetrics(prediction, truth):
    from torchmetrics.functional.classification import (
        binary_f1_score,
        binary_jaccard_index,
        binary_precision,
        binary_recall,
    )

    scores = overlap_scores(confusion(prediction, truth))
    if not prediction.any() or not truth.any():
        return  # torchmetrics calls 0/0 zero; our rule is tested above
    p, t = torch.from_numpy(prediction), torch.from_numpy(truth)
    for name, function in {
        "dice": binary_f1_score,
        "iou": binary_jaccard_index,
        "precision": binary_precision,
        "recall": binary_recall,
    }.items():
        assert scores[name] == pytest.approx(function(p, t).item(), abs=1e-6)


@given(prediction=MASKS, truth=MASKS, known=MASKS)
def test_unknown_pixels_count_nowhere_and_counts_add_up(prediction, truth, known):
    inside = confusion(prediction, truth, known)
    assert inside == confusion(prediction, truth & known | (prediction & ~known), None)._replace(
        tp=inside.tp, tn=inside.tn
    )
    assert sum(inside) == known.sum()
    assert inside + confusion(prediction, truth, ~known) == confusion(prediction, truth)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 3\)"):
        confusion(np.zeros((2, 2)), np.zeros((3, 3)))
