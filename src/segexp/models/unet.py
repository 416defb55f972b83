"""The U-Net of Ronneberger, Fischer and Brox (2015, arXiv:1505.04597), with padded convolutions.

Padding keeps the output the size of the input, as every descendant in use today does; sizes that the pooling does not
divide are padded by reflection and cropped back. The widths set the depth: four widths are three poolings.

With `shrink` above 1 the classic U-Net works on an image shrunk by its first convolution, where a step costs a fraction
of what it costs at full resolution, and two narrow convolutions at full resolution join the result with the image
itself. Without these two, thin lines lose their outlines; with them the fast network scores higher than the classic one
in the same time (LOG.md, 2026-11-25).
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from segexp.errors import InputError

NORMS = ("batch", "group", "none")


def normalization_layer(norm: str, channels: int) -> nn.Module:
    """Batch norm, group norm (groups of 8 channels, or one group when 8 does not divide) or nothing.

    Raises:
        InputError: if there is no such norm.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    if norm == "none":
        return nn.Identity()
    raise InputError(f"model.norm={norm!r}: expected one of {', '.join(NORMS)}")


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right to sizes that `multiple` divides.

    By reflection if the image is larger than the missing part, else by repeating its last row and column.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return images
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(images, (0, right, 0, bottom), mode=mode)


