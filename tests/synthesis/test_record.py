import json

import numpy as np
import pytest

from segexp import synthesis
from segexp.synthesis import record


def test_rows_of_vesicles_are_what_was_drawn():
    (one,) = synthesis.generate_scenes("vesicle", 1, 160, 2, style="any", coverage=0.08)
    rows = record.object_rows(one)
    assert len(rows) == len(one.objects) > 5
    assert all(tuple(row) == record.columns(one) for row in rows)
    for row in rows:
        k = row["label"] - 1
        assert (row["y_px"], row["x_px"]) == tuple(one.objects.centres[k])
        assert row["radius_px"] == one.objects.radii[k]
        assert row["visible"] == one.objects.visible[k]
        pixels = np.argwhere(one.labels == row["label"])
        if len(pixels):
            reach = row["mask_radius_px"] * row["elongation"] ** 0.5
            assert np.hypot(*(pixels - (row["y_px"], row["x_px"])).T).max() <= reach + 0.01


def test_a_vesicles_angle_is_what_a_viewer_sees():
    limits = {"coverage": 0.04, "radius": 10.0, "elongation": (3.0, 3.0), "cells": 0.0, "in_cells": 0.0, "rings": 0.0}
    checked = 0
    for one in synthesis.generate_scenes("vesicle", 8, 200, 0, style="any", contrast=1.0, photons=1000.0, **limits):
        for row in record.object_rows(one):
            pixels = np.argwhere(one.labels == row["label"]) - (row["y_px"], row["x_px"])
            if len(pixels) < 150 or row["elongation"] < 1.5 or np.abs(pixels.mean(0)).max() > 0.5:
                continue
            values, vectors = np.linalg.eigh(np.cov(pixels.T))
            dy, dx = vectors[:, values.argmax()]
            seen = np.degrees(np.arctan2(-dy, dx)) % 180.0  # rows grow downwards on screen
            assert min(abs(seen - row["angle_deg"]), 180 - abs(seen - row["angle_deg"])) < 3.0
            checked += 1
    assert checked >= 3


def test_rows_and_lines_of_filaments_are_what_was_drawn():
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 160, 1, style="network")
    rows, collection = record.object_rows(one), record.centrelines(one)
    assert len(rows) == len(collection["features"]) == len(one.objects) > 5
    assert all(tuple(row) == record.columns(one) for row in rows)
    json.dumps(collection, allow_nan=False)
    for row, feature, line in zip(rows, collection["features"], one.objects.centrelines, strict=True):
        drawn = np.array(feature["geometry"]["coordinates"])[:, ::-1] - 0.5
        np.testing.assert_allclose(drawn, line, atol=1e-3)
        assert np.hypot(*np.diff(drawn, axis=0).T).sum() == pytest.approx(row["length_px"], rel=1e-3)
        assert (row["start_y_px"], row["end_x_px"]) == (line[0, 0], line[-1, 1])
        assert 0.0 <= row["visible"] <= 1.0
        labelled = (one.labels == row["label"]).any()
        inside = ((line > -1) & (line < 160)).all(1).any()
        assert labelled <= (row["visible"] > 0)
        assert labelled or row["visible"] < 1 or not inside or len(rows) > 20


def test_an_image_without_objects_has_no_rows():
    for task, empty in (("vesicle", {"coverage": 1e-9}), ("cytoskeleton", {"filaments": 1e-9})):
        (one,) = synthesis.generate_scenes(task, 1, 64, 0, **empty)
        assert record.object_rows(one) == []
        assert record.columns(one)[0] == "label"
