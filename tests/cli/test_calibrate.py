"""`segexp calibrate` as a user types it, and what its file is good for."""

import numpy as np
import tifffile

from segexp import synthesis
from segexp.calibration import fit
from segexp.calibration.features import GROUPS
from segexp.data.ranges_file import read_ranges
from segexp.io.images import read_image
from tests.test_cli import run

DISTANCES = (*GROUPS, "all")


def test_from_a_folder_to_a_data_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    for k, image in enumerate(synthesis.generate("vesicle", 2, 64, 9, style="field")[0]):
        tifffile.imwrite(tmp_path / "mine" / f"{k}.tif", image)
    monkeypatch.chdir(tmp_path)
    given = ("--images", "mine", "--output", "of mine/a.yaml", "--minutes", 0, "--draws", 64, "--size", 64)
    assert run(monkeypatch, "calibrate", "vesicle", *given) == 0
    said = capsys.readouterr().out
    assert "train with: segexp train task=vesicle 'data.synthetic.ranges=of mine/a.yaml'" in said
    assert read_image("of mine/a.png").shape[2] == 3
    ranges = read_ranges("of mine/a.yaml", "vesicle")
    text = (tmp_path / "of mine" / "a.yaml").read_text()
    assert all(f"# {line}" in text for line in said.splitlines() if line.startswith(("all", "noise", "spectrum")))
    made = ("--output", "d", "--train", 2, "--val", 1, "--size", 64, "--ranges", "of mine/a.yaml")
    assert run(monkeypatch, "synthesize", "vesicle", *made) == 0
    wanted, _ = synthesis.generate("vesicle", 3, 64, 0, **ranges)
    np.testing.assert_array_equal(read_image("d/train/img/vesicle_00001.tif"), wanted[1])


def test_mistakes_say_what_was_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (("nuclei", "--images", ".", "--output", "a.yaml"), "expected one of vesicle, cytoskeleton"),
        (("vesicle", "--images", ".", "--output", "a"), "ending in .yaml"),
        (("vesicle", "--images", ".", "--output", "a.yaml"), "no images"),
        (("vesicle", "--images", "no", "--output", "a.yaml"), "no: no such file or folder"),
    ):
        assert words in str(run(monkeypatch, "calibrate", *arguments))


def test_a_calibration_that_brings_nothing_nearer_says_so(tmp_path, monkeypatch, capsys):
    pixels = np.random.default_rng(0).integers(0, 999, (2, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "CYX"})
    given = ("--images", str(tmp_path), "--output", str(tmp_path / "a.yaml"), "--size", 64)
    assert "a.tif: 2 channels, but the model takes 1; --channel 1" in str(
        run(monkeypatch, "calibrate", "vesicle", *given)
    )
    capsys.readouterr()
    for after, warned in ((0.5, False), (1.0, True)):
        done = fit.Calibration(
            {"style": ["field"]}, dict.fromkeys(DISTANCES, 1.0), dict.fromkeys(DISTANCES, after), "", []
        )
        monkeypatch.setattr(fit, "calibrate", lambda *_, done=done, **__: done)
        assert run(monkeypatch, "calibrate", "vesicle", *given, "--channel", 1) == 0
        assert ("are no nearer to yours" in capsys.readouterr().out) == warned
