"""Losses on logits, each class a sigmoid channel: cross-entropy, Dice, clDice, skeleton recall, Tversky, focal.

Each is a function of tensors, and a module of the same name that `conf/loss/` names with its settings.

Targets are 0 or 1; pixels with a negative target are not annotated and are left out of every loss. Everything is
computed in float32, whatever the precision of the forward pass.

Each loss is a ratio of sums over the batch. If a batch is split over several processes, ``add_up`` adds a tensor of
such sums over all of them, so that every process has the loss of the whole batch. The default, `alone`, returns the
tensor unchanged.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -1.0
"""Target of a pixel that is not annotated; every loss leaves it out."""
LEAST_SMOOTH = 1e-6
"""Least value added to numerator and denominator: a batch without foreground would otherwise give 0 / 0."""

AddUp = Callable[[Tensor], Tensor]


def alone(sums: Tensor) -> Tensor:
    """Return the sums unchanged: the default `add_up`, for a batch in one process."""
    return sums


def binary_cross_entropy(logits: Tensor, targets: Tensor, add_up: AddUp = alone) -> Tensor:
    """Return the mean cross-entropy of the annotated pixels of logits and targets (B, K, H, W); 0 if there are none."""
    known = targets >= 0
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets.float().clamp_min(0), reduction="none")
    total, count = add_up(torch.stack([(loss * known).sum(), known.sum().float()]))
    return total / count.clamp_min(1)


def soft_dice_loss(logits: Tensor, targets: Tensor, smooth: float = 1.0, add_up: AddUp = alone) -> Tensor:
    """Return one minus the soft Dice of Milletari et al. (2016, arXiv:1606.04797), a scalar in [0, 1].

    The sums are over the whole batch, for each class; the loss is then averaged over classes. A crop without
    foreground, which is common with vesicles and filaments, therefore contributes its false positives. With a Dice for
    each crop it would score 0 or 1.
    """
    known = targets >= 0
    probabilities = torch.sigmoid(logits.float()) * known
    truth = targets.float().clamp_min(0)
    axes = (0, 2, 3)
    overlap, total = add_up(torch.stack([(probabilities * truth).sum(axes), probabilities.sum(axes) + truth.sum(axes)]))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def _erode(x: Tensor) -> Tensor:
    """Return the minimum over the plus-shaped neighbourhood of each pixel."""
    return -torch.maximum(F.max_pool2d(-x, (3, 1), 1, (1, 0)), F.max_pool2d(-x, (1, 3), 1, (0, 1)))


def soft_skeleton(x: Tensor, iterations: int) -> Tensor:
    """Return a soft skeleton of maps (B, K, H, W) in [0, 1], after Shit et al. (2021, arXiv:2003.07311, algorithm 1).

    The pixels that an opening removes belong to the skeleton. Erosion and opening are repeated, which collects the
    skeleton of lines of every width up to ``2 * iterations`` pixels. The result is differentiable.
    """

    def ridge(y: Tensor) -> tuple[Tensor, Tensor]:
        eroded = _erode(y)
        return eroded, F.relu(y - F.max_pool2d(eroded, 3, 1, 1))

    # all maps become channels of one image, last in memory: on a CPU, pooling them one by one takes three times as long
    shape = x.shape
    x = x.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    x, skeleton = ridge(x)
    for _ in range(iterations):
        x, more = ridge(x)
        skeleton = skeleton + F.relu(more - skeleton * more)
    return skeleton.contiguous().view(shape)


def _binary_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Return `soft_skeleton` of a mask, bool (B, K, H, W): the same pixels in a tenth of the time."""
    skeleton = torch.zeros_like(mask)
    for _ in range(iterations + 1):
        eroded = _combine(mask.clone(), mask, Tensor.logical_and_, axes=(-2, -1))
        rows = _combine(eroded.clone(), eroded, Tensor.logical_or_, axes=(-2,))
        opened = _combine(rows.clone(), rows, Tensor.logical_or_, axes=(-1,))
        skeleton |= mask & ~opened
        mask = eroded
    return skeleton


def _combine(result: Tensor, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor], axes: Sequence[int]) -> Tensor:
    """Combine `result` in place with `x` shifted by one pixel in both directions along each of the axes."""
    for axis in axes:
        inner = x.shape[axis] - 1
        combine(result.narrow(axis, 1, inner), x.narrow(axis, 0, inner))
        combine(result.narrow(axis, 0, inner), x.narrow(axis, 1, inner))
    return result


