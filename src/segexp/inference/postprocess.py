"""Labels of an image too large for memory, band by band."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from segexp.inference.predictor import drop_small, label_classes

Probabilities = NDArray[np.float32]


def labelled_bands(
    bands: Iterable[tuple[int, Probabilities]], height: int, threshold: float, min_size: int
) -> Iterator[tuple[Probabilities, NDArray[np.uint8]]]:
    """Add labels (rows, W), as from `Predictor.labels`, to bands of probabilities (K, rows, W) from top to bottom.

    A piece of fewer than `min_size` pixels is less than `min_size` rows high. The rows that are labelled together
    therefore extend the rows to be decided by as many on both sides: a piece that reaches further is not small.
    """
    around = max(min_size - 1, 0) if min_size > 1 else 0
    pending: Probabilities | None = None
    labels: NDArray[np.uint8] | None = None
    above = 0  # rows held of those already given
    for first, band in bands:
        fresh = label_classes(band, threshold)
        pending = band if pending is None else np.concatenate([pending, band], axis=1)
        labels = fresh if labels is None else np.concatenate([labels, fresh])
        last = first + band.shape[1] == height
        end = len(labels) - (0 if last else around)
        if end <= above:
            continue
        clean = drop_small(labels.copy(), len(band), min_size)
        yield pending[:, above:end], clean[above:end]
        keep = max(end - around, 0)
        pending, labels, above = pending[:, keep:], labels[keep:], end - keep
