"""Convert a folder of annotations into masks, ``.npy`` files named as their images; all are read before writing."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.annotations.cellpose import read_cellpose
from segexp.annotations.outlines import Drawing, Outline, covered, labels_of, read_json, read_rois
from segexp.annotations.pictures import Colour, background_layers, class_map, colour_text, colours_of, one_hot
from segexp.data.foreign import KINDS, annotation_kind
from segexp.errors import InputError
from segexp.io.atomic import replacing
from segexp.io.images import IMAGE_SUFFIXES, TIFF_SUFFIXES, image_files, open_image
from segexp.io.npy import open_array

PICTURES = (".png", *TIFF_SUFFIXES, ".bmp")

_MOST_IDS = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class Conversion:
    """How annotations are converted to masks.

    Attributes:
        classes: labels of the classes 1, 2, ...; empty: every object has an id of its own.
        width: pixels that lines and points are drawn thick.
        background: colour of what is not a class in pictures; None: black, or what is transparent.
    """

    classes: tuple[str, ...] = ()
    width: int = 1
    background: Colour | None = None


@dataclass
class _Job:
    """A mask to be written: its name, the file it comes from, and the function that makes it."""

    name: str
    source: Path
    make: Callable[[], NDArray]


def convert(source: Path, images: Path | None, output: Path, how: Conversion, log: Callable[[str], None]) -> int:
    """Write ``OUTPUT/<name of the image>.npy`` for each annotated image, atomically; returns the number of masks.

    Ids are uint16, or uint32 beyond 65535; class ids uint8. Raises `InputError` before anything is written where a
    file cannot be read, belongs to no image, or another mask is there already.
    """
    annotations, pictures = _find(source)
    named = _images(images)
    jobs = _drawn_jobs(annotations, named, how, log) if annotations else _picture_jobs(pictures, named, how, log)
    counts = Counter(job.name for job in jobs)
    twice = [str(job.source) for job in jobs if counts[job.name] > 1]
    if twice:
        raise InputError(
            f"{', '.join(twice[:6])}: more than one annotation of the same image; expected one for each image, "
            "or convert them separately"
        )
    missing, different = [], []
    for job in jobs:  # once for the faults, so that a refusal writes nothing
        path, mask = output / f"{job.name}.npy", job.make()
        if not os.path.lexists(path):
            missing.append((path, job))
        elif not _holds(path, mask):
            different.append(str(path))
    if different:
        listed = ", ".join(different[:6]) + (f" and {len(different) - 6} more" if len(different) > 6 else "")
        raise InputError(
            f"{listed}: already exists with another content and is not replaced; choose another --output, or move it "
            "away"
        )
    output.mkdir(parents=True, exist_ok=True)
    for path, job in missing:
        with replacing(path) as file:
            np.save(file, job.make(), allow_pickle=False)
    lacking = sorted(path.name for stem, path in named.items() if stem not in counts)
    if lacking:
        shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        log(f"no annotation of {len(lacking)} image{'s' if len(lacking) > 1 else ''}: {shown}")
    return len(jobs)


def _holds(path: Path, mask: NDArray) -> bool:
    """Whether an ``.npy`` holds exactly this mask, as after a conversion that was interrupted."""
    try:
        there = open_array(path)
    except (InputError, OSError):
        return False
    return there.dtype == mask.dtype and np.array_equal(there, mask)


def _find(source: Path) -> tuple[dict[Path, str], list[Path]]:
    """Annotation files with their kinds; if there are none, pictures and arrays."""
    if not source.exists():
        raise InputError(f"--input {source}: no such file or folder")
    files = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.name[0] != "." and p.is_file())
    annotations = {path: kind for path in files if (kind := annotation_kind(path, strict=True)) is not None}
    pictures = [path for path in files if path.suffix.lower() in (*PICTURES, ".npy") and path not in annotations]
    if not annotations and not pictures:
        endings = f"pictures ending in {', '.join(PICTURES)}"
        raise InputError(f"--input {source}: nothing to convert; expected {', '.join(KINDS.values())}, or {endings}")
    return annotations, pictures


def _images(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise InputError(f"--images {folder}: no such folder")
    files = image_files(folder)
    if not files:
        raise InputError(f"--images {folder}: no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return {path.stem: path for path in files}


def _drawn_jobs(
    annotations: dict[Path, str], images: dict[str, Path], how: Conversion, log: Callable[[str], None]
) -> list[_Job]:
    jobs: list[_Job] = []
    drawings: dict[str, tuple[Path, Drawing]] = {}
    unrelated: list[str] = []
    for path, kind in annotations.items():
        if kind == "cellpose":
            name = _name_of(path, "", images)
            if name is None:
                unrelated.append(path.name)
            elif how.classes:
                raise InputError(f"{path}: Cellpose's objects have no classes; leave --classes out")
            else:
                jobs.append(_Job(name, path, _cellpose_maker(path, images.get(name))))
            continue
        for drawing in [read_rois(path)] if kind == "roi" else read_json(path):
            name = _name_of(path, drawing.image, images)
            if name is None:
                unrelated.append(drawing.image or path.name)
            elif path.suffix.lower() == ".roi" and name in drawings and drawings[name][0].suffix.lower() == ".roi":
                other, before = drawings[name]
                if drawing.slice is not None and before.slice not in (None, drawing.slice):
                    raise InputError(
                        f"{path}, {other}: ROIs of several slices for image {name}; expected those of one slice: "
                        "convert the slices separately"
                    )
                before.outlines.extend(drawing.outlines)
                before.slice = before.slice or drawing.slice
            else:
                if name in drawings:
                    raise InputError(f"{path}, {drawings[name][0]}: two annotations of image {name}; expected one")
                drawings[name] = (path, drawing)
    if unrelated:
        shown = ", ".join(unrelated[:5]) + (f" and {len(unrelated) - 5} more" if len(unrelated) > 5 else "")
        raise InputError(f"{shown}: no image of that name in --images; expected names that begin with an image's")
    labels = labels_of(drawing for _, drawing in drawings.values())
    unknown = [label for label in labels if label not in how.classes]
    if how.classes and unknown:
        raise InputError(f"--classes {','.join(how.classes)}: there are others: {', '.join(map(repr, unknown[:10]))}")
    if labels and labels != [""] and not how.classes and not any(kind == "roi" for kind in annotations.values()):
        log(f"labels: {', '.join(labels[:10])}; every object gets an id of its own (--classes gives class ids)")
    for name, (path, drawing) in drawings.items():
        jobs.append(_Job(name, path, _drawing_maker(path, drawing, images.get(name), how)))
    return jobs


def _name_of(path: Path, image: str, images: dict[str, Path]) -> str | None:
    """The name of the mask: that of the image that the file names, or with whose name the file's name begins."""
    stem = re.sub(r"[_-](seg|RoiSet|rois?)$", "", path.stem, flags=re.IGNORECASE)
    if not images:
        return Path(image).stem if image else stem
    for candidate in (Path(image).stem, Path(image).name, stem, path.stem):
        if candidate and candidate in images:
            return candidate
    begins = [name for name in images if path.stem.startswith(name) and not path.stem[len(name) :][:1].isalnum()]
    return None if image and Path(image).stem not in path.stem else max(begins, key=len, default=None)