def convolution(in_channels: int, out_channels: int, kernel_size: int, norm: str, shrink: int = 1) -> list[nn.Module]:
    """Convolution, norm, ReLU: (B, in, H, W) to (B, out, H / shrink, W / shrink).

    A shrinking convolution looks at squares of twice `shrink`, so that neighbours overlap and nothing aliases.
    """
    size, padding = (kernel_size, kernel_size // 2) if shrink == 1 else (2 * shrink, shrink // 2)
    return [
        nn.Conv2d(in_channels, out_channels, size, stride=shrink, padding=padding, bias=norm == "none"),
        normalization_layer(norm, out_channels),
        nn.ReLU(inplace=True),
    ]


class ConvBlock(nn.Sequential):
    """Twice: convolution, norm, ReLU. (B, in, H, W) to (B, out, H / shrink, W / shrink)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: str, shrink: int = 1):
        first = convolution(in_channels, out_channels, kernel_size, norm, shrink)
        super().__init__(*first, *convolution(out_channels, out_channels, kernel_size, norm))


class Refinement(nn.Module):
    """Upsample shrunk features to full resolution, concatenate them with features of the image there, and convolve."""

    def __init__(self, in_channels: int, width: int, detail: int, kernel_size: int, norm: str, shrink: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(width, detail, shrink, stride=shrink)
        self.look = nn.Sequential(*convolution(in_channels, detail, kernel_size, norm))
        self.merge = nn.Sequential(*convolution(2 * detail, detail, kernel_size, norm))

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """Features (B, width, H / shrink, W / shrink) and images (B, in, H, W) to (B, detail, H, W)."""
        return self.merge(torch.cat([self.look(images), self.up(features)], dim=1))


LARGEST = {"in_channels": 64, "classes": 254, "widths": 4096, "kernel_size": 31, "shrink": 8, "detail": 1024}
"""Upper limit of each setting, beyond the memory of any machine."""
DEPTHS = range(2, 9)


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_settings(in_channels: Any, classes: Any, widths: Any, kernel_size: Any, shrink: Any, detail: Any) -> None:
    for name, value in (("in_channels", in_channels), ("classes", classes), ("detail", detail)):
        if not _whole(value, 1, LARGEST[name]):
            raise InputError(f"model.{name}={_short(value)}: expected a whole number from 1 to {LARGEST[name]}")
    if not _whole(kernel_size, 1, LARGEST["kernel_size"]) or kernel_size % 2 == 0:
        raise InputError(
            f"model.kernel_size={_short(kernel_size)}: expected an odd number such as 3 or 5, at most "
            f"{LARGEST['kernel_size']}"
        )
    fine = isinstance(widths, Sequence) and not isinstance(widths, str) and len(widths) in DEPTHS
    if not fine or not all(_whole(width, 1, LARGEST["widths"]) for width in widths):
        raise InputError(
            f"model.widths={_short(widths)}: expected {DEPTHS[0]} to {DEPTHS[-1]} channel counts from 1 to "
            f"{LARGEST['widths']}"
        )
    if not _whole(shrink, 1, LARGEST["shrink"]) or (shrink > 1 and shrink % 2):
        raise InputError(f"model.shrink={_short(shrink)}: expected 1, 2, 4, 6 or 8")


def _short(value: Any) -> str:
    text = str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class UNet(nn.Module):
    """Encoder and decoder joined at every scale.

    Args:
        in_channels: channels of the image.
        classes: output channels, one logit map a class (background has none).
        widths: channels at each scale, finest first; their number is the depth.
        kernel_size: odd side of the square convolutions, in pixels.
        norm: ``batch``, ``group`` or ``none``.
        shrink: even factor by which the first convolution shrinks the image, before the finest of the `widths`; 1: not.
        detail: channels at full resolution if the image is shrunk.

    The forward pass takes images (B, in_channels, H, W) of any H and W and returns logits (B, classes, H, W).
    ``settings`` holds the arguments as plain values: with the weights they are all a checkpoint needs.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512),
        kernel_size: int = 3,
        norm: str = "batch",
        shrink: int = 1,
        detail: int = 8,
    ):
        super().__init__()
        _check_settings(in_channels, classes, widths, kernel_size, shrink, detail)
        self.settings = {
            "in_channels": int(in_channels),
            "classes": int(classes),
            "widths": [int(width) for width in widths],
            "kernel_size": int(kernel_size),
            "norm": norm,
            "shrink": int(shrink),
            "detail": int(detail),
        }
        self.multiple = shrink * 2 ** (len(widths) - 1)
        finer, coarser = list(widths[:-1]), list(widths[1:])
        self.stem = ConvBlock(in_channels, widths[0], kernel_size, norm, shrink)
        self.down = nn.ModuleList(ConvBlock(a, b, kernel_size, norm) for a, b in zip(finer, coarser, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in zip(finer, coarser, strict=True))
        self.merge = nn.ModuleList(ConvBlock(2 * a, a, kernel_size, norm) for a in finer)
        self.refine = Refinement(in_channels, widths[0], detail, kernel_size, norm, shrink) if shrink > 1 else None
        self.head = nn.Conv2d(detail if shrink > 1 else widths[0], classes, 1)

    @property
    def title(self) -> str:
        """For logs and tables: the class and the widths, and whether they work on a shrunk image."""
        shrunk = f" on the image shrunk by {self.settings['shrink']}" if self.refine is not None else ""
        return f"{type(self).__name__} {self.settings['widths']}{shrunk}"

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to logits (B, classes, H, W)."""
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, self.multiple)
        features = self.stem(images)
        skips = []
        for block in self.down:
            skips.append(features)
            features = block(F.max_pool2d(features, 2))
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            features = merge(torch.cat([skips.pop(), up(features)], dim=1))
        if self.refine is not None:
            features = self.refine(features, images)
        return self.head(features)[..., :height, :width]


def fold_batch_norms(network: UNet) -> UNet:
    """A copy for prediction with the batch norms (and running statistics) folded into the convolutions before them.

    It saves a pass over each feature map. Logits change by rounding alone.
    """
    folded = copy.deepcopy(network).eval()
    for part in list(folded.modules()):
        if isinstance(part, nn.Sequential):
            for index, (first, second) in enumerate(pairwise(part)):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    part[index], part[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return folded


def set_prior(bias: Tensor, foreground: Sequence[float]) -> None:
    """Set a head's bias (K,) to the share of foreground of each class, so that rare classes start at their frequency.

    The bias trick of focal loss (Lin et al. 2017, arXiv:1708.02002, section 4.1). `foreground` holds a share in (0, 1)
    a class.
    """
    share = torch.tensor(foreground, dtype=torch.float32).clamp(1e-3, 0.5)
    with torch.no_grad():
        bias.copy_(torch.log(share / (1 - share)))
