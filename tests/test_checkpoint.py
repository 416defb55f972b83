"""Model files are whole or absent, and nothing in them runs."""

import os
import pickle

import pytest
import torch

from segexp import checkpoint
from segexp.errors import InputError
from tests.inference.test_predictor import write_model


def test_round_trip(tmp_path):
    model = write_model(tmp_path / "deep" / "m.pth")
    twin, facts = checkpoint.load_model(tmp_path / "deep" / "m.pth")
    for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert facts["classes"] == ["vesicle"]
    assert not twin.training


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.pth"
    checkpoint.save(path, {"value": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"value": 2})
    assert checkpoint.load(path)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m.pth"]


def test_a_pickle_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"format": 1, "model": Attack()}, tmp_path / "torch.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Attack()))
    for name in ("torch.pth", "plain.pth"):
        with pytest.raises(InputError, match=name):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "written").exists()


def test_an_unknown_model_name_is_not_imported(tmp_path):
    write_model(tmp_path / "m.pth")
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    content["model"]["name"] = "os.system"
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"os\.system.*UNet"):
        checkpoint.load_model(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {}}, "not written by segexp"),
        ({"format": 99}, "upgrade"),
        ({"format": 1, "weights": {}}, "holds no model"),
        ([1, 2], "not written by segexp"),
    ],
)
def test_foreign_files(tmp_path, content, words):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(InputError, match=words):
        checkpoint.load_model(tmp_path / "m.pth")


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04"])
def test_damaged_files(tmp_path, data):
    (tmp_path / "m.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"m\.pth"):
        checkpoint.load(tmp_path / "m.pth")
    with pytest.raises(InputError, match="no such file"):
        checkpoint.load(tmp_path / "absent.pth")
