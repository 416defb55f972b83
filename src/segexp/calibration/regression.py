"""Kernel ridge regression with its leave-one-out error in closed form (Cawley and Talbot, Neural Networks 17, 2004)."""

import numpy as np
from numpy.typing import NDArray

RIDGES = (1e-3, 1e-2, 0.1, 1.0)
"""Ridge penalties tried for each output; the one with the smallest leave-one-out error is used."""
WIDTHS = (1.0, 3.0)
"""Widths of the Gaussian kernel that are tried, in units of the median distance between two inputs."""


def regress(inputs: NDArray, outputs: NDArray, asked: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Fit a kernel ridge regression, and predict the outputs of further inputs.

    Args:
        inputs: (N, F), known inputs.
        outputs: (N, R), their outputs.
        asked: (M, F), inputs whose outputs are predicted.

    Returns:
        the predicted outputs (M, R), the leave-one-out root mean square error of each output (R,), and the share of
        its variance explained in leave-one-out (R,): at best 1, about 0 if the inputs contain no information.
    """
    squares = _squares(inputs, inputs)
    typical = max(float(np.median(squares[np.triu_indices(len(inputs), 1)])), 1e-12)
    centre = outputs.mean(0)
    error = np.full(outputs.shape[1], np.inf)
    read = np.tile(centre, (len(asked), 1))
    for width in WIDTHS:
        kernel = np.exp(-squares / (2 * width**2 * typical))
        values, vectors = np.linalg.eigh(kernel)
        turned = vectors.T @ (outputs - centre)
        between = np.exp(-_squares(asked, inputs) / (2 * width**2 * typical)) @ vectors
        for ridge in RIDGES:
            shrunk = 1.0 / (np.maximum(values, 0) + ridge)
            weights = vectors @ (shrunk[:, None] * turned)
            left_out = weights / (vectors**2 @ shrunk)[:, None]
            deviation = np.sqrt((left_out**2).mean(0))
            better = deviation < error
            error = np.where(better, deviation, error)
            read[:, better] = (centre + between @ (shrunk[:, None] * turned))[:, better]
    variance = np.maximum(outputs.var(0), 1e-12)
    return read, error, 1 - error**2 / variance


def _squares(one: NDArray, other: NDArray) -> NDArray:
    """Return the squared distances between rows: (N, F) and (M, F) to (N, M)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.maximum(squares, 0)
