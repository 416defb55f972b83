"""One optimiser step, and everything it changes: weights, optimiser, loss scaling, moving average of the weights.

Nothing here waits for the device. Whether a loss or gradient is finite is also decided on the device: if it is not,
the fused optimiser skips the update, as it does for a gradient scaler, and the loop reads the result later.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from segexp.device import autocast, out_of_memory
from segexp.errors import InputError
from segexp.models import Network
from segexp.training.ema import averaged_copy, update_average
from segexp.training.muon import Muon


class Learner:
    """A model in training.

    Args:
        model: the network, on its device.
        loss: logits and targets (B, K, H, W) to a scalar.
        optimizer: of the model's parameters. One that reads ``found_inf``, as torch's fused optimisers do, changes
            nothing if a gradient is not finite; any other takes a step with a gradient of 0.
        precision: of the forward pass: fp32, tf32, bf16 or fp16 (with a gradient scaler).
        grad_clip: largest norm of the gradient; None: not clipped.
        ema: decay of the moving average of the weights; 0: no average.
        micro_batch: samples that go through the network at once; None: the whole batch. Gradients are accumulated, so
            the step equals that of the whole batch, except that batch norm, Dice and similar losses, and means over the
            annotated pixels are computed for each part.
        forward: the model as it is called, compiled or wrapped for several processes; None: the model itself.
    """

    def __init__(
        self,
        model: Network,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str,
        grad_clip: float | None,
        ema: float = 0.0,
        micro_batch: int | None = None,
        forward: Callable[[Tensor], Tensor] | None = None,
    ):
        self.model, self.loss, self.precision = model, loss, precision
        self.grad_clip, self.ema, self.micro_batch = grad_clip, ema, micro_batch
        self.asked_micro_batch = micro_batch
        self.forward = model if forward is None else forward  # a compiled module has no truth value
        self.device = next(model.parameters()).device
        self.optimizer = optimizer
        self.lr = float(optimizer.param_groups[0]["lr"])
        self._shares = [group["lr"] / self.lr for group in optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.average = averaged_copy(model) if ema else model
        self.updates = 0

    def step(self, images: Tensor, targets: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """One step; the loss and whether the step was skipped (1.0), both on the device.

        `rate` is the learning rate of the first group of parameters; those of others keep their ratio to it.
        """
        self.set_rate(rate)
        loss, skipped = self.update(images, targets)
        self.follow()
        return loss, skipped

    def set_rate(self, rate: float | Tensor) -> None:
        """Set the learning rate: a number, or a float32 tensor on the device for a recorded step."""
        for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share

    def follow(self) -> None:
        """Count a step, and update the moving average of the weights."""
        self.updates += 1
        if self.ema:
            update_average(self.average, self.model, self.ema, self.updates)

    def update(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The part of a step on the device, except the moving average; the loss and whether it was skipped (1.0)."""
        buffers = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        kept = torch.cat([buffer.flatten() for buffer in buffers]) if buffers else None
        loss = self._gradients_within_memory(images, targets, buffers, kept)
        self.scaler.unscale_(self.optimizer)
        parameters = list(self.model.parameters())
        limit = self.grad_clip if self.grad_clip is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        skipped = (~torch.isfinite(norm + loss)).float()
        if getattr(self.optimizer, "_step_supports_amp_scaling", False):
            self.optimizer.found_inf = skipped  # type: ignore[attr-defined]  # read by the fused kernel
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        else:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.masked_fill_(skipped > 0, 0.0)
            self.optimizer.step()
        self.scaler.update()
        if kept is not None:
            _restore(buffers, kept, skipped)
        return loss, skipped

    def _gradients_within_memory(
        self, images: Tensor, targets: Tensor, buffers: list[Tensor], kept: Tensor | None
    ) -> Tensor:
        """Gradients of the batch; if memory runs out, the micro-batch is halved, also for later steps."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self._gradients(images, targets)
            except RuntimeError as error:
                size = min(self.micro_batch or len(images), len(images))
                if size == 1 or not out_of_memory(error) or isinstance(self.forward, _DDP):
                    raise
                self.micro_batch = -(-size // 2)
            if kept is not None:
                _restore(buffers, kept, kept.new_ones(()))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients(self, images: Tensor, targets: Tensor) -> Tensor:
        size = self.micro_batch or len(images)
        whole = torch.zeros((), device=images.device)
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            last = first + size >= len(images)
            alone = self.forward.no_sync() if isinstance(self.forward, _DDP) and not last else nullcontext()
            with alone:
                with autocast(images.device, self.precision):
                    logits = self.forward(images[part])
                loss = self.loss(logits, targets[part])
                if size < len(images):
                    loss = loss * (len(logits) / len(images))
                self.scaler.scale(loss).backward()
            whole += loss.detach()
        return whole

    def renew_scaler(self, state: dict[str, Any]) -> None:
        """Replace the loss scaler by one that has no unfinished step."""
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        if state:
            self.scaler.load_state_dict(state)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint; ``weights`` holds those of the model, not of the average."""
        content = {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_name": type(self.optimizer).__name__,
            "scaler": self.scaler.state_dict(),
            "updates": self.updates,
            "micro_batch": self.micro_batch,
            "asked_micro_batch": self.asked_micro_batch,
        }
        return content | ({"average": self.average.state_dict()} if self.ema else {})

    def restore(self, content: dict[str, Any]) -> None:
        """Restore what `state` returned; `InputError` if it belongs to another optimiser.

        The optimiser's settings (weight decay, betas, momentum, kernel) stay those of this run.
        """
        before, now = content.get("optimizer_name", "AdamW"), type(self.optimizer).__name__
        if before != now:
            raise InputError(
                f"optimizer: the saved state is that of {before}, this run has {now}; give the same optimizer=, or "
                "another output_dir to begin anew"
            )
        self.model.load_state_dict(content["weights"])
        self.optimizer.load_state_dict(_with_settings(content["optimizer"], self.optimizer.param_groups))
        lacking = _lacking(self.optimizer)
        if lacking:
            raise InputError(
                f"optimizer.{lacking}: needs values that the saved state does not hold, since the run began without; "
                f"expected {lacking} as it was, or another output_dir to begin anew"
            )
        self.scaler.load_state_dict(content["scaler"])
        self.updates = content["updates"]
        if content.get("asked_micro_batch") == self.asked_micro_batch:  # else another is asked for now
            self.micro_batch = content["micro_batch"]
        if self.ema:
            self.average.load_state_dict(content.get("average", content["weights"]))


