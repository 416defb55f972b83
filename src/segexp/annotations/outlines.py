"""Read outlines of ImageJ, QuPath, LabelMe and COCO as one kind of object, and draw masks of them.

Coordinates are x, y with (0, 0) at the top left corner of the first pixel, as all four programs count; a pixel belongs
to an area when its centre does.
"""

import base64
import json
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.data.foreign import roi_names
from segexp.errors import InputError

_LARGEST = 1 << 30  # bytes of a ROI archive, unpacked
_FAR = 1 << 30  # pixels from the corner beyond which a line's end is moved here: OpenCV takes 32-bit coordinates
_LINES = ("line", "linestrip")
EXTRA = "pip install 'segexp[annotations]'"


@dataclass(frozen=True)
class Outline:
    """One drawn object.

    Attributes:
        label: its class, or its name.
        polygons: areas, each of an outer ring and holes, rings (N, 2) of x, y.
        lines: (N, 2) of x, y; a single point is a dot.
        bitmap: x and y of the corner, and pixels (h, w) that are not 0 where the object is.
    """

    label: str = ""
    polygons: tuple[tuple[NDArray, ...], ...] = ()
    lines: tuple[NDArray, ...] = ()
    bitmap: tuple[int, int, NDArray] | None = None


@dataclass
class Drawing:
    """What is drawn on one image: its objects, bottom first; the image's name and shape if the file states them.

    `slice` is the position, z and t of the slice that ImageJ's ROIs belong to; None if they belong to none.
    """

    outlines: list[Outline] = field(default_factory=list)
    image: str = ""
    shape: tuple[int, int] | None = None
    slice: tuple[int, int, int] | None = None


class Covered(NamedTuple):
    """The pixels of an object: `inside` (h, w) within the box whose first pixel is at (top, left) of the image."""

    top: int
    left: int
    inside: NDArray[np.bool_]

    def of(self, mask: NDArray) -> NDArray:
        """The box in a mask of the image (H, W), as a view."""
        height, width = self.inside.shape
        return mask[self.top : self.top + height, self.left : self.left + width]


def covered(outline: Outline, shape: tuple[int, int], width: int = 1) -> Covered:
    """The pixels of an object in an image of `shape`; lines and points are drawn `width` pixels thick.

    Takes memory and time for the object's bounding box, not for the image.
    """
    from skimage.draw import polygon

    top, left, bottom, right = _box(outline, shape, width)
    result = np.zeros((bottom - top, right - left), bool)
    if not result.size:
        return Covered(top, left, result)
    for rings in outline.polygons:
        area = np.zeros(result.shape, bool)
        for ring in rings:  # even-odd: a second ring is a hole
            rows, columns = polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, shape)
            inside = np.zeros(result.shape, bool)
            inside[rows - top, columns - left] = True
            area ^= inside
        result |= area
    if outline.lines:
        canvas = np.zeros(result.shape, np.uint8)
        for line in outline.lines:
            points = np.floor(np.clip(line, -_FAR, _FAR)).astype(np.int64) - (left, top)
            for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
                cv2.line(canvas, start.tolist(), end.tolist(), 1, width)
        result |= canvas > 0
    if outline.bitmap is not None:
        x, y, pixels = outline.bitmap
        part = pixels[max(-y, 0) : max(shape[0] - y, 0), max(-x, 0) : max(shape[1] - x, 0)] != 0
        row, column = max(y, 0) - top, max(x, 0) - left
        if part.size:
            result[row : row + part.shape[0], column : column + part.shape[1]] |= part
    return Covered(top, left, result)


def _box(outline: Outline, shape: tuple[int, int], width: int) -> tuple[int, int, int, int]:
    """First row and column, and those behind the last, of the part of the image that an object may cover."""
    corners = [ring.min(axis=0) - 1 for rings in outline.polygons for ring in rings if len(ring)]
    corners += [ring.max(axis=0) + 1 for rings in outline.polygons for ring in rings if len(ring)]
    corners += [end for line in outline.lines for end in (line.min(axis=0) - width - 1, line.max(axis=0) + width + 1)]
    if outline.bitmap is not None:
        x, y, pixels = outline.bitmap
        corners += [np.array((x, y)), np.array((x + pixels.shape[1], y + pixels.shape[0]))]
    if not corners:
        return 0, 0, 0, 0
    limits = shape[1], shape[0]
    left, top = (int(value) for value in np.clip(np.floor(np.min(corners, axis=0)), 0, limits))
    right, bottom = (int(value) for value in np.clip(np.ceil(np.max(corners, axis=0)) + 1, 0, limits))
    return top, left, max(bottom, top), max(right, left)


