"""Find the batch size for ``trainer.batch_size=auto`` by measurement."""

import time
from collections.abc import Callable

import torch
from torch import nn

from segexp.device import autocast, out_of_memory

SMALLEST, LARGEST = 8, 64


def find_batch_size(
    model: nn.Module, crop: tuple[int, int, int], precision: str, most: int, clock: Callable[[], float] = time.monotonic
) -> int:
    """Double the batch size from 8 up to 64 as long as the time per crop falls by a tenth and memory suffices.

    Larger batches would mean fewer steps without a gain in speed. The model is not changed.

    Args:
        model: the network, on its device.
        crop: channels, height, width.
        precision: of the forward pass.
        most: upper limit, so that an epoch has several steps.
        clock: returns the time in seconds.
    """
    device = next(model.parameters()).device
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}  # batch norm learns while it runs
    best, best_cost = max(1, min(SMALLEST, most)), float("inf")
    size = best
    while size <= min(LARGEST, most):
        try:
            images = torch.randn(size, *crop, device=device).contiguous(memory_format=torch.channels_last)
            for _ in range(2):  # the first one warms up
                tick = clock()
                with autocast(device, precision):
                    logits = model(images)
                logits.float().mean().backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                cost = (clock() - tick) / size
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            break
        if cost > 0.9 * best_cost:
            break
        best, best_cost = size, cost
        size *= 2
    model.zero_grad(set_to_none=True)
    model.load_state_dict(weights)
    return best
