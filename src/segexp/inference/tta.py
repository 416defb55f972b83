"""Test-time augmentation by the eight symmetries of the square."""

from collections.abc import Callable

import torch
from torch import Tensor


def symmetric(images: Tensor, turns: int, flip: bool) -> Tensor:
    """Images (B, C, H, W) rotated by `turns` quarter turns, then flipped left to right if `flip`."""
    turned = torch.rot90(images, turns, (2, 3))
    return turned.flip(3) if flip else turned


def undone(images: Tensor, turns: int, flip: bool) -> Tensor:
    """Undo `symmetric`."""
    return torch.rot90(images.flip(3) if flip else images, -turns, (2, 3))


def average_symmetries(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The mean of `forward` over all eight rotations and flips of its input, each undone: eight times the cost.

    `forward` maps (B, C, H, W) to (B, K, H, W).
    """

    def averaged(images: Tensor) -> Tensor:
        total: Tensor | None = None
        for flip in (False, True):
            for turns in range(4):
                probabilities = undone(forward(symmetric(images, turns, flip)), turns, flip)
                total = probabilities.clone() if total is None else total.add_(probabilities)
        assert total is not None
        return total / 8

    return averaged
