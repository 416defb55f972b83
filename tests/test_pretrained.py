"""The models that come with the package: found by name, small, and of use on images that they never saw."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import segexp
from segexp import checkpoint, synthesis
from segexp.errors import InputError
from segexp.export.ship import ship
from segexp.inference.predictor import load_model
from segexp.pretrained import NAMES, cards, located
from tests.inference.test_predictor import write_model
from tests.processes import ROOT
from tests.test_cli import run


def task_of(name):
    return "cytoskeleton" if name == "cytoskeleton" else "vesicle"


CLEAR = {"photons": (300, 600), "background": 0.05}
EXAMPLES = {
    "vesicle": {"style": "cells", **CLEAR}, "cytoskeleton": {"style": "network", **CLEAR},
    "vesicle_electron": {"style": "electron", "photons": (200, 400), "grain": 0.05},
    "vesicle_giant": {"style": "giant", **CLEAR},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_finds_what_it_is_named_after(name):
    least = 0.6
    images, masks = synthesis.generate(task_of(name), 2, 256, 987, **EXAMPLES[name])
    model = segexp.load_model(name)
    found = np.stack([model.predict(image) >= model.threshold for image in images])
    overlap = 2 * (found & (masks > 0)).sum() / (found.sum() + masks.sum())
    assert overlap > least, overlap


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_small_file_that_says_what_it_is(name):
    assert located(name).stat().st_size < 3e6
    content = checkpoint.load(name)
    assert content["task"] == task_of(name)
    assert content["data"]["source"] == "generated"
    assert {tensor.dtype for tensor in content["weights"].values() if tensor.dim() > 1} == {torch.float16}
    assert all(text not in str({**content, "weights": None}) for text in ("/home", "/work", "/tmp", "/root"))


@pytest.mark.parametrize("name", NAMES)
def test_the_command_works_right_after_installation(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("image.tif", synthesis.generate(task_of(name), 1, 128, 5)[0][0])
    (tmp_path / name).mkdir()  # a folder of that name, such as one of images, is no model
    arguments = ("predict", "--model", name, "--input", "image.tif", "--output", "out")
    assert run(monkeypatch, *arguments) == 0
    assert segexp.read_image("out/image_mask.png").shape == (128, 128)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_card(name):
    card = cards()[name]
    assert set(card) >= {"for", "not_for", "recipe", "made", "scores"}
    experiment = card["recipe"].removeprefix("segexp train experiment=")
    assert (Path(__file__).parents[1] / "conf" / "experiment" / f"{experiment}.yaml").is_file()
    for row in card["scores"]:
        assert row["interval"][0] <= row["value"] <= row["interval"][1]
        assert row["images"] > 0


def test_figures_in_the_recipes_and_on_the_cards_are_those_of_the_docs():
    docs = (ROOT / "docs" / "zero-annotation.md").read_text(encoding="utf-8")
    recipes = [path.read_text(encoding="utf-8") for path in (ROOT / "conf" / "experiment").glob("*_pretrained.yaml")]
    assert len(recipes) == len(NAMES)
    figures = {figure for text in recipes for figure in re.findall(r"\b0\.\d{3}\b", text)}
    for name in NAMES:
        figures |= {f"{score['value']:.3f}" for score in cards()[name]["scores"]}
    assert figures <= set(re.findall(r"\b0\.\d{3}\b", docs))


def test_the_command_lists_them_and_prints_a_card(monkeypatch, capsys):
    assert run(monkeypatch, "models") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    assert run(monkeypatch, "models", "vesicle") == 0
    card = capsys.readouterr().out
    assert all(text in card for text in ("not for", "experiment=vesicle_pretrained", "threshold"))
    assert run(monkeypatch, "models", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == set(NAMES)
    refused = run(monkeypatch, "models", "vesicles")
    assert refused.startswith("error: vesicles: no model of that name comes with segexp; expected one of vesicle")


def test_a_file_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "vesicle")
    assert located("vesicle") == located("other").with_name("vesicle")
    assert (
        load_model("vesicle", "cpu").model.settings["widths"]
        != load_model("cytoskeleton", "cpu").model.settings["widths"]
    )
    (tmp_path / "vesicle").write_bytes(b"no model")
    with pytest.raises(InputError, match="vesicle: not a segexp model file"):
        load_model("vesicle")


def test_a_name_that_is_none_lists_those_that_are():
    with pytest.raises(
        InputError, match="or a pretrained model: vesicle, vesicle_electron, vesicle_giant, cytoskeleton"
    ):
        load_model("vesicles")


def test_what_is_shipped_answers_like_the_run_it_came_from(tmp_path):
    write_model(tmp_path / "best_vesicle_model.pth")
    content = checkpoint.load(tmp_path / "best_vesicle_model.pth")
    checkpoint.save(
        tmp_path / "best_vesicle_model.pth", content | {"min_size": 7, "temperature": 2.5, "command": "secret"}
    )
    ship(tmp_path, tmp_path / "v.pth")
    before, after = (load_model(tmp_path / name, "cpu", "fp32") for name in ("best_vesicle_model.pth", "v.pth"))
    assert "command" not in checkpoint.load(tmp_path / "v.pth")
    assert (after.min_size, after.temperature, after.threshold) == (7, 2.5, before.threshold)
    image = np.random.default_rng(0).integers(0, 999, (64, 64)).astype(np.uint16)
    np.testing.assert_allclose(after.predict(image), before.predict(image), atol=2e-3)


@pytest.mark.parametrize("facts", [{"temperature": 0}, {"temperature": "hot"}, {"min_size": 1.5}])
def test_a_file_with_settings_of_no_use_is_refused(tmp_path, facts):
    write_model(tmp_path / "m.pth")
    checkpoint.save(tmp_path / "m.pth", checkpoint.load(tmp_path / "m.pth") | facts)
    with pytest.raises(InputError, match=f"{next(iter(facts))} is .*; expected"):
        load_model(tmp_path / "m.pth")
