"""The true objects of an image for other programs: as a table, and filaments' centrelines as GeoJSON."""

from typing import Any

import numpy as np

from segexp.synthesis.filaments import Filaments
from segexp.synthesis.scene import Scene
from segexp.synthesis.vesicles import Vesicles

ObjectRow = dict[str, str | int | float]


_VESICLE = (
    "label", "visible", "y_px", "x_px", "radius_px", "mask_radius_px", "elongation", "angle_deg", "rim_px",
    "peak_brightness",
)  # fmt: skip
_FILAMENT = (
    "label", "visible", "length_px", "width_px", "mask_width_px", "dot_period_px", "peak_brightness", "start_y_px",
    "start_x_px", "end_y_px", "end_x_px",
)  # fmt: skip


def has_centrelines(scene: Scene) -> bool:
    """Return whether the objects are filaments."""
    return isinstance(scene.objects, Filaments)


def columns(scene: Scene) -> tuple[str, ...]:
    """Return the column names of `object_rows`, also for images without objects."""
    return _FILAMENT if has_centrelines(scene) else _VESICLE


def object_rows(scene: Scene) -> list[ObjectRow]:
    """Return a row for each object in focus, visible or not, in the order of the labels.

    `visible` is 1 or 0 for a vesicle; for a filament it is the share of its length that is foreground. Positions and
    lengths are in px, with pixel centres at whole numbers. Angles are in degrees, anticlockwise from the x axis as seen
    on screen.
    """
    objects = scene.objects
    return _vesicles(objects) if isinstance(objects, Vesicles) else _filaments(objects)


def _vesicles(objects: Vesicles) -> list[ObjectRow]:
    d = objects.discs
    turn = np.degrees(-d.angle) % 180.0
    values = (d.y, d.x, d.radius, objects.extent, d.elongation, turn, d.rim, objects.peak)
    table = np.stack(values, 1).astype(float).tolist() if len(objects) else []
    return [dict(zip(_VESICLE, (k + 1, int(objects.visible[k]), *row), strict=True)) for k, row in enumerate(table)]


def _filaments(objects: Filaments) -> list[ObjectRow]:
    if not len(objects):
        return []
    cumulative = np.append(0, objects.visible.cumsum())  # visible steps before each node
    first, last = objects.start[:-1], objects.start[1:] - 1
    share = (cumulative[last] - cumulative[first]) / np.maximum(1, last - first)
    ends = (objects.y[first], objects.x[first], objects.y[last], objects.x[last])
    values = (share, objects.lengths, objects.width, objects.extent, objects.period, objects.peak, *ends)
    table = np.stack(values, 1).astype(float).tolist()
    return [dict(zip(_FILAMENT, (k + 1, *row), strict=True)) for k, row in enumerate(table)]


def centrelines(scene: Scene) -> dict[str, Any]:
    """Return filaments as a GeoJSON collection for QuPath: x, y in px from the upper left corner of the image.

    A filament is a LineString with its label, width and length. Pixel centres lie at half-integers, as in QuPath.
    """
    assert isinstance(scene.objects, Filaments)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": (line[:, ::-1].astype(float) + 0.5).round(3).tolist()},
            "properties": {
                "objectType": "annotation",
                "name": f"filament {row['label']}",
                "measurements": {k: v for k, v in row.items() if k in ("label", "visible", "length_px", "width_px")},
            },
        }
        for line, row in zip(scene.objects.centrelines, object_rows(scene), strict=True)
    ]
    return {"type": "FeatureCollection", "features": features}
