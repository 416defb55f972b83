"""Objects as QuPath detections: GeoJSON features with measurements."""

import json
import math
from typing import Any

from segexp.measurements.measure import Measurement
from segexp.measurements.outlines import Ring, outlines, ring_area

MAGENTA = [255, 60, 200]


def features(
    measurement: Measurement, name: str, page: int | None = None, axis: str = "", before: int = 0
) -> list[dict[str, Any]]:
    """Return one feature for each vesicle (its outline, in pixels) or segment of a filament (its centreline).

    `name` becomes the classification. `page` is the slice of a stack, from 1, or the time if `axis` is ``T``; QuPath
    counts planes from 0. `before` is the number of objects in the page's earlier classes; objects are numbered from
    there on, as in tables and label images.
    """
    features_list = []
    shapes = _lines(measurement) if measurement.lines is not None else _polygons(measurement)
    key = "object" if measurement.lines is None else "segment"
    for number, (row, shape) in enumerate(zip(measurement.objects, shapes, strict=True), before + 1):
        if page is not None:
            shape["plane"] = {"c": -1, "z": 0, "t": 0} | {"t" if axis == "T" else "z": page - 1}
        cells = (row | {key: number}).items()
        values = {cell: value for cell, value in cells if isinstance(value, (int, float)) and math.isfinite(value)}
        properties = {
            "objectType": "detection",
            "name": f"{name} {number}",
            "classification": {"name": name, "color": MAGENTA},
            "measurements": values,
        }
        features_list.append({"type": "Feature", "geometry": shape, "properties": properties})
    return features_list


def collection(items: list[dict[str, Any]]) -> str:
    """GeoJSON text."""
    return json.dumps({"type": "FeatureCollection", "features": items}, allow_nan=False)


def _polygons(measurement: Measurement) -> list[dict[str, Any]]:
    shapes = []
    for rings in outlines(measurement.labels).values():
        outer = [[ring] for ring in sorted(rings, key=ring_area) if ring_area(ring) > 0]
        for hole in (ring for ring in rings if ring_area(ring) < 0):  # a hole belongs to the smallest part around it
            next(polygon for polygon in outer if _encloses(polygon[0], hole)).append(hole)
        parts = [[_closed(ring) for ring in polygon] for polygon in outer]
        kind = "Polygon" if len(parts) == 1 else "MultiPolygon"
        shapes.append({"type": kind, "coordinates": parts[0] if len(parts) == 1 else parts})
    return shapes


def _lines(measurement: Measurement) -> list[dict[str, Any]]:
    assert measurement.lines is not None
    return [
        {"type": "LineString", "coordinates": (line[:, ::-1] + 0.5).round(2).tolist()} for line in measurement.lines
    ]


def _closed(ring: Ring) -> list[list[int]]:
    return [*ring.tolist(), ring[0].tolist()]


def _encloses(ring: Ring, hole: Ring) -> bool:
    """Return whether a ring encloses a hole, by the ring's crossings to the right of a pixel of the hole."""
    (x, y), (x2, y2) = hole[0], hole[1]
    # a hole's outline has the object on its right, so the hole is on the left of its first edge
    px = (x + x2) / 2 + (y2 > y) * 0.25 - (y2 < y) * 0.25 if x == x2 else min(x, x2) + 0.25
    py = (y + y2) / 2 - (x2 > x) * 0.25 + (x2 < x) * 0.25 if y == y2 else min(y, y2) + 0.25
    ax, ay = ring[:, 0], ring[:, 1]
    bx, by = ring[[*range(1, len(ring)), 0]].T
    crossed = (ax == bx) & (ax > px) & ((ay > py) != (by > py))
    return bool(crossed.sum() % 2)
