"""The project's parts alone, and all of them in a training of two steps: python -m pytest."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from microvilli_parts import EdgeLoss, RandomStripes, SmallNet, area_difference

FOLDER = Path(__file__).resolve().parent


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_loss_is_smaller_for_the_truth():
    targets = torch.zeros(1, 1, 16, 16)
    targets[..., 4:8, :] = 1
    loss = EdgeLoss()
    assert loss(8 * (2 * targets - 1), targets) < loss(torch.zeros_like(targets), targets)


def test_stripes_change_rows_alike():
    images = torch.zeros(2, 1, 16, 16)
    changed = RandomStripes(p=1.0)(images)
    assert changed.shape == images.shape
    assert torch.equal(changed, changed[..., :1].expand_as(changed))
    assert changed.std() > 0


def test_the_score():
    true = np.zeros((8, 8), bool)
    assert math.isnan(area_difference(true, true))
    true[:2] = True
    assert area_difference(true, true) == 0
    assert area_difference(~true, true) == 2


def test_the_network_keeps_the_size():
    assert SmallNet(3, 2)(torch.zeros(1, 3, 17, 19)).shape == (1, 2, 17, 19)


def test_the_recipe_trains_for_two_steps(tmp_path):
    images = ("--output", tmp_path / "data", "--train", "2", "--val", "1", "--size", "64")
    run("-m", "segexp.cli", "synthesize", "cytoskeleton", *images)
    small = ("trainer=smoke", "trainer.steps=2", "task.crop=32", f"data.root={tmp_path / 'data'}")
    run(FOLDER / "train.py", "experiment=microvilli", *small, f"output_dir={tmp_path / 'run'}")
    assert (tmp_path / "run" / "best_microvilli_model.pth").is_file()
    assert "area_error" in (tmp_path / "run" / "val" / "scores.csv").read_text()
