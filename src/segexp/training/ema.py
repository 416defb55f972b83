"""An exponential moving average of the weights, which scores better than the weights of the last step.

Polyak averaging with an exponential window. PyTorch's `AveragedModel` does the same, but reads its step count from the
device at every update, which makes the CPU wait.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def averaged_copy(model: Module) -> Module:
    """A copy of the model to hold the average, without gradients."""
    average = deepcopy(model).eval()
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards `model` after step number `step` (from 1).

    The decay warms up as (1 + step) / (10 + step), so that the first, random weights are soon forgotten. Running
    statistics of batch norms are averaged like the weights they belong to; whole-number buffers are copied.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    mine, theirs = _tensors(average), _tensors(model)
    floating = [pair for pair in zip(mine, theirs, strict=True) if pair[0].is_floating_point()]
    torch._foreach_lerp_([one for one, _ in floating], [other for _, other in floating], weight)
    for one, other in zip(mine, theirs, strict=True):
        if not one.is_floating_point():
            one.copy_(other)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]
