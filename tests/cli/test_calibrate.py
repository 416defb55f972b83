"""`segexp calibrate` as a user types it, and what its file is good for."""

import numpy as np
import tifffile

from segexp import synthesis
from segexp.data.ranges_file import read_ranges
from segexp.io.images import read_image
from tests.test_cli import run


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
