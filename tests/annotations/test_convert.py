"""Annotation of other programs as masks: shapes with known pixels, files that must not run, outputs that must stay."""

import base64
import datetime
import json
import os
import pickle
import subprocess
import zipfile
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest
import roifile
import tifffile
from scipy import ndimage
from skimage.draw import polygon

from segexp.annotations.cellpose import read_cellpose
from segexp.annotations.convert import Conversion, convert
from segexp.annotations.outlines import Outline, covered
from segexp.data import foreign
from segexp.data.dataset import Reading, read_folder
from segexp.errors import InputError
from segexp.io.images import read_mask
from tests.processes import command

SHAPE = (20, 30)
IDS = np.zeros(SHAPE, np.uint16)
IDS[2:6, 3:9] = 1
IDS[8:18, 10:25] = 2
IDS[11:15, 14:20] = 0  # a hole
BOX = [[3, 2], [9, 2], [9, 6], [3, 6], [3, 2]]
OUTER = [[10, 8], [25, 8], [25, 18], [10, 18], [10, 8]]
HOLE = [[14, 11], [20, 11], [20, 15], [14, 15], [14, 11]]


@pytest.fixture
def folders(tmp_path):
    for name in ("img", "drawn"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "img" / f"{name}.tif", np.zeros(SHAPE, np.uint8))
    return tmp_path / "img", tmp_path / "drawn", tmp_path / "mask"


def run(folders, how=Conversion(), source=None):  # noqa: B008
    said = []
    images, drawn, output = folders
    convert(source or drawn, images, output, how, said.append)
    return {path.stem: np.load(path) for path in sorted(output.iterdir())}, said


def feature(*rings, **properties):
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": list(rings)}, "properties": properties}


def test_cellpose(folders):
    content = {
        "masks": IDS,
        "img": IDS.astype(np.float32),
        "filename": PurePosixPath("a.tif"),
        "est_diam": np.float64(3),
        "ismanual": [],
    }
    np.save(folders[1] / "a_seg.npy", content, allow_pickle=True)
    path = folders[1].parent / "other_seg.npy"
    for protocol in (2, 3, 4):
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            pickle.dump(np.array({"masks": np.asfortranarray(IDS.astype(">i4"))}, dtype=object), file, protocol)
        if protocol == 2:  # of Python 2; Cellpose never wrote it
            with pytest.raises(InputError, match=r"names _codecs\.encode"):
                read_cellpose(path)
        else:
            np.testing.assert_array_equal(read_cellpose(path), IDS)
    masks, said = run(folders)
    assert list(masks) == ["a"]
    assert masks["a"].dtype == np.uint16
    np.testing.assert_array_equal(masks["a"], IDS)
    assert said == ["no annotation of 1 image: b.tif"]


class Attack:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("call", [os.system, eval, exec, subprocess.check_output, np.load, np.fromfile, open, getattr])
def test_a_pickle_runs_nothing(folders, call):
    trace = folders[1] / "ran"
    np.save(folders[1] / "a_seg.npy", {"masks": IDS, "x": Attack(call, f"touch {trace}")}, allow_pickle=True)
    with pytest.raises(InputError, match=r"a_seg\.npy: names .*not imported; in Cellpose: File"):
        run(folders)
    assert not trace.exists()
    assert not folders[2].exists()


def test_cellpose_files_that_hold_something_else(folders):
    path = folders[1] / "a_seg.npy"
    for content in ({"masks": datetime.datetime(2026, 1, 1)}, {"other": 1}, {"masks": np.array([None])}, [1, 2]):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(InputError, match=r"a_seg\.npy: "):
            read_cellpose(path)
    data = path.read_bytes()
    for end in (20, 130, len(data) - 3):
        path.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"a_seg\.npy: "):
            read_cellpose(path)


