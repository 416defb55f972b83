"""Base class of the operations: how random numbers are drawn, and which samples are processed.

Random numbers are always drawn on the CPU, in float32. The few values per sample are then copied to the images' device
without waiting. A draw is therefore the same for every device, and the CPU knows the values without a transfer back.
Operations also accept values that are already on the images' device, and compute everything that depends on them there,
because a step that is recorded as a CUDA graph (`segexp.training.cuda_graph`) must not use other values of the CPU.

If the probability of an operation is below 1, there are two implementations with the same result. For images in host
memory, only the selected samples are processed. On a GPU, the whole batch is processed and the selection is made with
``torch.where``: shapes are then the same in every step, as ``torch.compile`` and CUDA graphs require, and elementwise
operations are cheaper there than gathering rows.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

Range = Sequence[float]
KORNIA_PARAMETERS = ("batch_prob", "forward_input_shape", "data_keys")  # parameters that Kornia adds to the drawn ones


def in_host_memory(images: Tensor) -> bool:
    """Return whether CPU routines can process the pixels: not on a GPU, not being traced, not differentiated."""
    return (
        type(images) is Tensor
        and images.device.type == "cpu"
        and not images.requires_grad
        and not torch.compiler.is_compiling()
    )


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy drawn values to ``device`` without waiting for the work queued there."""
    return values.to(device, non_blocking=not torch.compiler.is_compiling())


def per_sample(values: Tensor, images: Tensor) -> Tensor:
    """Return drawn values (B,) as float32 (B, 1, 1, 1) on the device of ``images``."""
    return to_device(values.to(torch.float32), images.device).view(-1, 1, 1, 1)


def cast(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert float32 to ``dtype``; values too large for float16 become its largest value, not infinity."""
    if dtype == torch.float16:
        largest = torch.finfo(torch.float16).max
        values = values.clamp(-largest, largest)
    return values.to(dtype)


def checked_range(name: str, bounds: Range, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Return ``bounds`` as two floats; ValueError unless low <= bounds[0] <= bounds[1] <= high."""
    values = tuple(float(value) for value in bounds)
    if len(values) != 2 or not low <= values[0] <= values[1] <= high:
        raise ValueError(f"{name}={list(bounds)}: expected [low, high] with {low:g} <= low <= high <= {high:g}")
    return values


def checked_probability(name: str, value: float) -> float:
    """Return ``value``; ValueError unless it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: expected a probability in [0, 1]")
    return float(value)


def draw(batch: int, bounds: tuple[float, float], log: bool = False) -> Tensor:
    """Draw one value per sample from ``bounds``, uniform in the value or in its logarithm: float32 (B,) on the CPU."""
    low, high = (math.log(bounds[0]), math.log(bounds[1])) if log else bounds
    values = low + (high - low) * torch.rand(batch)
    return values.exp() if log else values


class IntensityOperation(IntensityAugmentationBase2D):
    """Base of the intensity operations: a Kornia augmentation that follows the two rules at the top of this file.

    A subclass overrides ``generate_parameters(batch_shape)``, which returns tensors of shape (B, ...) drawn on the CPU,
    and ``apply_transform(images, params, flags)``, which gets float32 (B, C, H, W) and the same parameters, on the CPU
    or on the images' device.

    Attributes:
        probabilities: names of the attributes whose value is the probability that a sample is changed.
    """

    probabilities = ("p",)

    def __init__(self, p: float) -> None:
        super().__init__(p=checked_probability("p", p), p_batch=1.0, same_on_batch=False, keepdim=False)

    def set_rng_device_and_dtype(self, device: torch.device, dtype: torch.dtype) -> None:
        """Draw on the CPU in float32 even after ``.to()`` has moved this module."""
        super().set_rng_device_and_dtype(torch.device("cpu"), torch.float32)

    def transform_inputs(
        self,
        input: Tensor,
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Apply the operation to the randomly selected samples; dtype and shape are kept."""
        images = self.transform_tensor(input)
        self.validate_tensor(images)
        drawn = {name: params[name] for name in params if name not in KORNIA_PARAMETERS}
        if self.p == 1:
            return cast(self.apply_transform(images.float(), drawn, flags), images.dtype)
        if not in_host_memory(images):
            changed = cast(self.apply_transform(images.float(), drawn, flags), images.dtype)
            return torch.where(per_sample(params["batch_prob"], images) > 0.5, changed, images)
        rows = [row for row, chosen in enumerate(params["batch_prob"].tolist()) if chosen > 0.5]
        if not rows:
            return images
        drawn = {name: values[rows] for name, values in drawn.items()}
        changed = cast(self.apply_transform(images[rows].float(), drawn, flags), images.dtype)
        if len(rows) == len(images):
            return changed
        result = images.clone()
        result[rows] = changed
        return result
