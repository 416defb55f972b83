"""``hydra/sweeper=optuna`` as people type it, and a run that a search gives up."""

import csv
import json
import sys

import pytest
import torch

from segexp.experiment.run import run
from segexp.train import main
from segexp.training.stop import Pruned
from tests.processes import first_on_path, script
from tests.test_scripts import TINY
from tests.test_train import settings

SEARCH = [
    *["train.py", "-m", "hydra/sweeper=optuna", "task=vesicle", *TINY, "trainer.epochs=4"],
    *["trainer.lr=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_trials=3", "hydra.sweeper.pruner=halving"],
    *["hydra.sweeper.first=25", "output_dir=search"],
]
# scores by the learning rate alone; the second job (number 1) is killed once, when its second epoch has been saved
RIGGED = """
import math, os
import segexp.checkpoint, segexp.experiment.trainer
def validate(run):
    score = 1 + math.log10(run.learner.optimizer.defaults["lr"]) / 10
    return {name: score for name in ("bce", "dice", "iou", "precision", "recall")}
segexp.experiment.trainer.TrainingRun.validate = validate
import segexp.experiment.run
finish = segexp.experiment.run.finish
def rigged(cfg, training, *rest):
    finish(cfg, training, *rest)
    return training.state.best["dice"]
segexp.experiment.run.finish = rigged
keep = segexp.checkpoint.save
def save(path, content):
    keep(path, content)
    once = path.parent.parent / "killed"
    if path.parent.name == "1" and content.get("state", {}).get("epoch") == 1 and not once.exists():
        once.touch()
        os.kill(os.getppid(), 9)  # the search, and with it the job
        os.kill(os.getpid(), 9)
segexp.checkpoint.save = save
"""


def test_a_search_prunes_is_killed_and_goes_on(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(RIGGED)
    path = first_on_path(tmp_path)
    killed = script(*SEARCH, cwd=tmp_path, PYTHONPATH=path)
    assert killed.returncode == -9, killed.stderr
    again = script(*SEARCH, cwd=tmp_path, PYTHONPATH=path)
    assert again.returncode == 0, again.stderr + again.stdout
    assert again.stderr == ""
    assert "search: 2 earlier jobs" in again.stdout
    assert "job 0:" not in again.stdout
    assert "resumed after epoch 1" in (tmp_path / "search" / "1" / "job.log").read_text()
    result = json.loads((tmp_path / "search" / "search.json").read_text())
    assert result["jobs"] == 3
    rates = {}
    for number in range(3):
        config = (tmp_path / "search" / str(number) / ".hydra" / "overrides.yaml").read_text()
        rates[number] = float(config.split("trainer.lr=")[1].split()[0])
    best = max(rates, key=rates.get)
    assert result["best"]["job"] == best
    assert result["best"]["overrides"] == [f"trainer.lr={rates[best]:g}"]
    epochs = {}
    for number in range(3):
        with (tmp_path / "search" / str(number) / "metrics.csv").open() as file:
            epochs[number] = [int(row["epoch"]) for row in csv.DictReader(file)]
    # the best so far at its first rung goes on, all others end there: each epoch once, although one job was killed
    highest = 0.0
    for number in range(3):
        assert epochs[number] == ([1, 2, 3, 4] if rates[number] > highest else [1]), (rates, epochs)
        assert (tmp_path / "search" / str(number) / "pruned.txt").exists() == (rates[number] < highest)
        assert (tmp_path / "search" / str(number) / "best_vesicle_model.pth").is_file()
        highest = max(highest, rates[number])
    with (tmp_path / "search" / "summary.csv").open() as file:
        rows = {int(row["job"]): row for row in csv.DictReader(file)}
    for number in (1, 2):
        assert rows[number]["status"] == ("pruned" if len(epochs[number]) == 1 else "done")
        assert 0 < float(rows[number]["score"]) < 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to search"),
        (["trainer.lr=interval(2,1)"], "a lower and a higher number"),
        (["trainer.lr=1e-3,1e-4", "seed=0,1"], "seed: a search cannot choose among repeats"),
        (["trainer.lr=1e-3,1e-4", "trainer.seeds=2"], "seed: a search cannot choose among repeats"),
        (["trainer.lr=1e-3,1e-4", "data.fold=range(3)"], "data.fold: a search cannot choose among repeats"),
        (["seed=range(9)", "data.fold=1/2,2/2"], "seed, data.fold: a search cannot choose among repeats"),
        (["trainer.lr=1e-3,1e-4", "hydra.sweeper.sampler=grid"], "expected one of tpe, random"),
        (["trainer.lr=1e-3,1e-4", "hydra.sweeper.n_trials=none"], "hydra.sweeper.n_trials=none: expected 1 or more"),
    ],
)
def test_mistakes_end_with_one_message(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        main(["-m", "hydra/sweeper=optuna", "task=vesicle", *arguments])
    assert words in str(end.value)


def test_a_run_that_is_given_up_keeps_its_best_model_and_can_go_on(tmp_path):
    cfg = settings("task=vesicle", *TINY[2:], "trainer.epochs=4")
    asked = []

    def should_prune(progress, score):
        asked.append((progress, score))
        return len(asked) == 2

    with pytest.raises(Pruned, match=r"pruned after epoch 2 at 50 % of its budget: dice") as pruned:
        run(cfg, tmp_path, should_prune=should_prune)
    assert [progress for progress, _ in asked] == [0.25, 0.5]
    assert pruned.value.score == asked[-1][1]
    assert torch.load(tmp_path / "last.pth")["state"]["epoch"] == 2
    assert (tmp_path / "best_vesicle_model.pth").is_file()
    assert not (tmp_path / "summary.json").exists()
    asked.clear()
    assert run(cfg, tmp_path, resume=True, should_prune=lambda *_: bool(asked.append(_))) >= 0
    assert [progress for progress, _ in asked] == [0.5, 0.75]  # the last validation ends the run anyway
