"""The effect of JPEG on grey pixels, in batched torch on any device: 8x8 blocks, cosine transform, rounding, inverse.

All steps except the entropy coding, which is lossless; ITU-T T.81 with the tables of its annex K. The pixels of a codec
can differ by one grey level where its integer transform rounds differently.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Annex K.1, luminance, row by row
_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal matrix of the 8-point cosine transform."""
    k = torch.arange(8, dtype=torch.float32, device=device)
    matrix = 0.5 * torch.cos(math.pi * (2 * k[None, :] + 1) * k[:, None] / 16)
    matrix[0] /= math.sqrt(2.0)
    return matrix


def steps(quality: Tensor) -> Tensor:
    """Return the quantisation tables, (B, 8, 8): quality (B,) from 1 to 100, as libjpeg scales the standard's table."""
    table = torch.tensor(_STEPS, dtype=torch.float32, device=quality.device)
    scale = torch.where(quality < 50, 5000.0 / quality, 200.0 - 2.0 * quality)
    return ((table * scale[:, None, None] + 50.0) / 100.0).floor_().clamp_(1.0, 255.0)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Encode and decode: float images (B, H, W) in [0, 255], quality (B,) -> whole numbers as float32, (B, H, W)."""
    batch, height, width = images.shape
    padded = F.pad(images[None], (0, -width % 8, 0, -height % 8), mode="replicate")[0]
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.reshape(batch, rows, 8, columns, 8).transpose(2, 3) - 128.0
    cosines, table = _cosines(images.device), steps(quality)[:, None, None]
    kept = (cosines @ blocks @ cosines.T / table).round_() * table
    back = (cosines.T @ kept @ cosines).add_(128.0).round_().clamp_(0.0, 255.0)
    return back.transpose(2, 3).reshape(padded.shape)[:, :height, :width]
