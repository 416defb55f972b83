"""Sweeps as people type them: real processes that train, fail, are killed, stopped and gone on with."""

import csv
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from segexp.io.ownership import hold
from segexp.sweep.job_store import DONE, FAILED, INTERRUPTED, read_job, read_jobs
from tests.processes import ROOT, first_on_path, script, start
from tests.test_scripts import TINY, folder_flags, write_dataset

SWEEP = ["train.py", "-m", "task=vesicle", *TINY]
# a letter a training step of any job, so that work done twice is seen
COUNTING = """
import sys
from importlib import util
from importlib.abc import MetaPathFinder
class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "segexp.training.learner":
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(name)
        load = spec.loader.exec_module
        def run(module):
            load(module)
            keep = module.Learner.step
            def step(*args, **kwargs):
                result = keep(*args, **kwargs)
                with open({path!r}, "a") as file:
                    file.write("x")
                return result
            module.Learner.step = step
        spec.loader.exec_module = run
        return spec
sys.meta_path.insert(0, Finder())
"""
FAULTS = """
import os, resource, sys
from segexp.augment.base import IntensityOperation
class Fault(IntensityOperation):
    def __init__(self, what):
        super().__init__(1.0)
        self.what = what
    def generate_parameters(self, batch_shape):
        return {}
    def apply_transform(self, images, params, flags, transform=None):
        if self.what == "crash":
            raise ZeroDivisionError("a bug of mine")
        if self.what == "exit":
            sys.exit(3)
        if self.what == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
            images.new_zeros(1 << 33)
        if self.what == "kill":
            os.kill(os.getpid(), 9)
        os._exit(0)
"""


def counting(tmp_path):
    """Environment in which the steps of all jobs are counted, and how many there were."""
    path = tmp_path / "steps"
    (tmp_path / "sitecustomize.py").write_text(COUNTING.format(path=str(path)))
    return {"PYTHONPATH": first_on_path(tmp_path)}, lambda: path.stat().st_size if path.exists() else 0


