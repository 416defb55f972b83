"""Outlines enclose their pixels and no others; programs that read the files agree."""

import io
import json
import zipfile

import numpy as np
import pytest
import roifile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Polygon

from segexp.measurements import Settings, measure
from segexp.measurements.geojson import collection, features
from segexp.measurements.outlines import mask_rings, outlines, ring_area
from segexp.measurements.rois import rois, zip_bytes
from tests.measurements.shapes import ellipse, line

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))


def filled(rings, shape):
    """Pixels whose centre lies within an odd number of rings."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = np.zeros(len(centres), int)
    for ring in rings:
        inside += Polygon(np.concatenate([ring, ring[:1]])).contains_points(centres)
    return (inside % 2 == 1).reshape(shape)


@given(mask=MASKS, joined=st.booleans())
def test_rings_enclose_exactly_the_pixels(mask, joined):
    rings = mask_rings(mask, joined)
    assert sum(ring_area(ring) for ring in rings) == mask.sum()
    np.testing.assert_array_equal(filled(rings, mask.shape), mask)
    for ring in rings:
        steps = np.diff(np.concatenate([ring, ring[:1]]), axis=0)
        assert ((steps == 0).sum(axis=1) == 1).all()  # along rows or columns
        turned = np.concatenate([steps[1:], steps[:1]])
        assert (np.sum(steps * turned, axis=1) == 0).all()  # every corner is one


@given(mask=MASKS)
def test_no_ring_touches_itself(mask):
    """QuPath 0.6 reads no file with a polygon that does."""
    for ring in mask_rings(mask):
        assert len(np.unique(ring, axis=0)) == len(ring)


def test_a_hole_that_reaches_the_outside_at_a_corner():
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    hole, outer = sorted(mask_rings(mask), key=ring_area)
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert (ring_area(outer), ring_area(hole)) == (17, -1)


@given(mask=MASKS)
def test_rings_by_connectivity(mask):
    from scipy import ndimage

    four, eight = ndimage.label(mask)[1], ndimage.label(mask, np.ones((3, 3)))[1]
    assert sum(ring_area(ring) > 0 for ring in mask_rings(mask)) == four
    assert sum(ring_area(ring) > 0 for ring in mask_rings(mask, joined=True)) == eight


def test_a_square_with_a_hole():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    outer, hole = sorted(mask_rings(mask), key=ring_area, reverse=True)
    assert sorted(outer.tolist()) == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert (ring_area(outer), ring_area(hole)) == (9, -1)


def test_labels_that_touch_have_outlines_of_their_own():
    labels = np.array([[0, 1, 2], [0, 1, 0]])
    found = outlines(labels)
    assert sorted(found[1][0].tolist()) == [[1, 0], [1, 2], [2, 0], [2, 2]]
    assert sorted(found[2][0].tolist()) == [[2, 0], [2, 1], [3, 0], [3, 1]]


@pytest.fixture
def vesicles():
    mask = ellipse((60, 80), 20, 20, 8) | ellipse((60, 80), 40, 55, 12)
    mask[38:43, 53:58] = False  # a hole
    mask[50, 5] = mask[51, 6] = True  # two pixels that touch at a corner
    return measure(mask, np.arange(4800).reshape(60, 80), Settings(split=0), pixel_size=0.1)


def test_roi_files_hold_what_was_found(vesicles):
    with zipfile.ZipFile(io.BytesIO(zip_bytes(rois(vesicles, "vesicle")))) as archive:
        assert archive.namelist() == [f"vesicle_{n:05}.roi" for n in (1, 2, 3)]
        for number, name in enumerate(archive.namelist(), 1):
            roi = roifile.ImagejRoi.frombytes(archive.read(name))
            assert roi.roitype == roifile.ROI_TYPE.POLYGON
            assert roi.name == name[:-4]
            from scipy import ndimage

            solid = ndimage.binary_fill_holes(vesicles.labels == number)
            np.testing.assert_array_equal(filled([roi.coordinates()], solid.shape), solid)


def test_roi_lines_and_slices():
    result = measure(line((40, 60), 20, 30, 40, 3, 0.3), np.zeros((40, 60)), Settings("filaments"))
    (content,) = rois(result, "filament", page=3).values()
    roi = roifile.ImagejRoi.frombytes(content)
    assert (roi.roitype, roi.position) == (roifile.ROI_TYPE.POLYLINE, 3)
    np.testing.assert_allclose(roi.coordinates(), result.lines[0][:, ::-1] + 0.5, atol=1e-4)
    for axis, place in {"": (7, 0, 0), "Z": (0, 3, 0), "T": (0, 0, 3)}.items():  # of three channels, plane 7 is page 3
        (content,) = rois(result, "filament", 3, axis, planes=3).values()
        roi = roifile.ImagejRoi.frombytes(content)
        assert (roi.position, roi.z_position, roi.t_position) == place


def test_geojson_is_what_qupath_reads(vesicles):
    data = json.loads(collection(features(vesicles, "vesicle")))
    assert data["type"] == "FeatureCollection"
    assert [f["geometry"]["type"] for f in data["features"]] == ["Polygon", "Polygon", "MultiPolygon"]
    for number, feature in enumerate(data["features"], 1):
        shape = feature["geometry"]
        polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        rings = [np.array(ring) for polygon in polygons for ring in polygon]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        np.testing.assert_array_equal(filled([r[:-1] for r in rings], (60, 80)), vesicles.labels == number)
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"]["name"] == "vesicle"
        assert properties["measurements"]["area_um2"] == pytest.approx(vesicles.objects[number - 1]["area_px2"] / 100)
    assert len(data["features"][1]["geometry"]["coordinates"]) == 2  # outline and hole


def test_geojson_puts_each_hole_into_its_own_part():
    """A ring within the hole of a ring, of one label: two parts, each with a hole."""
    y, x = np.mgrid[:15, :15]
    far = np.maximum(abs(y - 7), abs(x - 7))
    labels = np.isin(far, (2, 3, 6, 7)).astype(np.int32)
    result = measure(np.zeros((15, 15)), np.zeros((15, 15)))
    object.__setattr__(result, "labels", labels)
    object.__setattr__(result, "objects", [{"object": 1, "nearest_px": float("nan")}])
    (feature,) = features(result, "x", page=2)
    assert [len(polygon) for polygon in feature["geometry"]["coordinates"]] == [2, 2]
    for polygon in feature["geometry"]["coordinates"]:
        sides = [np.ptp(np.array(ring), axis=0).max() for ring in polygon]
        assert sides in ([15, 11], [7, 3])
    assert feature["geometry"]["plane"]["z"] == 1
    assert feature["properties"]["measurements"] == {"object": 1}


def test_geojson_of_filaments_is_their_centrelines():
    result = measure(line((40, 60), 20, 30, 40, 3, 0), np.zeros((40, 60)), Settings("filaments"))
    (feature,) = features(result, "filament")
    assert feature["geometry"]["type"] == "LineString"
    assert np.allclose(np.array(feature["geometry"]["coordinates"])[:, 1], 20.5)
