"""A run in TensorBoard: curves, pictures and the HParams tab, in its run folder (``logger=tensorboard``)."""

import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard import SummaryWriter

from segexp.training.callbacks import Callback
from segexp.training.loggers import hparams
from segexp.training.state import Scores, TrainState


class TensorBoard(Callback):
    """Writes an event file into the run folder."""

    title = "TensorBoard's record"

    def __init__(self) -> None:
        self.suffix, self.stepped = f".{secrets.token_hex(4)}", False
        self.growing = (f"events.out.tfevents.*{self.suffix}",)

    def on_open(self, folder: Path, monitor: str) -> None:
        """Create the event file."""
        self.writer, self.monitor = SummaryWriter(str(folder), filename_suffix=self.suffix), monitor
        self.events: Any = self.writer.file_writer

    def on_settings(self, settings: Mapping[str, Any], varied: Collection[str]) -> None:
        """The run's settings."""
        for summary in hparams.start(settings, hparams.columns(self.monitor), varied):
            self.events.add_summary(summary)

    def on_step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """The loss and rate of a logging step."""
        if not self.stepped:  # points of later steps are of a process that was killed: they come again
            self.stepped, start = True, SessionLog(status=SessionLog.START)
            self.events.add_event(Event(step=state.step, session_log=start), state.step)
        if loss is not None:
            self.writer.add_scalar("loss/train_step", loss, state.step)
            self.writer.add_scalar("learning_rate", rate, state.step)

    def on_epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """Loss and scores of an epoch."""
        self.writer.add_scalar("loss/train_epoch", loss, state.epoch)
        for name, value in (scores or {}).items():
            self.writer.add_scalar(f"val/{name}", value, state.epoch)

    def on_image(self, name: str, image: NDArray, epoch: int) -> None:
        """A picture."""
        self.writer.add_image(name, image, epoch, dataformats="HWC")

    def on_best(self, scores: Scores, epoch: int) -> None:
        """Scores of the best model."""
        named = {f"best/{name}": value for name, value in scores.items() if name != "epoch"}
        for name in hparams.columns(self.monitor):
            if name in named:
                self.writer.add_scalar(name, named[name], epoch)

    def on_end(self, status: str) -> None:
        """Close the record."""
        self.events.add_summary(hparams.end(status == "FINISHED"))
        self.writer.close()