def _shape(path: Path, drawn: tuple[int, int] | None, image: Path | None) -> tuple[int, int]:
    if image is None:
        if drawn is None:
            raise InputError(f"{path}: does not state the size of its image; give the images too: --images FOLDER")
        shape = drawn
    else:
        with open_image(image, "first") as file:
            shape = (file.shape[0], file.shape[1])
        if drawn is not None and drawn != shape:
            raise InputError(
                f"{path}: drawn on {drawn[0]}x{drawn[1]} pixels, but {image.name} is {shape[0]}x{shape[1]}"
            )
    if not 0 < shape[0] * shape[1] <= 1 << 32:
        raise InputError(f"{path}: drawn on {shape[0]}x{shape[1]} pixels; expected the size of an image")
    return shape


def _cellpose_maker(path: Path, image: Path | None) -> Callable[[], NDArray]:
    def make() -> NDArray:
        ids = read_cellpose(path)
        _shape(path, (ids.shape[0], ids.shape[1]), image)
        return _smallest(ids)

    return make


def _drawing_maker(path: Path, drawing: Drawing, image: Path | None, how: Conversion) -> Callable[[], NDArray]:
    def make() -> NDArray:
        shape = _shape(path, drawing.shape, image)
        mask = np.zeros(shape, np.uint8 if how.classes else np.uint32)
        for number, outline in enumerate(drawing.outlines, 1):
            pixels = covered(outline, shape, how.width)
            if not pixels.inside.any():
                raise InputError(f"{path}: object {number} {_where(outline)} covers no pixel of an image of {shape}")
            pixels.of(mask)[pixels.inside] = how.classes.index(outline.label) + 1 if how.classes else number
        hidden = len(drawing.outlines) - len(np.unique(mask[mask > 0]))
        if hidden and not how.classes:
            raise InputError(
                f"{path}: {hidden} objects are completely hidden by objects drawn later; remove one of each"
            )
        return mask if how.classes else _smallest(mask)

    return make


def _where(outline: Outline) -> str:
    """The position of an object, for a message."""
    points = [*(ring for rings in outline.polygons for ring in rings), *outline.lines]
    if not points:
        return f"({outline.label})"
    low, high = np.concatenate(points).min(axis=0), np.concatenate(points).max(axis=0)
    return f"(x {low[0]:g} to {high[0]:g}, y {low[1]:g} to {high[1]:g})"


def _smallest(ids: NDArray) -> NDArray:
    """Ids as uint16, or uint32 if they do not fit; renumbered beyond that."""
    if ids.size and int(ids.max()) > _MOST_IDS:
        ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    return ids.astype(np.uint16 if not ids.size or ids.max() < 2**16 else np.uint32)


def _picture_jobs(
    paths: Sequence[Path], images: dict[str, Path], how: Conversion, log: Callable[[str], None]
) -> list[_Job]:
    names = {path: _name_of(path, "", images) for path in paths}
    unrelated = [path.name for path, name in names.items() if name is None]
    if unrelated:
        raise InputError(f"{', '.join(unrelated[:5])}: no image of that name in --images")
    layered = [path for path in paths if path.suffix.lower() == ".npy"]
    colours = colours_of([path for path in paths if path not in layered], how.background)
    if how.classes and colours and len(how.classes) != len(colours):
        raise InputError(f"--classes {','.join(how.classes)}: {len(how.classes)}, but there are {len(colours)} colours")
    for number, colour in enumerate(colours, 1):
        log(
            f"colour {colour_text(colour)} is class {number}" + (f" ({how.classes[number - 1]})" if how.classes else "")
        )
    first_is_background = background_layers(layered)
    for count, background in first_is_background.items():
        log(f"arrays of {count} layers: the first layer is {'background' if background else 'class 1'}")

    def maker(path: Path, name: str) -> Callable[[], NDArray]:
        def make() -> NDArray:
            mask = one_hot(path, first_is_background) if path in layered else class_map(path, colours, how.background)
            _shape(path, (mask.shape[0], mask.shape[1]), images.get(name))
            return mask

        return make

    return [_Job(name, path, maker(path, name)) for path, name in names.items() if name is not None]
