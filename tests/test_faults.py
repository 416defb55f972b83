"""Runs that are killed, stopped, starved of disk: what they go on to is what they would have been."""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from hydra import compose, initialize_config_dir

from segexp import checkpoint
from segexp import run as run_module
from segexp.assembly import run
from segexp.config import conf_dir, read
from segexp.errors import InputError
from segexp.run import differences
from segexp.training.learner import Learner

TINY = [
    "task=vesicle",
    "data.synthetic.train=3",
    "data.synthetic.val=2",
    "data.synthetic.size=48",
    "model.widths=[4,8]",
    "task.crop=32",
    "trainer.batch_size=2",
    "trainer.ema=0.9",
    "trainer.precision=fp32",
    "output_dir=x",
]


def settings(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return read(compose("config", [*TINY, *overrides]))


def weights(folder):
    content = torch.load(folder / "last.pth", weights_only=True)
    return content["learner"]["weights"] | {f"average.{k}": v for k, v in content["learner"]["average"].items()}


def same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def sitting(cfg, folder, prepare=lambda: None, log=os.devnull):
    """Train in a process of its own, going on where `folder` has something to go on from; its exit code."""

    def work():
        torch.set_num_threads(1)
        with open(log, "a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            prepare()
            run(cfg, folder, resume=(folder / "last.pth").exists())

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    return process.exitcode


def kill_at(owner, name, count, after=False):
    """Kill this process with signal 9 at the `count`-th call of a function, before or after it did its work."""
    keep, calls = getattr(owner, name), itertools.count(1)

    def deadly(*args, **kwargs):
        due = next(calls) == count
        if due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = keep(*args, **kwargs)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


PLACES = [
    ("between batches", Learner, "step", False),
    ("after a step", Learner, "step", True),
    ("during validation", run_module, "evaluate", False),
    ("after validation", run_module, "evaluate", True),
    ("inside a save, unwritten", os, "fsync", False),
    ("inside a save, written", os, "replace", False),
    ("behind a save", os, "replace", True),
]


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_ends_with_the_weights_of_one_that_was_not(tmp_path):
    cfg = settings("trainer.epochs=6", "trainer.save_every=00:00:00.2")
    assert sitting(cfg, tmp_path / "whole") == 0
    draw = random.Random(0)
    kills, finished = [], []
    while len(kills) < 20 or not finished:
        folder = tmp_path / f"part{len(finished)}"
        for _ in range(100):
            place, owner, name, after = draw.choice(PLACES)
            count = draw.randint(1, 9)
            code = sitting(cfg, folder, lambda: kill_at(owner, name, count, after))  # noqa: B023
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills.append(place)
            assert not list(folder.glob("*.pth")) or checkpoint.load(folder / "last.pth")["state"]["step"] >= 0
        finished.append(same(tmp_path / "whole", folder))
    print(f"{len(kills)} kills in {len(finished)} runs: {sorted(set(kills))}; identical: {finished}")
    assert all(finished)
    assert len(set(kills)) >= 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, name):
    arguments = [*TINY[:-1], "trainer.epochs=40", "trainer.validate_every=20", f"output_dir={tmp_path / 'part'}"]
    command = [sys.executable, "-m", "segexp.cli", "train", *arguments]
    # one thread, as in `sitting`: another number of threads adds up in another order
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment
    )
    for line in process.stdout:
        if line.startswith("epoch:"):
            break
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + getattr(signal, name), rest
    assert f"stopped by {name}; the state is saved. Go on with: python train.py resume=" in rest
    assert "Traceback" not in rest
    state = checkpoint.load(tmp_path / "part" / "last.pth")["state"]
    assert state["epoch"] < 40
    if name == "SIGTERM":
        cfg = settings("trainer.epochs=40", "trainer.validate_every=20")
        assert sitting(cfg, tmp_path / "part") == 0
        assert sitting(cfg, tmp_path / "whole") == 0
        assert same(tmp_path / "whole", tmp_path / "part")


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_neither_the_run_nor_its_last_good_state(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as disk:
        folder = disk / "run"

        def fill():
            keep, calls = Learner.step, itertools.count(1)

            def step(*args):
                if next(calls) == 5:
                    with contextlib.suppress(OSError), open(disk / "ballast", "wb") as file:
                        while True:
                            file.write(b"x" * 4096)
                            file.flush()
                return keep(*args)

            Learner.step = step

        sitting(settings("trainer.epochs=6"), folder, fill, tmp_path / "log")
        text = (tmp_path / "log").read_text()
        assert "could not be saved (No space left on device)" in text
        assert "last.pth still holds step" in text
        before = checkpoint.load(folder / "last.pth")["state"]["step"]
        assert 0 <= before <= 4
        assert [path.name for path in folder.glob(".*")] == []
        (disk / "ballast").unlink()
        assert sitting(settings("trainer.epochs=6"), folder, log=tmp_path / "log") == 0
        assert sitting(settings("trainer.epochs=6"), tmp_path / "whole") == 0
        assert same(tmp_path / "whole", folder)


def test_resuming_with_another_model_or_data_says_what_differs(tmp_path, capsys):
    run(settings("trainer.epochs=1"), tmp_path / "run")
    with pytest.raises(InputError, match=r"settings.widths: \[4, 8\] before, now \[4, 4\]"):
        run(settings("trainer.epochs=2", "model.widths=[4,4]"), tmp_path / "run", resume=True)
    run(settings("trainer.epochs=2", "data.synthetic.train=4"), tmp_path / "run", resume=True)
    assert "the data differ from those of the run that is resumed: train: 3 before, now 4" in capsys.readouterr().out


def test_differences_of_trees():
    before = {"a": 1, "b": {"c": [1], "d": 2}}
    assert differences(before, {"a": 1, "b": {"c": [1], "d": 2}}) == []
    assert differences(before, {"a": 2, "b": {"c": [1], "e": 3}}) == [
        "a: 1 before, now 2",
        "b.d: 2 before, now None",
        "b.e: None before, now 3",
    ]
