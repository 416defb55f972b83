"""Objects as QuPath's detections: GeoJSON features with their measurements."""

import json
import math
from typing import Any

from segexp.measurements.measure import Measurement
from segexp.measurements.outlines import Ring, outlines, ring_area

MAGENTA = [255, 60, 200]


def features(
    measurement: Measurement, name: str, page: int | None = None, axis: str = "", before: int = 0
) -> list[dict[str, Any]]:
    """One feature for each vesicle (its outline, in pixels) or segment of a filament (its centreline).

    `name` becomes the classification. `page` is the slice, from 1, of a stack, or the time where its `axis` is ``T``;
    QuPath counts planes from 0. `before` is the number of objects of the page's earlier classes: tables and label
    images count on from there.
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
        for hole in (ring for ring in rings if ring_area(ring) < 0):  # it belongs to the smallest part around it
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
    """Whether the pixel next to a hole's first corner, inside the hole, lies in a ring; by crossings to its right."""
    (x, y), (x2, y2) = hole[0], hole[1]
    # holes run with the object on the right hand, so the hole lies on the left of its first edge
    px = (x + x2) / 2 + (y2 > y) * 0.25 - (y2 < y) * 0.25 if x == x2 else min(x, x2) + 0.25
    py = (y + y2) / 2 - (x2 > x) * 0.25 + (x2 < x) * 0.25 if y == y2 else min(y, y2) + 0.25
    ax, ay = ring[:, 0], ring[:, 1]
    bx, by = ring[[*range(1, len(ring)), 0]].T
    crossed = (ax == bx) & (ax > px) & ((ay > py) != (by > py))
    return bool(crossed.sum() % 2)
