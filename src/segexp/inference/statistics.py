"""Statistics of a whole image in one pass over its rows, for images that are not in memory."""

import numpy as np
from numpy.typing import NDArray

from segexp.data.normalization import PERCENTILE_PIXELS, band_statistics, image_statistics
from segexp.inference.row_reader import ArrayRows, pass_over
from segexp.inference.sliding_window import RowSource


def row_statistics(image: RowSource, normalization: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`image_statistics` of the same pixels: offset and scale of each channel, float32 (C,)."""
    if isinstance(image, ArrayRows) and image.pixels[0].size <= PERCENTILE_PIXELS:
        return image_statistics(image.pixels, normalization)
    return band_statistics((band for _, band in pass_over(image)), image.shape[1:], normalization)
