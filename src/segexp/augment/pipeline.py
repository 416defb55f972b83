"""The augmentation of a run: a list of Kornia operations applied to a batch of images and masks.

Three decisions hold for the whole package:

- Random numbers are drawn on the CPU and copied to the images' device; no value is read back from it (``base.py``).
- Parameters are drawn for the whole list before anything is applied. They can therefore be stored, reduced to some
  samples and applied again: ``forward`` with the same parameters gives the same result, for a batch of 8 as for 8
  batches of 1.
- The parameters depend only on the generator that was passed, or on torch's global seed if there is none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from kornia.augmentation import (
    AugmentationSequential,
    IntensityAugmentationBase2D,
    MixAugmentationBaseV2,
    PatchSequential,
)
from kornia.augmentation.base import _AugmentationBase, _BasicAugmentationBase
from kornia.augmentation.container.base import ImageSequentialBase
from kornia.augmentation.container.params import ParamItem
from torch import Tensor, nn

from segexp.augment.base import IntensityOperation, cast
from segexp.augment.warp import RandomWarp

KORNIA = (_AugmentationBase, ImageSequentialBase)  # modules for which Kornia can draw parameters
SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
"""PyTorch cannot index unsigned integers wider than a byte; they are viewed as signed integers with the same bits."""
Params = list[Any]  # one entry per operation: its drawn tensors by name, or Kornia's ParamItems for a stock operation


class Augmentation(nn.Module):
    """Apply operations in order to images and masks together.

    An operation is one of this package, any Kornia augmentation, or another torch module, which gets only the images.
    Kornia's operations on brightness, contrast or colour clamp to [0, 1], which destroys standardised images. Use the
    operations of this package instead, or set ``clip_output=False`` if Kornia's operation has it.

    Args:
        operations: modules, applied first to last; an empty list changes nothing.

    Raises:
        TypeError: if an operation is not a torch module.
        ValueError: if an operation would move the images and not their masks, or mixes the samples of a batch.
    """

    def __init__(self, operations: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        for operation in operations:
            if not isinstance(operation, nn.Module):
                raise TypeError(f"{operation!r}: expected a module, such as segexp.augment.RandomFlip()")
            for part in operation.modules():
                if isinstance(part, MixAugmentationBaseV2):
                    raise ValueError(f"{part}: operations that mix the samples of a batch are not supported")
                if not isinstance(part, _AugmentationBase):
                    continue
                if not (isinstance(part, IntensityAugmentationBase2D) or _carries_masks(operation)):
                    raise ValueError(
                        f"{type(operation).__name__} would move the images but not their masks: list {part} itself, or "
                        "put it into kornia.augmentation.ImageSequential"
                    )
                if _leaves_masks(part):
                    raise ValueError(
                        f"{part}: Kornia does not transform masks with it; expected an operation that does, such as "
                        "segexp.augment.RandomWarp or kornia.augmentation.RandomElasticTransform"
                    )
        self.operations = nn.ModuleList(_adopt(operation) for operation in operations)
        self.params: Params = []

    def sample(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Params:
        """Draw the parameters for images of ``shape`` (B, C, H, W): one entry per operation, tensors on the CPU.

        ``generator`` is a CPU generator; its state advances, and torch's global state does not change.
        """
        shape = torch.Size(shape)
        with _following(generator):
            return [
                operation.forward_parameters(shape) if isinstance(operation, KORNIA) else None
                for operation in self.operations
            ]

    def forward(
        self,
        images: Tensor,
        masks: Tensor,
        generator: torch.Generator | None = None,
        params: Params | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (B, C, H, W), a floating dtype; computed in float32.
            masks: (B, K, H, W), any dtype; the value 255 in a uint8 mask, "ignore", is moved like a label.
            generator: source of the random numbers; None: torch's global CPU generator.
            params: the result of ``sample``, or ``self.params`` after an earlier call; None: a new draw.

        Returns:
            Images and masks with unchanged dtypes and shapes.

        Raises:
            ValueError: if the shapes do not match, the images are integers, or an operation changes a shape.
        """
        if not images.is_floating_point():
            raise ValueError(f"images of {images.dtype}: expected a floating dtype, such as images.float()")
        if images.ndim != 4 or masks.ndim != 4 or images.shape[0] != masks.shape[0]:
            raise ValueError(f"images {tuple(images.shape)}, masks {tuple(masks.shape)}: expected two (B, C, H, W)")
        if images.shape[-2:] != masks.shape[-2:]:
            raise ValueError(f"images {tuple(images.shape)} and masks {tuple(masks.shape)} differ in size")
        if len(images) == 0:
            return images, masks
        if params is None:
            params = self.sample(images.shape, generator)
        self.params = params
        values, stored = images.float(), masks.dtype
        masks = masks.view(SIGNED.get(stored, stored))
        for operation, drawn in zip(self.operations, params, strict=True):
            values, masks = _apply(operation, values, masks, drawn)
            if values.shape != images.shape:
                raise ValueError(
                    f"{operation} changed the shape {tuple(images.shape)} to {tuple(values.shape)}: "
                    "operations that change the size are not supported"
                )
        return cast(values, images.dtype), masks.view(stored) if stored in SIGNED else masks

    @staticmethod
    def select(params: Params, rows: Sequence[int]) -> Params:
        """Return the parameters of some samples of the batch for which they were drawn."""
        return [_select(entry, list(rows)) for entry in params]

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> "Augmentation":
        super()._apply(fn, *args, **kwargs)
        for module in self.modules():  # Kornia would draw on the module's new device; here values are drawn on the CPU
            if isinstance(module, _BasicAugmentationBase):
                module.set_rng_device_and_dtype(torch.device("cpu"), torch.float32)
        return self


