"""What happens to intensities on their way to the model: the one place for training, validation, prediction and export.

``standard``: subtract the whole image's mean, divide by its standard deviation (per channel).

``log``: the same, followed by ``sign(x) log(1 + |x|)`` after the augmentation. The logarithm turns a multiplication of
the intensity into a shift of the bright parts, so a vesicle thousands of times brighter than its neighbour stays within
the range a batch norm can describe, and an augmentation that multiplies by 65,000 acts without wrecking it.

Because the statistics are the whole image's, both give the same result for an image and for any multiple of it, and a
tile is treated like the image it was cut from.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segexp.errors import InputError

NORMALIZATIONS = ("standard", "log")


def image_statistics(pixels: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel of (C, H, W), each float32 (C,).

    A constant channel gets standard deviation 1, so it becomes zeros and not NaN. Sums run in float64: the fourth digit
    of a 16-bit mean is lost otherwise.
    """
    flat = pixels.reshape(pixels.shape[0], -1)
    mean = flat.mean(axis=1, dtype=np.float64)
    deviation = flat.std(axis=1, dtype=np.float64)
    deviation[deviation <= 1e-7 * np.abs(mean)] = 1.0
    return mean.astype(np.float32), deviation.astype(np.float32)


def standardize(raw: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Raw pixels (B, C, H, W) of any dtype to float32, with statistics (B, C) of the images they were cut from."""
    return (raw.to(torch.float32) - mean[..., None, None]) / deviation[..., None, None]


def compress(images: Tensor, normalization: str) -> Tensor:
    """The pointwise step after the augmentation: nothing for ``standard``, the symmetric logarithm for ``log``."""
    if normalization == "standard":
        return images
    if normalization == "log":
        return torch.sign(images) * torch.log1p(images.abs())
    raise InputError(f"task.normalization={normalization!r}: wanted one of {', '.join(NORMALIZATIONS)}")
