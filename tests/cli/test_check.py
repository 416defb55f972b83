"""`segexp check` as it is typed."""

import json

import numpy as np

from tests.check.test_dataset import data as data
from tests.test_cli import run


def test_a_sound_set_ends_with_0(data, monkeypatch, capsys):
    assert run(monkeypatch, "check", data) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "training validation" in out
    assert "no faults" in out
    assert "task=vesicle" in out


def test_faults_end_with_1_and_are_grouped_with_every_file(data, monkeypatch, capsys):
    for index in (1, 2, 3):
        (data / "train" / "mask" / f"cell_{index}.npy").unlink()
    np.save(data / "val" / "mask" / "cell_7.npy", np.full((96, 96), 3))
    assert run(monkeypatch, "check", data) == 1
    out = capsys.readouterr().out
    assert "Images and masks that do not belong together (3)" in out
    assert out.count("no mask") == 1
    for name in ("cell_1.tif", "cell_2.tif", "cell_3.tif", "cell_7.npy"):
        assert name in out
    assert "values 3" in out
    assert "4 faults" in out


def test_json_is_all_of_standard_output(data, monkeypatch, capsys):
    assert run(monkeypatch, "check", data, "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_overrides_of_a_run(data, monkeypatch, capsys):
    assert run(monkeypatch, "check", f"data.root={data}", "task.classes=[a,b]", "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert [w["kind"] for w in warnings] == ["missing-class", "missing-class"]
    folders = [f"data.{part}_{kind}_dir={data / part / kind}" for part in ("train", "val") for kind in ("img", "mask")]
    assert run(monkeypatch, "check", *folders, "--json") == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["images"] == 6


def test_mistakes(tmp_path, monkeypatch):
    assert "no such folder" in str(run(monkeypatch, "check", tmp_path / "absent"))
    assert "expected a folder" in str(run(monkeypatch, "check"))
    assert "data.channels=0" in str(run(monkeypatch, "check", tmp_path, "data.channels=0"))
