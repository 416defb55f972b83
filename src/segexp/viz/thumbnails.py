"""Validation images as the page shows them: a small WebP each, and the outlines of truth and prediction as SVG paths.

Paths rather than drawn pixels, so that they can be switched off and stay sharp at any zoom. Everything is kept in
``val/pictures.json``, so that the page can be built again when the images are elsewhere.
"""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from segexp.errors import InputError, printable
from segexp.io import atomic
from segexp.io.images import IGNORE
from segexp.io.records import read_json
from segexp.io.shape import Number
from segexp.viz.overlay import to_display

TOTAL = 4_000_000
"""Characters that the pictures of one page may take together, up to the number of images that leaves `LEAST` each."""
LARGEST, LEAST = 90_000, 16_000
MOST = 400
"""Images on a page at most: more of them would make it too heavy to open."""
SIDE, SMALLEST = 1024, 128
"""Longest side of a picture in pixels, and the side below which the budget no longer shrinks it."""
QUALITY, LOWER = 85, 60

FINEST, COARSEST = 1.0, 16.0
"""Least and greatest tolerance to which outlines are simplified, in half pixels of the picture."""
KINDS = ("truth", "prediction", "unknown")

_PREFIX = "data:image/webp;base64,"
_PATH = re.compile(r"[mz0-9 -]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+=*")


class Outline(TypedDict):
    """The border of one class: `kind` is truth, prediction or unknown (pixels nobody annotated)."""

    kind: str
    label: str
    path: str


class Picture(TypedDict):
    """One image of the page, shown `width` by `height`; `path`s are in half pixels, in a viewBox of twice that size."""

    name: str
    width: int
    height: int
    image: str
    outlines: list[Outline]


