"""One training run as its loop sees it: where batches come from, how the model is scored, which files are written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from segexp import checkpoint
from segexp.augment import Augmentation
from segexp.data.crops import Batch, CropBatches, DeviceBatches, Position
from segexp.data.feed import open_feed
from segexp.data.pairs import Sample
from segexp.distributed import Ranks, gather
from segexp.errors import InputError
from segexp.evaluation import Row, evaluate, summarize
from segexp.inference.predictor import Predictor
from segexp.training.learner import Learner
from segexp.training.loop import prepare
from segexp.training.state import Scores, TrainState
from segexp.training.stop import Stopped, StopRequest


@dataclass
class TrainingRun:
    """The parts of a run; implements `segexp.training.loop.Run`.

    Attributes:
        learner: the model and its optimiser.
        predictor: scores and pictures are made with it; its model is the one that is saved as the best.
        source: training images.
        augment: what their crops go through.
        val_samples: validation images.
        best_path: file of the best model; ``last.pth`` lies beside it.
        facts: what else the model file says.
        say: prints and records a line.
        show: is given the number, a validation sample and its predicted labels (H, W).
        centreline: whether the monitored score is clDice.
        workers: processes that read images from files.
        start_method: how they are started.
        stop: whether the run was asked to end.
        ranks: the processes of the run.
    """

    learner: Learner
    predictor: Predictor
    source: CropBatches | DeviceBatches
    augment: Augmentation
    val_samples: list[Sample]
    best_path: Path
    facts: dict[str, Any]
    say: Callable[[str], None]
    show: Callable[[int, Sample, NDArray], None]
    centreline: bool
    workers: int
    start_method: str | None
    stop: StopRequest
    ranks: Ranks

    @property
    def last_path(self) -> Path:
        """The file that a run goes on from."""
        return self.best_path.with_name("last.pth")

    def batches(self, first: Position) -> Iterator[Batch]:
        """Batches without end from an epoch and a step in it."""
        return open_feed(self.source, first, self.predictor.device, self.workers, self.start_method)

    def names(self, position: Position) -> list[str]:
        """Files that a batch was cut from."""
        return self.source.plan.names(position)

    def prepare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A raw batch to (images, targets) on the device."""
        predictor = self.predictor
        classes = len(predictor.classes)
        return prepare(batch, predictor.device, self.augment, predictor.normalization, classes, self.ranks)

    def validate(self) -> Scores:
        """Scores of the model as it stands, each process predicting its share of the images."""

        def look(index: int, sample: Sample, labels: NDArray) -> None:
            if self.stop.number and self.ranks.world == 1:  # several processes finish together
                raise Stopped(self.stop.number)
            self.show(index * self.ranks.world + self.ranks.rank, sample, labels)

        own = self.val_samples[self.ranks.rank :: self.ranks.world]
        rows = evaluate(self.predictor, own, self.centreline, look)
        per_image = len(self.predictor.classes)
        images = [rows[first : first + per_image] for first in range(0, len(rows), per_image)]
        together: list[Row] = [row for image in gather(self.ranks, images) for row in image]
        return summarize(together)

    def save(self, state: TrainState, improved: bool) -> None:
        """Write ``last.pth``, and the best model where this is it. A disk that is full costs no run: the last good
        files stay, and are said to."""
        if not self.ranks.first:
            return
        model_file = self.facts | {"weights": self.predictor.model.state_dict(), "metrics": state.best}
        try:
            if improved:
                checkpoint.save(self.best_path, model_file)
            checkpoint.save(self.last_path, model_file | {"state": state.plain(), "learner": self.learner.state()})
        except OSError as error:
            if not self.last_path.exists():
                raise InputError(f"{self.last_path}: cannot be written ({error.strerror or error})") from None
            kept = checkpoint.load(self.last_path)["state"]
            self.say(
                f"warning: the state of epoch {state.epoch}, step {state.step} could not be saved "
                f"({error.strerror or error}). {self.last_path} still holds step {kept['step']}; training goes on"
            )

    def restore(self) -> TrainState:
        """Put the learner back to the state saved last; says what differs from this run."""
        content = checkpoint.load(self.last_path)
        if "state" not in content or "learner" not in content:
            raise InputError(f"{self.last_path}: holds a model but no state of training; wanted a run's last.pth")
        wrong = differences(content["model"], self.facts["model"])
        if wrong:
            raise InputError(
                f"{self.last_path}: the model differs from this run's, so it cannot go on: {'; '.join(wrong)}. "
                "Give the same settings, or another output_dir to begin anew"
            )
        changed = differences(content["data"], self.facts["data"])
        if changed:
            self.say(f"warning: the data differ from those of the run that is resumed: {'; '.join(changed)}")
        try:
            self.learner.restore(content["learner"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{self.last_path}: its state does not fit this run ({error})") from None
        return TrainState(**content["state"])


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two trees of plain values differ, a line a leaf: ``settings.widths: [4, 8] before, now [4, 16]``."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in dict.fromkeys([*before, *now]):
            found += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        return found
    return [] if before == now else [f"{name}: {before} before, now {now}"]
