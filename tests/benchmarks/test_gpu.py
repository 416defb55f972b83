"""The proof on a GPU: its stages in miniature on the CPU, what it does with failures, and what it counts."""

import json
import time

import pytest
import torch
from benchmarks.gpu import __main__ as command
from benchmarks.gpu.counting import Count, bare_pair, counted
from benchmarks.gpu.parts import device_route
from benchmarks.opponents import stock_kornia

from segexp.augment import Augmentation, RandomFlip, clahe
from tests.processes import ROOT, first_on_path, script


def run(out, *words):
    words = ["benchmarks/gpu/__main__.py", "--out", out, *words]
    answer = script(*words, cwd=ROOT, PYTHONPATH=first_on_path(ROOT))
    return answer, json.loads((out / "results.json").read_text())


COMMANDS = ("training", "files")  # they start some ten processes


def test_every_stage_without_commands_in_miniature(tmp_path):
    names = [name for name in command.STAGES if name not in COMMANDS]
    answer, results = run(tmp_path, "--device", "cpu", "--minutes", "9", "--only", ",".join(names))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert list(results["stages"]) == names
    for stage in results["stages"].values():
        assert stage["status"] == "ok"
        assert len(stage["rows"]) >= 2
        assert not [name for name, row in stage["rows"].items() if "error" in row]
    assert all(row["waits"] == 0 for row in results["stages"]["waiting"]["rows"].values())
    assert results["stages"]["throughput"]["rows"]["recipe cytoskeleton, 2 x 64"]["times Kornia"] > 0
    assert (tmp_path / "step_vesicle.json.gz").stat().st_size > 1000
    assert "recipe cytoskeleton, 2 x 64" in (tmp_path / "table.txt").read_text()


@pytest.mark.slow
def test_commands_in_miniature(tmp_path):
    answer, results = run(tmp_path, "--device", "cpu", "--minutes", "15", "--only", ",".join(COMMANDS))
    assert answer.returncode == 0, answer.stdout
    assert results["stages"]["training"]["rows"]["two equal runs, and one after kill -9 and resume"][
        "killed while it ran"
    ]
    assert results["stages"]["files"]["rows"]["prediction of a large image"]["ok"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_every_stage_on_cuda(tmp_path):
    answer, _ = run(tmp_path, "--device", "cuda", "--minutes", "7")
    assert answer.returncode == 0, answer.stdout


def broken(setting):
    yield "fails", lambda: 1 / 0
    yield "is wrong", lambda: {"ok": False}
    yield "works", lambda: {"ok": True}


def hangs(setting):
    yield "was quick", dict
    yield "hangs", lambda: time.sleep(600)


def test_a_failure_says_why_and_the_next_check_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STAGES", {"one": (broken, 0.5), "two": (broken, 0.5)})
    assert command.main(["--out", str(tmp_path), "--minutes", "1", "--device", "cpu"]) == 1
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert [stage["status"] for stage in stages.values()] == ["failed", "failed"]
    assert "ZeroDivisionError" in stages["one"]["rows"]["fails"]["traceback"]
    assert stages["two"]["rows"]["works"]["ok"]


def test_a_stage_that_hangs_costs_its_own_time_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STAGES", {"stuck": (hangs, 0.02), "next": (broken, 0.98)})
    command.main(["--out", str(tmp_path), "--minutes", "1", "--device", "cpu"])
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert stages["stuck"]["status"].startswith("stopped after")
    assert "was quick" in stages["stuck"]["rows"]
    assert stages["next"]["rows"]["works"]["ok"]


def test_bytes_and_launches_worked_by_hand():
    x = torch.zeros(2, 1, 8, 8)
    with Count("cpu") as count:
        y = x + 1  # reads 512 bytes, writes 512
        y.view(-1)  # nothing
        y.mul_(2)  # reads and writes
        y.copy_(x)  # reads one, writes the other
    assert (count.launches, count.moved, count.peak) == (3, 512 * 6, 512)
    count = counted(bare_pair, 2, 16)
    copy = 4 * 2 * 16 * 16
    assert count.moved == 10.5 * copy  # two of image 1, map 2, result 1; the mask to float and back 2.5


def test_flips_move_at_most_seven_copies_and_16_bit_clahe_holds_at_most_twenty():
    copy = 4 * 2 * 256 * 256
    assert counted(Augmentation([RandomFlip()]), 2, 256).moved < 7 * copy
    assert counted(lambda images, masks: clahe(images, bins=65536, grid=(4, 4)), 2, 256).peak < 20 * copy


def test_the_device_route_is_taken_and_left():
    images, flip = torch.rand(4, 1, 8, 8), RandomFlip()
    params = flip.forward_parameters(images.shape)
    with Count("cpu") as host:
        expected = flip.warp(images, images, params)[0]
    with device_route(), Count("cpu") as device:
        result = flip.warp(images, images, params)[0]
    assert torch.equal(result, expected)
    assert device.names["index_select"] == 2
    assert host.names["index_select"] == 0


@pytest.mark.parametrize("task", ["vesicle", "cytoskeleton"])
def test_the_opponent_runs_on_images_and_masks(task):
    images, masks = torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32)
    with pytest.warns() if task == "cytoskeleton" else torch.no_grad():
        result, moved = stock_kornia(task)(images, masks)
    assert result.shape == images.shape
    assert moved.shape == masks.shape
