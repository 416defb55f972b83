"""Runs that are killed, stopped, starved of disk: what they go on to is what they would have been."""

import contextlib
import csv
import errno
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import torch

from segexp import checkpoint
from segexp.config.compose import compose_config
from segexp.errors import InputError
from segexp.experiment import trainer as run_module
from segexp.experiment.run import run
from segexp.experiment.trainer import differences
from segexp.training.learner import Learner
from tests.processes import start
from tests.test_scripts import write_dataset

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
    return compose_config([*TINY, *overrides])


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
    # one thread, as in `sitting`: another number of threads adds up in another order
    process = start("segexp", "train", *arguments, cwd=tmp_path, OMP_NUM_THREADS="1")
    while "\nepoch:" not in process.stdout and process.returncode is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(getattr(signal, name))
    ended = process.ended(120)
    rest = ended.stdout + ended.stderr
    assert ended.returncode == 128 + getattr(signal, name), rest
    assert f"stopped by {name}; the state is saved. Resume with: segexp train resume=" in rest
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
        assert {path.name for path in folder.glob(".*")} <= {".segexp.jsonl", ".segexp.lock"}
        (disk / "ballast").unlink()
        assert sitting(settings("trainer.epochs=6"), folder, log=tmp_path / "log") == 0
        assert sitting(settings("trainer.epochs=6"), tmp_path / "whole") == 0
        assert same(tmp_path / "whole", folder)


def refuse(name, times, monkeypatch):
    """No space for a file of this name, so many times."""
    keep, calls = checkpoint.save, itertools.count(1)

    def save(path, content):
        if path.name == name and next(calls) <= times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keep(path, content)

    monkeypatch.setattr(checkpoint, "save", save)


def test_a_best_model_that_finds_no_room_is_written_later(tmp_path, monkeypatch, capsys):
    scores = iter([0.9, 0.2, 0.1])
    monkeypatch.setattr(run_module, "summarize", lambda rows: {"dice": next(scores), "recall": 1.0})
    refuse("best_vesicle_model.pth", 2, monkeypatch)
    run(settings("trainer.epochs=3"), tmp_path / "run")
    told = capsys.readouterr().out
    assert told.count("the best model could not be written to") == 2
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    assert content["metrics"]["epoch"] == 1
    assert not torch.equal(first(content["weights"]), first(checkpoint.load(tmp_path / "run" / "last.pth")["weights"]))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["epoch"] == 1


def first(weights):
    return next(iter(weights.values()))


def test_the_best_weights_survive_in_last_until_their_file_is_whole(tmp_path, monkeypatch):
    """Killed while the disk takes ``last.pth`` but not the best model: it is written when the run is resumed."""
    scores = iter([0.9, 0.2, 0.1, 0.05])
    monkeypatch.setattr(run_module, "summarize", lambda rows: {"dice": next(scores), "recall": 1.0})
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        refuse("best_vesicle_model.pth", 99, patch)
        with pytest.raises(OSError, match="No space left"):
            run(settings("trainer.epochs=3"), folder)
    assert not (folder / "best_vesicle_model.pth").exists()
    kept = checkpoint.load(folder / "last.pth")
    assert kept["best_model"]["metrics"]["epoch"] == 1
    run(settings("trainer.epochs=3"), folder, resume=True)
    best = checkpoint.load(folder / "best_vesicle_model.pth")
    assert best["metrics"]["epoch"] == 1
    assert torch.equal(first(best["weights"]), first(kept["best_model"]["weights"]))


@pytest.mark.parametrize("fault", ["empty", "missing", "another run's"])
def test_a_lost_best_model_stops_no_resume_and_comes_from_no_other_run(tmp_path, monkeypatch, capsys, fault):
    scores = itertools.count(9, -1)
    monkeypatch.setattr(run_module, "summarize", lambda rows: {"dice": next(scores) / 10, "recall": 1.0})
    folder = tmp_path / "run"
    run(settings("trainer.epochs=2"), folder)
    best = folder / "best_vesicle_model.pth"
    if fault == "empty":
        best.write_bytes(b"")
    elif fault == "missing":
        best.unlink()
    else:
        checkpoint.save(best, checkpoint.load(best) | {"run": "another"})
    run(settings("trainer.epochs=2"), folder, resume=True)
    told = capsys.readouterr().out
    assert "The best of epoch 1 is lost; the next validation gives a new one" in told
    assert "nothing is left to train" in told
    content, last = checkpoint.load(best), checkpoint.load(folder / "last.pth")
    assert content["metrics"]["epoch"] == 2
    assert content["run"] == last["run"] != "another"
    assert torch.equal(first(content["weights"]), first(last["weights"]))


