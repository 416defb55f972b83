"""Normalisation of intensities: the one place for training, validation, prediction and export.

``standard``: subtract the whole image's mean, divide by its standard deviation (per channel).

``log``: subtract the whole image's black level (its first percentile), divide by its standard deviation, and take
``sign(x) log(1 + |x|)`` after the augmentation. There each training crop is given back the mean and standard deviation
that its logarithm had before the augmentation. So a multiplication by 65,000 does not move the crop out of the range of
the batch norm's statistics, and is not cancelled either: it moves the knee of the logarithm, from a nearly linear image
to one in which a vesicle a thousand times dimmer than its neighbour is as clearly visible. The logarithm starts from
black and not from the mean: if intensities were multiplied about the mean, everything darker would be inverted.

Because offset and scale are those of the whole image, both give the same result for an image and for any multiple of
it, and a tile is normalised like the image it was cut from.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segexp.errors import InputError

NORMALIZATIONS = ("standard", "log")
BLACK_PERCENTILE = 1

LARGEST = 1e37
"""Larger values are refused: their differences and squares would exceed float32, which ends at 3.4e38."""
SMALLEST = 1e-37
"""Differences below it are lost in float32."""
FLOAT32_STEP = 2.0**-23
"""Distance of neighbouring float32 numbers, as a share of them."""
STEPS = 8
"""Smallest standard deviation of an image in steps of float32: rounding then adds 4 % to it."""

PERCENTILE_PIXELS = 1_000_000  # a regular subset of more is as good, and sorts in milliseconds


def image_statistics(pixels: NDArray, normalization: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Offset and scale of each channel of (C, H, W), each float32 (C,): mean or black level, and standard deviation.

    A constant channel gets scale 1, so it becomes zeros and not NaN. Sums run in float64: the fourth digit of a 16-bit
    mean is lost otherwise.
    """
    flat = pixels.reshape(pixels.shape[0], -1)
    offset = flat.mean(axis=1, dtype=np.float64)
    scale = flat.std(axis=1, dtype=np.float64)
    scale[scale <= 1e-7 * np.abs(offset)] = 1.0
    if normalization == "log":
        step = -(-flat.shape[1] // PERCENTILE_PIXELS)
        offset = np.percentile(flat[:, ::step], BLACK_PERCENTILE, axis=1)
    return offset.astype(np.float32), scale.astype(np.float32)


def band_statistics(
    bands: Iterable[NDArray], shape: tuple[int, int], normalization: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`image_statistics` of an image of `shape` (H, W) that is given in bands (C, h, W) from top to bottom.

    Mean and variance of the bands are combined by Chan, Golub and LeVeque's formula (1979, Stanford report
    STAN-CS-79-773), in float64; the percentile is that of the same regular subset of pixels.
    """
    step = -(-shape[0] * shape[1] // PERCENTILE_PIXELS)
    counted = 0
    mean = squares = np.zeros(1)
    kept: list[NDArray] = []
    for band in bands:
        flat = band.reshape(band.shape[0], -1)
        count = flat.shape[1]
        band_mean = flat.mean(axis=1, dtype=np.float64)
        gap = band_mean - mean
        squares = squares + flat.var(axis=1, dtype=np.float64) * count + gap**2 * (counted * count / (counted + count))
        mean = mean + gap * (count / (counted + count))
        kept.append(flat[:, -counted % step :: step].copy())
        counted += count
    offset, scale = mean, np.sqrt(squares / counted)
    scale[scale <= 1e-7 * np.abs(mean)] = 1.0
    if normalization == "log":
        offset = np.percentile(np.concatenate(kept, axis=1), BLACK_PERCENTILE, axis=1)
    return offset.astype(np.float32), scale.astype(np.float32)


def check_finite(pixels: NDArray, path: str | Path = "image") -> None:
    """Raise `InputError` if pixels hold NaN or infinite values, or some so large that float32 cannot hold them."""
    if pixels.dtype.kind != "f":
        return
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))  # NaN comes through
    if not (math.isfinite(low) and math.isfinite(high)):
        share = 100 * np.mean(~np.isfinite(pixels))
        raise InputError(
            f"{path}: holds NaN or infinite values ({share:.2g} % of the pixels); expected finite numbers: "
            "replace them, for example by the median of the others"
        )
    if max(-low, high) > LARGEST:
        raise InputError(
            f"{path}: values from {low:g} to {high:g}; expected none above {LARGEST:g} in magnitude: divide the "
            "image by a constant"
        )


def check_float32(bands: Iterable[NDArray], path: str | Path = "image") -> None:
    """Raise `InputError` if an image in bands (C, h, W) would lose its contrast when it is converted to float32.

    In float32, 10^9 + [0, 1] is the constant 10^9. Images that are constant, up to rounding, are accepted.
    """
    counted: float = 0
    low, high, mean, squares = (np.zeros(1) for _ in range(4))
    for band in bands:
        if not casts(band.dtype):
            return
        flat = band.reshape(band.shape[0], -1)
        lowest, highest, count = flat.min(axis=1), flat.max(axis=1), flat.shape[1]
        low, high = (np.minimum(low, lowest), np.maximum(high, highest)) if counted else (lowest, highest)
        gap = flat.mean(axis=1, dtype=np.float64) - mean
        squares = squares + flat.var(axis=1, dtype=np.float64) * count + gap**2 * (counted * count / (counted + count))
        mean, counted = mean + gap * (count / (counted + count)), counted + count
    size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    deviation = np.sqrt(squares / max(counted, 1))
    lost = (low < high) & (deviation < STEPS * np.maximum(size * FLOAT32_STEP, SMALLEST))
    if low.dtype.kind == "f":
        lost &= deviation > 1e-13 * size
    if lost.any():
        channel = int(np.argmax(lost))
        first, last = low[channel], high[channel]
        raise InputError(
            f"{path}: values from {first} to {last} ({low.dtype}) differ too little to be distinguished in float32; "
            + ("multiply the image by a constant" if size[channel] < 1 else f"subtract {first} from the image")
            + " and save it as float32"
        )


def casts(dtype: np.dtype) -> bool:
    """Whether values of `dtype` are not all float32 numbers: 32- and 64-bit integers, and wider floats."""
    return dtype.itemsize > 4 or (dtype.itemsize == 4 and dtype.kind in "iu")


def standardize(raw: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """Raw pixels (B, C, H, W) of any dtype to float32, with statistics (B, C) of the images they were cut from."""
    return (raw.to(torch.float32) - offset[..., None, None]) / scale[..., None, None]


def compress(images: Tensor, normalization: str) -> Tensor:
    """The pointwise step after the augmentation: nothing for ``standard``, the symmetric logarithm for ``log``.

    Raises:
        InputError: if there is no such normalisation.
    """
    if normalization == "standard":
        return images
    if normalization == "log":
        return torch.sign(images) * torch.log1p(images.abs())
    raise InputError(f"task.normalization={normalization!r}: expected one of {', '.join(NORMALIZATIONS)}")


def finish(augmented: Tensor, image: Tensor, normalization: str) -> Tensor:
    """The network's input in training, from augmented crops (B, C, H, W) and the same crops before the augmentation."""
    images = compress(augmented, normalization)
    return match_moments(images, compress(image, normalization)) if normalization == "log" else images


def match_moments(images: Tensor, reference: Tensor) -> Tensor:
    """Shift and scale each sample and channel of (B, C, H, W) to its mean and standard deviation in `reference`."""

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((2, 3), keepdim=True)
        return mean, (x - mean).square().mean((2, 3), keepdim=True).sqrt()

    mean, deviation = moments(images)
    wanted_mean, wanted_deviation = moments(reference)
    return (images - mean) * (wanted_deviation / deviation.clamp_min(1e-6)) + wanted_mean
