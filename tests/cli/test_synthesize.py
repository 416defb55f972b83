"""`segexp synthesize` with its options; the layout that it writes is tested in test_cli."""

import csv
import json

import numpy as np
import pytest
import tifffile

from segexp import read_mask, synthesis
from tests.test_cli import run


def _arguments(task, output, *options):
    return ("synthesize", task, "--output", output, "--train", 2, "--val", 1, "--size", 96, "--seed", 3, *options)


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_truth_is_that_of_the_same_scenes(tmp_path, monkeypatch, task):
    assert run(monkeypatch, *_arguments(task, tmp_path / "d", "--truth")) == 0
    (scene,) = synthesis.generate_scenes(task, 1, 96, 3, first=2)
    stem = tmp_path / "d" / "val" / "truth" / f"{task}_00002"
    np.testing.assert_array_equal(tifffile.imread(f"{stem}_labels.tif"), scene.labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "d" / "val" / "mask" / f"{task}_00002.npy"), scene.mask)
    with open(f"{stem}_objects.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(range(1, len(scene.objects) + 1))
    facts = json.loads((stem.parent / f"{stem.name}_scene.json").read_text())
    assert facts["style"] == scene.style
    assert facts["parameters"] == scene.parameters
    lines = stem.parent / f"{stem.name}_centrelines.geojson"
    if task == "vesicle":
        assert not lines.exists()
        assert float(rows[0]["radius_px"]) == pytest.approx(scene.objects.radii[0], rel=1e-5)
    else:
        assert len(json.loads(lines.read_text())["features"]) == len(scene.objects)
        assert float(rows[0]["length_px"]) == pytest.approx(scene.objects.lengths[0], rel=1e-5)


def test_styles_sharpness_and_masks_can_be_chosen(tmp_path, monkeypatch, capsys):
    options = ("--style", "network", "--style", "free", "--psf", 520, 1.4, 65, "--mask-width", 3, "--unfocused", 255)
    assert run(monkeypatch, *_arguments("cytoskeleton", tmp_path / "d", "--truth", *options)) == 0
    assert "task.ignore=255" in capsys.readouterr().out
    for path in (tmp_path / "d").glob("*/truth/*_scene.json"):
        facts = json.loads(path.read_text())
        assert facts["style"] in ("network", "free")
        assert facts["parameters"]["psf"] == pytest.approx(synthesis.psf_sigma(520, 1.4, 65))
    for path in (tmp_path / "d").glob("*/truth/*_objects.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            assert {float(row["mask_width_px"]) for row in csv.DictReader(file)} <= {3.0}
    assert not list((tmp_path / "d").glob("*/truth/*.npy"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--style", "oil"), "cells, field"),
        (("--psf", 520, 2, 65), "aperture 2.0"),
        (("--mask-width", 3), "for vesicles set a share"),
        (("--mask-share", 1.5), "0.05 to 0.95"),
    ],
)
def test_mistakes_write_nothing(tmp_path, monkeypatch, options, words):
    assert words in run(monkeypatch, *_arguments("vesicle", tmp_path / "d", *options))
    assert not (tmp_path / "d").exists()
