"""Muon: momentum made orthogonal for the kernels of a network, AdamW for its other parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

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
        found_inf = getattr(self, "found_inf", None)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter] |= _first_state(parameter)
            others = []
            for parameter in parameters:
                if "momentum_buffer" in self.state[parameter]:
                    _step_of_kernel(parameter, self.state[parameter]["momentum_buffer"], group, found_inf)
                else:
                    others.append(parameter)
            if others:
                _adamw(others, [self.state[parameter] for parameter in others], group, found_inf)
        return loss


def _first_state(parameter: Tensor) -> dict[str, Tensor]:
    if parameter.ndim >= 2 and min(parameter.shape[:2]) >= SMALLEST:
        return {"momentum_buffer": torch.zeros_like(parameter)}
    mean, square = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return {"step": torch.zeros((), device=parameter.device), "exp_avg": mean, "exp_avg_sq": square}


def _step_of_kernel(kernel: Tensor, mean: Tensor, group: dict[str, Any], found_inf: Tensor | None) -> None:
    """Update a kernel and the running mean of its gradients; neither changes if `found_inf` is above 0."""
    gradient = kernel.grad
    kept: Tensor | float = 1.0
    assert gradient is not None
    if found_inf is not None:
        gradient, kept = gradient.masked_fill(found_inf > 0, 0.0), (found_inf == 0).float()
    mean.lerp_(gradient, (1 - group["momentum"]) * kept)
    ahead = gradient.lerp(mean, group["momentum"])
    last = ahead.movedim(1, -1)  # the order of columns does not matter, and kernels are stored in this one
    matrix = last.reshape(len(last), -1)
    step = orthogonal(matrix.float()).view(last.shape).movedim(-1, 1)
    rate = group["lr"] * kept
    kernel.mul_(1 - rate * group["weight_decay"]).sub_(step.mul_(rate * group["scale"] * max(matrix.shape) ** 0.5))


def _adamw(
    parameters: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any], found_inf: Tensor | None
) -> None:
    adamw(
        parameters,
        [parameter.grad for parameter in parameters if parameter.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        found_inf=found_inf,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=EPS,
        maximize=False,
    )
