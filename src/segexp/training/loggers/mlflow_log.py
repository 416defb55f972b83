"""Log a run to MLflow, in addition to its folder (the extra ``mlflow``, ``logger=[tensorboard,mlflow]``).

MLflow 3 no longer opens its file store, so without a server the records go into an SQLite file, ``mlflow.db`` in the
current folder, which is also where ``mlflow ui`` looks.
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from segexp.errors import InputError
from segexp.training.callbacks import Callback
from segexp.training.state import Scores, TrainState

LONGEST = 500
"""Largest number of characters of a setting's value that older servers accept."""
_NO_NAME = re.compile(r"[^\w./ -]", re.ASCII)  # letters that no name of MLflow may have, such as that of ``~loss.ce``
FILE = "mlflow.json"
"""File in the run folder that says where its MLflow record is, so that a resumed run continues it."""


def tracking_uri(given: str | None) -> str:
    """Where records go: `given`, else what ``MLFLOW_TRACKING_URI`` says, else ``mlflow.db`` here."""
    if given is not None:
        return given if "://" in given else f"sqlite:///{Path(given).expanduser().absolute()}"
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').absolute()}")


class Mlflow(Callback):
    """Records of a run in MLflow.

    Args:
        uri: of the tracking server, or a file; None: what ``MLFLOW_TRACKING_URI`` says, else ``mlflow.db`` here.

    Raises:
        TypeError: if `uri` is neither text nor None.
    """

    title = "MLflow's record"

    def __init__(self, uri: str | None = None):
        if uri is not None and not isinstance(uri, str):
            raise TypeError(f"uri={uri}: expected an address such as http://lab:5000, a file, or null")
        self.uri = uri

    def prepare(self, folder: Path, task: str, say: Callable[[str], None]) -> dict[str, str]:
        """Open the record of this run.

        Raises:
            InputError: as `MlflowLog`.
        """
        self.log = MlflowLog(folder, tracking_uri(self.uri), task, say)
        return {FILE: self.log.address()}

    def on_settings(self, settings: Mapping[str, Any], varied: Collection[str]) -> None:
        """The run's settings."""
        self.log.settings(settings)

    def on_epoch(self, state: TrainState, progress: float, loss: float, rate: float, scores: Scores | None) -> None:
        """Loss and scores of an epoch."""
        kept = {"loss/train_epoch": loss, "learning_rate": rate, "seconds": state.elapsed}
        self.log.scores(kept | {f"val/{name}": value for name, value in (scores or {}).items()}, state.epoch)

    def on_best(self, scores: Scores, epoch: int) -> None:
        """Scores of the best model."""
        self.log.scores({f"best/{name}": value for name, value in scores.items() if name != "epoch"}, epoch)

    def on_end(self, status: str) -> None:
        """Close the record."""
        self.log.close(status)


class MlflowLog:
    """One run in MLflow. If logging fails later, for example because the server is down, a warning is printed once.

    Args:
        folder: the run folder.
        uri: of the tracking server or file, as `tracking_uri` gives it.
        experiment: name of the experiment, such as the task's.
        log: prints a line.

    Raises:
        InputError: if MLflow is not installed, or the server or file cannot be used.
    """

    def __init__(self, folder: Path, uri: str, experiment: str, log: Callable[[str], None]):
        if importlib.util.find_spec("mlflow") is None:
            raise InputError("logger.mlflow: needs MLflow; pip install 'segexp[mlflow]'")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would call home
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.uri, self.log, self.errors = uri, log, (MlflowException, OSError)
        try:
            with _alone(uri):
                self.client = MlflowClient(tracking_uri=uri)
                known = self.client.get_experiment_by_name(experiment)
                number = known.experiment_id if known else self.client.create_experiment(experiment)
                self.run = self._earlier(folder, uri) or self._new(folder, uri, number)
        except self.errors as error:
            raise InputError(f"logger.mlflow: {uri} cannot be used ({str(error).splitlines()[0]})") from None
        self.lost = False

    def address(self) -> str:
        """The content of `FILE`, by which a resumed run continues this record."""
        return json.dumps({"uri": self.uri, "run": self.run}) + "\n"

    def _earlier(self, folder: Path, uri: str) -> str | None:
        """The record of the run that is resumed."""
        if not (folder / FILE).is_file():
            return None
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if kept["uri"] != uri:
            return None
        self.client.update_run(kept["run"], status="RUNNING")
        return str(kept["run"])

    def _new(self, folder: Path, uri: str, experiment: str) -> str:
        place = folder.absolute()
        tags = {"segexp.folder": str(place), "segexp.sweep": str(place.parent) if (place / "job.json").exists() else ""}
        run = self.client.create_run(
            experiment, run_name=f"{place.parent.name}/{place.name}", tags={k: v for k, v in tags.items() if v}
        )
        return str(run.info.run_id)

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Log the run's settings; those already logged stay unchanged."""
        self._send(self._add_params, settings)

    def scores(self, scores: Mapping[str, float], epoch: int) -> None:
        """Metrics at the end of an epoch, in one request."""
        self._send(self._add_metrics, scores, epoch)

    def close(self, status: str) -> None:
        """End the record: FINISHED, KILLED (stopped or pruned) or FAILED."""
        self._send(self.client.set_terminated, self.run, status)

    def _add_params(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        there = self.client.get_run(self.run).data.params
        named = {_NO_NAME.sub("_", name): str(value)[:LONGEST] for name, value in settings.items()}
        new = [Param(name, value) for name, value in named.items() if name not in there]
        self.client.log_batch(self.run, params=new)

    def _add_metrics(self, scores: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        finite = {_NO_NAME.sub("_", name): value for name, value in scores.items() if math.isfinite(value)}
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, epoch) for name, value in finite.items()])

    def _send(self, do: Callable[..., Any], *values: Any) -> None:
        if self.lost:
            return
        try:
            do(*values)
        except self.errors as error:
            self.lost = True
            self.log(f"warning: stopped logging to MLflow for this run ({str(error).splitlines()[0]})")


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """A lock, so that jobs which start at the same moment do not both create the tables of a new file."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(uri.removeprefix("sqlite:///") + ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
