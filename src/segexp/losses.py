"""Losses on logits: binary cross-entropy, soft Dice and soft clDice, each class a sigmoid channel of its own.

Targets are 0 or 1; a negative value means "not annotated here" and counts nowhere. Everything is computed in float32,
whatever the precision of the forward pass.

Each loss is a ratio of sums over the batch. Where a batch is spread over several processes, ``add_up`` adds a tensor of
such sums over all of them, so that every process has the loss of the whole batch; alone it returns what it is given.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -1.0
"""Value of a target that no loss counts."""

AddUp = Callable[[Tensor], Tensor]


def alone(sums: Tensor) -> Tensor:
    """The sums of a batch that is all here."""
    return sums


def binary_cross_entropy(logits: Tensor, targets: Tensor, add_up: AddUp = alone) -> Tensor:
    """Mean over the annotated pixels of logits and targets (B, K, H, W); zero when nothing is annotated."""
    known = targets >= 0
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets.float().clamp_min(0), reduction="none")
    total, count = add_up(torch.stack([(loss * known).sum(), known.sum().float()]))
    return total / count.clamp_min(1)


def soft_dice_loss(logits: Tensor, targets: Tensor, smooth: float = 1.0, add_up: AddUp = alone) -> Tensor:
    """One minus the soft Dice of Milletari et al. (2016, arXiv:1606.04797), a scalar in [0, 1].

    Counted over the whole batch for each class and then averaged over classes: a crop without foreground, common with
    vesicles and filaments, then weighs by its false positives instead of as a perfect or a hopeless score.
    """
    known = targets >= 0
    probabilities = torch.sigmoid(logits.float()) * known
    truth = targets.float().clamp_min(0)
    axes = (0, 2, 3)
    overlap, total = add_up(torch.stack([(probabilities * truth).sum(axes), probabilities.sum(axes) + truth.sum(axes)]))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def _erode(x: Tensor) -> Tensor:
    """Minimum over the plus-shaped neighbourhood of each pixel."""
    return -torch.maximum(F.max_pool2d(-x, (3, 1), 1, (1, 0)), F.max_pool2d(-x, (1, 3), 1, (0, 1)))


def soft_skeleton(x: Tensor, iterations: int) -> Tensor:
    """Differentiable skeleton of maps (B, K, H, W) in [0, 1], after Shit et al. (2021, arXiv:2003.07311, algorithm 1).

    What an opening removes is skeleton; eroding and repeating collects it at every width. Lines up to
    ``2 * iterations`` pixels wide are thinned fully.
    """

    def ridge(y: Tensor) -> tuple[Tensor, Tensor]:
        eroded = _erode(y)
        return eroded, F.relu(y - F.max_pool2d(eroded, 3, 1, 1))

    # all maps as the channels of one image, innermost in memory: on a CPU pooling one channel takes three times as long
    shape = x.shape
    x = x.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    x, skeleton = ridge(x)
    for _ in range(iterations):
        x, more = ridge(x)
        skeleton = skeleton + F.relu(more - skeleton * more)
    return skeleton.contiguous().view(shape)


def _binary_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """`soft_skeleton` of a mask, bool (B, K, H, W): the same pixels in a tenth of the time."""
    skeleton = torch.zeros_like(mask)
    for _ in range(iterations + 1):
        eroded = _combine(mask.clone(), mask, Tensor.logical_and_, axes=(-2, -1))
        rows = _combine(eroded.clone(), eroded, Tensor.logical_or_, axes=(-2,))
        opened = _combine(rows.clone(), rows, Tensor.logical_or_, axes=(-1,))
        skeleton |= mask & ~opened
        mask = eroded
    return skeleton


def _combine(result: Tensor, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], axes: Sequence[int]) -> Tensor:
    """`result` combined in place with `x` moved by one pixel to either side along each of the axes."""
    for axis in axes:
        inner = x.shape[axis] - 1
        combine(result.narrow(axis, 1, inner), x.narrow(axis, 0, inner))
        combine(result.narrow(axis, 0, inner), x.narrow(axis, 1, inner))
    return result


def soft_cldice_loss(
    logits: Tensor, targets: Tensor, iterations: int = 3, smooth: float = 1.0, add_up: AddUp = alone
) -> Tensor:
    """One minus soft clDice (Shit et al. 2021, arXiv:2003.07311), a scalar in [0, 1].

    The harmonic mean of how much of the predicted skeleton lies in the truth and how much of the true skeleton lies in
    the prediction, over the batch, averaged over all classes: no channel is dropped, so it works on one sigmoid
    channel.
    """
    known = targets >= 0
    probabilities = torch.sigmoid(logits.float()) * known
    truth = targets.float().clamp_min(0)
    true_skeleton = _binary_skeleton(truth > 0.5, iterations)
    skeleton = soft_skeleton(probabilities, iterations)
    axes = (0, 2, 3)
    sums = [skeleton * truth, skeleton, true_skeleton * probabilities, true_skeleton]
    inside, length, covered, true_length = add_up(torch.stack([each.sum(axes) for each in sums]))
    precision = (inside + smooth) / (length + smooth)
    recall = (covered + smooth) / (true_length + smooth)
    return (1 - 2 * precision * recall / (precision + recall)).mean()


class SegmentationLoss(nn.Module):
    """Weighted sum of the losses above; a term of weight 0 is not computed.

    Args:
        bce: weight of the binary cross-entropy.
        dice: weight of the soft Dice loss.
        cldice: weight of the soft clDice loss, for filaments.
        cldice_iterations: erosions of the soft skeleton, about half the widest filament in pixels.
        add_up: adds sums over the processes that share a batch.
    """

    def __init__(
        self,
        bce: float = 1.0,
        dice: float = 1.0,
        cldice: float = 0.0,
        cldice_iterations: int = 3,
        add_up: AddUp = alone,
    ):
        super().__init__()
        self.bce, self.dice, self.cldice, self.cldice_iterations = bce, dice, cldice, cldice_iterations
        self.add_up = add_up

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets (B, K, H, W) to a scalar."""
        loss = logits.new_zeros((), dtype=torch.float32)
        if self.bce:
            loss = loss + self.bce * binary_cross_entropy(logits, targets, self.add_up)
        if self.dice:
            loss = loss + self.dice * soft_dice_loss(logits, targets, add_up=self.add_up)
        if self.cldice:
            centreline = soft_cldice_loss(logits, targets, self.cldice_iterations, add_up=self.add_up)
            loss = loss + self.cldice * centreline
        return loss
