"""`segexp predict` as it is typed: where results may go, what is taken, two commands at once, a disk that is full."""

import signal

import cv2
import numpy as np
import pytest
import tifffile

from segexp import checkpoint
from segexp.inference.guarantee import KEY, LEVELS
from segexp.inference.predictor import load_model
from segexp.io.ownership import OwnedFolder, hold
from tests.data.broken import snapshot
from tests.inference.test_predictor import write_model
from tests.processes import command
from tests.test_cli import run


@pytest.fixture
def house(tmp_path):
    write_model(tmp_path / "m.pth")
    for folder, seed in (("day1", 1), ("day2", 2)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "img.tif", pixels(seed))
    return tmp_path


def pixels(seed, shape=(40, 50)):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def predict(house, folder, *more, output="o"):
    return ("predict", "--model", house / "m.pth", "--input", house / folder, "--output", house / output, *more)


def test_refused_commands_change_nothing(house, monkeypatch):
    assert run(monkeypatch, *predict(house, "day1")) == 0
    (house / "mine").mkdir()
    (house / "mine" / "img_mask.png").write_text("drawn")
    before = snapshot(house)
    for arguments, words in (
        (predict(house, "day2"), "day1/img.tif"),
        (predict(house, "day2", "--overwrite"), "another --output"),
        (predict(house, "day1", output="mine"), "was not written by segexp"),
        (predict(house, "day1", "--channel", "0", output="new/x"), "--channel 0: expected"),
        (predict(house, "day1", "--page", "all", output="new/x"), "--page all: expected"),
        (predict(house, "day1", "--save", "x", output="new/x"), "--save x"),
        (predict(house, "none", output="new/x"), "no such file"),
    ):
        assert words in str(run(monkeypatch, *arguments))
        assert snapshot(house) == before
    assert not (house / "new").exists()


def test_two_at_once_into_one_folder(house, monkeypatch):
    assert run(monkeypatch, *predict(house, "day1")) == 0
    before = snapshot(house)
    with hold(house / "o"):
        assert "another segexp command is writing to this folder" in str(run(monkeypatch, *predict(house, "day1")))
    assert snapshot(house) == before
    assert run(monkeypatch, *predict(house, "day1")) == 0


