"""What a run leaves in MLflow, read from its file without MLflow; and what happens where it is absent or goes away."""

import importlib.util
import json
import math
import sqlite3
import sys
import types
from pathlib import Path

import pytest

from segexp.errors import InputError
from segexp.training.loggers import mlflow_log
from segexp.training.loggers.mlflow_log import MlflowLog, tracking_uri
from tests.processes import first_on_path, script
from tests.test_scripts import TINY

INSTALLED = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not INSTALLED, reason="MLflow is not installed: pip install '.[mlflow]'")


def query(path, text):
    with sqlite3.connect(path) as base:
        rows = base.execute(text).fetchall()
    base.close()
    return rows


def test_where_records_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking_uri("lab.db") == f"sqlite:///{tmp_path / 'lab.db'}"
    assert tracking_uri("http://lab:5000") == "http://lab:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other:5000")
    assert tracking_uri(None) == "http://other:5000"


def test_without_mlflow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'segexp\[mlflow\]'"):
        MlflowLog(tmp_path, "sqlite:///x.db", "vesicle", print)


def test_a_server_that_goes_away_is_said_once_and_costs_no_run(tmp_path, monkeypatch):
    class Gone(Exception):
        pass

    class Client:
        def __init__(self, tracking_uri):
            self.here = True

        def get_experiment_by_name(self, name):
            return types.SimpleNamespace(experiment_id="1")

        def create_run(self, experiment, run_name, tags):
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r"))

        def log_batch(self, run, params=(), metrics=()):
            raise Gone("no route to host\nwith details")

        set_terminated = log_batch

    fake = types.ModuleType("mlflow")
    fake.MlflowClient = Client
    exceptions, entities = types.ModuleType("mlflow.exceptions"), types.ModuleType("mlflow.entities")
    exceptions.MlflowException, entities.Metric = Gone, lambda *values: values
    for name, module in (("mlflow", fake), ("mlflow.exceptions", exceptions), ("mlflow.entities", entities)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(mlflow_log.importlib.util, "find_spec", lambda name: fake)
    said = []
    log = MlflowLog(tmp_path, "http://lab:5000", "vesicle", said.append)
    for epoch in range(3):
        log.scores({"val/dice": 0.5}, epoch)
    log.close("FINISHED")
    assert said == ["warning: stopped logging to MLflow for this run (no route to host)"]


def test_what_mlflow_would_refuse_is_made_fit(tmp_path, monkeypatch):
    sent = {}

    class Client:
        def get_run(self, run):
            return types.SimpleNamespace(data=types.SimpleNamespace(params={"seed": "0"}))

        def log_batch(self, run, params=(), metrics=()):
            sent.update(params)
            sent.update({name: value for name, value, *_ in metrics})

    entities = types.ModuleType("mlflow.entities")
    entities.Param = entities.Metric = lambda *values: values
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    log = object.__new__(MlflowLog)
    log.client, log.run, log.lost, log.errors = Client(), "r", False, (OSError,)
    log.settings({"seed": 0, "~loss.ce": "", "task.classes": "x" * 600, "callbacks/a": "{b: 1}"})
    log.scores({"val/dice": 0.5, "loss/train_epoch": math.nan}, 1)
    assert sent == {"_loss.ce": "", "task.classes": "x" * 500, "callbacks/a": "{b: 1}", "val/dice": 0.5}


@needs_mlflow
@pytest.mark.slow
def test_a_sweep_in_mlflow_and_a_run_that_is_stopped_and_goes_on(tmp_path):
    """Two jobs at once make the file; then a run is killed by a signal in its first epoch and resumed."""
    words = ["task=vesicle", *TINY, "logger=[tensorboard,mlflow]"]
    sweep = ["-m", *words, "trainer.lr=0.001,0.002", "output_dir=sweep", "hydra.launcher.jobs=2"]
    result = script("train.py", *sweep, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    base = tmp_path / "mlflow.db"
    assert query(base, "select name from experiments where name != 'Default'") == [("vesicle",)]
    runs = dict(query(base, "select name, run_uuid from runs"))
    assert set(runs) == {"sweep/0", "sweep/1"}
    for number, rate in enumerate(("0.001", "0.002")):
        run = runs[f"sweep/{number}"]
        params = dict(query(base, f"select key, value from params where run_uuid = '{run}'"))
        assert params["trainer.lr"] == rate
        assert params["seed"] == "0"
        folder = tmp_path / "sweep" / str(number)
        metrics = dict(query(base, f"select key, value from latest_metrics where run_uuid = '{run}'"))
        best = json.loads((folder / "summary.json").read_text())["best"]
        assert metrics["best/dice"] == pytest.approx(best["dice"])
        assert {"val/dice", "loss/train_epoch", "learning_rate"} <= set(metrics)
        assert (run, str(folder)) in query(base, "select run_uuid, value from tags where key = 'segexp.folder'")
    assert query(base, "select distinct status from runs") == [("FINISHED",)]

    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.checkpoint as c, os, signal\nkeep = c.save\n"
        "def save(path, content):\n    keep(path, content)\n"
        "    if content.get('state', {}).get('epoch') == 1:\n"
        "        c.save = keep\n        os.kill(os.getpid(), signal.SIGTERM)\nc.save = save\n"
    )
    alone = [*words, "trainer.epochs=3", "output_dir=alone"]
    stopped = script("train.py", *alone, cwd=tmp_path, PYTHONPATH=first_on_path(tmp_path))
    assert stopped.returncode == 143, stopped.stderr
    named = "from runs where name like '%/alone'"
    assert query(base, f"select status {named}") == [("KILLED",)]
    assert script("train.py", "resume=alone", cwd=tmp_path).returncode == 0
    assert query(base, f"select status {named}") == [("FINISHED",)]
    ((run,),) = query(base, f"select run_uuid {named}")
    steps = query(base, f"select step from metrics where key = 'val/dice' and run_uuid = '{run}' order by step")
    assert steps == [(1,), (2,), (3,)]
    assert Path(tmp_path / "alone" / "mlflow.json").is_file()
