"""Images unlike those of the training are told, and images like them are not."""

import json

import numpy as np
import pytest
import tifffile

from segexp import checkpoint, synthesis
from segexp.calibration import features
from segexp.errors import InputError
from segexp.experiment.run import run
from segexp.inference import kinds
from segexp.inference.misfit import KEY, describe, describe_pixels, misfit, ranges_of, share_reasons, spread_evenly
from segexp.inference.row_reader import ArrayRows
from segexp.io.records import read_table
from segexp.plugin.pages import segment
from segexp.pretrained import NAMES
from tests.inference.test_predictor import write_model
from tests.test_cli import run as command
from tests.test_train import settings


def filaments(count, seed):
    return synthesis.generate("cytoskeleton", count, 128, seed, style="network", photons=(300, 600))[0]


@pytest.fixture(scope="module")
def ranges():
    images = filaments(24, 1)
    return ranges_of([describe_pixels(image[None]) for image in images], [0.02] * 30 + [0.09] * 30)


def said(ranges, image, share=0.05):
    return misfit({KEY: ranges}, ArrayRows(np.asarray(image)[None]), share)


def test_images_of_the_same_kind_are_seldom_flagged(ranges):
    flagged = [said(ranges, image) for image in filaments(20, 2)]
    assert sum(map(bool, flagged)) <= 3, flagged


def test_brightness_and_gain_do_not_count(ranges):
    for image in filaments(5, 3):
        changed = image.astype(np.float32) * 37 + 1000
        np.testing.assert_allclose(describe_pixels(changed[None]), describe_pixels(image[None]), atol=0.02)


@pytest.mark.parametrize("factor", [1e-12, 1e25])
def test_the_unit_of_the_values_does_not_count(factor):
    """Heights in metres or currents in amperes are as good as grey levels."""
    image = filaments(1, 3)[0].astype(np.float32)
    for numbers in (describe_pixels, kinds.describe, lambda pixels: features.describe(pixels[0], "vesicle")):
        np.testing.assert_allclose(numbers(image[None] * np.float32(factor)), numbers(image[None]), atol=0.05)


def test_inverted_contrast_noise_and_blur_are_named(ranges):
    import cv2

    image = filaments(1, 2)[0].astype(np.float32)
    rng = np.random.default_rng(0)
    assert "inverted contrast" in said(ranges, image.max() - image)
    noisy = image + rng.normal(0, 2 * image.std(), image.shape).astype(np.float32)
    assert "noise" in said(ranges, noisy) or "finer texture" in said(ranges, noisy)
    assert "coarser texture" in said(ranges, cv2.GaussianBlur(image, (0, 0), 6))
    assert said(ranges, rng.random((128, 128), np.float32)).startswith("unlike the training images: ")


@pytest.mark.parametrize(
    ("share", "flagged"), [(0.02, False), (0.09, False), (0.12, False), (0.46, True), (0.015, False), (0.002, True)]
)
def test_the_share_of_foreground_may_be_off_by_half(ranges, share, flagged):
    assert bool(share_reasons(ranges, share)) == flagged


def test_the_share_is_told_in_percent(ranges):
    assert share_reasons(ranges, 0.46) == ["46 % foreground where training had 2 to 9 %"]
    none = ranges | {"foreground": [0.0, 0.09]}
    assert share_reasons(none, 0.0) == []


def test_nothing_is_said_without_ranges_or_of_tiny_images(ranges):
    image = filaments(1, 2)[0]
    assert misfit({}, ArrayRows(image[None]), 0.9) == ""
    assert misfit({KEY: None}, ArrayRows(image[None]), 0.9) == ""
    assert describe(ArrayRows(image[None, :20])) is None
    assert ranges_of([describe_pixels(image[None])] * 4, [0.1]) is None
    assert said(ranges, np.zeros((64, 64), np.uint8))  # constant, and finite


def test_the_middle_of_a_large_image_is_looked_at():
    image = np.random.default_rng(0).random((1, 600, 700), np.float32)
    np.testing.assert_array_equal(describe(ArrayRows(image)), describe_pixels(image[:, 44:556, 94:606]))