def test_an_image_of_unknown_scale_is_named_where_the_model_has_a_scale(house, monkeypatch, capsys):
    assert run(monkeypatch, *predict(house, "day1", output="any")) == 0
    assert "pixel size" not in capsys.readouterr().out
    write_model(house / "m.pth", pixel_size=0.1)
    tifffile.imwrite(house / "day1" / "known.tif", pixels(3), resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    warning = "warning: 1 of 2 images does not state its pixel size (img.tif) and was not brought to the model's 0.1 µm"
    for _ in range(2):  # the second finds both predicted
        assert run(monkeypatch, *predict(house, "day1")) == 0
        assert warning in capsys.readouterr().out
    assert run(monkeypatch, *predict(house, "day1", "--pixel-size", "0.1", output="given")) == 0
    assert "warning" not in capsys.readouterr().out


def test_an_evaluation_names_images_of_unknown_scale(house, monkeypatch, capsys):
    write_model(house / "m.pth", pixel_size=0.1)
    (house / "day1").rename(house / "img")
    (house / "mask").mkdir()
    np.save(house / "mask" / "img.npy", pixels(1) > 2000)
    words = ("evaluate", "--model", house / "m.pth", "--data", house, "--output", house / "o")
    assert run(monkeypatch, *words) == 0
    assert "warning: 1 of 1 images does not state its pixel size (img.tif)" in capsys.readouterr().out


def test_tiles_that_share_too_little_are_warned_of(house, monkeypatch, capsys):
    least = 3 * load_model(house / "m.pth", "cpu").tiling().overlap
    assert least >= 64, "the least that --tile takes"
    assert run(monkeypatch, *predict(house, "day1", "--tile", least)) == 0
    assert "--tile" not in capsys.readouterr().out
    assert run(monkeypatch, *predict(house, "day1", "--tile", 64)) == 0
    assert f"--tile {least} or more has no visible cuts" in capsys.readouterr().out


def test_channels_and_pages(house, monkeypatch, capsys):
    signal_, other = pixels(1), pixels(3)
    (house / "two").mkdir()
    tifffile.imwrite(house / "two" / "img.tif", np.stack([other, signal_]), imagej=True, metadata={"axes": "CYX"})
    assert run(monkeypatch, *predict(house, "two", output="a")) == 1
    said = capsys.readouterr().err
    assert "--channel 1 to --channel 2 chooses one" in said
    assert "data." not in said
    assert run(monkeypatch, *predict(house, "two", "--channel", "2", output="a")) == 0
    assert run(monkeypatch, *predict(house, "day1", output="b")) == 0
    name = "img_prob.tif"
    assert np.array_equal(tifffile.imread(house / "a" / name), tifffile.imread(house / "b" / name))
    tifffile.imwrite(house / "two" / "img.tif", np.stack([other, signal_]), imagej=True, metadata={"axes": "ZYX"})
    assert run(monkeypatch, *predict(house, "two", "--page", "2", output="a")) == 0
    assert np.array_equal(tifffile.imread(house / "a" / name), tifffile.imread(house / "b" / name))
    assert run(monkeypatch, *predict(house, "two", output="a")) == 0
    assert tifffile.imread(house / "a" / name).shape == (2, 40, 50), "not taken for what page 2 gave"


def test_images_in_sub_folders_are_said(house, monkeypatch, capsys):
    said = str(run(monkeypatch, *predict(house, ".", output="o")))
    assert "no images" in said
    assert "2 images in its sub-folders are not taken" in said
    tifffile.imwrite(house / "top.tif", pixels(4))
    (house / "day2" / "img.tif").rename(house / "day2" / "b.tif")
    assert run(monkeypatch, *predict(house, ".", output="o")) == 0
    out = capsys.readouterr().out
    assert f"--input '{house}/**/*.tif'" in out
    assert "1 of 1 images" in out
    assert (
        run(monkeypatch, "predict", "--model", house / "m.pth", "--input", f"{house}/**/*.tif", "--output", house / "p")
        == 0
    )
    assert run(monkeypatch, *predict(house, "**/*.tif", output="p")) == 0
    assert "3 of 3 images" in capsys.readouterr().out


def test_predictions_in_a_sub_folder_are_no_images_that_were_left_out(house, monkeypatch, capsys):
    for _ in range(2):
        assert run(monkeypatch, *predict(house, "day1", output="day1/masks")) == 0
        assert "sub-folder" not in capsys.readouterr().out


def test_an_image_that_is_called_like_a_mask_is_taken(house, monkeypatch, capsys):
    tifffile.imwrite(house / "day1" / "cell_mask.tif", pixels(5))
    assert run(monkeypatch, *predict(house, "day1", output="day1")) == 0
    assert "2 of 2 images" in capsys.readouterr().out
    assert run(monkeypatch, *predict(house, "day1", output="day1")) == 0
    said = capsys.readouterr().out
    assert "2 of 2 images" in said
    assert "4 files that segexp predict wrote are not taken as images" in said
    assert run(monkeypatch, *predict(house, "day1", output="o")) == 0
    assert "2 of 2 images" in capsys.readouterr().out, "nor where the results go elsewhere"


def test_files_of_other_settings_are_said(house, monkeypatch, capsys):
    assert run(monkeypatch, *predict(house, "day1")) == 0
    assert run(monkeypatch, *predict(house, "day1", "--save", "mask", "--threshold", "0.4")) == 0
    assert "1 files in" in capsys.readouterr().out.replace("1 file in", "1 files in")


def results(house):
    """The files of an output folder that a user looks at."""
    return {path.name: path.read_bytes() for path in (house / "o").iterdir() if path.name[0] != "."}


def test_a_limit_on_the_size_of_files_keeps_the_earlier_results(house, monkeypatch):
    assert run(monkeypatch, *predict(house, "day1")) == 0
    before = results(house)
    ended = command(*predict(house, "day1", "--threshold", "0.4"), file_limit=3000)
    assert ended.returncode == 1, ended.stderr
    assert "File too large" in ended.stderr
    assert "0 of 1 images" in ended.stdout
    assert results(house) == before
    assert run(monkeypatch, *predict(house, "day1")) == 0


KILLED = """
import os, signal
from segexp.io import ownership
real, left = os.replace, [int(os.environ["AFTER"])]
def replace(*paths):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
os.replace = replace
"""


@pytest.mark.parametrize("after", [0, 1])
def test_killed_while_the_results_of_another_model_take_their_names(house, monkeypatch, capsys, after):
    assert run(monkeypatch, *predict(house, "day1")) == 0
    first = results(house)
    write_model(house / "n.pth", seed=1)
    arguments = map(str, ("predict", "--model", house / "n.pth", *predict(house, "day1")[3:]))
    ended = command(*arguments, before=KILLED, AFTER=str(after))
    assert ended.returncode == -signal.SIGKILL
    assert {path.name for path in (house / "o").glob(".*.partial")}, "killed between the record and the names"
    assert all(results(house)[name] == first[name] for name in first) == (after == 0)
    capsys.readouterr()
    assert run(monkeypatch, *predict(house, "day1")) == 0
    assert ("already predicted" in capsys.readouterr().out) == (after == 0)
    assert all(results(house)[name] == first[name] for name in first)


def calibrated(house, images=12):
    """The model file with a table by which a threshold of 0.1 misses nothing, and each higher one half."""
    missed = np.where(LEVELS <= 0.1, 0.0, 0.5).tolist()
    entries = [{"images": images, "missed": missed, "precision": [0.25] * len(LEVELS)}]
    checkpoint.save(house / "m.pth", checkpoint.load(house / "m.pth") | {KEY: entries})
    return float(LEVELS[LEVELS <= 0.1][-1])


def test_a_guarantee_lowers_the_threshold_and_stands_in_the_record(house, monkeypatch, capsys):
    threshold = calibrated(house)
    assert run(monkeypatch, *predict(house, "day1", "--guarantee", "0.9")) == 0
    said = capsys.readouterr().out
    assert f"guarantee 0.9: threshold {threshold:.3g}; of the foreground of a further image" in said
    assert "100.0 % is found (precision 0.25), and 50.0 % is found (precision 0.25) at its own threshold" in said
    settings_ = OwnedFolder(house / "o").entries[-1]["settings"]
    assert settings_["threshold"] == threshold
    assert settings_["guarantee"] == {"found": 0.9, "images": 12, "calibrated_on": "model"}
    mask = cv2.imread(str(house / "o" / "img_mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask > 0, tifffile.imread(house / "o" / "img_prob.tif") >= np.float32(threshold))
    assert run(monkeypatch, *predict(house, "day1", "--guarantee", "0.9")) == 0
    assert "skipped" in capsys.readouterr().out


def test_guarantees_that_cannot_be_given_are_refused(house, monkeypatch):
    assert "m.pth was not calibrated when it was trained; add --calibrate-on DATA" in str(
        run(monkeypatch, *predict(house, "day1", "--guarantee", "0.9"))
    )
    calibrated(house, 6)
    for arguments, words in (
        (["--guarantee", "0.95"], "a guarantee of 0.95 needs 19 or more validation images"),
        (["--guarantee", "1"], "--guarantee 1: expected a share"),
        (["--guarantee", "0.5", "--threshold", "0.2"], "leave --threshold out"),
        (["--guarantee", "0.5", "--tta"], "--guarantee with --tta: the model was calibrated without this"),
        (["--guarantee", "0.5", "--model", house / "m.pth"], "with several --model"),
        (["--calibrate-on", house / "day1"], "--calibrate-on: needs --guarantee"),
        (["--guarantee", "0.5", "--calibrate-on", house / "day1"], "holds neither val/img nor img"),
    ):
        assert words in str(run(monkeypatch, *predict(house, "day1", *arguments)))
    assert not (house / "o").exists()


def test_other_images_calibrate_a_model_and_its_symmetries(house, monkeypatch, capsys):
    for number in range(4):
        image = pixels(number)
        for part, content in (("img", image), ("mask", (image > 2000).astype(np.uint8))):
            (house / "other" / part).mkdir(parents=True, exist_ok=True)
            np.save(house / "other" / part / f"{number}.npy", content)
    more = ("--guarantee", "0.75", "--calibrate-on", house / "other", "--tta")
    assert run(monkeypatch, *predict(house, "day1", *more)) == 0
    assert "on the 4 validation images" in capsys.readouterr().out
    guarantee = OwnedFolder(house / "o").entries[-1]["settings"]["guarantee"]
    assert guarantee == {"found": 0.75, "images": 4, "calibrated_on": str(house / "other")}