@pytest.mark.parametrize("kind", ["qupath", "coco", "labelme", "roi"])
def test_polygons_cover_the_pixels_whose_centres_they_hold(folders, kind):
    images, drawn, _ = folders
    expected = IDS.copy()
    if kind == "qupath":
        found = [feature(BOX, objectType="annotation"), feature(OUTER, HOLE)]
        (drawn / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": found}))
    else:
        expected[11:15, 14:20] = 2
    if kind == "coco":
        flat = [{"image_id": 7, "category_id": 1, "segmentation": [np.ravel(ring).tolist()]} for ring in (BOX, OUTER)]
        image = {"id": 7, "file_name": "x/a.tif", "height": 20, "width": 30}
        content = {"images": [image], "annotations": flat, "categories": [{"id": 1, "name": "cell"}]}
        (drawn / "all.json").write_text(json.dumps(content))
    if kind == "labelme":
        shapes = [
            {"label": "cell", "points": [[3, 2], [9, 6]], "shape_type": "rectangle"},
            {"label": "cell", "points": OUTER[:4], "shape_type": "polygon"},
        ]
        content = {"shapes": shapes, "imagePath": "..\\img\\a.tif", "imageHeight": 20, "imageWidth": 30}
        (drawn / "a.json").write_text(json.dumps(content))
    if kind == "roi":
        rois = [roifile.ImagejRoi.frompoints(np.array(ring[:4], float)) for ring in (BOX, OUTER)]
        roifile.roiwrite(drawn / "a_RoiSet.zip", rois)
    masks, _ = run(folders)
    np.testing.assert_array_equal(masks["a"], expected)
    (images / "b.tif").unlink()
    (sample,) = read_folder(images, folders[2], Reading(masks="instances"))
    np.testing.assert_array_equal(sample.instances(), expected)


def test_run_lengths_of_coco(folders):
    mask = pytest.importorskip("pycocotools.mask")
    packed = mask.encode(np.asfortranarray((IDS == 2).astype(np.uint8)))
    flat = (IDS == 1).T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    shapes = [{"size": SHAPE, "counts": counts}, {"size": SHAPE, "counts": packed["counts"].decode()}]
    annotations = [{"image_id": 1, "category_id": n, "segmentation": shape} for n, shape in enumerate(shapes, 1)]
    image = {"id": 1, "file_name": "a.tif", "height": 20, "width": 30}
    names = [{"id": 1, "name": "cell"}, {"id": 2, "name": "debris"}]
    (folders[1] / "c.json").write_text(json.dumps({"images": [image], "annotations": annotations, "categories": names}))
    masks, _ = run(folders, Conversion(classes=("debris", "cell")))
    np.testing.assert_array_equal(masks["a"], np.array([0, 2, 1], np.uint8)[IDS])
    assert masks["a"].dtype == np.uint8


def test_lines_points_circles_and_bitmaps(folders):
    _, png = cv2.imencode(".png", np.full((3, 4), 255, np.uint8))
    shapes = [
        {"label": "l", "points": [[2.5, 10.5], [20.5, 10.5]], "shape_type": "line"},
        {"label": "p", "points": [[25.2, 3.7]], "shape_type": "point"},
        {"label": "c", "points": [[10, 4], [13, 4]], "shape_type": "circle"},
        {"label": "m", "points": [[1, 15], [4, 17]], "shape_type": "mask", "mask": base64.b64encode(png).decode()},
    ]
    (folders[1] / "a.json").write_text(json.dumps({"shapes": shapes}))
    masks, said = run(folders, Conversion(width=3))
    areas = np.bincount(masks["a"].ravel())
    assert areas[1] >= 3 * 19
    assert masks["a"][9:12, 5].tolist() == [1, 1, 1]
    assert masks["a"][3, 25] == 2
    assert areas[3] == pytest.approx(np.pi * 9, abs=4)
    np.testing.assert_array_equal(np.argwhere(masks["a"] == 4), np.argwhere(np.ones((3, 4))) + np.array([15, 1]))
    assert "labels: c, l, m, p" in said[0]


def test_regions_around_detections_are_no_objects(folders):
    found = [
        feature(OUTER, objectType="annotation"),
        feature(BOX, objectType="detection"),
        feature(HOLE, objectType="detection", classification={"name": "Ignore*"}),
    ]
    (folders[1] / "a.geojson").write_text(json.dumps(found))
    np.testing.assert_array_equal(run(folders)[0]["a"], IDS == 1)


@pytest.mark.parametrize("version", ["0.2", "0.3", "0.4"])
def test_detections_as_versions_of_qupath_mark_them(folders, version):
    def drawn(ring, kind):
        if version == "0.2":
            return feature(ring) | {"id": f"Path{kind.capitalize()}Object"}
        return feature(ring, **{"object_type" if version == "0.3" else "objectType": kind})

    found = [drawn(OUTER, "annotation"), drawn(BOX, "detection" if version == "0.4" else "cell")]
    (folders[1] / "a.geojson").write_text(json.dumps(found))
    np.testing.assert_array_equal(run(folders)[0]["a"], IDS == 1)


def test_classes_of_qupath_with_one_name_and_with_several(folders):
    found = [
        feature(BOX, classification={"names": ["Tumor", "Positive"]}),
        feature(OUTER, HOLE, classification={"name": "Stroma"}),
    ]
    (folders[1] / "a.geojson").write_text(json.dumps(found))
    np.testing.assert_array_equal(run(folders, Conversion(("Tumor: Positive", "Stroma")))[0]["a"], IDS)


def test_an_archive_of_rois_that_macos_packed_anew(folders):
    with zipfile.ZipFile(folders[1] / "a_RoiSet.zip", "w") as archive:
        for number, ring in enumerate((BOX, OUTER), 1):
            roi = roifile.ImagejRoi.frompoints(np.array(ring[:4], float)).tobytes()
            archive.writestr(f"RoiSet/{number}.roi", roi)
            archive.writestr(f"__MACOSX/RoiSet/._{number}.roi", b"\0\5\x16\7" + bytes(160))
    np.testing.assert_array_equal(run(folders)[0]["a"] > 0, ndimage.binary_fill_holes(IDS))


@pytest.mark.parametrize(
    ("name", "content"),
    [("b.json", b'{"shapes": ['), ("b.json", '{"label": "细胞"}'.encode("gb2312")), ("b.zip", b"PK\3\4" + bytes(60))],
)
def test_annotation_that_cannot_be_read_is_not_left_out(folders, name, content):
    (folders[1] / "a.geojson").write_text(json.dumps(feature(BOX)))
    (folders[1] / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: cannot be read"):
        run(folders)
    assert not folders[2].exists()


@pytest.mark.parametrize("name", ["a_seg.npy", "a.zip", "a.json"])
def test_annotation_that_cannot_be_opened_is_not_called_damaged(tmp_path, name):
    (tmp_path / name).mkdir()  # cannot be opened, by root neither
    with pytest.raises(InputError, match=rf"{name}: cannot be read \([A-Z][a-z ]+\)$"):
        foreign.annotation_kind(tmp_path / name, strict=True)


def test_json_that_is_too_large_is_not_left_out(folders, monkeypatch):
    monkeypatch.setattr(foreign, "_LARGEST_JSON", 1 << 20)
    (folders[1] / "a.json").write_text(json.dumps({"shapes": [], "imageData": "A" * (1 << 20)}))
    with pytest.raises(InputError, match=r"a\.json: cannot be read \(larger than 1 MiB\)"):
        run(folders)


def test_coco_without_sizes_and_without_an_outline(folders):
    ring = np.ravel(BOX[:4]).tolist()
    content = {
        "images": [{"id": 1, "file_name": "a.tif"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "segmentation": [ring]}],
    }
    path = folders[1] / "x.json"
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(run(folders)[0]["a"], IDS == 1)
    content["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"x\.json: annotation 7 of image 1 has no segmentation"):
        run(folders)


REFUSED = {
    "outside": (feature([[50, 50], [60, 50], [60, 60]]), "covers no pixel"),
    "covered": ([feature(BOX), feature([[0, 0], [30, 0], [30, 20], [0, 20]])], "completely hidden by"),
    "planes": (
        [feature(BOX), {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [BOX], "plane": {"z": 3}}}],
        "2 planes",
    ),
    "curve": ({"type": "Feature", "geometry": {"type": "Curve", "coordinates": []}}, "type Curve"),
    "broken": ({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["x", 1]]]}}, "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_file_and_nothing_written(folders, case):
    content, words = REFUSED[case]
    (folders[1] / "a.geojson").write_text(json.dumps(feature(BOX)))
    (folders[1] / "b.geojson").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"b\.geojson: .*{words}"):
        run(folders)
    assert not folders[2].exists()


