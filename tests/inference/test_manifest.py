"""Which files of an output folder may be written, which images are finished, and what is believed of the record."""

import json
import shutil

import numpy as np
import pytest
import tifffile

from segexp import read_image
from segexp.errors import InputError
from segexp.inference.files import predict_files, write_tables
from segexp.inference.manifest import Manifest
from segexp.inference.outputs import SAVE, Outputs
from segexp.inference.predictor import Predictor
from segexp.io.ownership import RECORD, OwnedFolder
from tests.inference.test_files import Bright, spots, table, written


@pytest.fixture
def predictor():
    return Predictor(Bright(), "standard", ["spot"])


def image(path, flip=False):
    path.parent.mkdir(exist_ok=True)
    pixels = spots()[0]
    tifffile.imwrite(path, pixels[::-1] if flip else pixels)
    return path


def go(predictor, files, out, save=("mask",), forget=False, **settings):
    """Predict as the command does; what became of the files: None done, True skipped, or the error."""
    manifest = Manifest(OwnedFolder(out), settings, Outputs(save), forget)
    manifest.require_room(files)
    results = list(predict_files(predictor, files, out, manifest=manifest))
    if "measurements" in save:
        write_tables(manifest, results)
    return [result.error or result.skipped for result in results]


FOREIGN = [
    "a_mask.tif",
    "a_mask.png",
    "a_measurements.csv",
    "measurements.csv",
    "images.csv",
    "a_prob.tif",
    "a_labels.tif",
    "a_overlay.png",
    "a_overlay_0001.png",
    "a_rois.zip",
    "a.geojson",
]


def test_files_of_somebody_else_are_all_named_before_anything_is_written(tmp_path, predictor):
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    out.mkdir()
    for name in FOREIGN:
        (out / name).write_text("mine")
    for forget in (False, True):
        with pytest.raises(InputError, match="were not written by segexp") as error:
            go(predictor, [path], out, SAVE, forget)
        assert all(name in str(error.value) for name in FOREIGN)
    assert written(out) == sorted(FOREIGN)
    assert not (out / RECORD).exists()
    assert {(out / name).read_text() for name in FOREIGN} == {"mine"}


@pytest.mark.parametrize("name", FOREIGN)
def test_each_of_them_alone(tmp_path, predictor, name):
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists and was not written by segexp"):
        go(predictor, [path], out, SAVE)
    assert written(out) == [name]


def test_what_is_not_saved_is_in_nobodys_way(tmp_path, predictor):
    path = image(tmp_path / "in" / "a.tif")
    (tmp_path / "in" / "a.geojson").write_text("drawn in QuPath")
    assert go(predictor, [path], tmp_path / "in") == [False]
    assert (tmp_path / "in" / "a.geojson").read_text() == "drawn in QuPath"


@pytest.mark.parametrize("forget", [False, True])
def test_a_mask_that_was_corrected_by_hand_stays(tmp_path, predictor, forget):
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    go(predictor, [path], out)
    (out / "a_mask.png").write_bytes(b"corrected")
    with pytest.raises(InputError, match=r"a_mask\.png exists and was changed since segexp wrote it"):
        go(predictor, [path], out, forget=forget)
    assert (out / "a_mask.png").read_bytes() == b"corrected"


def test_equal_names_in_two_folders(tmp_path, predictor):
    one, two, out = image(tmp_path / "1" / "a.tif"), image(tmp_path / "2" / "a.tif", flip=True), tmp_path / "o"
    go(predictor, [one], out)
    mask = (out / "a_mask.png").read_bytes()
    with pytest.raises(InputError) as error:
        go(predictor, [two], out, forget=True)
    assert str(one) in str(error.value)
    assert f"{two} has the same name" in str(error.value)
    assert "another --output" in str(error.value)
    assert (out / "a_mask.png").read_bytes() == mask
    assert go(predictor, [one], out) == [True]
    moved = one.rename(tmp_path / "1" / "b.tif").rename(tmp_path / "a.tif")
    assert go(predictor, [moved], out) == [True], "the same content in another folder"
    (out / "a_mask.png").unlink()
    assert go(predictor, [two], out) == [False], "nothing is lost"


def test_a_line_of_the_record_is_believed_only_where_the_files_fit(tmp_path, predictor):
    files = [image(tmp_path / "in" / "a.tif"), image(tmp_path / "in" / "b.tif", flip=True)]
    out = tmp_path / "o"
    assert go(predictor, files, out, threshold=0.5) == [False, False]
    assert go(predictor, files, out, threshold=0.5) == [True, True]
    assert go(predictor, files, out, threshold=0.4) == [False, False]
    assert go(predictor, files, out, threshold=0.5) == [True, True], "these masks are equal at both"
    tifffile.imwrite(files[0], spots()[0] * 0 + 7)
    assert go(predictor, files, out, threshold=0.5) == [False, True]
    assert not read_image(out / "a_mask.png").any()
    shutil.copy(out / "b_mask.png", out / "a_mask.png")
    with pytest.raises(InputError, match="changed since"):
        go(predictor, files, out, threshold=0.5)
    (out / "a_mask.png").write_bytes(b"")
    with pytest.raises(InputError, match="changed since"):
        go(predictor, files, out, threshold=0.5)
    (out / "a_mask.png").unlink()
    assert go(predictor, files, out, threshold=0.5) == [False, True]