def soft_cldice_loss(
    logits: Tensor, targets: Tensor, iterations: int = 3, smooth: float = 1.0, add_up: AddUp = alone
) -> Tensor:
    """Return one minus soft clDice (Shit et al. 2021, arXiv:2003.07311), a scalar in [0, 1].

    clDice is the harmonic mean of two shares: of the predicted skeleton that lies in the true mask, and of the true
    skeleton that lies in the prediction. The sums are over the batch; the loss is averaged over all classes. No channel
    is left out, so the loss also works with a single sigmoid channel.
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


def skeleton_recall_loss(
    logits: Tensor,
    targets: Tensor,
    iterations: int = 3,
    tube: int = 1,
    smooth: float = 1.0,
    add_up: AddUp = alone,
) -> Tensor:
    """Return one minus the recall of the true skeleton (Kirchhoff et al. 2024, arXiv:2404.03010), a scalar in [0, 1].

    The skeleton of each true class is widened by `tube` pixels to each side within the class. The recall is the share
    of it that the prediction covers, over the batch; the loss is averaged over classes. Only the true mask is thinned,
    which takes a fraction of the time of soft clDice. False positives have no effect on this loss; the other terms
    penalise them. For `iterations`, see `soft_skeleton`.
    """
    known = targets >= 0
    probabilities = torch.sigmoid(logits.float()) * known
    truth = targets > 0.5
    skeleton = _binary_skeleton(truth, iterations)
    for _ in range(tube):
        skeleton = _combine(skeleton.clone(), skeleton, Tensor.logical_or_, axes=(-2, -1)) & truth
    axes = (0, 2, 3)
    covered, length = add_up(torch.stack([(skeleton * probabilities).sum(axes), skeleton.sum(axes).float()]))
    return (1 - (covered + smooth) / (length + smooth)).mean()


def tversky_loss(
    logits: Tensor,
    targets: Tensor,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
    smooth: float = 1.0,
    add_up: AddUp = alone,
) -> Tensor:
    """Return one minus the Tversky index of Salehi et al. (2017, arXiv:1706.05721), a scalar in [0, 1].

    `false_positives` and `false_negatives` are the weights of false positive and false negative pixels, alpha and beta
    in the paper; 0.5 and 0.5 give the soft Dice. The sums are over the batch; the loss is averaged over classes.
    """
    known = targets >= 0
    probabilities = torch.sigmoid(logits.float()) * known
    truth = targets.float().clamp_min(0)
    axes = (0, 2, 3)
    sums = torch.stack([(probabilities * truth).sum(axes), probabilities.sum(axes), truth.sum(axes)])
    overlap, predicted, true = add_up(sums)
    wrong = false_positives * (predicted - overlap) + false_negatives * (true - overlap)
    return (1 - (overlap + smooth) / (overlap + wrong + smooth)).mean()


def focal_loss(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = None, add_up: AddUp = alone
) -> Tensor:
    """Return the mean focal loss of the annotated pixels (Lin et al. 2017, arXiv:1708.02002); 0 if there are none.

    The cross-entropy of a pixel is multiplied by ``(1 - p) ** gamma``, where p is the predicted probability of its true
    class, so pixels that are predicted well have little weight. If `alpha` is given, foreground is weighted by `alpha`
    and background by ``1 - alpha``.
    """
    known, truth, logits = targets >= 0, targets.float().clamp_min(0), logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    loss = entropy * (1 - torch.exp(-entropy)).clamp_min(1e-6) ** gamma
    if alpha is not None:
        loss = loss * torch.where(truth > 0, alpha, 1 - alpha)
    total, count = add_up(torch.stack([(loss * known).sum(), known.sum().float()]))
    return total / count.clamp_min(1)


class _Loss(nn.Module):
    """Base class of the loss terms; `SegmentationLoss` sets `add_up` if several processes share a batch."""

    add_up: AddUp = staticmethod(alone)


class CrossEntropy(_Loss):
    """`binary_cross_entropy` as a module."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return binary_cross_entropy(logits, targets, self.add_up)


class SoftDice(_Loss):
    """`soft_dice_loss` as a module; `smooth` is added to numerator and denominator.

    Raises:
        ValueError: if an argument is not a number or lies outside its range.
    """

    def __init__(self, smooth: float = 1.0):
        super().__init__()
        self.smooth = _number("smooth", smooth, LEAST_SMOOTH, 1e6)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return soft_dice_loss(logits, targets, self.smooth, self.add_up)


