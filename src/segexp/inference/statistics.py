"""The whole image's statistics in one pass over its rows, for images that are not held in memory."""

import numpy as np
from numpy.typing import NDArray

from segexp.data.normalization import BLACK_PERCENTILE, PERCENTILE_PIXELS, image_statistics
from segexp.inference.rows import ArrayRows, pass_over
from segexp.inference.tiles import Rows


def row_statistics(image: Rows, normalization: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `image_statistics` gives for the same pixels: offset and scale of each channel, float32 (C,).

    Mean and variance of the bands are joined by Chan, Golub and LeVeque's formula (1979, Stanford report
    STAN-CS-79-773), in float64; the percentile is that of the same regular subset of pixels.
    """
    if isinstance(image, ArrayRows) and image.pixels[0].size <= PERCENTILE_PIXELS:
        return image_statistics(image.pixels, normalization)
    channels, height, width = image.shape
    step = -(-height * width // PERCENTILE_PIXELS)
    seen, mean, squares = 0, np.zeros(channels), np.zeros(channels)
    kept: list[NDArray] = []
    for top, band in pass_over(image):
        flat = band.reshape(channels, -1)
        count = flat.shape[1]
        band_mean = flat.mean(axis=1, dtype=np.float64)
        deviation = flat - band_mean[:, None]
        gap = band_mean - mean
        squares += np.einsum("ij,ij->i", deviation, deviation) + gap**2 * (seen * count / (seen + count))
        mean += gap * (count / (seen + count))
        seen += count
        kept.append(flat[:, -(top * width) % step :: step].copy())
    offset, scale = mean, np.sqrt(squares / seen)
    scale[scale <= 1e-7 * np.abs(mean)] = 1.0
    if normalization == "log":
        offset = np.percentile(np.concatenate(kept, axis=1), BLACK_PERCENTILE, axis=1)
    return offset.astype(np.float32), scale.astype(np.float32)