def _carries_masks(operation: nn.Module) -> bool:
    """Return whether an operation, or a container of operations, also transforms masks."""
    return isinstance(operation, KORNIA) and not isinstance(operation, PatchSequential)


def _leaves_masks(operation: _AugmentationBase) -> bool:
    """Return whether an operation does not support masks, such as Kornia's thin plate spline and fisheye."""
    return type(operation).apply_transform_mask is _AugmentationBase.apply_transform_mask


def _adopt(operation: nn.Module) -> nn.Module:
    """Wrap a stock Kornia operation in the container that transforms masks with it."""
    if isinstance(operation, RandomWarp | IntensityOperation | AugmentationSequential):
        return operation
    if isinstance(operation, KORNIA):
        return AugmentationSequential(operation, data_keys=["input", "mask"])  # type: ignore[arg-type]  # takes policies
    return operation


def _apply(operation: nn.Module, images: Tensor, masks: Tensor, drawn: Any) -> tuple[Tensor, Tensor]:
    if isinstance(operation, RandomWarp):
        return operation.warp(images, masks, drawn)
    if isinstance(operation, AugmentationSequential):
        moved = operation(images, masks, params=drawn, data_keys=["input", "mask"])
        return moved[0], moved[1]
    if drawn is None:
        return operation(images), masks
    return operation(images, params=drawn), masks


def _select(entry: Any, rows: list[int]) -> Any:
    if isinstance(entry, ParamItem):
        return ParamItem(entry.name, _select(entry.data, rows))
    if isinstance(entry, list):
        return [_select(item, rows) for item in entry]
    if not isinstance(entry, dict):
        return entry
    batch = len(entry["batch_prob"])
    selected = {}
    for name, value in entry.items():
        if name == "forward_input_shape":
            value = torch.tensor([len(rows), *value[1:].tolist()])
        elif name == "batch_idx":  # RandomChannelDropout stores the samples' indices in the batch
            value = value[: len(rows)]
        elif isinstance(value, Tensor) and value.ndim > 0 and len(value) == batch:
            value = value[rows]
        selected[name] = value
    return selected


@contextmanager
def _following(generator: torch.Generator | None) -> Iterator[None]:
    """Use the state of ``generator`` in torch's global CPU generator, the only one that Kornia's operations use."""
    if generator is None:
        yield
        return
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
        generator.set_state(torch.get_rng_state())
    finally:
        torch.set_rng_state(before)
