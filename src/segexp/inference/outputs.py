"""The outputs for an image besides its mask and probabilities: objects, a picture, tables, outlines."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.tiff_writer import Size, TiffStream, finishing, hidden_files, write_hidden
from segexp.measurements import Measurement, Row, Settings, columns, measure, write_rows
from segexp.viz.overlay import encode_png, overlay

SAVE = ("mask", "prob", "labels", "overlay", "measurements", "rois", "geojson")
"""Names of all outputs."""
OBJECTS = ("labels", "measurements", "rois", "geojson")
"""Outputs that need the separate objects."""
PROB_DTYPES = {"uint8": 255, "uint16": 65535, "float32": 1}
"""Types of probability files, and the value that stands for 1."""
BYTES_A_PIXEL = 100
"""Most bytes a pixel that separating, measuring and writing objects takes; 82 were measured, for dense filaments."""
LARGEST_PICTURE = 2048


@dataclass(frozen=True)
class Outputs:
    """Which outputs are written, and how.

    Attributes:
        save: names out of `SAVE`.
        prob_dtype: one of `PROB_DTYPES`.
        settings: how objects are measured.
        pixel_size: micrometres, in place of what the files say.

    Raises:
        InputError: if a name of `save` is unknown or none is given, or `prob_dtype` is unknown.
    """

    save: tuple[str, ...] = ("mask", "prob")
    prob_dtype: str = "float32"
    settings: Settings = field(default_factory=Settings)
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.save if name not in SAVE]
        if unknown or not self.save:
            raise InputError(f"--save {','.join(self.save) or 'nothing'}: expected some of {','.join(SAVE)}")
        if self.prob_dtype not in PROB_DTYPES:
            raise InputError(f"--prob-dtype {self.prob_dtype}: expected one of {', '.join(PROB_DTYPES)}")

    @property
    def whole(self) -> bool:
        """Whether an image and its labels must be in memory at once."""
        return any(name in self.save for name in (*OBJECTS, "overlay"))


def names_of(stem: str, save: Iterable[str]) -> list[str]:
    """Names of all files that may be written for an image; a stack also has numbered overlays of its pages."""
    names = {
        "mask": [f"{stem}_mask.png", f"{stem}_mask.tif"],
        "prob": [f"{stem}_prob.tif"],
        "labels": [f"{stem}_labels.tif"],
        "overlay": [f"{stem}_overlay.png"],
        "measurements": [f"{stem}_measurements.csv"],
        "rois": [f"{stem}_rois.zip"],
        "geojson": [f"{stem}.geojson"],
    }
    return [name for kind in save for name in names[kind]]


def stored(probabilities: NDArray[np.float32], dtype: str) -> NDArray:
    """Probabilities as stored in the file: 0 to 255, 0 to 65535, or 0 to 1."""
    if dtype == "float32":
        return probabilities
    return np.rint(probabilities * PROB_DTYPES[dtype]).astype(dtype)


class Stack(NamedTuple):
    """What the pages of an image file are: see ``axis`` and ``planes`` of `segexp.io.tiff.TiffReader`."""

    axis: str = ""
    planes: int = 1


@dataclass
class PredictedImage:
    """One image that was predicted: pixels (H, W) or (H, W, C) as in the file, labels (H, W) of its classes."""

    pixels: NDArray
    labels: NDArray[np.uint8]


def write_objects(
    path: Path,
    output: Path,
    pages: list[PredictedImage],
    classes: list[str],
    outputs: Outputs,
    pixel_size: Size | None,
    stack: Stack,
) -> tuple[dict[str, Path], list[Row]]:
    """Write the outputs besides mask and probabilities; returns the files and the summaries.

    `pages` holds one entry, or one for each page of a stack. The files are complete and have hidden names; they are
    returned by their final names.
    """
    written: dict[str, bytes] = {}
    stem = path.stem
    if "overlay" in outputs.save:
        for number, page in enumerate(pages, 1):
            name = f"{stem}_overlay.png" if len(pages) == 1 else f"{stem}_overlay_{number:04}.png"
            written[name] = picture(page, len(classes))
    summaries: list[Row] = []
    if any(name in outputs.save for name in OBJECTS):
        side = _square(pixel_size)
        measured = [
            {name: measure(page.labels == k, page.pixels, outputs.settings, side) for k, name in enumerate(classes, 1)}
            for page in pages
        ]
        rows, summaries = tables(path.name, measured)
        if "measurements" in outputs.save:
            head = [name for name in ("image", "page", "class") if name in summaries[0]]
            names = [] if rows else columns(outputs.settings, side)
            written[f"{stem}_measurements.csv"] = csv_bytes(rows, head + names)
        written |= _outlines(stem, measured, outputs.save, stack)
    files: dict[str, Path] = {}
    with hidden_files(files):
        if "labels" in outputs.save:
            place = output / f"{stem}_labels.tif"
            files[place.name] = _write_labels(place, [_joined(page) for page in measured], pixel_size, stack.axis)
        for name, content in written.items():
            files[name] = write_hidden(output / name, content)
    return files, summaries


def csv_bytes(rows: Sequence[Row], columns: Iterable[str] = ()) -> bytes:
    """`write_rows` as UTF-8; invalid bytes of a file name are escaped."""
    return write_rows(rows, columns).encode(errors="backslashreplace")


def tables(image: str, pages: list[dict[str, Measurement]]) -> tuple[list[Row], list[Row]]:
    """Rows of all objects and of all summaries of an image's pages, with image, page and class in front.

    Objects are numbered consecutively over the classes of a page, as in its labels.
    """
    rows: list[Row] = []
    summaries: list[Row] = []
    for number, classes in enumerate(pages, 1):
        for name, measurement, before in _numbered(classes):
            first: Row = {"image": image}
            if len(pages) > 1:
                first["page"] = number
            if len(classes) > 1:
                first["class"] = name
            key = "object" if measurement.lines is None else "segment"
            rows += [{**first, **row, key: int(row[key]) + before} for row in measurement.objects]
            summaries.append({**first, **measurement.summary})
    return rows, summaries


def picture(page: PredictedImage, classes: int) -> bytes:
    """PNG of the image, and beside it the same with outlines of the classes; every n-th pixel if over 2048 wide."""
    step = -(-max(page.labels.shape) // LARGEST_PICTURE)
    pixels = page.pixels[::step, ::step]
    planes = (
        np.moveaxis(pixels[..., :3], 2, 0)
        if pixels.ndim == 3 and pixels.shape[2] >= 3
        else pixels.reshape(1, *pixels.shape[:2], -1)[..., 0]
    )
    return encode_png(overlay(planes, None, page.labels[::step, ::step], classes))


def require_memory(shape: tuple[int, int, int], free: int, name: str) -> None:
    """Make sure that `free` memory suffices to separate the objects of an image, which is done on the whole image.

    `shape` is (pages, H, W).

    Raises:
        InputError: if it does not suffice.
    """
    need = shape[1] * shape[2] * (BYTES_A_PIXEL + 8 * (shape[0] - 1))
    if need > free:
        raise InputError(
            f"{name}: separating the objects of {shape[1]}x{shape[2]} pixels takes about {need / 2**30:.0f} GiB of "
            f"memory, and {free / 2**30:.0f} GiB are free; use --save mask,prob, which needs little memory, or "
            "cut the image into parts"
        )


def _outlines(stem: str, pages: list[dict[str, Measurement]], save: tuple[str, ...], stack: Stack) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    numbered = [
        (number if len(pages) > 1 else None, name, measurement, before)
        for number, page in enumerate(pages, 1)
        for name, measurement, before in _numbered(page)
    ]
    if "rois" in save:
        from segexp.measurements.rois import rois, zip_bytes

        regions: dict[str, bytes] = {}
        for number, name, measurement, before in numbered:
            prefix = name if number is None else f"{number:04}_{name}"
            regions |= rois(measurement, prefix, number, *stack, before)
        files[f"{stem}_rois.zip"] = zip_bytes(regions)
    if "geojson" in save:
        from segexp.measurements.geojson import collection, features

        shapes = [
            feature
            for number, name, measurement, before in numbered
            for feature in features(measurement, name, number, stack.axis, before)
        ]
        files[f"{stem}.geojson"] = collection(shapes).encode()
    return files


def _numbered(page: dict[str, Measurement]) -> Iterator[tuple[str, Measurement, int]]:
    """Name and measurement of each class of a page, and how many objects the earlier classes have."""
    before = 0
    for name, measurement in page.items():
        yield name, measurement, before
        before += len(measurement.objects)


def _write_labels(path: Path, pages: list[NDArray[np.int32]], pixel_size: Size | None, axis: str) -> Path:
    most = max(int(page.max(initial=0)) for page in pages)
    dtype = np.dtype(np.uint16 if most < 2**16 else np.uint32)
    stream = TiffStream(path, (len(pages), *pages[0].shape), 1, dtype, pixel_size, axis or "T")
    with finishing([stream]):
        for page in pages:
            stream.add(page.astype(dtype))
    return stream.hidden


def _joined(page: dict[str, Measurement]) -> NDArray[np.int32]:
    """Object labels of all classes of a page in one map, numbered consecutively."""
    first, *others = _numbered(page)
    labels = first[1].labels
    for _, measurement, before in others:
        labels = np.where(measurement.labels > 0, measurement.labels + before, labels)
    return labels


def _square(pixel_size: Size | None) -> float | None:
    """Side of a pixel in micrometres; None if unknown or if pixels are longer than wide by over 1 %."""
    if pixel_size is None or abs(pixel_size[0] / pixel_size[1] - 1) > 0.01:
        return None
    return float(np.sqrt(pixel_size[0] * pixel_size[1]))
