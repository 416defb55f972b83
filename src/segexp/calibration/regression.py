"""Kernel ridge regression with its leave-one-out error in closed form (Cawley and Talbot, Neural Networks 17, 2004)."""

import numpy as np
from numpy.typing import NDArray

RIDGES = (1e-3, 1e-2, 0.1, 1.0)
"""Tried for each output; the one with the least leave-one-out error is taken."""
WIDTHS = (1.0, 3.0)
"""Of the Gaussian kernel, in units of the median distance between two inputs."""


def regress(inputs: NDArray, outputs: NDArray, asked: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Predict outputs from inputs similar to known ones.

    Args:
        inputs: (N, F).
        outputs: (N, R).
        asked: (M, F).

    Returns:
        outputs for `asked` (M, R), the root mean square error of each output when left out (R,), and the share of its
        variance that is explained then (R,), 1 at best, about 0 where inputs say nothing.
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
    """Squared distances between rows, (N, F) and (M, F) to (N, M)."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.maximum(squares, 0)