def test_a_best_model_that_is_damaged_while_the_run_goes_on_is_written_again(tmp_path, monkeypatch, capsys):
    scores = iter([0.9, 0.2])
    folder = tmp_path / "run"

    def summarize(rows):
        score = next(scores)
        if score == 0.2:
            (folder / "best_vesicle_model.pth").write_bytes(b"")
        return {"dice": score, "recall": 1.0}

    monkeypatch.setattr(run_module, "summarize", summarize)
    run(settings("trainer.epochs=2"), folder)
    assert "was deleted, damaged or replaced; it is written again" in capsys.readouterr().out
    assert checkpoint.load(folder / "best_vesicle_model.pth")["metrics"]["epoch"] == 1


def test_a_run_folder_that_is_deleted_meanwhile_ends_with_an_error_and_the_model(tmp_path, monkeypatch, capsys):
    folder, keep = tmp_path / "run", run_module.summarize
    calls = itertools.count(1)

    def summarize(rows):
        if next(calls) == 1:
            folder.rename(tmp_path / "gone")  # at one stroke, as other threads write there
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)
        return keep(rows)

    monkeypatch.setattr(run_module, "summarize", summarize)
    with pytest.raises(InputError, match=r"run.json was deleted or moved during the run"):
        run(settings("trainer.epochs=2"), folder)
    assert capsys.readouterr().out.count("run.json is missing") == 1
    assert checkpoint.load(folder / "best_vesicle_model.pth")["metrics"]["epoch"] == 2
    assert (folder / "val" / "scores.csv").is_file()


def test_resuming_with_another_batch_size_trains_the_epochs_that_are_left(tmp_path, capsys):
    folder = tmp_path / "run"
    run(settings("trainer.epochs=2", "data.synthetic.train=4"), folder)
    steps = checkpoint.load(folder / "last.pth")["epoch_steps"]
    run(settings("trainer.epochs=3", "data.synthetic.train=4", "trainer.batch_size=4"), folder, resume=True)
    assert f"steps an epoch: {steps} before, {steps // 2} now" in capsys.readouterr().out
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], int(row["step"])) for row in rows][1:] == [("2", 2 * steps), ("3", 2 * steps + steps // 2)]


def test_masks_that_change_between_two_parts_of_a_run_are_noticed(tmp_path, capsys):
    data, folder = write_dataset(tmp_path / "data"), tmp_path / "run"
    run(settings("trainer.epochs=1", f"data.root={data}"), folder)
    run(settings("trainer.epochs=2", f"data.root={data}"), folder, resume=True)
    assert "the data differ" not in capsys.readouterr().out
    path = data / "train" / "mask" / "0.npy"
    np.save(path, np.load(path)[::-1])  # as much foreground
    run(settings("trainer.epochs=3", f"data.root={data}"), folder, resume=True)
    assert "the data differ from those of the run that is resumed: the pixels of images or masks changed" in (
        capsys.readouterr().out
    )


def test_validation_masks_without_foreground_are_judged_by_specificity(tmp_path, capsys):
    data, folder = write_dataset(tmp_path / "data"), tmp_path / "run"
    for path in (data / "val" / "mask").iterdir():
        np.save(path, np.zeros_like(np.load(path)))
    score = run(settings("trainer.epochs=1", f"data.root={data}"), folder)
    told = capsys.readouterr().out
    assert "no validation mask holds any foreground, so dice is not defined: the best model is chosen by spec" in told
    assert "finds no foreground" not in told
    best = json.loads((folder / "summary.json").read_text())["best"]
    assert score == best["specificity"]
    assert "dice" not in best
    record = json.loads((folder / "val" / "evaluation.json").read_text())
    assert record["monitor"] == "specificity"
    assert "dice" not in record["scores"]
    assert "</html>" in (folder / "report.html").read_text()


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
