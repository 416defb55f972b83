"""Parse the description of a TIFF: which page is which channel, and the pixel size.

ImageJ's lines ``key=value``, OME-XML, tifffile's own JSON, and the resolution tags. None of it is trusted: XML that
declares a document type is refused, so nothing outside it is fetched and no entity expands, and no number in it
determines how much memory is allocated.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

MICROMETRES = {
    "pm": 1e-6,
    "å": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}
PLAUSIBLE = (1e-5, 1000.0)
"""Plausible micrometres a pixel: from a hundredth of a nanometre to a millimetre."""

PRINTED = 20.0
"""Micrometres from which a resolution is a printer's or a screen's (72 to 1200 dots an inch), not a scale: that of a
plain resolution tag, and ImageJ's in one of `PRINTERS_UNITS`, which it takes over from such a tag."""

PRINTERS_UNITS = ("inch", "in", "cm")


class PageTable(NamedTuple):
    """Which page of the file holds which channel of which image.

    Attributes:
        table: (images, channels) page numbers from 0.
        described: whether the file's description states this arrangement.
        contiguous: whether the planes follow each other behind a single directory.
        axis: what the images are, ``Z`` slices or ``T`` times; empty if the file does not say, or says both.
    """

    table: NDArray[np.int64]
    described: bool = False
    contiguous: bool = False
    axis: str = ""


def planes(page: Any, count: int, room: int, path: Path, following: int = 0) -> PageTable:
    """Arrange the `count` pages of a file whose first `page` has the description.

    ImageJ writes a single directory for stacks over 4 GiB, and the planes one after the other behind it.

    Args:
        page: the first page.
        count: directories in the file.
        room: number of planes for which the file is long enough, from the first page's data on.
        path: the file, for messages.
        following: bytes of planes after the first one, if a single directory precedes them.

    Raises:
        InputError: if such a stack is truncated, or OME-XML declares a document type.
    """
    text = _description(page)
    if text.startswith("ImageJ="):
        return _imagej_planes(text, count, room, path, following)
    order: str | None = None
    sizes: dict[str, int] = {}
    root = ome(text, path)
    if root is not None:
        element = _first(root, "Pixels")
        if element is not None:
            order = element.get("DimensionOrder", "")[:1:-1]  # XYCZT -> TZC: slowest first
            sizes = {axis: _whole(element.get(f"Size{axis}")) for axis in "CZT"}
            if page.samplesperpixel > 1:
                sizes["C"] //= page.samplesperpixel
            table = _tiff_data(root, element, order, sizes, count)
            if table is not None:
                return _by_channel(table, order)
    elif text.startswith("{") and '"shape"' in text:
        order, sizes = _json_axes(text, page)
    if order is not None and sorted(order) == sorted(sizes) and math.prod(sizes.values()) == count:
        return _by_channel(np.arange(count).reshape([sizes[axis] for axis in order]), order)
    return PageTable(np.arange(count)[:, None], described=count == 1)


