"""Normal noise as a pure function of (key, pixel), without state: the noise of an image depends on no other image.

A counter-based generator (a 32-bit mixing function of position and key) followed by Box-Muller, in elementwise torch
operations. It runs batched on any device, one key per image. `torch.Generator` would need a loop over the images, and
its numbers differ between GPU and CPU. 32 bits are used, not 64: twice as fast on a CPU.
"""

import math

import torch
from torch import Tensor

# Signed 32-bit forms of 0x9E3779B9 and of the multipliers of C. Wellons' "lowbias32", which he found by search
_STEP = -1640531527
_MIX_1 = 0x7FEB352D
_MIX_2 = -2073254261
_RADIUS = 20  # bits that decide the radius; the other 12 decide the angle


def _fold(bits: Tensor, by: int) -> Tensor:
    """XOR with the bits shifted right, in place; the mask is needed because torch's shift copies the sign bit."""
    return bits.bitwise_xor_((bits >> by).bitwise_and_((1 << (32 - by)) - 1))


def _mixed(bits: Tensor) -> Tensor:
    """Mix 32 bits, in place: changing one input bit changes about half of the output bits."""
    bits = _fold(bits, 16).mul_(_MIX_1)
    bits = _fold(bits, 15).mul_(_MIX_2)
    return _fold(bits, 16)


def hashed(keys: Tensor, count: int) -> Tensor:
    """Return 32 mixed bits for each of `count` positions and each key: int64 (B,) -> int32 (B, count)."""
    low = _mixed(keys.to(torch.int32))
    high = _mixed((keys >> 32).to(torch.int32) + low)
    position = torch.arange(1, count + 1, device=keys.device, dtype=torch.int32).mul_(_STEP)
    bits = position + low[:, None]
    bits = _fold(bits, 16).mul_(_MIX_1).bitwise_xor_(high[:, None])
    bits = _fold(bits, 15).mul_(_MIX_2)
    return _fold(bits, 16)


def normal(keys: Tensor, height: int, width: int) -> Tensor:
    """Draw standard normal noise, one image per key: int64 (B,) -> float32 (B, height, width).

    The magnitude of the noise is at most 5.3.
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
