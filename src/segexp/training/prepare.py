"""Turn a raw batch into the input of network and loss: copied, normalised and augmented on the device."""

import torch
from torch import Tensor

from segexp.augment import Augmentation
from segexp.augment.pipeline import Params
from segexp.data.loader import Batch
from segexp.data.normalization import finish, standardize
from segexp.distributed import ALONE, Ranks
from segexp.io.images import IGNORE
from segexp.losses import IGNORED


def to_targets(labels: Tensor, classes: int) -> Tensor:
    """Labels (B, 1, H, W) uint8 to targets (B, classes, H, W) float32: 0 or 1, and -1 where nobody annotated."""
    ids = torch.arange(1, classes + 1, device=labels.device, dtype=torch.uint8)[:, None, None]
    return (labels == ids).float().masked_fill(labels == IGNORE, IGNORED)


def prepare(
    batch: Batch, device: torch.device, augment: Augmentation, normalization: str, classes: int, ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Raw crops to the network's input (B, C, H, W) float32 and targets (B, K, H, W), all on the device.

    With several processes the augmentation is drawn for the whole batch, and each process applies its own part.
    """
    count, *shape = batch.pixels.shape
    drawn = augment.sample((count * ranks.world, *shape))
    if ranks.world > 1:
        drawn = augment.select(drawn, range(ranks.rank, count * ranks.world, ranks.world))
    return transform(batch.to(device), augment, drawn, normalization, classes)


def transform(
    batch: Batch, augment: Augmentation, drawn: Params, normalization: str, classes: int
) -> tuple[Tensor, Tensor]:
    """The same for crops on the device and drawn parameters: nothing here depends on values on the CPU."""
    plain = standardize(batch.pixels, batch.offset, batch.scale)
    augmented, labels = augment(plain, batch.labels, params=drawn)
    images = finish(augmented, plain, normalization)
    return images.contiguous(memory_format=torch.channels_last), to_targets(labels, classes)