def budget(images: int) -> int:
    """Characters that each of so many pictures may take: 50 of them fit in `TOTAL`."""
    return max(LEAST, min(LARGEST, TOTAL // max(images, 1)))


def make_picture(
    name: str,
    pixels: NDArray,
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: Sequence[str],
    limit: int = LARGEST,
) -> Picture:
    """Pixels (C, H, W) of any real dtype, contrast-stretched, with outlines of the label maps (H, W).

    `limit` is the size expected in characters. Outlines take up to half of it, getting coarser if they must; the
    picture has the rest, and is stored smaller than it is shown if that is not enough.
    """
    scale = min(1.0, SIDE / max(truth.shape))
    height, width = (max(1, round(length * scale)) for length in truth.shape)
    ratio = np.array([2 * width / truth.shape[1], 2 * height / truth.shape[0]])
    borders = [("unknown", "", _contours(truth == IGNORE, ratio))] if (truth == IGNORE).any() else []
    for label, title in enumerate(classes, 1):
        borders.append(("truth", title, _contours(truth == label, ratio)))
        borders.append(("prediction", title, _contours(prediction == label, ratio)))
    tolerance = FINEST
    while True:
        paths = [_path([_simplify(polygon, tolerance) for polygon in polygons]) for _, _, polygons in borders]
        length = sum(map(len, paths))
        if length <= limit // 2 or tolerance > COARSEST:
            break
        tolerance *= 1.5
    outlines: list[Outline] = [
        {"kind": kind, "label": title, "path": path} for (kind, title, _), path in zip(borders, paths, strict=True)
    ]
    image = _compress(pixels, (width, height), max(limit - length, limit // 4))
    return {"name": name, "width": width, "height": height, "image": image, "outlines": outlines}


_SIDE = Number(1, SIDE, whole=True)
SHAPE = [
    {
        "name": str,
        "width": _SIDE,
        "height": _SIDE,
        "image": str,
        "outlines": [{"kind": str, "label": str, "path": str}],
    }
]
"""Of ``pictures.json``; see `segexp.io.shape`."""


def write_pictures(path: Path, pictures: Sequence[Picture]) -> None:
    """Write them as JSON, a picture a line, whole or not at all."""
    atomic.write_text(path, pictures_text(pictures))


def pictures_text(pictures: Sequence[Picture]) -> str:
    """Pictures as JSON, a picture a line."""
    lines = ",\n".join(json.dumps(picture, ensure_ascii=False) for picture in pictures)
    return f"[\n{lines}\n]\n"


def read_pictures(path: Path) -> list[Picture]:
    """Read what `write_pictures` wrote.

    Raises:
        InputError: if it is something else, since it goes into a page.
    """
    try:
        return [_checked(picture) for picture in read_json(path, SHAPE)]
    except InputError as error:
        raise InputError(f"{error}; not a list of pictures written by segexp") from None
    except ValueError as error:
        raise InputError(f"{path}: not a list of pictures written by segexp ({error})") from None


def _checked(picture: Picture) -> Picture:
    picture["name"] = printable(picture["name"], multiline=False)
    image = picture["image"]
    if not (image.startswith(_PREFIX) and _BASE64.fullmatch(image, len(_PREFIX))):
        raise ValueError(f"{picture['name']}: image is not {_PREFIX}...")
    for outline in picture["outlines"]:
        outline["label"] = printable(outline["label"])
        if not _PATH.fullmatch(outline["path"]) or outline["kind"] not in KINDS:
            raise ValueError(f"{picture['name']}: not an outline of {', '.join(KINDS)}")
    return picture


def _contours(mask: NDArray[np.bool_], ratio: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Closed borders (N, 2) of a mask, x and y times `ratio`, along the pixels' edges."""
    padded = np.pad(mask, 1).astype(np.uint8)
    return [
        (border[:-1, ::-1] - 0.5).astype(np.float32) * ratio.astype(np.float32) for border in find_contours(padded, 0.5)
    ]


def _simplify(polygon: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
    """Douglas-Peucker; a polygon that would vanish keeps its corners."""
    simple = np.asarray(cv2.approxPolyDP(polygon, tolerance, True), np.float32)[:, 0]
    return simple if len(simple) > 2 else polygon[:: max(1, len(polygon) // 4)]


def _path(polygons: list[NDArray[np.float32]]) -> str:
    """SVG path data in whole numbers: each polygon starts from the start of the one before it."""
    parts = []
    start = np.zeros(2, np.int64)
    for polygon in polygons:
        points = np.rint(polygon).astype(np.int64)
        steps = np.diff(points, axis=0)
        steps = steps[steps.any(axis=1)]
        numbers = " ".join(map(str, np.concatenate([points[0] - start, steps.ravel()]).tolist()))
        parts.append(f"m{numbers}z".replace(" -", "-"))
        start = points[0]
    return "".join(parts)


def _compress(pixels: NDArray, size: tuple[int, int], limit: int) -> str:
    """The best WebP of at most `limit` characters, as a data address; smaller than `size` (width, height) at need."""
    channels_last = np.moveaxis(pixels, 0, 2)
    if channels_last.dtype not in (np.uint8, np.uint16, np.float32):
        channels_last = channels_last.astype(np.float32)
    shrinks = max(pixels.shape[1:]) > max(size)
    reduced = cv2.resize(channels_last, size, interpolation=cv2.INTER_AREA) if shrinks else channels_last
    display = to_display(np.moveaxis(np.atleast_3d(reduced), 2, 0))[..., ::-1]
    quality = QUALITY
    while True:
        _, encoded = cv2.imencode(".webp", display, [cv2.IMWRITE_WEBP_QUALITY, quality])
        image = _PREFIX + base64.b64encode(encoded.tobytes()).decode("ascii")
        if len(image) <= limit or max(display.shape) <= SMALLEST:
            return image
        if quality == QUALITY:
            quality = LOWER  # and no lower: noise hides little, so smaller looks better than coarser
            continue
        shrink = min(0.85, (limit / len(image)) ** 0.5)  # the file's size goes with the picture's area
        smaller = [max(1, round(length * shrink)) for length in display.shape[1::-1]]
        display = np.asarray(cv2.resize(display, smaller, interpolation=cv2.INTER_AREA), np.uint8)
