"""Pictures of the page: outlines around the mask, sizes within the budget, contrast, foreign files refused."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from segexp.errors import InputError
from segexp.io.images import IGNORE
from segexp.viz.thumbnails import TOTAL, budget, make_picture, read_pictures, write_pictures

CLASSES = ["vesicle"]


def decode(picture):
    data = base64.b64decode(picture["image"].partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def polygons(path):
    """Absolute corners of each polygon of a path of relative steps, by SVG's rules."""
    found, start = [], np.zeros(2, int)
    for part in re.findall(r"m([^z]*)z", path):
        steps = np.array(re.findall(r"-?\d+", part), int).reshape(-1, 2)
        corners = start + np.cumsum(steps, axis=0)
        start = corners[0]
        found.append(corners)
    return found


def filled(path, shape, fine=8):
    """The mask inside a path, drawn eight times finer and read at the pixels' centres."""
    canvas = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    cv2.fillPoly(canvas, [corners.astype(np.int32) * fine // 2 for corners in polygons(path)], 1)
    return canvas[fine // 2 :: fine, fine // 2 :: fine]


def outline(picture, kind="truth"):
    return next(border["path"] for border in picture["outlines"] if border["kind"] == kind)


def test_a_square_is_outlined_along_its_pixels_edges():
    truth = np.zeros((40, 60), np.uint8)
    truth[10:20, 30:50] = 1
    picture = make_picture("a", np.zeros((1, 40, 60), np.uint8), truth, np.zeros_like(truth), CLASSES)
    (corners,) = polygons(outline(picture))
    assert corners.min(axis=0).tolist() == [60, 20]  # half pixels: x 30, y 10
    assert corners.max(axis=0).tolist() == [100, 40]
    assert (picture["width"], picture["height"]) == (60, 40)
    assert outline(picture, "prediction") == ""


@given(st.integers(0, 10**6), st.floats(1.5, 4))
def test_an_outline_encloses_its_mask(seed, blur):
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((48, 64)), blur)
    truth = (noise > 0.3 * noise.std()).astype(np.uint8)
    picture = make_picture("a", np.zeros((1, 48, 64), np.uint8), truth, truth, CLASSES)
    inside = filled(outline(picture), truth.shape)
    border = cv2.dilate(truth, np.ones((3, 3))) - cv2.erode(truth, np.ones((3, 3)))
    assert ((inside != truth) <= border).all()  # never wrong by more than the pixels along the border
    assert (inside != truth).sum() <= 0.15 * border.sum() + 2


def test_large_images_are_shown_smaller_and_their_outlines_follow():
    truth = np.zeros((1500, 3000), np.uint8)
    truth[600:900, 1200:1800] = 1
    picture = make_picture("a", np.zeros((1, 1500, 3000), np.uint16), truth, truth, CLASSES)
    assert (picture["width"], picture["height"]) == (1024, 512)
    (corners,) = polygons(outline(picture))
    np.testing.assert_allclose(corners.min(axis=0), [1200 / 3000 * 2048, 600 / 1500 * 1024], atol=1)
    np.testing.assert_allclose(corners.max(axis=0), [1800 / 3000 * 2048, 900 / 1500 * 1024], atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64, np.int32])
def test_dim_images_of_any_dtype_are_stretched(dtype):
    pixels = np.random.default_rng(0).integers(1000, 1040, (1, 64, 64)).astype(dtype)
    pixels[:, :32] += 30
    shown = decode(make_picture("a", pixels, np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8), CLASSES))
    assert shown.shape == (64, 64, 3)
    assert shown[:32].mean() - shown[32:].mean() > 60


def test_colours_stay_in_place():
    pixels = np.zeros((3, 32, 32), np.uint8)
    pixels[0, :, :16] = 255  # red on the left
    shown = decode(make_picture("a", pixels, np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8), CLASSES))
    blue, _, red = shown[:, :12].reshape(-1, 3).mean(axis=0)
    assert red > 200
    assert blue < 60


def test_pixels_nobody_annotated_and_several_classes():
    truth = np.zeros((30, 30), np.uint8)
    truth[:5], truth[10:15], truth[20:25] = IGNORE, 1, 2
    picture = make_picture("a", np.zeros((1, 30, 30), np.uint8), truth, truth % IGNORE, ["a", "b"])
    found = [(border["kind"], border["label"]) for border in picture["outlines"]]
    assert found == [("unknown", ""), ("truth", "a"), ("prediction", "a"), ("truth", "b"), ("prediction", "b")]


def test_fifty_hard_pictures_fit_in_a_page():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65535, (1, 512, 512)).astype(np.uint16)  # noise is what compresses worst
    truth = (gaussian_filter(rng.standard_normal((512, 512)), 1.5) > 0).astype(np.uint8)
    picture = make_picture("a", pixels, truth, np.roll(truth, 3), CLASSES, budget(50))
    assert len(json.dumps(picture)) <= budget(50) * 1.02
    assert 50 * budget(50) <= TOTAL
    assert min(decode(picture).shape[:2]) >= 128
    assert budget(10**6) > 10_000


def test_written_and_read_again(tmp_path):
    names = ["<script>\"'&é 細胞", "b"]
    truth = np.eye(20, dtype=np.uint8)
    pictures = [make_picture(name, np.zeros((1, 20, 20), np.uint8), truth, truth, CLASSES) for name in names]
    write_pictures(tmp_path / "p.json", pictures)
    assert read_pictures(tmp_path / "p.json") == pictures


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", "https://example.invalid/x.webp"),
        ("image", 'data:image/webp;base64,AAAA" onload="alert(1)'),
        ("width", "1 onload=alert(1)"),
        ("outlines", [{"kind": "truth", "label": "a", "path": 'm0 0z"/><script>'}]),
        ("outlines", [{"kind": "x y", "label": "a", "path": "m0 0z"}]),
        ("outlines", [{}]),
    ],
)
def test_foreign_pictures_are_refused(tmp_path, key, value):
    picture = make_picture("a", *[np.zeros((1, 9, 9), np.uint8)], *[np.zeros((9, 9), np.uint8)] * 2, CLASSES)
    write_pictures(tmp_path / "p.json", [picture | {key: value}])
    with pytest.raises(InputError, match=r"p\.json"):
        read_pictures(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(InputError, match="not a list of pictures"):
        read_pictures(tmp_path / "p.json")