class SoftClDice(_Loss):
    """`soft_cldice_loss` as a module; `iterations` is about half the width of the widest filament in pixels.

    Raises:
        ValueError: if `iterations` is not a whole number from 1 to 50, or `smooth` lies outside its range.
    """

    def __init__(self, iterations: int = 3, smooth: float = 1.0):
        super().__init__()
        if not isinstance(iterations, int):
            raise ValueError(f"iterations={iterations}: expected a whole number")
        self.iterations = int(_number("iterations", iterations, 1, 50))
        self.smooth = _number("smooth", smooth, LEAST_SMOOTH, 1e6)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return soft_cldice_loss(logits, targets, self.iterations, self.smooth, self.add_up)


class SkeletonRecall(_Loss):
    """`skeleton_recall_loss` as a module; `iterations` is about half the width of the widest filament in pixels.

    Raises:
        ValueError: if `iterations` is not a whole number from 1 to 50, `tube` is not one from 0 to 50, or `smooth` lies
            outside its range.
    """

    def __init__(self, iterations: int = 3, tube: int = 1, smooth: float = 1.0):
        super().__init__()
        for name, value, least in (("iterations", iterations, 1), ("tube", tube, 0)):
            if not isinstance(value, int):
                raise ValueError(f"{name}={value}: expected a whole number")
            _number(name, value, least, 50)
        self.iterations, self.tube = int(iterations), int(tube)
        self.smooth = _number("smooth", smooth, LEAST_SMOOTH, 1e6)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return skeleton_recall_loss(logits, targets, self.iterations, self.tube, self.smooth, self.add_up)


class Tversky(_Loss):
    """`tversky_loss` as a module.

    Raises:
        ValueError: if an argument is not a number or lies outside its range.
    """

    def __init__(self, false_positives: float = 0.3, false_negatives: float = 0.7, smooth: float = 1.0):
        super().__init__()
        self.false_positives = _number("false_positives", false_positives, 0, 100)
        self.false_negatives = _number("false_negatives", false_negatives, 0, 100)
        self.smooth = _number("smooth", smooth, LEAST_SMOOTH, 1e6)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return tversky_loss(logits, targets, self.false_positives, self.false_negatives, self.smooth, self.add_up)


class Focal(_Loss):
    """`focal_loss` as a module.

    Raises:
        ValueError: if an argument is not a number or lies outside its range.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None):
        super().__init__()
        self.gamma = _number("gamma", gamma, 0, 100)
        self.alpha = None if alpha is None else _number("alpha", alpha, 0, 1)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        return focal_loss(logits, targets, self.gamma, self.alpha, self.add_up)


def _number(name: str, value: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name}={value}: expected a number from {least:g} to {most:g}")
    return value


class SegmentationLoss(nn.Module):
    """Weighted sum of losses; a term of weight 0 is not computed.

    A term is any module that maps logits and targets (B, K, H, W) to a scalar. Modules of other packages do not know
    negative targets. They get float32 logits; for a pixel that is not annotated, the target is the predicted label, and
    the logit has no gradient.

    Args:
        terms: name -> (weight, module); None: cross-entropy and soft Dice, each with weight 1.
        add_up: function that adds sums over the processes that share a batch.
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]] | None = None, add_up: AddUp = alone):
        super().__init__()
        terms = {"ce": (1.0, CrossEntropy()), "dice": (1.0, SoftDice())} if terms is None else terms
        self.weights = {name: weight for name, (weight, _) in terms.items() if weight}
        self.terms = nn.ModuleDict({f"term_{name}": terms[name][1] for name in self.weights})
        for module in self.terms.values():
            if isinstance(module, _Loss):
                module.add_up = add_up

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits and targets (B, K, H, W), a scalar."""
        loss = logits.new_zeros((), dtype=torch.float32)
        for name, weight in self.weights.items():
            term = self.terms[f"term_{name}"]
            own = isinstance(term, _Loss)
            loss = loss + weight * (term(logits, targets) if own else _foreign(term, logits.float(), targets))
        return loss


def _foreign(term: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
    known = targets >= 0
    return term(
        torch.where(known, logits, logits.detach()),
        torch.where(known, targets, (logits.detach() > 0).to(targets.dtype)),
    )
