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

from tests.test_scripts import TINY, first_on_path, script

RAY = Path(sys.executable).with_name("ray")


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
    with (tmp_path / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--temp-dir={place}"], stdout=log, stderr=log, env=os.environ | {"RAY_AUTH_MODE": "disabled"}
        )
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
def test_a_sweep_on_ray(tmp_path, cluster):
    words = ["-m", "hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster}"]
    words += ["+hydra.launcher.ray.init.object_store_memory=null", "task=vesicle", *TINY, "trainer.epochs=3"]
    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.checkpoint as c, os\nkeep = c.save\n"
        "def save(path, content):\n    keep(path, content)\n    met = path.parent / 'met'\n"
        "    if path.parent.name == '1' and content.get('state', {}).get('epoch') == 2 and not met.exists():\n"
        "        met.touch()\n        os.kill(os.getpid(), 9)\nc.save = save\n"
    )
    result = script(
        *["train.py", *words, "seed=0,1", f"output_dir={tmp_path / 'sweep'}"],
        cwd=tmp_path,
        PYTHONPATH=first_on_path(tmp_path),
        RAY_AUTH_MODE="disabled",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        assert [(row["status"], row["seed"]) for row in csv.DictReader(file)] == [("done", "0"), ("done", "1")]
    for number in range(2):
        with (tmp_path / "sweep" / str(number) / "metrics.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert (tmp_path / "sweep" / "1" / "met").exists()
