"""Centreline scores, for structures whose course matters more than their width."""

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


def cldice(prediction: NDArray, truth: NDArray) -> float:
    """Centreline Dice of two boolean masks (H, W), in [0, 1]: Shit et al. (2021, arXiv:2003.07311).

    Harmonic mean of the share of the predicted skeleton inside the truth and of the true skeleton inside the
    prediction. Two empty masks score 1, one empty mask 0.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if not prediction.any() or not truth.any():
        return float(prediction.any() == truth.any())
    precision = truth[skeletonize(prediction)].mean()
    recall = prediction[skeletonize(truth)].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
