import json
import re
import tomllib

import pytest
import torch

from segexp import doctor
from tests.processes import ROOT
from tests.test_cli import run

STEPS = ["generate an image", "read it", "augment it", "train one step", "predict", "write and read back"]


def test_every_step_from_image_to_mask_works_here():
    steps = list(doctor.self_test(torch.device("cpu")))
    assert [name for name, _, _ in steps] == STEPS
    assert [fault for _, _, fault in steps] == [None] * len(STEPS)


def test_a_step_that_fails_ends_the_test_and_says_why(monkeypatch):
    monkeypatch.setattr(doctor, "standardize", lambda *_: torch.full((1, 1, 128, 128), float("nan")))
    steps = list(doctor.self_test(torch.device("cpu")))
    assert [name for name, _, _ in steps] == STEPS[:3]
    assert steps[-1][2] == "ValueError: augmentation returned values that are not finite"


def test_extras_name_what_is_missing(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["numpy>=1", "absent-package>=2; extra == 'search'"])
    found = doctor.installation()
    assert found["extras"] == {"search": ["absent-package>=2"]}
    assert found["versions"]["python"].count(".") == 2


def test_only_extras_that_users_install_are_shown(monkeypatch, capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(doctor.DEVELOPMENT) < set(extras)
    facts = doctor.installation() | {"extras": {name: ["absent>=2"] for name in extras}}
    monkeypatch.setattr(doctor, "installation", lambda: facts)
    assert run(monkeypatch, "doctor") == 0
    shown = re.findall(r"pip install 'segexp\[(.*?)\]'", capsys.readouterr().out)
    assert shown == ["search", "mlflow", "ray", "slurm", "export", "bioimageio", "models", "annotations", "napari"]


def test_json_can_be_pasted(monkeypatch, capsys):
    assert run(monkeypatch, "doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["works"] is True
    assert facts["disk_free"] > 0
    assert facts["memory_free"] > 0
    assert [step["step"] for step in facts["self_test"]] == STEPS


def test_a_fault_is_an_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "self_test", lambda: iter([("read it", 0.1, "ValueError: no")]))
    assert run(monkeypatch, "doctor") == 1
    text = capsys.readouterr().out
    assert "ValueError: no" in text
    assert "self-test of segexp failed" in text


@pytest.mark.parametrize("line", ["versions:", "device:", "memory:", "disk:", "self-test:", "segexp works here"])
def test_words(monkeypatch, capsys, line):
    assert run(monkeypatch, "doctor") == 0
    assert line in capsys.readouterr().out
