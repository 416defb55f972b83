"""All of `Predictor` as one `torch.nn.Module`, from raw intensities to probabilities, for programs without segexp.

Written so that `torch.export` and tracing keep batch and size open: sizes enter only arithmetic, never a branch.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.data.normalization import BLACK_PERCENTILE, compress
from segexp.export.packaged import compress_range, mean, reflected
from segexp.inference.predictor import Predictor


def black_level(values: Tensor) -> Tensor:
    """First percentile of (B, C, N), interpolated linearly as NumPy does: (B, C, 1).

    Only the smallest percent is sorted, as `topk`, which ONNX has; `torch.quantile` cannot be exported.
    """
    last = values.shape[2] - 1
    below = last * BLACK_PERCENTILE // 100
    share = (last * BLACK_PERCENTILE - 100 * below) / 100
    smallest = torch.topk(values, below + 2, dim=2, largest=False, sorted=True)[0]
    return smallest[..., below : below + 1] * (1 - share) + smallest[..., below + 1 :] * share


def normalize(images: Tensor, normalization: str) -> Tensor:
    """Raw (B, C, H, W) float32 by each image's statistics, as `segexp.data.normalization` does before its logarithm.

    Sums start from the darkest pixel, so that float32 keeps the digits that matter where the background is large.
    """
    darkest = images.amin((2, 3), keepdim=True)
    values = images - darkest
    average = mean(values)
    deviation = mean((values - average).square()).sqrt()
    constant = deviation <= 1e-7 * (average + darkest).abs()
    scale = torch.where(constant, torch.ones_like(deviation), deviation)
    offset = black_level(values.flatten(2))[..., None] if normalization == "log" else average
    return (values - offset) / scale


class Graph(nn.Module):
    """The exported module.

    Args:
        predictor: the model; its network is copied.
        takes: what goes in. ``raw``: intensities, normalised here by each image's own statistics. ``normalized``:
            offset subtracted and divided by scale already, which suits programs that cut an image into tiles.
            ``package``: what the operations of a bioimage.io package give. The logarithm of a ``log`` model is inside
            in any case.
        pad: take any size of at least two times `multiple` pixels; else only multiples of it.
        sigmoid: return probabilities; else logits.

    Images (B, C, H, W) float32 to (B, K, H, W) float32. As in `Predictor`, an image stands in its own reflection.
    """

    def __init__(self, predictor: Predictor, takes: str = "raw", pad: bool = True, sigmoid: bool = True):
        super().__init__()
        network = copy.deepcopy(predictor.model).cpu().float().eval()
        self.network = network.to(memory_format=torch.contiguous_format)
        self.normalization, self.temperature = predictor.normalization, predictor.temperature
        self.multiple, self.margin = margins(predictor)
        self.channels: int = predictor.model.settings["in_channels"]
        self.takes, self.pad, self.sigmoid = takes, pad, sigmoid
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H, W)."""
        if self.takes == "raw":
            images = normalize(images, self.normalization)
        if self.takes == "package" and self.normalization == "log":
            images = compress_range(images)
        else:
            images = compress(images, self.normalization)
        logits = self.padded(images) if self.pad else reflected(self.network, images, self.margin)
        return torch.sigmoid(logits / self.temperature) if self.sigmoid else logits

    def padded(self, images: Tensor) -> Tensor:
        """Logits of images of any size, reflected up to the next multiple of `multiple`."""
        height, width = images.shape[2:]
        margin, multiple = self.margin, self.multiple
        # not -(-length // multiple): ONNX division truncates, where Python's rounds down
        tall, wide = ((n + 2 * margin + multiple - 1) // multiple * multiple for n in (height, width))
        sides = (margin, wide - width - margin, margin, tall - height - margin)
        logits = self.network(F.pad(images, sides, mode="reflect"))
        return logits[..., margin : margin + height, margin : margin + width]


def margins(predictor: Predictor) -> tuple[int, int]:
    """The network's coarsest pixel, and the reflection `Predictor` puts around an image, rounded up to it."""
    tiling = predictor.tiling()
    multiple = predictor.model.multiple
    return multiple, (tiling.margin + multiple - 1) // multiple * multiple
