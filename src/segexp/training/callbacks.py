"""The base class of loggers and of user-defined callbacks (docs/training.md).

A callback is named in the group ``callbacks`` and a logger in ``logger``; both have the same hooks. A hook gets plain
numbers that were read from the device anyway, and no tensors, so it cannot make a step wait for the GPU.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segexp.training.state import Scores, TrainState


class Callback:
    """Hooks that do nothing; derive from it and replace those that you need.

    After an `OSError`, such as a full disk, the run continues and a warning says what is incomplete. Any other error
    ends the run. With several processes, only the first has callbacks.
    """

    title = "a callback's record"
    """What is incomplete after an `OSError`."""
    growing: tuple[str, ...] = ()
    """Patterns of the names of files that `on_open` creates in the run folder; each name has a random part."""

    def prepare(self, folder: Path, task: str, say: Callable[[str], None]) -> dict[str, str]:
        """Called before anything is written; returns texts for the run folder, or raises `segexp.errors.InputError`.

        Args:
            folder: the run folder, which may not exist yet.
            task: its name.
            say: prints a line.
        """
        return {}

    def on_open(self, folder: Path, monitor: str) -> None:
        """The run begins, or is resumed, in its folder; `monitor` names the score that chooses the best model."""

    def on_settings(self, settings: Mapping[str, Any], varied: Collection[str]) -> None:
        """Settings by which to compare runs: name -> number or text. A sweep varies those in `varied`."""

    def on_step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        """A training step was taken.

        Args:
            state: epochs, steps, seconds, the best scores; not to be changed.
            progress: share of the budget used, 0 to 1.
            loss: its loss, on each ``trainer.log_every``-th step; else None, since reading it waits for the device.
            rate: its learning rate.
        """

    def on_epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """An epoch ended with this mean loss; `scores` on the validation images, None if it was not validated."""

    def on_image(self, name: str, image: NDArray, epoch: int) -> None:
        """A picture (H, W, 3), uint8: the augmentation, or a validation image with its outlines."""

    def on_best(self, scores: Scores, epoch: int) -> None:
        """Training has ended; scores of the best model on the validation images."""

    def on_end(self, status: str) -> None:
        """The run ended: FINISHED, KILLED (stopped, or pruned by a search) or FAILED."""
