"""One training run as its loop uses it: batches, validation, and the files that are written."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from segexp import checkpoint
from segexp.augment import Augmentation
from segexp.data.dataset import Sample
from segexp.data.loader import Batch, CropBatches, DeviceBatches, open_feed
from segexp.data.sampler import Position
from segexp.distributed import Ranks, gather, share
from segexp.errors import InputError
from segexp.evaluation import Row, evaluate, summarize
from segexp.evaluation.scoring import Scoring, pixel_sides
from segexp.inference.predictor import Predictor
from segexp.io.run_folder import RunFolder
from segexp.metrics.registry import is_better, to_compute
from segexp.training.learner import Learner
from segexp.training.loggers.run_log import RunLog
from segexp.training.state import Scores, TrainState
from segexp.training.step_times import StepTimes
from segexp.training.stop import Stopped, StopRequest


@dataclass
class TrainingRun:
    """A run while it trains: its parts, its state and its files; implements `segexp.training.loop.Run`.

    Attributes:
        folder: the run folder.
        files: the record of what the run writes there.
        log: prints and records lines, scores and pictures.
        device: where the model is and batches go.
        normalization: one of `segexp.data.normalization.NORMALIZATIONS`.
        classes: their names, in the order of the output channels.
        learner: the model and its optimiser.
        predictor: used for validation and pictures; its model is the one that is saved as the best.
        source: training images.
        foreground: share of foreground in them.
        augment: the augmentation of their crops.
        cuda_graph: whether steps are recorded as a CUDA graph and replayed.
        val_samples: validation images.
        best_path: file of the best model.
        facts: the other entries of the model file; ``run`` is a unique id of the run.
        on_image: called with the number of a validation sample, the sample and its predicted labels (H, W).
        monitor: the score whose best value marks the best model.
        workers: processes that read images from files.
        start_method: how they are started.
        stop: whether the run was asked to end.
        ranks: the processes of the run.
        one_batch: whether only the first batch is used, repeatedly.
        step_times: times the parts of a step.
        last_name: name of the file from which training can resume, beside the best model.
        cross_fitted: whether the validation images are also trained on, since the model is chosen by cross-fitting.
        records: names in the run folder that existed when the run began and have to exist when it ends.
        scoring: what validation computes: the monitored score, its tolerance, how touching objects are split.
        state: how far training is.
    """

    folder: Path
    files: RunFolder
    log: RunLog
    device: torch.device
    normalization: str
    classes: list[str]
    learner: Learner
    predictor: Predictor
    source: CropBatches | DeviceBatches
    foreground: float
    augment: Augmentation
    cuda_graph: bool
    val_samples: list[Sample]
    best_path: Path
    facts: dict[str, Any]
    on_image: Callable[[int, Sample, NDArray], None]
    monitor: str
    workers: int
    start_method: str | None
    stop: StopRequest
    ranks: Ranks
    one_batch: bool = False
    step_times: StepTimes | None = None
    last_name: str = "last.pth"
    cross_fitted: bool = False
    records: tuple[str, ...] = ()
    scoring: Scoring = field(default_factory=Scoring)
    state: TrainState = field(default_factory=TrainState)
    _best: dict[str, Any] | None = field(default=None, init=False)
    _best_is_written: bool = field(default=True, init=False)
    _saved_step: int | None = field(default=None, init=False)
    _lost: bool = field(default=False, init=False)

    @property
    def last_path(self) -> Path:
        """The file from which the run can resume."""
        return self.best_path.with_name(self.last_name)

    def batches(self, first: Position, size: int | None = None) -> Iterator[Batch]:
        """An endless iterator over batches from a step of an epoch; `size`: side of the crops, None: the usual one."""
        first, size = ((0, 0), None) if self.one_batch else (first, size)
        feed = open_feed(self.source.of_size(size), first, self.device, self.workers, self.start_method, self.log.info)
        if self.one_batch:
            feed = itertools.repeat(next(feed))
        return feed if self.step_times is None else self.step_times.batches(feed)

    def names(self, position: Position) -> list[str]:
        """Names of the images that a batch was cut from."""
        return self.source.plan.names((0, 0) if self.one_batch else position)

    def validate(self) -> Scores:
        """Scores of the current model; each process predicts its share of the images."""

        def look(index: int, sample: Sample, labels: NDArray) -> None:
            if self.stop.number and self.ranks.world == 1:  # several processes finish together
                raise Stopped(self.stop.number)
            self.on_image(index * self.ranks.world + self.ranks.rank, sample, labels)

        own, sides = self.val_samples[self.ranks.rank :: self.ranks.world], None
        if to_compute(self.scoring.monitor):
            sides = pixel_sides(self.val_samples, None, self.scoring.tolerance)
            sides = sides and sides[self.ranks.rank :: self.ranks.world]
        rows = evaluate(self.predictor, own, self.scoring, look, sides)
        per_image = len(self.classes)
        images = [rows[first : first + per_image] for first in range(0, len(rows), per_image)]
        together: list[Row] = [row for image in gather(self.ranks, images) for row in image]
        return summarize(together)

    def save(self, improved: bool) -> None:
        """Write ``last.pth``, then the best model if this is the best one.

        Until the best model's file is complete, its weights are also in ``last.pth`` and in memory, and every save
        tries again. If the disk is full, training continues: the last complete files stay, and a warning names them.

        Raises:
            InputError: if the folder cannot be written to for another reason than a full disk.
        """
        if not self.ranks.first:
            return
        self.check_records()
        state = self.state
        model_file = self.facts | {"weights": self.predictor.model.state_dict(), "metrics": state.best}
        content = model_file | {
            "state": state.plain(),
            "learner": self.learner.state(),
            "epoch_steps": self.source.plan.steps,
            "batch_size": self.source.plan.batch_size,
        }
        if improved:
            weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model_file["weights"].items()}
            self._best, self._best_is_written = model_file | {"weights": weights, "metrics": dict(state.best)}, False
        elif not self._best_is_written:
            content["best_model"] = self._best
        try:
            checkpoint.save(self.last_path, content)
            self._saved_step = state.step
        except OSError as error:
            if self._saved_step is None:
                raise InputError(f"{self.last_path}: cannot be written ({error.strerror or error})") from None
            self.log.info(
                f"warning: the state of epoch {state.epoch}, step {state.step} could not be saved "
                f"({error.strerror or error}). {self.last_path} still holds step {self._saved_step}; training continues"
            )
        self._write_best()

    def _write_best(self) -> None:
        if self._best is None or self._best_is_written:
            return
        try:
            checkpoint.save(self.best_path, self._best)
            self._best_is_written = True
        except OSError as error:
            self.log.info(
                f"warning: the best model could not be written to {self.best_path} ({error.strerror or error}). "
                "Training continues with it in memory; every save puts it into last.pth and tries again"
            )

    def restore(self) -> None:
        """Restore learner and state from the last save; logs what differs from this run.

        Raises:
            InputError: if ``last.pth`` holds no training state, or that of another model.
        """
        content = checkpoint.load(self.last_path)
        if not {"state", "learner", "model", "data"} <= content.keys():
            raise InputError(f"{self.last_path}: holds a model but no training state; expected a run's last.pth")
        wrong = differences(content["model"], self.facts["model"])
        if wrong:
            raise InputError(
                f"{self.last_path}: the model differs from this run's, so training cannot resume: {'; '.join(wrong)}. "
                "Give the same settings, or another output_dir to begin anew"
            )
        changed = changed_data(content["data"], self.facts["data"])
        if changed:
            self.log.info(f"warning: the data differ from those of the run that is resumed: {'; '.join(changed)}")
        try:
            self.learner.restore(content["learner"])
            state = TrainState(**content["state"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.last_path}: its state does not fit this run ({error})") from None
        self.facts["run"], self._saved_step = content.get("run"), state.step
        if self.ranks.first:
            self._restore_best(content, state)
        state.best, state.stale = share(self.ranks, (state.best, state.stale))
        if state.best and self.monitor not in state.best:
            self.log.info(
                f"task.monitor={self.monitor}: was not monitored before, so the best of epoch {state.best['epoch']:g} "
                "cannot be compared; the next validation gives a new one"
            )
            state.best, state.stale = {}, 0
        before, now = content.get("epoch_steps", self.source.plan.steps), self.source.plan.steps
        if before != now:
            state.change_epoch_steps(before, now)
            self.log.info(
                f"steps an epoch: {before} before, {now} now; the run continues at the same place of the same epoch"
            )
        self.state = state

    def _restore_best(self, content: dict[str, Any], state: TrainState) -> None:
        """Make the best model's file match the restored state; forget the best if its weights are lost."""
        self._best, self._best_is_written = None, True
        if not state.best:
            return
        found = self._read_best()
        if found is not None and found["metrics"] == state.best:
            self._best = found
            return
        kept = content.get("best_model")
        if kept is None and state.position == 0 and state.best["epoch"] == state.epoch:
            others = ("state", "learner", "epoch_steps", "batch_size")
            kept = {key: content[key] for key in content if key not in others}
        if kept is not None:
            self.log.info(f"{self.best_path}: missing, damaged or not this run's; its weights are taken from last.pth")
            self._best, self._best_is_written = kept, False
        elif found is not None and self._at_least_as_good(found["metrics"], state.best):
            self._best, state.best = found, found["metrics"]  # of an epoch whose state could not be saved any more
        else:
            self.log.info(
                f"warning: {self.best_path}: missing, damaged or not this run's, and there is no copy of it. "
                f"The best of epoch {state.best['epoch']:g} is lost; the next validation gives a new one"
            )
            state.best, state.stale = {}, 0

    def _at_least_as_good(self, first: Scores, second: Scores) -> bool:
        scores = first.get(self.monitor), second.get(self.monitor)
        return None not in scores and is_better(self.monitor, *scores)  # type: ignore[arg-type]

    def _read_best(self) -> dict[str, Any] | None:
        """The file of the best model; None if it is missing, damaged or another run's."""
        try:
            found = checkpoint.load(self.best_path)
        except (InputError, OSError):
            return None
        return found if found.get("run") == self.facts["run"] and isinstance(found.get("metrics"), dict) else None

    def begin(self, records: tuple[str, ...]) -> None:
        """Note which of the `records` exist in the run folder; write the best model that was restored."""
        self.records = records
        if self.ranks.first:
            self._write_best()

    def settle_best(self) -> None:
        """Make sure, after training, that the best model's file is complete and of this run.

        Raises:
            OSError: if it is not and cannot be written now.
        """
        found = self._read_best()
        if found is not None and found["metrics"] == self.state.best:
            return
        assert self._best is not None
        if self._best_is_written:
            self.log.info(f"warning: {self.best_path} was deleted, damaged or replaced; it is written again")
        checkpoint.save(self.best_path, self._best)
        self._best_is_written = True

    def check_records(self) -> str:
        """Warn once if files of the run folder are missing; returns their names, or an empty text."""
        folder = self.best_path.parent
        missing = " and ".join(name for name in self.records if not (folder / name).exists())
        if missing and not self._lost:
            self._lost = True
            self.log.info(
                f"warning: {folder}: {missing} is missing: the run folder was deleted, emptied or moved during the "
                "run. Training continues and writes its models there, but the run cannot be resumed and ends with "
                "exit code 1"
            )
        return missing


def changed_data(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """How the data of a resumed run differ from those at its start, a line for each difference."""
    digests = ("fingerprint", "contents")
    named, given = ({key: value for key, value in data.items() if key not in digests} for data in (before, now))
    found = differences(named, given)
    if any(before.get(key, now.get(key)) != now.get(key) for key in digests):
        found.append("the pixels of images or masks changed")
    return found


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Differences of two trees of plain values, a line a leaf: ``settings.widths: [4, 8] before, now [4, 16]``."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in dict.fromkeys([*before, *now]):
            found += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        return found
    return [] if before == now else [f"{name}: {before} before, now {now}"]