def read_rois(path: Path) -> Drawing:
    """The ROIs of ImageJ in a ``.roi`` or ``.zip``: areas, lines and points; those of several slices are refused.

    Raises:
        InputError: if the file is damaged, unpacks to too much, or holds ROIs of several slices and none was asked
            for.
    """
    import roifile

    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                    raise InputError(f"{path}: more than {_LARGEST >> 30} GiB when unpacked; expected ROIs")
                rois = [roifile.ImagejRoi.frombytes(archive.read(name)) for name in roi_names(archive)]
        else:
            rois = [roifile.ImagejRoi.frombytes(path.read_bytes())]
        places = {(roi.position, roi.z_position, roi.t_position) for roi in rois} - {(0, 0, 0)}
        if len(places) > 1:
            expected = "expected the ROIs of one slice: in the ROI Manager, save the ROIs of each slice separately"
            raise InputError(f"{path}: ROIs of {len(places)} slices; {expected}")
        return Drawing([_roi(roi) for roi in rois], slice=min(places, default=None))
    except InputError:
        raise
    except Exception as error:  # roifile raises many kinds on damaged files
        raise InputError(f"{path}: damaged, or not an ImageJ ROI file ({error!r}); save them again in Fiji") from None


def _roi(roi: Any) -> Outline:
    import roifile

    kinds = roifile.ROI_TYPE
    rings = [ring for ring in roi.coordinates(multi=True) if len(ring)]
    rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings]
    if not rings:
        raise ValueError(f"ROI {roi.name!r} without points")
    if roi.roitype in (kinds.LINE, kinds.FREELINE, kinds.POLYLINE, kinds.ANGLE):
        return Outline(roi.name, lines=tuple(rings))
    if roi.roitype == kinds.POINT:
        return Outline(roi.name, lines=tuple(point[None] for ring in rings for point in ring))
    return Outline(roi.name, (tuple(rings),))


def read_json(path: Path) -> list[Drawing]:
    """The drawings in a GeoJSON, LabelMe or COCO file; the last has one for each image.

    Raises:
        InputError: if the file is damaged or of none of the three forms.
    """
    from segexp.data.foreign import json_kind

    try:
        content = json.loads(path.read_bytes())
        kind = json_kind(content)
        if kind == "geojson":
            return [_geojson(content)]
        if kind == "labelme":
            return [_labelme(content)]
        if kind == "coco":
            return list(_coco(content))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or not as QuPath, LabelMe or COCO write it ({error!r})") from None
    raise InputError(f"{path}: not GeoJSON (QuPath), LabelMe JSON or COCO JSON")


def _ring(points: Sequence[Any]) -> NDArray:
    ring = np.array([[float(point[0]), float(point[1])] for point in points]).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError("a coordinate that is not a number")
    return ring


def _geojson(content: Any) -> Drawing:
    features = content if isinstance(content, list) else content.get("features", [content])
    kinds = [_qupath_kind(feature) for feature in features]
    inner = {"detection", "cell"} & set(kinds)  # then annotations are the regions in which they were searched
    drawings, planes = [], set()
    for feature, kind in zip(features, kinds, strict=True):
        label = _qupath_class(feature)
        geometry = feature.get("geometry", feature)
        if (inner and kind == "annotation") or label.endswith("*"):  # QuPath's sign for regions to pass over
            continue
        plane = geometry.get("plane") or {}
        planes.add((plane.get("z", 0), plane.get("t", 0)))
        polygons, lines = [], []
        for part in _parts(geometry):
            places = part["coordinates"]
            if part["type"] == "Polygon":
                polygons.append(tuple(_ring(ring) for ring in places))
            elif part["type"] == "MultiPolygon":
                polygons += [tuple(_ring(ring) for ring in polygon) for polygon in places]
            elif part["type"] in ("LineString", "MultiPoint"):
                ring = _ring(places)
                lines += [ring] if part["type"] == "LineString" else [point[None] for point in ring]
            elif part["type"] == "MultiLineString":
                lines += [_ring(line) for line in places]
            elif part["type"] == "Point":
                lines.append(_ring([places]))
            else:
                raise InputError(f"a geometry of type {part['type']}; expected polygons, lines or points")
        drawings.append(Outline(label, tuple(polygons), tuple(lines)))
    if len(planes) > 1:
        raise InputError(f"objects of {len(planes)} planes (z, t); expected those of one: export each separately")
    return Drawing(drawings)


def _qupath_kind(feature: dict[str, Any]) -> str:
    """``annotation``, ``detection``, ``cell`` and so on, as QuPath names them since 0.4, in 0.3 and in 0.2."""
    facts = feature.get("properties") or {}
    kind = facts.get("objectType") or facts.get("object_type")
    return str(kind or str(feature.get("id", "")).removeprefix("Path").removesuffix("Object")).lower()


