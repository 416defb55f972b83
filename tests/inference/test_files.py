"""Whole files and folders: what is written, what is skipped, what fails alone."""

import csv
import json
import os
import shlex
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import roifile
import tifffile
import torch
from PIL import Image

from segexp import read_image
from segexp.errors import InputError
from segexp.inference import job, outputs, writers
from segexp.inference.files import find_images, predict_files, write_tables
from segexp.inference.manifest import Manifest, open_manifest
from segexp.inference.outputs import SAVE, Outputs, PredictedImage, Stack, write_objects
from segexp.inference.predictor import Predictor, load_model
from segexp.inference.sliding_window import Tiling
from segexp.io import tiff_writer
from segexp.io.images import open_image
from segexp.io.ownership import RECORD, OwnedFolder
from segexp.measurements import Settings
from segexp.model_facts import is_class_name
from tests.inference.test_predictor import write_model
from tests.measurements.shapes import ellipse


class Bright(torch.nn.Module):
    """A network whose foreground is what is brighter than the mean, without doubt."""

    multiple = 4
    settings = {"in_channels": 1, "classes": 1, "widths": [4], "kernel_size": 3}  # noqa: RUF012

    def forward(self, images):
        return images * 20 - 5


@pytest.fixture
def predictor():
    return Predictor(Bright(), "standard", ["spot"])


def spots(dtype=np.uint16, shape=(90, 120)):
    mask = ellipse(shape, 30, 40, 9) | ellipse(shape, 60, 90, 12)
    return np.where(mask, 900, 100).astype(dtype), mask


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(predictor, files, output, **more):
    return list(predict_files(predictor, files, output, **more))