def test_what_exists_is_not_replaced_and_strangers_are_named(folders):
    (folders[1] / "a.geojson").write_text(json.dumps(feature(BOX)))
    folders[2].mkdir()
    (folders[2] / "a.npy").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"a\.npy: already exists"):
        run(folders)
    assert (folders[2] / "a.npy").read_bytes() == b"mine"
    (folders[1] / "z.geojson").write_text(json.dumps(feature(BOX)))
    with pytest.raises(InputError, match=r"z\.geojson: no image of that name"):
        run(folders)
    with pytest.raises(InputError, match="--images FOLDER"):
        convert(folders[1], None, folders[0].parent / "new", Conversion(), print)


def test_rois_of_several_slices_and_broken_ones(folders):
    rois = [
        roifile.ImagejRoi.frompoints(np.array(ring[:4], float), position=n) for n, ring in enumerate((BOX, OUTER), 1)
    ]
    roifile.roiwrite(folders[1] / "a.zip", rois)
    with pytest.raises(InputError, match=r"a\.zip: ROIs of 2 slices"):
        run(folders)
    (folders[1] / "a.zip").unlink()
    (folders[1] / "a.roi").write_bytes(b"Iout" + bytes(60))
    with pytest.raises(InputError, match=r"a\.roi: damaged"):
        run(folders)