def pixel_size(page: Any) -> tuple[float, float] | None:
    """Micrometres (y, x) of a pixel, from ImageJ's description, OME-XML or the resolution tags; None if unknown."""
    text = _description(page)
    if text.startswith("ImageJ="):
        name = _unit(dict(_lines(text)).get("unit", ""))
        believed = _believed(*(_per_unit(page, tag, MICROMETRES.get(name)) for tag in (283, 282)))
        return _unprinted(believed) if name in PRINTERS_UNITS else believed
    root = ome(text, None)
    if root is not None:
        pixels = _first(root, "Pixels")
        if pixels is None:
            return None
        sizes = []
        for axis in "YX":
            unit = MICROMETRES.get(_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
            size = _number(pixels.get(f"PhysicalSize{axis}"))
            sizes.append(size * unit if size is not None and unit is not None else None)
        return _believed(*sizes)
    unit = {2: 25400.0, 3: 1e4}.get(int(page.tags.valueof(296, 2)))
    return _unprinted(_believed(*(_per_unit(page, tag, unit) for tag in (283, 282))))


def ome(text: str, path: Path | None) -> ElementTree.Element | None:
    """The root of an OME-XML description; None if it is none. A document type declaration is refused.

    Raises:
        InputError: if it declares a document type.
    """
    if "<OME" not in text[:2000] and ":OME" not in text[:2000]:
        return None
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        if path is None:
            return None
        raise InputError(f"{path}: its OME-XML declares a document type, which could name other files; not read")
    try:
        # no document type, so no entities: refused above; expat reads no other file by itself
        return ElementTree.fromstring(text)  # noqa: S314
    except (ElementTree.ParseError, ValueError):
        return None


def _imagej_planes(text: str, count: int, room: int, path: Path, following: int) -> PageTable:
    facts = dict(_lines(text))
    channels, slices, frames = (max(1, _whole(facts.get(key))) for key in ("channels", "slices", "frames"))
    images = max(_whole(facts.get("images")), 1)
    if channels * slices * frames != images:
        channels = 1
    if count == 1 and images > room and following > 0:  # a single plane with the description of a stack is a copy
        raise InputError(f"{path}: truncated; holds {room} of the {images} planes that ImageJ's description states")
    if images != count and (count > 1 or images > room):
        return PageTable(np.arange(count)[:, None], described=count == 1)
    axis = _axis({"Z": slices, "T": frames})
    # channels run fastest
    return PageTable(np.arange(images).reshape(-1, channels), True, images != count, axis)


def _by_channel(table: NDArray[np.int64], order: str) -> PageTable:
    """From page numbers along the axes of `order` to (images, channels)."""
    axis = _axis({name: length for name, length in zip(order, table.shape, strict=True) if name != "C"})
    if "C" not in order:
        return PageTable(table.reshape(-1, 1), described=True, axis=axis)
    channels = table.shape[order.index("C")]
    return PageTable(np.moveaxis(table, order.index("C"), -1).reshape(-1, channels), described=True, axis=axis)


def _axis(lengths: dict[str, int]) -> str:
    """The one axis that is longer than 1, if it is ``Z`` or ``T``."""
    long = [name for name, length in lengths.items() if length > 1]
    return long[0] if long in (["Z"], ["T"]) else ""


def _tiff_data(
    root: ElementTree.Element, pixels: ElementTree.Element, order: str, sizes: dict[str, int], count: int
) -> NDArray[np.int64] | None:
    """Which of `count` pages each plane is, along the axes of `order`, from the elements ``TiffData`` of OME-XML.

    As tifffile reads them. None if they do not name a page of this file for every plane once.
    """
    blocks = [element for element in pixels if _tag(element) == "TiffData"]
    files = {child.get("FileName", "") for block in blocks for child in block if _tag(child) == "UUID"}
    total = math.prod(sizes.values())
    images = sum(_tag(element) == "Image" for element in root)
    if not blocks or len(files) > 1 or images > 1 or sorted(order) != sorted(sizes) or not 0 < total <= count:
        return None
    table = np.full(total, -1)
    for block in blocks:
        page, pages = _whole(block.get("IFD")), 1 if "IFD" in block.attrib else count
        pages = _whole(block.get("PlaneCount", block.get("NumPlanes"))) or pages
        place = 0
        for axis in order:
            first = _whole(block.get(f"First{axis}"))
            if first >= sizes[axis]:
                return None
            place = place * sizes[axis] + first
        pages = min(pages, total - place, count - page)
        table[place : place + max(pages, 0)] = np.arange(page, page + max(pages, 0))
    if (table < 0).any() or len(np.unique(table)) < total:
        return None
    return table.reshape([sizes[axis] for axis in order])


def _json_axes(text: str, page: Any) -> tuple[str | None, dict[str, int]]:
    """Axes before the page's own, of tifffile's JSON: ``{"shape": [3, 64, 64], "axes": "CYX"}``."""
    try:
        facts = json.loads(text)
        shape, axes = [int(n) for n in facts["shape"]], str(facts.get("axes", ""))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, {}
    outer = len(axes) - len(page.axes)
    if len(axes) != len(shape) or outer < 1 or axes[outer:] not in (page.axes, page.axes.replace("S", "C")):
        return None, {}
    names = axes[:outer]
    if len(set(names)) != outer:
        return None, {}
    return names, dict(zip(names, shape, strict=False))


def _description(page: Any) -> str:
    text = page.tags.valueof(270)
    return text.strip() if isinstance(text, str) else ""


def _lines(text: str) -> list[tuple[str, str]]:
    return [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in text.splitlines())]


def _unit(text: str) -> str:
    """A unit as `MICROMETRES` spells it: ImageJ escapes the micro sign, and Unicode has two of them."""
    text = text.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\u03bc", "µ")
    return text.lower().replace("metre", "meter")


def _first(root: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next((element for element in root.iter() if _tag(element) == name), None)


def _tag(element: ElementTree.Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _whole(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,10}", text.strip()) else 0


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _per_unit(page: Any, tag: int, unit: float | None) -> float | None:
    """Micrometres a pixel from a resolution tag (a fraction: pixels a unit)."""
    value = page.tags.valueof(tag)
    if unit is None or not isinstance(value, tuple) or len(value) != 2 or not value[0]:
        return None
    return unit * value[1] / value[0]


def _believed(y: float | None, x: float | None) -> tuple[float, float] | None:
    y, x = (y if y is not None else x), (x if x is not None else y)
    low, high = PLAUSIBLE
    if y is None or x is None or not (low <= y <= high and low <= x <= high):  # NaN is in no range
        return None
    return y, x


def _unprinted(believed: tuple[float, float] | None) -> tuple[float, float] | None:
    """A pixel size, or None if it is a printer's or a screen's."""
    return believed if believed is not None and max(believed) < PRINTED else None