def written(folder):
    """Names of what lies in an output folder beside segexp's own record."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def test_everything_that_can_be_saved(tmp_path, predictor):
    image, mask = spots()
    tifffile.imwrite(tmp_path / "a.tif", image, resolution=(1e4 / 0.1, 1e4 / 0.1), resolutionunit="CENTIMETER")
    manifest = Manifest(OwnedFolder(tmp_path / "o"), {}, Outputs(SAVE))
    (result,) = run(predictor, [tmp_path / "a.tif"], tmp_path / "o", manifest=manifest)
    assert written(tmp_path / "o") == sorted(result.files)
    assert sorted(result.files) == [
        "a.geojson", "a_labels.tif", "a_mask.png", "a_measurements.csv", "a_overlay.png", "a_prob.tif", "a_rois.zip",
    ]  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "o" / "a_mask.png"), mask * 255)
    labels = read_image(tmp_path / "o" / "a_labels.tif")
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels > 0, mask)
    for name in ("a_prob.tif", "a_labels.tif"):
        with open_image(tmp_path / "o" / name) as file:
            assert file.pixel_size == pytest.approx((0.1, 0.1))
    rows = table(tmp_path / "o" / "a_measurements.csv")
    assert [int(row["object"]) for row in rows] == [1, 2]
    assert [float(row["area_um2"]) for row in rows] == pytest.approx([(labels == k).sum() / 100 for k in (1, 2)])
    assert [float(row["mean_above_background"]) for row in rows] == [800, 800]
    assert result.foreground == mask.mean()
    paths = write_tables(manifest, [result])
    (summary,) = table(paths[1])
    assert (summary["image"], summary["objects"]) == ("a.tif", "2")


@pytest.mark.parametrize(("dtype", "one"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_types_of_probabilities(tmp_path, predictor, dtype, one):
    image, _ = spots()
    tifffile.imwrite(tmp_path / "a.tif", image)
    run(predictor, [tmp_path / "a.tif"], tmp_path, outputs=Outputs(("prob",), dtype))
    written = read_image(tmp_path / "a_prob.tif")
    assert written.dtype == dtype
    np.testing.assert_allclose(written / one, predictor.predict(image), atol=0.51 / one if one > 1 else 1e-7)


def test_a_large_image_is_written_by_tiles_and_is_the_same(tmp_path, predictor, monkeypatch):
    image = np.random.default_rng(0).integers(0, 4000, (300, 200)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, tile=(64, 64), compression="zlib")
    tiling = Tiling(96, 32, 4, 4, 4)
    predictor.min_size = 3
    everything = Outputs(("mask", "prob", "labels"))
    run(predictor, [tmp_path / "a.tif"], tmp_path / "small", outputs=everything, tiling=tiling)
    for module in (tiff_writer, writers, job):
        monkeypatch.setattr(module, "TILED", 1)
    monkeypatch.setattr(tiff_writer, "TILE", 64)
    run(predictor, [tmp_path / "a.tif"], tmp_path / "large", outputs=everything, tiling=tiling)
    for small, large in (("a_mask.png", "a_mask.tif"), ("a_prob.tif",) * 2, ("a_labels.tif",) * 2):
        with tifffile.TiffFile(tmp_path / "large" / large) as file:
            assert file.pages[0].is_tiled
        expected = read_image(tmp_path / "small" / small)
        np.testing.assert_allclose(read_image(tmp_path / "large" / large), expected, atol=1e-6)


def test_stacks_page_by_page(tmp_path, predictor):
    image, mask = spots()
    pages = np.stack([image, image[::-1], image * 0 + 7])
    tifffile.imwrite(tmp_path / "s.tif", pages, imagej=True, metadata={"axes": "ZYX"})
    (result,) = run(predictor, [tmp_path / "s.tif"], tmp_path / "o", outputs=Outputs(SAVE))
    for page, expected in enumerate((mask, mask[::-1], mask * 0), 1):
        np.testing.assert_array_equal(read_image(tmp_path / "o" / "s_mask.tif", page), expected * 255)
        np.testing.assert_array_equal(read_image(tmp_path / "o" / "s_labels.tif", page) > 0, expected)
    assert [(row["page"], row["objects"]) for row in result.record["summary"]] == [(1, 2), (2, 2), (3, 0)]
    rows = table(tmp_path / "o" / "s_measurements.csv")
    assert [(row["page"], row["object"]) for row in rows] == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]
    assert (tmp_path / "o" / "s_overlay_0003.png").is_file()
    features = json.loads((tmp_path / "o" / "s.geojson").read_text())["features"]
    assert [f["geometry"]["plane"]["z"] for f in features] == [0, 0, 1, 1]


@pytest.mark.parametrize(("axes", "kind"), [("ZYX", "imagej"), ("TYX", "imagej"), ("TYX", "ome"), ("TCYX", "imagej")])
def test_what_pages_are_is_kept(tmp_path, predictor, axes, kind):
    image, _ = spots()
    pages = np.stack([image, image[::-1], image])
    stored = pages if "C" not in axes else np.stack([pages * 0, pages], 1)
    tifffile.imwrite(tmp_path / "s.tif", stored, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    predictor.facts["reading"] = {"page": None, "channel": 2 if "C" in axes else None, "masks": "auto", "ignore": None}
    run(predictor, [tmp_path / "s.tif"], tmp_path / "o", outputs=Outputs(SAVE))
    for name in ("mask", "prob", "labels"):
        with tifffile.TiffFile(tmp_path / "o" / f"s_{name}.tif") as file:
            assert file.series[0].axes == f"{axes[0]}YX"
    planes = [f["geometry"]["plane"] for f in json.loads((tmp_path / "o" / "s.geojson").read_text())["features"]]
    here, other = ("z", "t") if axes[0] == "Z" else ("t", "z")
    assert [(plane[here], plane[other]) for plane in planes] == [(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (2, 0)]
    places = [(r.position, r.z_position, r.t_position) for r in roifile.roiread(tmp_path / "o" / "s_rois.zip")]
    assert places[4] == ((0, 0, 3) if "C" in axes else (3, 0, 0)), "on all channels of the third time, or in plane 3"


def test_measurements_look_as_far_as_at_the_scale_of_the_model(tmp_path, predictor):
    """Twice as many pixels a side as the model sees: its local background lies twice as many pixels away."""
    image = np.full((80, 100), 100, np.uint16)
    image[26:54, 36:64] = 150  # 4 px around the object
    image[30:50, 40:60] = 9000
    tifffile.imwrite(tmp_path / "a.tif", image)
    settings = Settings(gap=2, ring=2)
    for folder, size, background in (("same", 0.1, 150), ("finer", 0.05, 100)):
        predictor.facts["pixel_size"] = 0.1
        outputs = Outputs(("measurements",), settings=settings, pixel_size=size)
        run(predictor, [tmp_path / "a.tif"], tmp_path / folder, outputs=outputs)
        (row,) = table(tmp_path / folder / "a_measurements.csv")
        assert float(row["background"]) == background


def test_objects_have_one_number_in_tables_labels_and_outlines(tmp_path):
    """Of two classes: those of the second are numbered on."""
    labels = np.zeros((40, 50), np.uint8)
    labels[2:8, 2:8] = labels[2:8, 20:26] = 1
    labels[20:30, 5:15] = 2
    page = PredictedImage(labels.astype(np.uint16) * 100, labels)
    save = ("labels", "measurements", "rois", "geojson")
    files, _ = write_objects(tmp_path / "a.tif", tmp_path, [page], ["a", "b"], Outputs(save), None, Stack())
    rows = [row for row in table(files["a_measurements.csv"]) if row["class"] == "b"]
    assert [row["object"] for row in rows] == ["3"]
    assert set(np.unique(tifffile.imread(files["a_labels.tif"])[labels == 2])) == {3}
    feature = json.loads(files["a.geojson"].read_text())["features"][2]
    assert (feature["properties"]["name"], feature["properties"]["measurements"]["object"]) == ("b 3", 3)
    with zipfile.ZipFile(files["a_rois.zip"]) as archive:
        assert archive.namelist() == ["a_00001.roi", "a_00002.roi", "b_00003.roi"]


def test_class_names_of_any_script_are_read_back_from_every_file(tmp_path):
    classes = ["α-actin, 'core'", "ミトコンドリア (dim)", "e\u0301", "𝛼;🧬", "=SUM(A1)"]
    assert all(is_class_name(name) for name in classes)
    labels = np.zeros((50, 20), np.uint8)
    for number in range(5):
        labels[10 * number + 1 : 10 * number + 9, 4:16] = number + 1
    page = PredictedImage(labels.astype(np.uint16), labels)
    save = ("measurements", "rois", "geojson")
    files, _ = write_objects(tmp_path / "a.tif", tmp_path, [page], classes, Outputs(save), None, Stack())
    rows = table(files["a_measurements.csv"])
    assert [row["class"] for row in rows] == [*classes[:4], "'=SUM(A1)"], "no spreadsheet takes it for a formula"
    features = [each["properties"] for each in json.loads(files["a.geojson"].read_text())["features"]]
    assert [each["classification"]["name"] for each in features] == classes
    with zipfile.ZipFile(files["a_rois.zip"]) as archive:
        assert [name.rsplit("_", 1)[0] for name in archive.namelist()] == classes
        assert [name_in_imagej(archive.read(name), name) for name in archive.namelist()] == [
            f"{name}_{number:05}" for number, name in enumerate(classes, 1)
        ]


def name_in_imagej(content, entry):
    """The name that ImageJ's RoiDecoder gives a ROI: so many UTF-16 units of it, or the entry's name without .roi."""
    (header,) = struct.unpack(">i", content[60:64])
    offset, length = struct.unpack(">ii", content[header + 16 : header + 24])
    return content[offset : offset + 2 * length].decode("utf-16-be") if length else entry.removesuffix(".roi")


def test_stacks_are_read_as_the_model_was_trained(tmp_path, predictor):
    image, mask = spots()
    tifffile.imwrite(tmp_path / "s.tif", np.stack([image * 0, image]), imagej=True, metadata={"axes": "ZYX"})
    predictor.facts["reading"] = {"page": "max", "channel": None, "masks": "auto", "ignore": None}
    run(predictor, [tmp_path / "s.tif"], tmp_path / "o")
    np.testing.assert_array_equal(read_image(tmp_path / "o" / "s_mask.png"), mask * 255)


def test_several_classes_are_numbered_through(tmp_path):
    write_model(tmp_path / "m.pth", ("a", "b"))
    predictor = load_model(tmp_path / "m.pth", "cpu")
    predictor.threshold = 0.45
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32))
    (result,) = run(predictor, [tmp_path / "x.npy"], tmp_path / "o", outputs=Outputs(SAVE))
    assert read_image(tmp_path / "o" / "x_prob.tif").shape == (40, 50, 2)
    mask, labels = read_image(tmp_path / "o" / "x_mask.png"), read_image(tmp_path / "o" / "x_labels.tif")
    assert set(np.unique(mask)) <= {0, 1, 2}
    rows = table(tmp_path / "o" / "x_measurements.csv")
    assert [int(row["object"]) for row in rows] == list(range(1, labels.max() + 1))
    for row in rows:
        assert set(mask[labels == int(row["object"])]) == {"ab".index(row["class"]) + 1}
    assert [row["class"] for row in result.record["summary"]] == ["a", "b"]


def test_an_image_of_another_scale_is_predicted_at_the_models(tmp_path, predictor):
    """Pixels of 0.05 µm for a model of 0.1 µm: the network sees half the rows, the mask has all."""
    image, mask = spots(shape=(90, 121))
    tifffile.imwrite(tmp_path / "a.tif", image)
    seen = []
    predictor.model.register_forward_hook(lambda _, images, __: seen.append(images[0].shape))
    predictor.facts["pixel_size"] = 0.1
    run(predictor, [tmp_path / "a.tif"], tmp_path / "o", outputs=Outputs(pixel_size=0.05))
    assert seen[0][-2:] == (56, 68)  # 45 and 60 px, with reflection
    found = read_image(tmp_path / "o" / "a_mask.png") > 0
    assert found.shape == mask.shape
    assert (found != mask).mean() < 0.01


def test_the_smallest_object_is_that_of_the_models_scale(tmp_path, predictor):
    """Spots of 9 and 3 px radius in pixels of 0.1 µm, for a model of 0.2 µm whose smallest object has 20 pixels."""
    mask = ellipse((96, 120), 30, 40, 9) | ellipse((96, 120), 60, 90, 3)
    tifffile.imwrite(tmp_path / "a.tif", np.where(mask, 900, 100).astype(np.uint16))
    predictor.facts["pixel_size"] = 0.2
    found = []
    for smallest in (4, 20):
        predictor.min_size = smallest
        place = tmp_path / str(smallest)
        run(predictor, [tmp_path / "a.tif"], place, outputs=Outputs(pixel_size=0.1))
        found.append(cv2.connectedComponents((read_image(place / "a_mask.png") > 0).astype(np.uint8))[0] - 1)
    assert found == [2, 1]  # the small one covers 29 pixels of the file, 7 of the model


def test_one_broken_file_fails_alone_and_leaves_nothing(tmp_path, predictor):
    image, _ = spots()
    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:2000])
    np.save(tmp_path / "d.npy", np.full((9, 9), np.nan))
    results = run(predictor, find_images([tmp_path], OwnedFolder(tmp_path / "o")).files, tmp_path / "o")
    assert [result.error is None for result in results] == [True, False, True, False]
    assert "b.tif" in results[1].error
    assert "NaN" in results[3].error
    assert [name[0] for name in written(tmp_path / "o")] == ["a", "a", "c", "c"]


class Overflows(Bright):
    """The same, but its answer is no number where a pixel is far brighter than the others."""

    def forward(self, images):
        return torch.where(images > 10, torch.nan, super().forward(images))


def test_an_answer_that_is_no_number_is_not_written_as_background(tmp_path):
    pixels, _ = spots()
    tifffile.imwrite(tmp_path / "fine.tif", pixels)
    pixels[5, 5] = 60000
    tifffile.imwrite(tmp_path / "hot.tif", pixels)
    files = [tmp_path / "hot.tif", tmp_path / "fine.tif"]
    results = run(Predictor(Overflows(), "standard", ["spot"], finished=True), files, tmp_path / "out")
    assert results[0].error.startswith(f"{tmp_path / 'hot.tif'}: the network returns NaN")
    assert "--device" not in results[0].error  # it has the range of float32 already
    assert results[1].error is None
    assert written(tmp_path / "out") == ["fine_mask.png", "fine_prob.tif"]


def test_a_full_disk_is_that_files_fault(tmp_path, predictor, monkeypatch):
    image, _ = spots()
    tifffile.imwrite(tmp_path / "a.tif", image)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    (result,) = run(predictor, [tmp_path / "a.tif"], tmp_path / "o")
    assert "No space left" in result.error
    assert written(tmp_path / "o") == []


def test_memory_that_is_not_there_is_asked_for_first(tmp_path, predictor, monkeypatch):
    image, _ = spots()
    tifffile.imwrite(tmp_path / "a.tif", image)
    monkeypatch.setattr(job, "free_memory", lambda: 90 * 120 * 50)
    (result,) = run(predictor, [tmp_path / "a.tif"], tmp_path / "o", outputs=Outputs(("labels",)))
    assert "use --save mask,prob, which needs little" in result.error
    (result,) = run(predictor, [tmp_path / "a.tif"], tmp_path / "o")
    assert result.error is None


def test_a_stopped_prediction_goes_on(tmp_path):
    write_model(tmp_path / "m.pth")
    image, _ = spots()
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    files, out = [tmp_path / f"{name}.tif" for name in "abc"], tmp_path / "o"

    def go(stop=None, model="m.pth", outputs=None, **facts):
        predictor = load_model(tmp_path / model, "cpu")
        for name, value in facts.items():
            setattr(predictor, name, value)
        outputs = outputs or Outputs()
        manifest = open_manifest(OwnedFolder(out), predictor, [tmp_path / model], outputs, predictor.tiling())
        results = []
        for result in predict_files(predictor, files, out, outputs, manifest=manifest):
            results.append(result.skipped)
            if stop is not None and len(results) == stop:
                break
        return results

    assert go(stop=1) == [False]
    (out / RECORD).write_text((out / RECORD).read_text() + '{"image": "cut off in the mid')
    again = go()
    assert again[0]
    assert not again[2]
    assert go() == [True, True, True]
    (out / "b_prob.tif").unlink()
    assert go() == [True, False, True]
    os.utime(files[2], (1, 1))
    assert go() == [True, True, True], "the content is the same"
    tifffile.imwrite(files[2], image[::-1])
    assert go() == [True, True, False]
    assert go(threshold=0.3) == [False, False, False]
    write_model(tmp_path / "n.pth", seed=1)
    assert go(model="n.pth") == [False, False, False]
    assert go(model="n.pth", outputs=Outputs(("mask",))) == [False, False, False]


def test_progress_and_order(tmp_path, predictor):
    image, _ = spots()
    for name in "abcd":
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    heard = []
    results = run(
        predictor, find_images([tmp_path], OwnedFolder(tmp_path / "o")).files, tmp_path / "o", progress=heard.append
    )
    assert [result.path.stem for result in results] == list("abcd")
    assert heard[-1] == 4
    assert heard == sorted(heard)


def test_files_folders_and_patterns(tmp_path):
    for name in ("a.tif", "b.png", "c.txt", "a_mask.png", ".d.tif"):
        (tmp_path / name).write_bytes(b"")
    out = OwnedFolder(tmp_path / "o")
    find = lambda *sources, output=out: [p.name for p in find_images(sources, output).files]  # noqa: E731
    assert find(tmp_path, output=OwnedFolder(tmp_path)) == ["a.tif", "a_mask.png", "b.png"], "a mask by its name alone"
    assert find(tmp_path) == ["a.tif", "a_mask.png", "b.png"]
    assert find(tmp_path / "*.png", tmp_path / "a.tif") == ["a_mask.png", "b.png", "a.tif"]
    assert find(tmp_path, tmp_path / "a.tif") == ["a.tif", "a_mask.png", "b.png"], "named twice, taken once"
    with pytest.raises(InputError, match="no images"):
        find(tmp_path / "*.jpg")
    with pytest.raises(InputError, match="no such file"):
        find(tmp_path / "absent")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="same name"):
        find(tmp_path)


def test_patterns_in_folders_with_brackets_and_beside_hidden_files(tmp_path):
    inside = tmp_path / "plate [1]" / "day 2"
    inside.mkdir(parents=True)
    for name in ("a.tif", "._a.tif", "b.TIF"):
        (inside / name).write_bytes(b"")
    (inside / ".cache").mkdir()
    (inside / ".cache" / "c.tif").write_bytes(b"")
    out = OwnedFolder(tmp_path / "o")
    names = lambda *sources: [p.name for p in find_images(sources, out).files]  # noqa: E731
    assert names(inside / "*.tif") == ["a.tif"]
    assert names(tmp_path / "plate [1]" / "**" / "*.tif") == ["a.tif"]
    (tmp_path / "plate [1]" / "top.tif").write_bytes(b"")
    (remark,) = find_images([tmp_path / "plate [1]"], out).remarks
    assert "2 images" in remark
    words = shlex.split(remark.partition("too: ")[2])
    assert words[::2] == ["--input", "--input"]
    assert names(*map(Path, words[1::2])) == ["b.TIF", "a.tif", "top.tif"], "what is advised works"


@pytest.mark.parametrize("wrong", [{"save": ("mask", "maks")}, {"save": ()}, {"prob_dtype": "int8"}])
def test_outputs_are_checked(wrong):
    with pytest.raises(InputError, match="expected"):
        Outputs(**wrong)


def test_a_picture_of_a_large_image_is_small():
    pixels = np.zeros((2, 5000, 3), np.uint8)
    png = outputs.picture(outputs.PredictedImage(pixels, np.zeros((2, 5000), np.uint8)), 1)
    assert len(png) < 20000


def test_filaments_in_a_file(tmp_path, predictor):
    image = np.full((80, 100), 100, np.uint16)
    image[38:42, 10:90] = 900
    tifffile.imwrite(tmp_path / "a.tif", image)
    settings = Outputs(("measurements", "labels"), settings=Settings("filaments"))
    (result,) = run(predictor, [tmp_path / "a.tif"], tmp_path / "o", outputs=settings)
    (row,) = table(tmp_path / "o" / "a_measurements.csv")
    assert row["segment"] == "1"
    assert float(row["length_px"]) == pytest.approx(80, rel=0.02)
    assert result.record["summary"][0]["segments"] == 1


def test_transparency_is_no_brightness(tmp_path, predictor):
    grey, _ = spots(np.uint8)
    image = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    for name, pixels in (("rgb", image[..., :3]), ("rgba", image)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        run(predictor, [tmp_path / f"{name}.png"], tmp_path / "o", outputs=Outputs(("measurements",)))
    plain, with_alpha = (table(tmp_path / "o" / f"{name}_measurements.csv") for name in ("rgb", "rgba"))
    assert [row | {"image": ""} for row in plain] == [row | {"image": ""} for row in with_alpha]
    assert plain


def test_an_image_that_asks_to_be_turned_is_named(tmp_path, predictor, monkeypatch):
    image, _ = spots(np.uint8)
    said = []
    monkeypatch.setattr(predictor, "log", said.append)
    for turn in (1, 6):
        exif = Image.Exif()
        exif[274] = turn
        Image.fromarray(image[:60]).save(tmp_path / f"{turn}.png", exif=exif)
        run(predictor, [tmp_path / f"{turn}.png"], tmp_path / "o")
        assert read_image(tmp_path / "o" / f"{turn}_mask.png").shape == image[:60].shape
    assert len(said) == 1
    assert "6.png: has an EXIF orientation (6)" in said[0]


def test_memory_that_runs_out_in_numpy_fails_one_file_alone(tmp_path, predictor, monkeypatch):
    image, _ = spots()
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    real = job.write_objects

    def full(path, *more):
        if path.stem == "a":
            raise MemoryError
        return real(path, *more)

    monkeypatch.setattr(job, "write_objects", full)
    first, second = run(
        predictor, [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "o", outputs=Outputs(("mask", "labels"))
    )
    assert "out of memory" in first.error
    assert second.error is None
    assert "a_mask.png" not in written(tmp_path / "o")
