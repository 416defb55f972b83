"""Build loss, optimiser, schedule, loggers and callbacks from the settings, and try each before any image is read."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from segexp.config import RunConfig, build
from segexp.config.targets import KINDS, target_class
from segexp.distributed import ALONE, Ranks, total
from segexp.errors import InputError
from segexp.losses import SegmentationLoss
from segexp.training.callbacks import Callback
from segexp.training.schedule import BySteps, Scheduler, check_schedule


def build_loss(
    nodes: dict[str, Any], classes: int, allowed: tuple[str, ...] = (), ranks: Ranks = ALONE
) -> SegmentationLoss:
    """The weighted terms of the loss.

    Raises:
        InputError: if a term does not map logits and targets to one number.
    """
    terms, problems = {}, []
    for name, node in nodes.items():
        settings = {key: value for key, value in node.items() if key != "weight"}
        try:
            terms[name] = float(node.get("weight", 1.0)), build(settings, allowed, f"loss.{name}")
            probe_loss(f"loss.{name}", terms[name][1], classes)
        except InputError as error:
            problems += str(error).splitlines()
    if problems:
        raise InputError(*problems)
    return SegmentationLoss(terms, lambda sums: total(ranks, sums))


def probe_loss(name: str, term: nn.Module, classes: int) -> None:
    """Try a term of the loss on two small crops, (2, K, 32, 32).

    Raises:
        InputError: if it fails, or returns anything but a number with a gradient.
    """
    logits = torch.zeros(2, classes, 32, 32, requires_grad=True)
    targets = torch.zeros(2, classes, 32, 32)
    targets[:, :, 8:16] = 1
    expected = (
        "expected a module that takes logits and targets, both (B, K, H, W), to one number that depends on the logits"
    )
    try:
        value = term(logits, targets)
    except Exception as error:  # whatever somebody's own code raises
        first = (str(error).splitlines() or [""])[0]
        raise InputError(f"{name}: {type(term).__name__} fails: {type(error).__name__}: {first}; {expected}") from error
    if not isinstance(value, Tensor):
        raise InputError(f"{name}: {type(term).__name__} gives a {type(value).__name__}; {expected}")
    if value.dim():
        shape = tuple(value.shape)
        raise InputError(f"{name}: {type(term).__name__} gives a tensor of shape {shape}; {expected} (reduction: mean)")
    if not value.requires_grad or not value.is_floating_point():
        raise InputError(f"{name}: {type(term).__name__} gives a number without a gradient; {expected}")


def build_optimizer(
    node: dict[str, Any], parameters: Iterable[nn.Parameter | dict[str, Any]], allowed: tuple[str, ...] = ()
) -> torch.optim.Optimizer:
    """The optimiser that a node names, for these parameters or groups of them.

    Raises:
        InputError: if the node or its learning rate cannot be used.
    """
    if not node.get("_partial_"):
        raise InputError(f"optimizer: expected _partial_: true beside _target_: {node['_target_']}")
    make = build(node, allowed, "optimizer")
    try:
        optimizer: torch.optim.Optimizer = make(list(parameters))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"optimizer: {node['_target_']}: {(str(error).splitlines() or [''])[0]}") from error
    rate = optimizer.param_groups[0].get("lr")
    if not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise InputError(f"optimizer: lr={rate}: expected a number above 0, such as lr: ${{trainer.lr}}")
    return optimizer


def scale_rates(optimizer: torch.optim.Optimizer, factors: Iterable[float]) -> None:
    """Give each group of parameters its factor of the learning rate, which `Learner` keeps over the run."""
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] = group["lr"] * factor


def try_optimizer(node: dict[str, Any], allowed: tuple[str, ...] = ()) -> float:
    """Take one step of the optimiser on a small convolution, so that errors show up early; returns its learning rate.

    Raises:
        InputError: if the node cannot be used, or its optimiser cannot take a step from gradients alone.
    """
    weights = [nn.Parameter(torch.ones(4, 2, 3, 3)), nn.Parameter(torch.ones(4))]
    optimizer = build_optimizer(node, weights, allowed)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    name = node["_target_"]
    try:
        optimizer.step()
    except TypeError as error:
        raise InputError(
            f"optimizer: {name} cannot take a step from gradients alone ({(str(error).splitlines() or [''])[0]}); "
            "expected one whose step() needs no argument, such as optimizer=adamw"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise InputError(f"optimizer: {name}: {(str(error).splitlines() or [''])[0]}") from error
    return float(optimizer.param_groups[0]["lr"])


def build_scheduler(node: dict[str, Any], lr: float, allowed: tuple[str, ...] = ()) -> Scheduler:
    """The learning rate schedule: by progress, or one of torch's, which counts steps and starts from the rate `lr`.

    Raises:
        InputError: if the node cannot be used, or its schedule depends on scores.
    """
    found = target_class(str(node["_target_"]), allowed, KINDS["scheduler"])
    if issubclass(found, Scheduler):
        scheduler: Scheduler = build(node, allowed, "scheduler")
        return scheduler
    if issubclass(found, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise InputError("scheduler: ReduceLROnPlateau depends on scores; expected an option of conf/scheduler")
    make = build(node | {"_partial_": True}, allowed, "scheduler")
    try:
        return BySteps(make, lr)
    except (TypeError, ValueError) as error:
        raise InputError(f"scheduler: {node['_target_']}: {(str(error).splitlines() or [''])[0]}") from error


def build_callbacks(cfg: RunConfig) -> list[Callback]:
    """The loggers and callbacks of a run, in the order of the settings.

    Raises:
        InputError: if one cannot be built from its arguments.
    """
    problems, made = [], []
    for group, nodes in (("logger", cfg.logger), ("callbacks", cfg.callbacks)):
        for name, node in nodes.items():
            try:
                made.append(build(node, tuple(cfg.allow_targets), f"{group}.{name}"))
            except InputError as error:
                problems += str(error).splitlines()
    if problems:
        raise InputError(*problems)
    return made


def check_nodes(cfg: RunConfig) -> None:
    """Try to build all nodes but model and augmentation, before images are read; one `InputError` lists all faults."""
    problems, lr, allowed = [], cfg.trainer.lr, tuple(cfg.allow_targets)
    for part in ("loss", "optimizer", "scheduler", "callbacks"):
        try:
            if part == "loss":
                build_loss(cfg.loss, len(cfg.task.classes), allowed)
            elif part == "optimizer":
                lr = try_optimizer(cfg.optimizer, allowed)
            elif part == "callbacks":
                build_callbacks(cfg)
            else:
                check_schedule(build_scheduler(cfg.scheduler, lr, allowed), cfg.trainer.steps)
        except InputError as error:
            problems += str(error).splitlines()
    if problems:
        raise InputError(*problems)
