"""The training loop. It reads top to bottom; what it must remember is `TrainState`, which is also what is saved.

Nothing in a step waits for the device: the loss is read every `log_every` steps and once an epoch.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segexp.data.crops import Batch
from segexp.data.images import IGNORE
from segexp.data.normalization import finish, standardize
from segexp.device import autocast
from segexp.losses import IGNORED
from segexp.training.schedule import Budget, learning_rate_factor

Scores = dict[str, float]


@dataclass
class TrainState:
    """Where a run stands between two epochs; plain values only.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps taken.
        elapsed: seconds used, over all sittings.
        best: scores of the best validation so far, with its ``epoch``; empty before the first.
        stale: validations since then.
    """

    epoch: int = 0
    step: int = 0
    elapsed: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    stale: int = 0

    def plain(self) -> dict[str, Any]:
        """As a dict, for a checkpoint."""
        return asdict(self)


class Listener(Protocol):
    """What the loop tells: see `segexp.training.runlog.RunLog`."""

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """After each step; `loss` is None except on logging steps."""

    def epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """After each epoch; `scores` is None where it was not validated."""


def to_targets(labels: Tensor, classes: int) -> Tensor:
    """Labels (B, 1, H, W) uint8 to targets (B, classes, H, W) float32: 0 or 1, and -1 where nobody annotated."""
    ids = torch.arange(1, classes + 1, device=labels.device, dtype=torch.uint8)[:, None, None]
    return (labels == ids).float().masked_fill(labels == IGNORE, IGNORED)


def prepare(
    batch: Batch, device: torch.device, augment: Callable, normalization: str, classes: int
) -> tuple[Tensor, Tensor]:
    """Raw crops to the network's input (B, C, H, W) float32 and targets (B, K, H, W), all on the device."""
    raw, labels, offset, scale = batch.to(device)
    plain = standardize(raw, offset, scale)
    augmented, labels = augment(plain, labels)
    images = finish(augmented, plain, normalization)
    return images.contiguous(memory_format=torch.channels_last), to_targets(labels, classes)


def optimize(
    model: nn.Module,
    loss_function: nn.Module,
    optimizer: Optimizer,
    images: Tensor,
    targets: Tensor,
    precision: str,
    grad_clip: float | None,
) -> Tensor:
    """One step on a prepared batch; the loss, still on the device."""
    with autocast(images.device, precision):
        logits = model(images)
    loss = loss_function(logits, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if grad_clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    return loss.detach()


def fit(
    model: nn.Module,
    loss_function: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[Batch],
    prepare_batch: Callable[[Batch], tuple[Tensor, Tensor]],
    validate: Callable[[], Scores],
    save: Callable[[TrainState, bool], None],
    listener: Listener,
    state: TrainState,
    *,
    budget: Budget,
    epoch_steps: int,
    monitor: str,
    lr: float,
    warmup: float,
    grad_clip: float | None,
    validate_every: int | None,
    patience: int | None,
    precision: str,
    seed: int,
    log_every: int,
    validation_seconds: float,
    started: float,
) -> TrainState:
    """Train until the budget is used up or patience is lost; returns the state, which it also updates in place.

    Args:
        batches: endless, in step with `state.epoch`.
        prepare_batch: a raw batch to (images, targets) on the device; may draw from torch's global generators.
        validate: scores of the model as it stands.
        save: called after each epoch with the state and whether this is the best model so far.
        epoch_steps: steps an epoch.
        monitor: the score whose largest value marks the best model.
        validate_every: epochs between validations; None: as often as keeps them within a tenth of the time.
        patience: validations without improvement after which training stops; None: never.
        validation_seconds: time one validation is expected to take; measured anew at each.
        started: `time.monotonic()` at which this sitting began, counted against the budget's seconds.
    """
    before = state.elapsed
    last_validated = time.monotonic()
    done = budget.progress(state.step, state.elapsed) >= 1  # a finished run that is resumed
    while not done:
        model.train()
        epoch_loss = torch.zeros((), device=next(model.parameters()).device)
        epoch_start, taken = time.monotonic(), 0
        for _ in range(epoch_steps):
            # kept back for the last validation, the scoring of the best model after it, and writing
            usable = budget.less(2.2 * validation_seconds + 2.0)
            progress = usable.progress(state.step, state.elapsed)
            rate = lr * learning_rate_factor(progress, warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            # every draw of a step follows from its number: nothing to save, and a resumed run repeats it exactly
            torch.manual_seed(seed * 1_000_003 + state.step)
            images, targets = prepare_batch(next(batches))
            loss = optimize(model, loss_function, optimizer, images, targets, precision, grad_clip)
            epoch_loss += loss
            state.step += 1
            taken += 1
            state.elapsed = before + time.monotonic() - started
            logged = float(loss) if state.step % log_every == 0 else None  # waits for the device
            listener.step(state, progress, logged, rate)
            step_seconds = (time.monotonic() - epoch_start) / taken
            done = usable.progress(state.step, state.elapsed + step_seconds) >= 1
            if done:
                break
        state.epoch += 1
        since = time.monotonic() - last_validated
        due = since >= 10 * validation_seconds if validate_every is None else state.epoch % validate_every == 0
        scores, improved = None, False
        if done or due:
            tick = time.monotonic()
            scores = validate()
            last_validated = time.monotonic()
            validation_seconds = last_validated - tick
            # of equals the later: with every score still 0 it has at least learned longer
            improved = not state.best or scores[monitor] >= state.best[monitor]
            state.stale = 0 if improved else state.stale + 1
            if improved:
                state.best = {"epoch": state.epoch, **scores}
            done = done or (patience is not None and state.stale >= patience)
        state.elapsed = before + time.monotonic() - started
        progress = budget.progress(state.step, state.elapsed)
        listener.epoch(state, 1.0 if done else progress, float(epoch_loss) / taken, rate, scores)
        save(state, improved)
    return state