def test_pictures_in_colour_in_a_transparent_layer_and_one_hot(folders):
    _, drawn, output = folders
    red_green = np.zeros((*SHAPE, 3), np.uint8)
    red_green[IDS == 1], red_green[IDS == 2] = (0, 0, 255), (0, 255, 0)  # BGR
    cv2.imwrite(str(drawn / "a.png"), red_green)
    layer = np.zeros((*SHAPE, 4), np.uint8)
    layer[..., 3] = np.where(IDS > 0, 255, 0)
    layer[IDS > 0, :3] = (0, 0, 255)
    cv2.imwrite(str(drawn / "b.png"), layer)
    masks, said = run(folders)
    assert said == ["colour 0,255,0 is class 1", "colour 255,0,0 is class 2"]
    np.testing.assert_array_equal(masks["a"], np.array([0, 2, 1])[IDS])
    np.testing.assert_array_equal(masks["b"], 2 * (IDS > 0))
    for name in ("a", "b"):
        with pytest.raises(InputError, match="segexp masks --input"):
            read_mask(drawn / f"{name}.png")
        (drawn / f"{name}.png").unlink()
        (output / f"{name}.npy").unlink()
    np.save(drawn / "a.npy", np.eye(3)[IDS])
    np.save(drawn / "b.npy", np.moveaxis(np.eye(3, dtype=bool)[IDS][..., 1:], 2, 0))
    with pytest.raises(InputError, match="segexp masks --input"):
        read_mask(drawn / "a.npy")
    masks, _ = run(folders)
    for mask in masks.values():
        np.testing.assert_array_equal(mask, IDS)


def test_the_background_of_pictures_is_asked_for(folders):
    cv2.imwrite(str(folders[1] / "a.png"), np.where(IDS[..., None] > 0, (9, 9, 9), (255, 255, 255)).astype(np.uint8))
    with pytest.raises(InputError, match="--background 9 or 255"):
        run(folders)
    masks, _ = run(folders, Conversion(background=(255, 255, 255)))
    np.testing.assert_array_equal(masks["a"], IDS > 0)


def test_the_command(folders):
    (folders[1] / "a.geojson").write_text(json.dumps(feature(BOX)))
    words = ["--input", folders[1], "--images", folders[0], "--output", folders[2]]
    done = command("masks", *words)
    assert done.returncode == 0, done.stderr
    assert f"1 mask in {folders[2]}" in done.stdout
    (folders[1] / "a.geojson").write_text(json.dumps(feature(OUTER)))
    refused = command("masks", *words)
    assert refused.returncode == 1
    assert "already exists" in refused.stderr