def _qupath_class(feature: dict[str, Any]) -> str:
    """The class as QuPath shows it: ``Tumor``, or ``Tumor: Positive``, which it stores as two names."""
    facts = (feature.get("properties") or {}).get("classification") or {}
    return ": ".join(map(str, facts["names"])) if "names" in facts else str(facts.get("name", ""))


def _parts(geometry: dict[str, Any]) -> list[dict[str, Any]]:
    if geometry["type"] != "GeometryCollection":
        return [geometry]
    return [inner for part in geometry["geometries"] for inner in _parts(part)]


def _labelme(content: dict[str, Any]) -> Drawing:
    objects: dict[object, list[Outline]] = {}
    for number, shape in enumerate(content["shapes"]):
        group = shape.get("group_id")
        key = (shape["label"], group) if group is not None else number
        objects.setdefault(key, []).append(_labelme_shape(shape))
    drawings = []
    for parts in objects.values():  # parts with one group_id are one object
        bitmaps = [part.bitmap for part in parts if part.bitmap is not None]
        if len(bitmaps) > 1:
            raise InputError("several masks with one group_id; expected one mask for each object")
        polygons = tuple(polygon for part in parts for polygon in part.polygons)
        lines = tuple(line for part in parts for line in part.lines)
        drawings.append(Outline(parts[0].label, polygons, lines, bitmaps[0] if bitmaps else None))
    height, width = content.get("imageHeight"), content.get("imageWidth")
    name = str(content.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
    return Drawing(drawings, name, (int(height), int(width)) if height and width else None)


def _labelme_shape(shape: dict[str, Any]) -> Outline:
    label, kind, points = str(shape["label"]), shape.get("shape_type") or "polygon", _ring(shape["points"])
    if kind == "polygon":
        return Outline(label, ((points,),))
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points[0], points[-1] if len(points) == 2 else points[2]
        return Outline(label, ((np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]),),))
    if kind == "circle":
        angles = np.linspace(0, 2 * math.pi, 360, endpoint=False)
        radius = np.hypot(*(points[1] - points[0]))
        return Outline(label, ((points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1),),))
    if kind in _LINES:
        return Outline(label, lines=(points,))
    if kind in ("point", "points"):
        return Outline(label, lines=tuple(point[None] for point in points))
    if kind == "mask":
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(shape["mask"]), np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise ValueError("a mask that is not a PNG")
        return Outline(label, bitmap=(int(points[0][0]), int(points[0][1]), pixels))
    raise InputError(f"a shape of type {kind!r}; expected polygon, rectangle, circle, line, linestrip, point or mask")


def _coco(content: dict[str, Any]) -> Iterator[Drawing]:
    names = {category["id"]: str(category["name"]) for category in content.get("categories", [])}
    drawn: dict[object, list[Outline]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in drawn:
            raise InputError(f"an annotation of image {annotation['image_id']}, which is not among the images")
        shape = annotation.get("segmentation")
        label = names.get(annotation.get("category_id"), str(annotation.get("category_id", "")))
        if not shape:
            raise InputError(
                f"annotation {annotation.get('id', '')} of image {annotation['image_id']} has no segmentation (a box "
                "only); expected outlines"
            )
        if isinstance(shape, dict):
            outline = Outline(label, bitmap=(0, 0, _rle(shape)))
        else:
            outline = Outline(label, tuple((_ring(list(zip(ring[::2], ring[1::2], strict=True))),) for ring in shape))
        drawn[annotation["image_id"]].append(outline)
    for image in content["images"]:
        name = str(image["file_name"]).replace("\\", "/").rpartition("/")[2]
        height, width = image.get("height"), image.get("width")
        yield Drawing(drawn[image["id"]], name, (int(height), int(width)) if height and width else None)


def _rle(shape: dict[str, Any]) -> NDArray:
    try:
        from pycocotools import mask
    except ImportError:
        raise InputError(f"run-length masks need pycocotools: {EXTRA}") from None
    height, width = (int(length) for length in shape["size"])
    counts = shape["counts"]
    if not 0 < height * width <= 1 << 30 or (isinstance(counts, list) and sum(counts) != height * width):
        raise ValueError(f"run lengths that do not fill {height} x {width}")
    whole = mask.frPyObjects(shape, height, width) if isinstance(counts, list) else shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 on NumPy 2
        return mask.decode(whole)


def labels_of(drawings: Iterable[Drawing]) -> list[str]:
    """The distinct labels in drawings, sorted."""
    return sorted({outline.label for drawing in drawings for outline in drawing.outlines})
