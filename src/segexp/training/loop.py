"""The training loop. It reads top to bottom; its state is `TrainState`, which is also what is saved.

Nothing in a step waits for the device: losses, and whether they were finite, are read every `log_every` steps and once
an epoch.
"""

import time
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

import torch
from torch import Tensor

from segexp.augment import Augmentation
from segexp.data.loader import Batch
from segexp.data.sampler import Position
from segexp.distributed import Ranks, agree
from segexp.errors import InputError
from segexp.training.cuda_graph import NotRecorded, RecordedStep
from segexp.training.diagnostics import ValidatedEpoch, watch
from segexp.training.learner import Learner
from segexp.training.prepare import prepare
from segexp.training.schedule import Budget, Schedule
from segexp.training.state import Scores, TrainState
from segexp.training.stop import Pruned, Stopped, StopRequest

IN_A_ROW = 8
"""Successive steps without a finite loss and gradient after which training returns to the last good state."""
VALIDATIONS, ENDING = 5.0, 4.0
"""Time reserved for the end of a run with a time limit: a multiple of the validation time, and a number of seconds.

There is one more validation; then all validation images are predicted again, threshold and guarantee are computed,
scores and pictures made, and the page written (8 to 15 s for 6 to 36 images on two cores: LOG.md, 2026-11-27).
"""
RETREATS = 3
"""Number of returns, each with half the learning rate, before training gives up."""


class Listener(Protocol):
    """Receives the progress of the loop: see `segexp.training.loggers.run_log.RunLog`."""

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """After each step; `loss` is None except on logging steps."""

    def epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """After each epoch; `scores` is None if it was not validated."""

    def info(self, text: str) -> None:
        """A line for the user."""


class Run(Protocol):
    """What the loop needs from the owner of files and images: see `segexp.experiment.trainer`.

    Attributes:
        device: where the model is.
        augment: the augmentation of crops, on the device.
        normalization: one of `segexp.data.normalization.NORMALIZATIONS`.
        classes: their names.
        cuda_graph: whether steps are recorded as a CUDA graph and replayed.
        learner: the model and its optimiser.
        state: how far training is; the loop updates it.
        stop: checked before each step; if it is set, the state is saved and `Stopped` raised.
        ranks: the processes of the run.
        foreground: share of foreground in the training data, for the warnings of `watch`.
    """

    device: torch.device
    augment: Augmentation
    normalization: str
    classes: list[str]
    cuda_graph: bool
    learner: Learner
    state: TrainState
    stop: StopRequest
    ranks: Ranks
    foreground: float

    def batches(self, first: Position, size: int | None = None) -> Iterator[Batch]:
        """An endless iterator over batches from a step of an epoch; `size`: side of the crops, None: the usual one."""

    def names(self, position: Position) -> list[str]:
        """Names of the images that a batch was cut from."""

    def validate(self) -> Scores:
        """Scores of the current model; raises `Stopped` if the run is asked to stop."""

    def save(self, improved: bool) -> None:
        """Keep the state, and the model if it is the best so far."""

    def restore(self) -> None:
        """Put learner and state back to what was saved last."""