def test_places_are_spread_over_all():
    assert spread_evenly(3, 64) == [0, 1, 2]
    assert spread_evenly(0, 64) == []
    assert spread_evenly(100, 3) == [0, 50, 99]


def known_model(path, ranges):
    write_model(path)
    checkpoint.save(path, checkpoint.load(path) | {KEY: ranges})
    return path


@pytest.mark.parametrize("wrong", [{"limit": -1.0}, {"low": [0.0] * 31}, {"foreground": [0.0, 2.0]}, {"high": ["x"]}])
def test_a_file_with_impossible_ranges_is_refused(tmp_path, ranges, wrong):
    path = known_model(tmp_path / "m.pth", ranges | wrong)
    with pytest.raises(InputError, match="appearance"):
        checkpoint.load_model(path)


def test_predict_warns_counts_and_is_strict(tmp_path, monkeypatch, capsys, ranges):
    model = known_model(tmp_path / "m.pth", ranges | {"foreground": [0.0, 1.0]})
    (tmp_path / "in").mkdir()
    image = filaments(1, 2)[0]
    tifffile.imwrite(tmp_path / "in" / "same.tif", image)
    tifffile.imwrite(tmp_path / "in" / "inverted.tif", image.max() - image)
    words = ("predict", "--model", str(model), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert command(monkeypatch, *words, "--save", "mask,measurements") == 0
    text = capsys.readouterr().out
    assert "warning: inverted.tif: unlike the training images: inverted contrast" in text
    assert "same.tif: unlike" not in text
    assert "1 of 2 images is unlike the training images: inverted.tif" in text
    assert "segexp models lists others" in text
    _, rows = read_table(tmp_path / "out" / "images.csv")
    table = {row["image"]: row["misfit"] for row in rows}
    assert table["same.tif"] == ""
    assert table["inverted.tif"].startswith("unlike")
    assert command(monkeypatch, *words, "--save", "mask,measurements", "--strict") == 1  # skipped, and still told
    assert "inverted.tif: unlike" in capsys.readouterr().out


def test_a_model_without_ranges_says_so_only_where_asked(tmp_path, monkeypatch, capsys):
    write_model(tmp_path / "m.pth")
    tifffile.imwrite(tmp_path / "a.tif", filaments(1, 2)[0])
    words = ("predict", "--model", str(tmp_path / "m.pth"), "--input", str(tmp_path / "a.tif"), "--output")
    assert command(monkeypatch, *words, str(tmp_path / "one")) == 0
    assert "training images" not in capsys.readouterr().out
    assert command(monkeypatch, *words, str(tmp_path / "two"), "--strict") == 0
    assert capsys.readouterr().out.count("does not say what its training images looked like") == 1


def test_the_viewer_gets_the_same_words(tmp_path, ranges):
    from segexp.inference.predictor import load_model

    model = load_model(known_model(tmp_path / "m.pth", ranges | {"foreground": [0.0, 1.0]}), "cpu")
    image = filaments(1, 2)[0]
    *_, found = segment(model, np.stack([image, image.max() - image]))
    assert len(found.misfits) == 1
    assert found.misfits[0].startswith("page 1: unlike the training images: inverted contrast")


def test_a_run_keeps_the_ranges_of_its_images_and_answers_and_what_it_misses(tmp_path):
    small = ["task=vesicle", "task.crop=32", "data.synthetic.train=4", "data.synthetic.val=2", "data.synthetic.size=48"]
    run(settings(*small, "trainer.num_workers=0"), tmp_path / "run")
    _, facts = checkpoint.load_model(tmp_path / "run" / "best_vesicle_model.pth")
    assert facts[KEY]["images"] == 6
    low, high = facts[KEY]["foreground"]
    assert 0 <= low < high <= 1
    assert facts["guarantee"][0]["images"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_ready_models_know_generated_images(name):
    content = checkpoint.load(name)
    style = content["data"]["generated"].get("style")
    images, _ = synthesis.generate(content["task"], 8, 256, 99, **({"style": style} if style else {}))
    flagged = [said(content[KEY], image, content[KEY]["foreground"][0]) for image in images]
    assert sum(map(bool, flagged)) <= 2, flagged
    assert json.dumps(content[KEY])