def rows(sweep):
    with (sweep / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_goes_on_with_a_further_value_and_axis_and_runs_nothing_twice(tmp_path):
    environment, steps = counting(tmp_path)
    first = script(*SWEEP, "trainer.lr=0.002", "output_dir=sweep", cwd=tmp_path, **environment)
    assert first.returncode == 0, first.stderr + first.stdout
    before, job = steps(), read_job(tmp_path / "sweep" / "0")
    more = ["trainer.lr=0.001,0.002", "trainer.batch_size=4", "sweep.resume=sweep", "hydra.launcher.jobs=2"]
    second = script(*SWEEP, *more, cwd=tmp_path, **environment)
    assert second.returncode == 0, second.stderr + second.stdout
    assert second.stderr == ""
    assert "job 0 (trainer.lr=0.002): already done" in second.stdout
    assert steps() == 2 * before
    assert read_job(tmp_path / "sweep" / "0").identity == job.identity
    table = [
        (row["job"], row["trainer.lr"], row["trainer.batch_size"], row["status"]) for row in rows(tmp_path / "sweep")
    ]
    assert table == [("0", "0.002", "4", "done"), ("1", "0.001", "4", "done")]
    assert "threads" in (tmp_path / "sweep" / "1" / "run.json").read_text()
    nothing = script("train.py", "-m", "task=vesicle", "sweep.resume=elsewhere", cwd=tmp_path)
    assert nothing.returncode == 1
    assert "sweep.resume=elsewhere: expected the folder of a sweep" in nothing.stderr


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sweep_killed_twice_wastes_at_most_an_epoch_of_each_running_job(tmp_path, jobs):
    """Two rates and three seeds: 6 jobs of 6 epochs, which take long enough for the state to be saved after each."""
    environment, steps = counting(tmp_path)
    sized = ["data.synthetic.train=8", "data.synthetic.size=256", "task.crop=128", "trainer.batch_size=4"]
    sized += ["model.widths=[16,32]"]
    settings = ["task=vesicle", *TINY, *sized, "trainer.epochs=6", "trainer.lr=1e-3,3e-3", "seed=0,1,2"]
    command = [sys.executable, str(ROOT / "train.py"), "-m", *settings, f"hydra.launcher.jobs={jobs}"]
    place = ["output_dir=sweep", "sweep.resume=sweep"]  # begins it, too
    for share in (0.3, 0.6):
        with (tmp_path / "out").open("w") as out:
            process = subprocess.Popen(
                [*command, *place], cwd=tmp_path, env=os.environ | environment, stdout=out, stderr=out
            )
        until = time.monotonic() + 400
        while steps() < share * whole(tmp_path) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, (tmp_path / "out").read_text()
        kill_tree(process)
    last = subprocess.run(
        [*command, *place], cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True
    )
    assert last.returncode == 0, last.stderr + last.stdout
    records = read_jobs(tmp_path / "sweep")
    assert [record.status for record in records] == [DONE] * 6
    wasted = steps() - whole(tmp_path)
    each = whole(tmp_path) // 36
    print(
        f"jobs={jobs}: {steps() / each:.2f} epochs of {each} steps run for 36, {wasted / each:.2f} twice; "
        f"sittings {[record.sittings for record in records]}"
    )
    assert sum(record.sittings for record in records) > 6
    assert 0 <= wasted <= 2 * jobs * each
    for record in records:
        with (record.folder / "metrics.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == list("123456")


def whole(tmp_path):
    """Steps of 6 jobs of 6 epochs; a guess before the first job has said how many its epochs have."""
    logs = list((tmp_path / "sweep").glob("*/train.log"))
    found = [re.search(r"epoch: (\d+) steps", log.read_text()) for log in logs]
    return 36 * next((int(match[1]) for match in found if match), 8)


def kill_tree(process):
    """``kill -9`` of a sweep and all its jobs."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    family = {process.pid}
    for line in listed.splitlines()[1:]:
        pid, parent = map(int, line.split())
        if parent == process.pid:
            family.add(pid)
    assert len(family) > 1
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_crash_an_exit_and_memory_running_out_end_their_own_job_alone(tmp_path):
    """With DataLoader workers, which a joblib process could not have."""
    data = write_dataset(tmp_path / "data")
    (tmp_path / "faults.py").write_text(FAULTS)
    kinds = ["crash", "exit", "memory", "kill", "leave"]
    faults = ",".join(["[]", *(f"[{{_target_:faults.Fault,what:{kind}}}]" for kind in kinds)])
    settings = [f"data.root={data}", "data.cache=disk", "trainer.num_workers=1", "allow_targets=[faults]"]
    command = [*SWEEP, *settings, f"augment.operations={faults}", "seed=0", "hydra.launcher.jobs=2"]
    environment = {"PYTHONPATH": first_on_path(tmp_path)}
    result = script(*command, "output_dir=sweep", cwd=tmp_path, **environment)
    print(result.stdout)
    assert result.returncode == 1, result.stderr
    records = read_jobs(tmp_path / "sweep")
    assert [record.status for record in records] == [DONE] + [FAILED] * 5
    words = ["ZeroDivisionError: a bug of mine", "SystemExit: 3", "memory", "SIGKILL", "exit code 0"]
    for record, word in zip(records[1:], words, strict=True):
        assert word in record.message, record
        assert word in (record.folder / "failed.txt").read_text()
        assert f"job {record.number} (" in result.stdout
    assert "Traceback" in (records[1].folder / "job.log").read_text()
    assert 'raise ZeroDivisionError("a bug of mine")' in result.stdout  # at once, not only in a file
    again = script(*command, "sweep.resume=sweep", cwd=tmp_path, **environment)
    assert again.returncode == 1
    assert [record.sittings for record in read_jobs(tmp_path / "sweep")] == [1] * 6
    (tmp_path / "faults.py").write_text(FAULTS.replace("        if self", "        return images\n        if self", 1))
    fewer = [f"augment.operations={faults.split(',[')[0]},[{{_target_:faults.Fault,what:kill}}]"]
    retried = script(*command, *fewer, "sweep.resume=sweep", "sweep.retry=true", cwd=tmp_path, **environment)
    assert "4 of 6 jobs failed" in retried.stdout
    records = read_jobs(tmp_path / "sweep")
    assert [(record.sittings, record.status) for record in records if record.status == DONE] == [(1, DONE), (2, DONE)]
    assert [record.sittings for record in records] == [1, 1, 1, 1, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_all_jobs_with_their_state_saved(tmp_path, name):
    shim = ["train_vesicle_seg.py", *folder_flags(write_dataset(tmp_path / "data"))]
    shim += ["--epochs", "2000", "--output-dir", "sweep", "-m", "model.widths=[4,8]", "seed=0,1,2"]
    process = start(ROOT / shim[0], *shim[1:], "hydra.launcher.jobs=2", cwd=tmp_path)
    until = time.monotonic() + 200
    while not all((tmp_path / "sweep" / job / "progress.json").exists() for job in "01"):
        assert time.monotonic() < until
        assert process.returncode is None
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    ended = process.ended()
    out = ended.stdout + ended.stderr
    assert ended.returncode == 128 + getattr(signal, name), out
    assert "Traceback" not in out
    assert "3 of 3 jobs are not finished. Resume with the same command and: sweep.resume=sweep" in out
    for job in "01":
        assert read_job(tmp_path / "sweep" / job).status == INTERRUPTED
        assert (tmp_path / "sweep" / job / "last.pth").is_file()
        assert "Traceback" not in (tmp_path / "sweep" / job / "job.log").read_text()
    assert not (tmp_path / "sweep" / "2" / "last.pth").exists()


@pytest.mark.slow
def test_jobs_save_their_state_and_end_when_the_sweep_alone_is_killed(tmp_path):
    settings = ["task=vesicle", *TINY, "trainer.epochs=3000", "trainer.validate_every=1000", "output_dir=sweep"]
    process = start(ROOT / "train.py", "-m", *settings, cwd=tmp_path)
    job = tmp_path / "sweep" / "0"
    wait(lambda: (job / "progress.json").exists())
    process.send_signal(signal.SIGKILL)
    process.ended()
    wait(lambda: read_job(job).status == INTERRUPTED)
    assert (job / "last.pth").is_file()
    with hold(job, 60):  # its process has gone
        assert "stopped by SIGTERM; the state of job 0 is saved" in (job / "job.log").read_text()


def wait(condition, seconds=200):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
