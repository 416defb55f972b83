"""Muon: momentum made orthogonal for the kernels of a network, AdamW for its other parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
"""Of the polynomial s -> a s + b s^3 + c s^5 that is applied to the singular values in each iteration (Jordan 2024)."""
ITERATIONS = 5
SMALLEST = 8
"""Kernels with fewer input or output channels are left to AdamW: first, last and depthwise ones."""
EPS = 1e-8


def orthogonal(matrix: Tensor) -> Tensor:
    """About ``U V^T`` for a matrix ``U S V^T`` (rows, columns): all singular values from 0.68 to 1.13.

    Newton-Schulz iteration with the polynomial of K. Jordan (2024, https://kellerjordan.github.io/posts/muon). It runs
    on the product of the matrix with its transpose, the smaller of the two. Polynomials of that product commute, so the
    factor that they make is applied to the matrix once. A matrix of zeros stays zero.

    Args:
        matrix: float32.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + EPS)
    gram = wide @ wide.T
    factor: Tensor | None = None
    for number in range(1, ITERATIONS + 1):
        odd = torch.addmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC)
        odd.diagonal().add_(LINEAR)
        factor = odd if factor is None else odd @ factor
        if number < ITERATIONS:
            gram = odd @ gram @ odd
    assert factor is not None
    found = factor @ wide
    return found if matrix.shape[0] <= matrix.shape[1] else found.T


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for kernels and matrices, AdamW (Loshchilov and Hutter 2019) for all other parameters.

    A kernel (out, in, height, width) is taken as the matrix (out, in * height * width). The running mean of its
    gradients is made orthogonal, so that it learns in all directions at one rate, also where gradients are small. The
    root mean square of a kernel's step is `scale` times the rate, whatever its shape (arXiv:2502.16982), so that one
    rate serves all parameters. Nothing waits for the device. A step with ``found_inf`` above 0 changes nothing.

    Args:
        params: parameters or groups of them.
        lr: learning rate; a number, or a float32 tensor on the device.
        weight_decay: decoupled, as in AdamW.
        momentum: weight of the earlier gradients of a kernel (Nesterov).
        betas: weights of the earlier gradients, and of their squares, in AdamW.
        scale: of a kernel's step.

    Raises:
        ValueError: if a value is out of range.
    """

    _step_supports_amp_scaling = True
    found_inf: Tensor

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        scale: float = 0.8,
    ) -> None:
        for name, value, allowed in (
            ("lr", lr, lr >= 0),
            ("weight_decay", weight_decay, weight_decay >= 0),
            ("momentum", momentum, 0 <= momentum < 1),
            ("betas", betas, all(0 <= beta < 1 for beta in betas)),
            ("scale", scale, scale > 0),
        ):
            if not allowed:
                raise ValueError(f"{name}={value}: out of range")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": tuple(betas), "scale": scale}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        skip = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= _first_state(parameter)
                rule = _muon if "momentum_buffer" in state else _adamw
                change, after = rule(parameter.grad, state, group)
                change.add_(parameter, alpha=group["weight_decay"]).mul_(-group["lr"])
                if skip is None:
                    parameter.add_(change)
                    for name, value in after.items():
                        state[name].copy_(value)
                else:
                    kept = skip > 0
                    parameter.add_(change.masked_fill_(kept, 0.0))
                    for name, value in after.items():
                        state[name].copy_(torch.where(kept, state[name], value))
        return loss


def _first_state(parameter: Tensor) -> dict[str, Tensor]:
    if parameter.ndim >= 2 and min(parameter.shape[:2]) >= SMALLEST:
        return {"momentum_buffer": torch.zeros_like(parameter)}
    zeros = [torch.zeros_like(parameter) for _ in range(2)]
    return {"step": torch.zeros((), device=parameter.device), "exp_avg": zeros[0], "exp_avg_sq": zeros[1]}


def _muon(gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The step of a kernel for a rate of 1, and the state after it."""
    mean = state["momentum_buffer"].lerp(gradient, 1 - group["momentum"])
    matrix = gradient.lerp(mean, group["momentum"]).flatten(1)
    step = orthogonal(matrix.float()) * (group["scale"] * max(matrix.shape) ** 0.5)
    return step.to(gradient.dtype).view_as(gradient), {"momentum_buffer": mean}


def _adamw(gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The step of another parameter for a rate of 1, and the state after it."""
    first, second = group["betas"]
    count = state["step"] + 1
    mean = state["exp_avg"].lerp(gradient, 1 - first)
    square = state["exp_avg_sq"].lerp(gradient.square(), 1 - second)
    step = mean / (1 - first**count) / ((square / (1 - second**count)).sqrt() + EPS)
    return step, {"step": count, "exp_avg": mean, "exp_avg_sq": square}