class _Pulse:
    """What the loop has not yet read from the device: losses, and which steps were skipped."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.positions: list[Position] = []
        self.in_a_row, self.crops, self.empty = 0, 0, 0.0

    def add(self, loss: Tensor, skipped: Tensor, targets: Tensor, position: Position) -> None:
        empty = (targets.flatten(1).amax(1) <= 0).sum()
        self.values.append(torch.stack([loss, skipped, empty.to(loss.dtype)]))
        self.positions.append(position)
        self.crops += len(targets)

    @property
    def empty_share(self) -> float:
        """Share of the crops, of those read, without a foreground pixel."""
        return self.empty / max(self.crops, 1)

    def read(self, state: TrainState) -> tuple[float, list[Position]]:
        """Wait for the device; the last loss, and the positions of skipped steps. Sums go to `state`."""
        last, skipped = float("nan"), []
        values = torch.stack(self.values).tolist() if self.values else []
        for (last, flag, empty), position in zip(values, self.positions, strict=True):
            self.empty += empty
            self.in_a_row = self.in_a_row + 1 if flag else 0
            if flag:
                skipped.append(position)
            else:
                state.loss_sum += last
        state.skipped += len(skipped)
        state.position_skipped += len(skipped)
        self.values.clear()
        self.positions.clear()
        return last, skipped


def fit(
    run: Run,
    listener: Listener,
    schedule: Schedule,
    *,
    validation_seconds: float = 0.0,
    started: float | None = None,
    should_prune: Callable[[float, float], bool] | None = None,
) -> None:
    """Train from the run's current state until the budget or the patience is used up.

    Args:
        run: model, state, batches, validation and files.
        listener: called after each step and epoch.
        schedule: the budget and what happens when.
        validation_seconds: expected time of one validation, with several processes the longest; each validation
            updates it.
        started: `time.monotonic()` at which this session began, counted against the budget's seconds; None: now.
        should_prune: called with progress and best score after each validation but the last, and on resuming; if it
            returns True in any process, `Pruned` is raised.
    """
    started = time.monotonic() if started is None else started
    state = run.state
    (validation_seconds,) = agree(run.ranks, validation_seconds)  # the learning rate and the size of crops follow
    loop = _Loop(run, listener, schedule, started, validation_seconds)
    over = loop.nothing_left() if state.step else ""
    if over:
        listener.info(over)
    done = bool(over) and state.position == 0
    if done:
        loop.have_a_best()
    elif state.step == 0:
        loop.save()  # shows that the folder can be written to, and gives a first state to go back to
    elif state.best:
        loop.ask(should_prune)  # it may have ended between its validation and the answer
    while not done:
        ending = loop.train_epoch()
        if ending and loop.is_validated():  # time ran out while it was validated: no epoch without a step
            loop.save()
            if not loop.state.best:
                loop.refuse_undefined()
            break
        scores = loop.validate(ending)
        done = loop.end_epoch(ending, scores)
        if scores is not None and not done:
            loop.ask(should_prune)


class _Loop:
    """The phases of an epoch and their shared variables; what must survive the process is in `run.state`."""

    def __init__(self, run: Run, listener: Listener, schedule: Schedule, started: float, validation_seconds: float):
        self.run, self.learner, self.state, self.ranks = run, run.learner, run.state, run.ranks
        self.listener, self.schedule = listener, schedule
        self.started = started - run.state.elapsed
        self.validation_seconds, self.step_seconds = validation_seconds, 0.0
        self.last_validated = self.last_saved = time.monotonic()
        self.save_seconds = 0.0
        self.validated: int | None = None  # the step of the last validation
        self.loss, self.rate = float("nan"), 0.0  # the last that are known
        self.pulse = _Pulse()
        self.history: list[ValidatedEpoch] = []
        self.feed: Iterator[Batch] | None = None
        self.size: int | None = None
        self.recordable = run.cuda_graph
        self.recorded = self._record()

    def nothing_left(self) -> str:
        """If a resumed run has nothing left to train: a line with the reason and the setting to change; else empty."""
        state, patience = self.state, self.schedule.patience
        (elapsed,) = agree(self.ranks, time.monotonic() - self.started)
        limit = self._usable().reached(state.step, elapsed, state.extra_steps)
        if limit is None and patience is not None and state.stale >= patience and state.position == 0:
            limit = "trainer.patience"
        if limit is None:
            return ""
        done = {
            "trainer.epochs": f"{state.epoch} epochs are trained",
            "trainer.steps": f"{state.step} steps are trained",
            "trainer.max_time": f"{elapsed:.0f} seconds are used",
            "trainer.patience": f"{state.stale} validations brought no improvement",
        }[limit]
        return f"nothing is left to train: {done}; continue with a larger {limit} (the results are written again)"

    def have_a_best(self) -> None:
        """Use the current model as the best if a run ends without one."""
        if any(agree(self.ranks, not self.state.best)):
            scores = self.run.validate()
            if self.schedule.monitor not in scores:
                self.refuse_undefined()
            self.state.best = {"epoch": self.state.epoch, **scores}
            self.save(improved=True)

    def refuse_undefined(self) -> NoReturn:
        """End the run after saving its state, because no validation gave the score that chooses the best model."""
        monitor = self.schedule.monitor
        advice = ". The state is saved: resume the run with task.monitor=dice" * (monitor != "dice")
        raise InputError(
            f"task.monitor={monitor}: undefined on every validation image, so no model is the best; expected a score "
            f"that some of them have{advice}"
        )

    def train_epoch(self) -> bool:
        """Take the remaining steps of the epoch; returns whether the budget is used up."""
        self.learner.model.train()
        ending = self._over()
        while not ending and self.state.position < self.schedule.epoch_steps:
            tick = time.monotonic()
            progress = self._progress(self._usable())
            self.rate = self.schedule.lr * self.schedule.scheduler(progress, self.state.step) * self.state.rate_scale
            self._step(progress, self.rate)
            if self.pulse.in_a_row == 0 and time.monotonic() - self.last_saved >= self.schedule.save_every:
                self._read()
                self.save()
            seconds = time.monotonic() - tick
            self.step_seconds = 0.8 * self.step_seconds + 0.2 * seconds if self.step_seconds else seconds
            ending = self._over()
        return ending

    def _usable(self) -> Budget:
        """The budget minus the time for the last validation, the scoring of the best model, and writing."""
        return self.schedule.budget.less(VALIDATIONS * self.validation_seconds + ENDING)

    def _progress(self, budget: Budget, ahead: float = 0.0) -> float:
        """Share of a budget that will be used `ahead` seconds from now."""
        return budget.progress(self.state.step, self.state.elapsed + ahead, self.state.extra_steps)

    def _over(self) -> bool:
        """Whether no further step fits into the budget; if the run is asked to stop, saves and ends all processes."""
        elapsed, self.step_seconds, wish = agree(
            self.ranks, time.monotonic() - self.started, self.step_seconds, self.run.stop.number
        )
        self.state.elapsed = elapsed
        if wish:
            self._read()
            self.save()
            raise Stopped(int(wish))
        return self.state.step > 0 and self._progress(self._usable(), self.step_seconds) >= 1

    def _step(self, progress: float, rate: float) -> None:
        state, schedule = self.state, self.schedule
        size = schedule.size(progress)
        if size != self.size:
            self.size, self.feed = size, None
            self.recorded = self._record()  # a recording is of one size
        self.feed = self.feed or self.run.batches((state.epoch, state.position), size)
        batch = next(self.feed)
        self._seed()  # after the batch, since a DataLoader that starts draws a number too
        parts = self.learner.micro_batch
        loss, skipped, targets = self._update(batch, rate)
        self.pulse.add(loss, skipped, targets, (state.epoch, state.position))
        state.step, state.position = state.step + 1, state.position + 1
        if self.learner.micro_batch != parts:
            self.listener.info(
                f"warning: memory ran out; batches now go through the network {self.learner.micro_batch} crops at a "
                f"time (trainer.micro_batch={self.learner.micro_batch} spares the first attempt)"
            )
        logged = None
        if state.step % schedule.log_every == 0 or state.position == schedule.epoch_steps:
            logged = self._read()  # waits for the device
        self.listener.step(state, progress, logged, rate)
        if self.pulse.in_a_row >= IN_A_ROW:
            self._retreat()

    def _seed(self) -> None:
        """Seed all random draws of a step by its number: nothing to save, and a resumed run repeats them exactly."""
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.state.step)

    def _update(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, whether the step was skipped, and targets; recorded as a CUDA graph if the run says so."""
        run = self.run
        if self.recorded is not None:
            try:
                return self.recorded(batch, rate)
            except NotRecorded as error:
                self.recorded, self.recordable = None, False  # no further attempt with crops of another size
                self._seed()  # the same draws again
                self.listener.info(
                    "warning: the step could not be recorded as a CUDA graph, so training continues without, which is "
                    f"slower (trainer.cuda_graph=never spares the attempt): {str(error).splitlines()[0][:200]}"
                )
        images, targets = prepare(batch, run.device, run.augment, run.normalization, len(run.classes), self.ranks)
        return *self.learner.step(images, targets, rate), targets

    def _record(self) -> RecordedStep | None:
        run = self.run
        if not self.recordable:
            return None
        return RecordedStep(self.learner, run.augment, run.normalization, len(run.classes))

    def _read(self) -> float:
        """Read the last loss, and log skipped steps."""
        loss, skipped = self.pulse.read(self.state)
        usual = " (usual in fp16 for a few steps, while the loss scaling is found)" * (self.learner.precision == "fp16")
        for epoch, step in skipped[:3]:
            files = ", ".join(self.run.names((epoch, step)))
            self.listener.info(
                f"warning: epoch {epoch + 1}, step {step + 1} skipped: its loss or gradient was not a finite number"
                f"{usual}. Files: {files}"
            )
        if len(skipped) > 3:
            self.listener.info(f"warning: {len(skipped) - 3} more steps were skipped")
        return loss

    def _retreat(self) -> None:
        """Return to the state saved last, at half the learning rate; give up after `RETREATS` times."""
        state = self.state
        if state.retreats >= RETREATS:
            raise InputError(
                f"training diverges: {state.skipped} steps had a loss or gradient that is not a finite number, also "
                f"after going back {RETREATS} times at half the learning rate. Try a tenth of trainer.lr, "
                "trainer.precision=fp32, augment=none, and look at the files named above (segexp check DIR)"
            )
        scaling = self.learner.scaler.state_dict()  # of fp16: what it has learned since would have to be learned again
        if scaling:  # but where the data are to blame it only ever fell, in the end to where gradients become 0
            scaling["scale"] = max(scaling["scale"], 1.0)
        kept = {
            "skipped": state.skipped,
            "retreats": state.retreats + 1,
            "rate_scale": state.rate_scale / 2,
            "elapsed": state.elapsed,
        }
        self.run.restore()
        self.state = state = self.run.state
        for name, value in kept.items():
            setattr(state, name, value)
        self.learner.renew_scaler(scaling)
        self.pulse, self.feed, self.validated = _Pulse(), None, None
        self.recorded = self._record()  # the optimiser's state lies elsewhere now
        self.listener.info(
            f"warning: {IN_A_ROW} steps in a row without a finite loss: back to epoch {state.epoch + 1}, "
            f"step {state.position + 1}, at {state.rate_scale:g} of the learning rate"
        )

    def validate(self, ending: bool) -> Scores | None:
        """Validate if it is due; if the run is asked to stop meanwhile, saves and re-raises `Stopped`."""
        self._read()
        every = self.schedule.validate_every
        since = time.monotonic() - self.last_validated
        due = since >= 10 * self.validation_seconds if every is None else (self.state.epoch + 1) % every == 0
        if not any(agree(self.ranks, ending or due)):
            return None
        tick = time.monotonic()
        try:
            scores = self.run.validate()
        except Stopped:
            self.save()
            raise
        self.validated, self.last_validated = self.state.step, time.monotonic()
        (self.validation_seconds,) = agree(self.ranks, self.last_validated - tick)
        return scores

    def is_validated(self) -> bool:
        """Whether no step was taken since the last validation of this session."""
        return self.state.step == self.validated

    def end_epoch(self, ending: bool, scores: Scores | None) -> bool:
        """Count and report the epoch, and save; returns whether it was the last.

        Its loss is the mean over the steps that were not skipped; if there is none, that of the epoch before.

        Raises:
            InputError: if it was the last and the monitored score was never defined.
        """
        state, schedule = self.state, self.schedule
        counted = state.position - state.position_skipped
        self.loss = state.loss_sum / counted if counted else self.loss
        state.epoch, state.position, state.loss_sum, state.position_skipped = state.epoch + 1, 0, 0.0, 0
        improved = False
        if scores is not None and schedule.monitor not in scores:  # a model that finds nothing may have no such score
            self._warn(
                "undefined score",
                f"{schedule.monitor} is undefined on every validation image, so this model is not compared with others",
            )
        elif scores is not None:
            # of equals the later: with every score still 0 it has at least learned longer
            improved = schedule.improves(scores, state.best)
            state.stale = 0 if improved else state.stale + 1
            if improved:
                state.best = {"epoch": state.epoch, **scores}
        if scores is not None:
            self.history.append(ValidatedEpoch(self.loss, scores))
            for name, text in watch(self.history, self.pulse.empty_share, self.run.foreground).items():
                self._warn(name, text)
        (state.elapsed,) = agree(self.ranks, time.monotonic() - self.started)
        progress = self._progress(schedule.budget)
        impatient = schedule.patience is not None and state.stale >= schedule.patience
        done = ending or impatient
        self.listener.epoch(state, 1.0 if done else progress, self.loss, self.rate, scores)
        # after each epoch, unless that would take a twentieth of the time
        if done or improved or time.monotonic() - self.last_saved >= 20 * self.save_seconds:
            self.save(improved)
        if done and not state.best:
            self.refuse_undefined()
        return done

    def _warn(self, name: str, text: str) -> None:
        if name not in self.state.warned:
            self.state.warned.append(name)
            self.listener.info(f"warning: {text}")

    def ask(self, should_prune: Callable[[float, float], bool] | None) -> None:
        """Save and end all processes if `should_prune` returns True."""
        if not self.state.best:
            return
        monitor = self.schedule.monitor
        progress, score = self._progress(self.schedule.budget), self.state.best[monitor]
        if any(agree(self.ranks, should_prune is not None and should_prune(progress, score))):
            self.save()
            raise Pruned(self.state.epoch, progress, monitor, score)

    def save(self, improved: bool = False) -> None:
        """Keep the state, and the model if it is the best so far."""
        tick = time.monotonic()
        self.run.save(improved)
        self.last_saved = time.monotonic()
        self.save_seconds = self.last_saved - tick