_DDP = nn.parallel.DistributedDataParallel
_COLLECTED = {"amsgrad": "max_exp_avg_sq", "centered": "grad_avg", "momentum": "momentum_buffer"}
"""Settings of optimisers, and the name of the state that each accumulates from the first step on."""


def _with_settings(saved: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The saved state of an optimiser with the settings of `groups`; the learning rate is set at each step."""
    own = [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]
    if len(own) != len(saved["param_groups"]):
        return saved  # PyTorch's error says so
    return saved | {"param_groups": [before | now for before, now in zip(saved["param_groups"], own, strict=True)]}


def _lacking(optimizer: torch.optim.Optimizer) -> str:
    """The first enabled setting whose accumulated state is missing; PyTorch would raise a KeyError."""
    for group in optimizer.param_groups:
        states = [optimizer.state[parameter] for parameter in group["params"] if parameter in optimizer.state]
        for name, collected in _COLLECTED.items():
            # SGD makes it in the next step; Muon has it for kernels alone
            needless = name == "momentum" and isinstance(optimizer, torch.optim.SGD | Muon)
            if group.get(name) and not needless and any(collected not in state for state in states):
                return name
    return ""


def _restore(buffers: list[Tensor], kept: Tensor, where: Tensor) -> None:
    """Put `kept` back into the buffers if the scalar `where` is 1, with three kernels for all of them."""
    now = torch.cat([buffer.flatten() for buffer in buffers])
    chosen = torch.where(where > 0, kept, now).split([buffer.numel() for buffer in buffers])
    torch._foreach_copy_(buffers, [part.view_as(buffer) for part, buffer in zip(chosen, buffers, strict=True)])
