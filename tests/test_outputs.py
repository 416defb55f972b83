"""Where results cannot go: one line that names the place and exit code 1, before the work; nothing is written over."""

import importlib
import os
import shlex
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segexp.config.compose import compose_config
from tests.data.broken import snapshot, write_sound
from tests.inference.test_predictor import write_model
from tests.report.folders import write_run
from tests.test_cli import run


@pytest.fixture
def house():
    """A folder that anybody may enter, with a data set, a model and a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_sound(folder / "data")
        write_model(folder / "m.pth")
        write_run(folder / "run")
        yield folder


LATE = """check.dataset check.page check.report check.text check.settings evaluation.run evaluation.tables
evaluation.comparison export.formats export.quantize export.graph inference.predictor inference.files
synthesis experiment.results report.run_page"""
"""Parts that commands import when they run, and that nobody may not be able to read."""


@contextmanager
def nobody():
    """Root may write everywhere: there, be somebody else for a while."""
    for name in (*(f"segexp.{name}" for name in LATE.split()), "rich.progress", "rich.console", "rich.table"):
        importlib.import_module(name)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def commands(folder, output):
    """Each command that writes, with its output as given: a folder, or for the last ones a file in it."""
    model, data = folder / "m.pth", folder / "data"
    return {
        "predict": ("predict", "--model", model, "--input", data / "val" / "img", "--output", output),
        "evaluate": ("evaluate", "--model", model, "--data", data, "--output", output),
        "synthesize": ("synthesize", "vesicle", "--output", output, "--train", 1, "--val", 1, "--size", 32),
        "check": ("check", data, "--html", output / "c.html"),
        "torchscript": ("export", "torchscript", "--model", model, "--output", output / "m.pt"),
        "pt2": ("export", "pt2", "--model", model, "--output", output / "m.pt2"),
        "compare": ("compare", folder / "run", folder / "run", "--output", output / "c.json"),
    }


NAMES = list(commands(Path(), Path()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["a file", "below a file", "read-only", "below read-only"])
def test_no_place_to_write(house, monkeypatch, capsys, name, place):
    (house / "file").write_text("mine")
    (house / "closed").mkdir(mode=0o555)
    outputs = {"a file": "file", "below a file": "file/x/y", "read-only": "closed", "below read-only": "closed/x/y"}
    arguments = commands(house, house / outputs[place])[name]
    before = snapshot(house)
    with nobody():
        said = str(run(monkeypatch, *arguments))
    assert said.startswith("error: ")
    assert outputs[place].split("/")[0] in said
    assert "expected" in said or "choose a" in said
    assert "Traceback" not in said + "".join(capsys.readouterr())
    assert snapshot(house) == before


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("evaluate", "compare")])
def test_missing_parents_are_made(house, monkeypatch, name):
    assert run(monkeypatch, *commands(house, house / "new" / "é x" / "out")[name]) == 0
    assert any((house / "new" / "é x" / "out").iterdir())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("predict", "evaluate", "synthesize")])
def test_a_folder_called_like_the_file(house, monkeypatch, name):
    *arguments, output = commands(house, house / "out")[name]
    Path(output).mkdir(parents=True)
    assert "a folder; expected the name of a file" in str(run(monkeypatch, *arguments, output))


def test_wrong_endings_and_the_model_itself(house, monkeypatch):
    before = snapshot(house)
    for *command, ending in (
        ("check", house / "data", "--html", "data/train/img/a.tif"),
        ("export", "pt2", "--model", house / "m.pth", "--output", "m.zip"),
        ("compare", house / "run", house / "run", "--output", "c.txt"),
        ("preview", "task=vesicle", "--output", "m.pth"),
    ):
        assert "expected a name ending in" in str(run(monkeypatch, *command, house / ending))
    for kind in ("onnx", "torchscript"):
        said = str(run(monkeypatch, "export", kind, "--model", house / "m.pth", "--output", house / "m.pth"))
        assert "would overwrite the input file" in said
    assert snapshot(house) == before


def test_a_run_whose_page_cannot_be_written(house, monkeypatch):
    (house / "run").chmod(0o555)
    with nobody():
        said = str(run(monkeypatch, "report", house / "run"))
    assert said.startswith("error: report")
    assert "Permission denied" in said


def test_predictions_beside_their_images_replace_no_drawing(house, monkeypatch, capsys):
    images = house / "data" / "val" / "img"
    arguments = ("predict", "--model", house / "m.pth", "--input", images, "--output", images)
    drawn = np.eye(40, 52, dtype=np.uint8)
    tifffile.imwrite(images / "d_mask.tif", drawn)
    before = snapshot(house)
    said = str(run(monkeypatch, *arguments))
    assert "d_mask.tif exists and was not written by segexp" in said
    assert snapshot(house) == before
    (images / "d_mask.tif").unlink()
    assert run(monkeypatch, *arguments) == 0
    assert run(monkeypatch, *arguments) == 0, "what a prediction wrote it may find again"
    assert run(monkeypatch, *arguments, "--overwrite", "--threshold", "0.4") == 0
    record = images / ".segexp.jsonl"
    lines = record.read_text().splitlines()
    record.write_text(
        "".join(f"{line}\n" for line in lines if '"outputs"' not in line)
    )  # no image is known as finished
    assert run(monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert "1 of 1 images" in said
    assert "2 files that segexp predict wrote are not taken as images: d_mask.png, d_prob.tif" in said


def test_an_evaluation_inside_its_data_changes_nothing_of_it(house, monkeypatch):
    images = house / "data" / "val" / "img"
    before = (images / "d.tif").read_bytes()
    assert run(monkeypatch, "evaluate", "--model", house / "m.pth", "--data", house / "data", "--output", images) == 0
    assert (images / "d.tif").read_bytes() == before
    assert run(monkeypatch, "check", house / "data") == 0


def test_a_full_disk_is_said(house, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "out/x.tif")

    monkeypatch.setattr("tifffile.imwrite", full)
    said = str(run(monkeypatch, *commands(house, house / "out")["synthesize"]))
    assert said == "error: out/x.tif: No space left on device; choose a place with write permission and free space"


def test_the_command_that_a_generated_set_is_trained_with_can_be_typed(tmp_path, monkeypatch, capsys):
    for name in ("plain", "a b's, c=1"):
        arguments = ("synthesize", "vesicle", "--output", tmp_path / name, "--train", 1, "--val", 1, "--size", 32)
        assert run(monkeypatch, *arguments) == 0
        words = shlex.split(capsys.readouterr().out.strip().partition("train with: ")[2])
        assert compose_config(words[2:]).data.root == str(tmp_path / name)
