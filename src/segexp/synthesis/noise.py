"""Normal noise as a pure function of (key, pixel): no state, so no image's noise depends on which were drawn before it.

A counter-based generator (splitmix64's mixing function on key + pixel) followed by Box-Muller, in elementwise torch
operations. It runs batched on any device, one key per image, where `torch.Generator` would need a loop over the
images and give other numbers on a GPU than on a CPU.
"""

import math

import torch
from torch import Tensor

_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer; the next two are splitmix64's as well
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right filling with zeros; torch's own shift of a signed integer copies the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def hashed(keys: Tensor, count: int) -> Tensor:
    """Give 64 mixed bits for each of `count` positions of each key: int64 (B,) -> int64 (B, count)."""
    position = torch.arange(1, count + 1, device=keys.device)
    bits = keys[:, None] + position * _STEP
    bits = (bits ^ _shifted(bits, 30)) * _MIX_1
    bits = (bits ^ _shifted(bits, 27)) * _MIX_2
    return bits ^ _shifted(bits, 31)


def normal(keys: Tensor, height: int, width: int) -> Tensor:
    """Draw standard normal noise, one image per key: int64 (B,) -> float32 (B, height, width).

    The largest value it can give is 5.8: 24 bits decide the radius.
    """
    half = (height * width + 1) // 2
    bits = hashed(keys, half)
    radius = (_shifted(bits, 40) + 1).float().mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle = (bits & 0xFFFFFF).float().mul_(2.0 * math.pi * 2.0**-24)
    pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return pairs[:, : height * width].reshape(-1, height, width)