def test_killed_between_writing_and_recording(tmp_path, predictor, monkeypatch):
    """The mask of another threshold lies there, or its line does: with the first threshold it is redone."""
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    go(predictor, [path], out, threshold=0.5)
    first = (out / "a_mask.png").read_bytes()
    predictor.threshold = 1.1  # above every probability: an empty mask
    for step in ("os.replace", "os.fsync"):
        monkeypatch.setattr(step, _stop)
        with pytest.raises(KeyboardInterrupt):
            go(predictor, [path], out, threshold=1.0)
        monkeypatch.undo()
        assert (out / "a_mask.png").read_bytes() == first
        assert go(predictor, [path], out, threshold=0.5) == [True]
    go(predictor, [path], out, threshold=1.0)
    lines = (out / RECORD).read_text().splitlines(keepends=True)
    (out / RECORD).write_text("".join(lines[:-1]))  # the files, and no line of the image
    predictor.threshold = 0.5
    assert go(predictor, [path], out, threshold=0.5) == [False]
    assert (out / "a_mask.png").read_bytes() == first


def _stop(*_):
    raise KeyboardInterrupt


def test_another_ending_replaces_only_our_own(tmp_path, predictor):
    path, out = tmp_path / "a.tif", tmp_path / "o"
    pages = np.stack([spots()[0]] * 3)
    tifffile.imwrite(path, pages, imagej=True, metadata={"axes": "ZYX"})
    go(predictor, [path], out, ("mask", "overlay"))
    assert written(out) == ["a_mask.tif", *(f"a_overlay_000{k}.png" for k in (1, 2, 3))]
    tifffile.imwrite(path, pages[0])
    go(predictor, [path], out, ("mask", "overlay"))
    assert written(out) == ["a_mask.png", "a_overlay.png"]
    tifffile.imwrite(path, pages, imagej=True, metadata={"axes": "ZYX"})
    (out / "a_mask.png").write_bytes(b"corrected")
    with pytest.raises(InputError, match="changed since"):
        go(predictor, [path], out)
    assert written(out) == ["a_mask.png", "a_overlay.png"]


def test_tables_hold_every_image_of_the_folder(tmp_path, predictor):
    one, two = image(tmp_path / "1" / "a.tif"), image(tmp_path / "2" / "b.tif", flip=True)
    out, save = tmp_path / "o", ("measurements",)
    go(predictor, [one], out, save)
    go(predictor, [two], out, save)
    assert [row["image"] for row in table(out / "images.csv")] == ["a.tif", "b.tif"]
    assert [row["image"] for row in table(out / "measurements.csv")] == ["a.tif"] * 2 + ["b.tif"] * 2
    three = image(tmp_path / "3" / "c.tif")
    with pytest.raises(InputError, match=r"measurements of .*a\.tif with other settings \(threshold\)"):
        go(predictor, [three], out, save, threshold=0.4)
    (out / "a_measurements.csv").unlink()
    go(predictor, [three], out, save)
    assert [row["image"] for row in table(out / "images.csv")] == ["b.tif", "c.tif"]
    (out / "b_measurements.csv").write_text("edited")
    with pytest.raises(InputError, match=r"b_measurements\.csv exists and was changed"):
        go(predictor, [three], out, save)


def test_an_image_that_changes_while_it_is_predicted_has_no_result(tmp_path, predictor):
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    predictor.model.register_forward_hook(lambda *_: image(path, flip=True) and None)
    (said,) = go(predictor, [path], out)
    assert "was changed while it was being predicted" in said
    assert written(out) == []


@pytest.mark.parametrize(
    "change",
    [
        {"image": 3}, {"image": "a\0.tif"}, {"settings": None}, {"input": []}, {"input": {"size": "x"}},
        {"outputs": [1]}, {"outputs": {"a_mask.png": 1}}, {"foreground": "much"}, {"foreground": 1e999},
        {"pixels": None}, {"summary": [3]}, {"summary": [{"image": []}]},
    ],
)  # fmt: skip
def test_a_damaged_line_is_no_finished_image(tmp_path, predictor, change):
    path, out = image(tmp_path / "in" / "a.tif"), tmp_path / "o"
    go(predictor, [path], out)
    *rest, last = (out / RECORD).read_text().splitlines()
    (out / RECORD).write_text("\n".join([*rest, json.dumps(json.loads(last) | change)]) + "\n")
    assert go(predictor, [path], out) == [False]
