"""The augmentation as one picture: a row a sample, a column an operation, the whole list last."""

from collections.abc import Sequence
from copy import deepcopy

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segexp.augment import Augmentation
from segexp.data.loader import Batch
from segexp.data.normalization import finish, standardize
from segexp.io.images import IGNORE
from segexp.viz.overlay import TRUTH, Picture, outline

_GAP, _TITLE = 4, 22


def preview(augment: Augmentation, batch: Batch, normalization: str, seed: int = 0, side: int = 256) -> Picture:
    """Draw each sample of a batch as read, after each operation alone (always applied), and after the whole list.

    Every panel shows what the network would be given, in grey from the lowest to the highest of its own values, with
    their mean and standard deviation and the outline of its mask. RGB uint8; panels are `side` pixels.
    """
    images = standardize(batch.pixels, batch.offset, batch.scale)
    columns = [("as read", (images, batch.labels))]
    for operation in augment.operations:
        alone = Augmentation([_always(operation)])
        generator = torch.Generator().manual_seed(seed)
        columns.append((_name(operation), alone(images, batch.labels, generator=generator)))
    generator = torch.Generator().manual_seed(seed)
    columns.append(("all of it", augment(images, batch.labels, generator=generator)))
    parts = [_column(title, finish(x, images, normalization), labels, side) for title, (x, labels) in columns]
    return np.concatenate(parts, axis=1)


def _always(operation: torch.nn.Module) -> torch.nn.Module:
    """A copy that acts on every sample: each probability of it that is not 0 becomes 1.

    An operation names them in its class attribute `probabilities`; in others, Kornia's own, it is `p`.
    """
    copy = deepcopy(operation)
    for module in copy.modules():
        for name in getattr(module, "probabilities", ("p",)):
            value = getattr(module, name, None)
            if isinstance(value, float) and value > 0:
                setattr(module, name, 1.0)
    return copy


def _name(operation: torch.nn.Module) -> str:
    children = list(operation.children())  # a stock operation sits in Kornia's container
    inner = children[0] if type(operation).__name__ == "AugmentationSequential" and children else operation
    return type(inner).__name__.removeprefix("Random")


def _column(title: str, images: Tensor, labels: Tensor, side: int) -> Picture:
    panels: Sequence[Picture] = [_panel(x, y, side) for x, y in zip(images.numpy(), labels.numpy(), strict=True)]
    head = np.full((_TITLE, side, 3), 255, np.uint8)
    _write(head, title, _TITLE - 7, 0.5)
    column = np.concatenate([head, *(np.pad(p, ((0, _GAP), (0, 0), (0, 0)), constant_values=255) for p in panels)])
    return np.pad(column, ((0, 0), (0, _GAP), (0, 0)), constant_values=255)


def _panel(image: NDArray, labels: NDArray, side: int) -> Picture:
    low, high = np.percentile(image, (0.1, 99.9))
    grey = np.clip((image.mean(axis=0) - low) / max(high - low, 1e-12), 0, 1) * 255
    grey = cv2.resize(grey.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)
    mask = (labels[0] > 0) & (labels[0] != IGNORE)
    mask = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    marked = outline(np.repeat(grey[..., None], 3, axis=2), mask > 0, TRUTH)
    cv2.rectangle(marked, (0, side - 15), (94, side), (255, 255, 255), -1)
    _write(marked, f"{image.mean():.2f} +- {image.std():.2f}", side - 4, 0.38)
    return marked


def _write(picture: Picture, text: str, baseline: int, scale: float) -> None:
    cv2.putText(picture, text, (4, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
