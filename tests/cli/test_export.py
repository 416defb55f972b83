"""`segexp export` as typed."""

import pytest

from tests.inference.test_predictor import write_model
from tests.test_cli import run


@pytest.mark.parametrize(("kind", "name"), [("torchscript", "deep/m.pt"), ("pt2", "deep/m.pt2")])
def test_what_needs_pytorch_alone(tmp_path, monkeypatch, capsys, kind, name):
    write_model(tmp_path / "m.pth")
    arguments = ("export", kind, "--model", tmp_path / "m.pth", "--output", tmp_path / name)
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("differs from PyTorch by at most") == 3
    assert (tmp_path / name).is_file()


def test_a_run_folder_is_exported_and_its_model_is_kept(tmp_path, monkeypatch, capsys):
    model = tmp_path / "run" / "best_vesicle_model.pt"
    write_model(model.with_suffix(".pth"))
    arguments = ("export", "torchscript", "--model", tmp_path / "run", "--output")
    assert run(monkeypatch, *arguments, tmp_path / "m.pt") == 0
    assert (tmp_path / "m.pt").is_file()
    model.with_suffix(".pth").rename(model.parent / "kept")
    (model.parent / "best_vesicle_model.pth").symlink_to(model.parent / "m.pt")
    (model.parent / "kept").rename(model.parent / "m.pt")
    before = (model.parent / "m.pt").read_bytes()
    assert run(monkeypatch, *arguments, model.parent / "m.pt") != 0
    assert (model.parent / "m.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("onnx", "--output", "m.onnx", "--int8", "tiny"), "dynamic, static"),
        (("onnx", "--output", "m.onnx", "--data", "d"), "--data d: needs --int8"),
        (("onnx", "--output", "m.onnx", "--normalization", "beside"), "inside or outside"),
        (("pt2", "--output", "m.pt"), ".pt2"),
        (("bioimageio", "--output", "m.tar", "--authors", "Ada", "--license", "MIT"), ".zip"),
        (("bioimageio", "--output", "m.zip", "--authors", "", "--license", "MIT"), "--authors"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.pth")
    assert words in str(run(monkeypatch, "export", arguments[0], "--model", "m.pth", *arguments[1:]))
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]
