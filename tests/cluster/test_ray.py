"""A sweep on a Ray cluster that the test starts: jobs of two processes, one of which is lost and started again."""

import csv
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import first_on_path, script
from tests.test_scripts import TINY

RAY = Path(sys.executable).with_name("ray")
# in the workers: the process of job 1 is lost once, when its second epoch has been saved
LOST = """
import os, sys
if any("default_worker" in word for word in sys.orig_argv):
    import segexp.checkpoint as c
    keep = c.save
    def save(path, content):
        keep(path, content)
        met = path.parent / "met"
        if path.parent.name == "1" and content.get("state", {}).get("epoch") == 2 and not met.exists():
            met.touch()
            os.kill(os.getpid(), 9)
    c.save = save
"""


@pytest.fixture
def cluster(tmp_path):
    """The address of a cluster of this machine alone, ended with the test."""
    if importlib.util.find_spec("ray") is None or not RAY.exists():
        pytest.skip("Ray is not installed: pip install '.[ray]', without the extra mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = Path(f"/tmp/segexp-ray-{os.getpid()}")  # short: its sockets' paths may have 107 characters
    command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=80000000"]
    (tmp_path / "sitecustomize.py").write_text(LOST)
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": first_on_path(tmp_path)}
    with (tmp_path / "cluster.log").open("w") as log:
        process = subprocess.Popen([*command, f"--temp-dir={place}"], stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + 120
        while "Ray runtime started" not in (tmp_path / "cluster.log").read_text():
            assert process.poll() is None, (tmp_path / "cluster.log").read_text()
            assert time.monotonic() < until, (tmp_path / "cluster.log").read_text()
            time.sleep(0.5)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_a_sweep_on_ray_and_a_job_whose_process_is_lost(tmp_path, cluster):
    words = ["-m", "hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster}"]
    words += ["+hydra.launcher.ray.init.object_store_memory=null", "task=vesicle", *TINY, "trainer.epochs=3"]
    result = script(
        *["train.py", *words, "seed=0,1", f"output_dir={tmp_path / 'sweep'}"], cwd=tmp_path, RAY_AUTH_MODE="disabled"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        assert [(row["status"], row["seed"]) for row in csv.DictReader(file)] == [("done", "0"), ("done", "1")]
    for number in range(2):
        with (tmp_path / "sweep" / str(number) / "metrics.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert (tmp_path / "sweep" / "1" / "met").exists()
    assert "resumed after epoch 2" in (tmp_path / "sweep" / "1" / "train.log").read_text()
