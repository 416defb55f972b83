"""Normal noise as a pure function of (key, pixel): no state, so no image's noise depends on which were drawn before it.

A counter-based generator (a 32-bit mixing function on position and key) followed by Box-Muller, in elementwise torch
operations. It runs batched on any device, one key per image, where `torch.Generator` would need a loop over the
images and give other numbers on a GPU than on a CPU. 32 bits rather than 64: twice as fast on a CPU.
"""

import math

import torch
from torch import Tensor

# Signed 32-bit forms of 0x9E3779B9 and of the multipliers of C. Wellons' "lowbias32", which were found by search
_STEP = -1640531527
_MIX_1 = 0x7FEB352D
_MIX_2 = -2073254261
_RADIUS = 20  # bits that decide the radius; the other 12 decide the angle


def _fold(bits: Tensor, by: int) -> Tensor:
    """Exclusive-or with the bits shifted right, in place; torch's own shift of a signed integer copies the sign."""
    return bits.bitwise_xor_((bits >> by).bitwise_and_((1 << (32 - by)) - 1))


def _mixed(bits: Tensor) -> Tensor:
    """Mix 32 bits, in place: a change of one changes half of the others."""
    bits = _fold(bits, 16).mul_(_MIX_1)
    bits = _fold(bits, 15).mul_(_MIX_2)
    return _fold(bits, 16)


def hashed(keys: Tensor, count: int) -> Tensor:
    """Give 32 mixed bits for each of `count` positions of each key: int64 (B,) -> int32 (B, count)."""
    low = _mixed(keys.to(torch.int32))
    high = _mixed((keys >> 32).to(torch.int32) + low)
    position = torch.arange(1, count + 1, device=keys.device, dtype=torch.int32).mul_(_STEP)
    bits = position + low[:, None]
    bits = _fold(bits, 16).mul_(_MIX_1).bitwise_xor_(high[:, None])
    bits = _fold(bits, 15).mul_(_MIX_2)
    return _fold(bits, 16)


def normal(keys: Tensor, height: int, width: int) -> Tensor:
    """Draw standard normal noise, one image per key: int64 (B,) -> float32 (B, height, width).

    The largest value it can give is 5.3.
    """
    half = (height * width + 1) // 2
    bits = hashed(keys, half)
    angles = 32 - _RADIUS
    radius = (bits >> angles).bitwise_and_((1 << _RADIUS) - 1).float().add_(1.0).mul_(2.0**-_RADIUS)
    radius = radius.log_().mul_(-2.0).sqrt_()
    angle = bits.bitwise_and_((1 << angles) - 1).float().mul_(2.0 * math.pi * 2.0**-angles)
    pairs = torch.empty(len(keys), 2 * half, device=keys.device)
    torch.mul(radius, angle.cos(), out=pairs[:, :half])
    torch.mul(radius, angle.sin_(), out=pairs[:, half:])
    return pairs[:, : height * width].reshape(-1, height, width)
