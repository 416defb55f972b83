"""Jobs that a SLURM cluster takes its machine from go on by themselves, in their own folders, to the same weights."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from hydra.conf import HydraConf
from omegaconf import OmegaConf

from segexp.train import is_resumed
from segexp.training.stop import StopRequest, pass_on
from tests.cluster import fake
from tests.processes import ROOT, first_on_path, script
from tests.test_scripts import TINY

ARGUMENTS = ["task=vesicle", *TINY, "trainer.epochs=4", "trainer.precision=fp32"]
# when a job has saved its second epoch for the first time, what `FATE` says for its folder happens to it
FATES = """
import os, signal
import segexp.checkpoint
keep = segexp.checkpoint.save
fates = dict(pair.split(":") for pair in os.environ["FATES"].split(","))
def save(path, content):
    keep(path, content)
    met = path.parent / "met"
    if content.get("state", {}).get("epoch") == 2 and path.parent.name in fates and not met.exists():
        met.touch()
        for name in fates[path.parent.name].split("+"):
            os.kill(os.getpid(), getattr(signal, name))
segexp.checkpoint.save = save
"""


def epochs(folder):
    with (folder / "metrics.csv").open() as file:
        return [row["epoch"] for row in csv.DictReader(file)]


def ended(log):
    """The lines of a job's log, once it is over."""
    until = time.monotonic() + 300
    while "COMPLETED" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.2)
    return log.read_text().splitlines()


def same_weights(one, other):
    first, second = (torch.load(folder / "last.pth")["weights"] for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_sweep_on_slurm_survives_preemption_and_a_node_that_fails(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    assert script("train.py", *ARGUMENTS, "trainer.lr=0.002", "output_dir=whole", cwd=tmp_path).returncode == 0
    (tmp_path / "sitecustomize.py").write_text(FATES)
    # 0: pre-empted as submitit asks for; 1: the same with SLURM's own signal beside it; 2: its node dies
    environment = fake.install(tmp_path / "slurm") | {"FATES": "0:SIGUSR2,1:SIGUSR2+SIGTERM,2:SIGKILL"}
    result = script(
        *["train.py", "-m", "hydra/launcher=slurm", *ARGUMENTS, "trainer.lr=0.001,0.002,0.003", "output_dir=sweep"],
        cwd=tmp_path,
        PYTHONPATH=first_on_path(tmp_path),
        **environment,
    )
    logs = {f"100_{number}": ended(tmp_path / "slurm" / "jobs" / f"100_{number}.log") for number in range(3)}
    assert result.returncode == 0, (result.stdout, result.stderr, logs)
    asked, failed = ["PENDING", "RUNNING 0", "REQUEUED"], ["PENDING", "RUNNING 0", "NODE_FAIL"]
    for number, before in enumerate((asked, asked, failed)):
        assert logs[f"100_{number}"] == [*before, "RUNNING 1", "COMPLETED"]
        folder = tmp_path / "sweep" / str(number)
        assert epochs(folder) == ["1", "2", "3", "4"]
        assert "resumed after epoch 2" in (folder / "train.log").read_text()
    assert same_weights(tmp_path / "whole", tmp_path / "sweep" / "1")


@pytest.mark.slow
def test_one_run_in_a_batch_script_is_resumed_when_slurm_starts_it_again(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FATES)
    environment = fake.install(tmp_path / "slurm") | {"FATES": "mine:SIGTERM", "PYTHONPATH": first_on_path(tmp_path)}
    command = f"{sys.executable} {ROOT / 'train.py'} {' '.join(ARGUMENTS)} output_dir={tmp_path / 'mine'}"
    # SLURM's PreemptMode=REQUEUE: SIGTERM, then the same script from its start
    (tmp_path / "run.sh").write_text(f'#!/bin/bash\n{command}\n[ $? -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"\n')
    subprocess.run(["sbatch", tmp_path / "run.sh"], env=os.environ | environment, check=True)
    log = ended(tmp_path / "slurm" / "jobs" / "100.log")
    assert log == ["PENDING", "RUNNING 0", "REQUEUED", "RUNNING 1", "COMPLETED"]
    assert epochs(tmp_path / "mine") == ["1", "2", "3", "4"]


@pytest.mark.parametrize("names", [["SIGUSR2"], ["SIGUSR2", "SIGTERM"], ["SIGTERM", "SIGUSR2"]])
def test_the_wish_to_be_started_again_counts_and_is_passed_on_afterwards(names):
    heard = []
    before = {name: signal.signal(getattr(signal, name), lambda number, _: heard.append(number)) for name in set(names)}
    try:
        with StopRequest().listening() as request:
            for name in names:
                os.kill(os.getpid(), getattr(signal, name))
            assert request.number == signal.SIGUSR2
            assert heard == []
        pass_on(request.number)
        assert heard == [signal.SIGUSR2]
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def test_signals_that_nobody_waits_for_are_not_passed_on():
    pass_on(signal.SIGTERM)
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    pass_on(signal.SIGUSR2)


@pytest.mark.parametrize(
    ("count", "stored", "expected"),
    [("1", ["a=1"], True), ("0", ["a=1"], False), (None, ["a=1"], False), ("2", ["a=2"], False), ("1", None, False)],
)
def test_a_job_is_resumed_only_where_slurm_started_the_same_one_again(tmp_path, monkeypatch, count, stored, expected):
    settings = OmegaConf.structured(HydraConf)
    settings.overrides.task = ["a=1"]
    settings.mode = "RUN"
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    if count is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    if stored is not None:
        (tmp_path / ".hydra").mkdir()
        OmegaConf.save(stored, tmp_path / ".hydra" / "overrides.yaml")
        (tmp_path / "last.pth").touch()
    assert is_resumed(settings, tmp_path) == expected


def test_a_job_whose_folder_is_named_by_its_cluster_is_resumed(tmp_path, monkeypatch):
    settings = OmegaConf.structured(HydraConf)
    settings.overrides.task = ["a=1", "output_dir='runs/${oc.env:SLURM_JOB_ID}'"]
    settings.mode = "RUN"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(OmegaConf.to_yaml(settings.overrides.task))
    (tmp_path / "last.pth").touch()
    assert is_resumed(settings, tmp_path)
