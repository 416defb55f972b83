"""Whole images through a network by overlapping tiles, blended with a Gaussian.

The blend follows nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z): a pixel near the edge of its tile,
where the network sees half of its surroundings, weighs little beside the tile that has it in the middle.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of evenly spread tiles that cover `length` and overlap by at least `overlap`."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def blend_weight(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(height, width) Gaussian with a standard deviation of an eighth of each side; largest value 1, never zero."""

    def bell(length: int) -> Tensor:
        x = torch.arange(length, device=device, dtype=torch.float32) - (length - 1) / 2
        return torch.exp(-0.5 * (x / (length / 8)) ** 2)

    return (bell(height)[:, None] * bell(width)).clamp_min(1e-4)


def predict_tiles(
    logits: Callable[[Tensor], Tensor], image: Tensor, tile: int = 512, overlap: int = 128, batch: int = 4
) -> Tensor:
    """Probabilities (K, H, W) float32 of a normalised image (C, H, W).

    An image no larger than 1.5 tiles on both sides goes through whole. `logits` maps (B, C, h, w) to (B, K, h, w).
    """
    _, height, width = image.shape
    if height <= 1.5 * tile and width <= 1.5 * tile:
        return torch.sigmoid(logits(image[None])[0].float())
    tall, wide = min(tile, height), min(tile, width)
    corners = [(y, x) for y in tile_starts(height, tile, overlap) for x in tile_starts(width, tile, overlap)]
    weight = blend_weight(tall, wide, image.device)
    total = torch.zeros(height, width, device=image.device)
    blended: Tensor | None = None
    for first in range(0, len(corners), batch):
        group = corners[first : first + batch]
        crops = torch.stack([image[:, y : y + tall, x : x + wide] for y, x in group])
        probabilities = torch.sigmoid(logits(crops).float()) * weight
        if blended is None:
            blended = torch.zeros(probabilities.shape[1], height, width, device=image.device)
        for (y, x), probability in zip(group, probabilities, strict=True):
            blended[:, y : y + tall, x : x + wide] += probability
            total[y : y + tall, x : x + wide] += weight
    assert blended is not None
    return blended / total