def test_a_conversion_that_was_interrupted_is_repeated(folders, monkeypatch):
    for name, ring in (("a", BOX), ("b", OUTER)):
        (folders[1] / f"{name}.geojson").write_text(json.dumps(feature(ring)))
    save = np.save

    def interrupted(file, mask, **more):
        save(file, mask, **more)
        if mask[10, 12]:  # that of b
            raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folders)
    assert [path.name for path in folders[2].iterdir()] == ["a.npy"]
    monkeypatch.undo()
    first = (folders[2] / "a.npy").stat().st_mtime_ns
    assert list(run(folders)[0]) == ["a", "b"]
    assert (folders[2] / "a.npy").stat().st_mtime_ns == first


def test_single_rois_of_several_slices_are_refused(folders):
    for number, ring in enumerate((BOX, OUTER), 1):
        roi = roifile.ImagejRoi.frompoints(np.array(ring[:4], float), position=number)
        roi.tofile(folders[1] / f"a_{number}.roi")
    with pytest.raises(InputError, match=r"a_2\.roi.*a_1\.roi: ROIs of several slices for image a"):
        run(folders)
    roifile.ImagejRoi.frompoints(np.array(OUTER[:4], float), position=1).tofile(folders[1] / "a_2.roi")
    assert run(folders)[0]["a"].max() == 2


def _covered_in_the_whole_image(outline, shape, width):
    """`covered` without bounding boxes."""
    result = np.zeros(shape, bool)
    for rings in outline.polygons:
        area = np.zeros(shape, bool)
        for ring in rings:
            inside = np.zeros(shape, bool)
            inside[polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, shape)] = True
            area ^= inside
        result |= area
    canvas = np.zeros(shape, np.uint8)
    for line in outline.lines:
        points = np.floor(line).astype(np.int32)
        for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            cv2.line(canvas, start.tolist(), end.tolist(), 1, width)
    return result | (canvas > 0)


def test_an_objects_box_holds_the_pixels_of_the_whole_image():
    rng = np.random.default_rng(0)
    for number in range(300):
        middle, spread = rng.uniform(-10, 40, 2), rng.choice([1, 5, 30])
        points = [middle + rng.normal(0, spread, (rng.integers(1, 6), 2)) for _ in range(3)]
        outline = (
            Outline("", ((points[0],), (points[1], points[2])), ()) if number % 2 else Outline("", (), (points[0],))
        )
        width = int(rng.choice([1, 2, 3, 8]))
        pixels = covered(outline, SHAPE, width)
        mask = np.zeros(SHAPE, bool)
        pixels.of(mask)[:] = pixels.inside
        np.testing.assert_array_equal(mask, _covered_in_the_whole_image(outline, SHAPE, width), str(outline))
    assert covered(Outline("", (), (np.array([[700.0, 800.0], [703.0, 800.0]]),)), (4000, 4000)).inside.size < 100


@pytest.mark.parametrize("width", [1, 3])
def test_lines_far_from_the_corner_stay_where_they_are(width):
    """On a slide of 60,000 pixels, and with ends beyond any image."""

    def drawn(*ends, shape=(20, 60_000)):
        pixels = covered(Outline("", (), (np.array(ends),)), shape, width)
        mask = np.zeros(shape, bool)
        pixels.of(mask)[:] = pixels.inside
        return mask

    near = drawn([50.5, 9.5], [60.5, 9.5])
    assert near[9, 50:61].all()
    np.testing.assert_array_equal(drawn([50_050.5, 9.5], [50_060.5, 9.5])[:, 50_000:50_100], near[:, :100])
    for far in (40_000.0, 1e9, 1e12):
        across = drawn([-far, 9.5], [far, 9.5], shape=(20, 50))
        np.testing.assert_array_equal(across, np.repeat(near[:, 55:56], 50, axis=1))
        diagonal = drawn([5.0 - far, 5.0 - far], [far, far], shape=(50, 50))
        assert diagonal.diagonal().all()
        assert not diagonal[0, 2 * width :].any()


def test_a_bitmap_beside_the_image_covers_nothing(folders):
    _, png = cv2.imencode(".png", np.full((3, 4), 255, np.uint8))
    shape = {"label": "m", "points": [[1, 21], [4, 23]], "shape_type": "mask", "mask": base64.b64encode(png).decode()}
    (folders[1] / "a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(InputError, match="covers no pixel"):
        run(folders)
