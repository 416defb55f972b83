"""Images without annotation, and regions of large ones, with what a model's answers and the pixels say of them."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.inference.job import Job
from segexp.inference.misfit import SMALLEST, describe
from segexp.inference.outputs import Outputs
from segexp.inference.predictor import Predictor
from segexp.inference.sliding_window import RowSource
from segexp.io.images import image_files
from segexp.io.ownership import digest
from segexp.model_facts import FEATURES

REGION = 512
"""Side of a region, px as the network sees them; images up to one and a half of it are not divided."""


@dataclass(frozen=True)
class Candidate:
    """An image, or a region of it.

    Attributes:
        path: the file.
        page: of a stack, from 1; None if the file is one image.
        box: top, left, height, width as the network sees the image.
        region: the same in pixels of the file; None if it is the whole image.
        disagreement: mean over its pixels, bits; see `Predictor.disagreement`.
        foreground: share of its pixels.
        features: the numbers (32,) of `segexp.inference.misfit.describe`.
        unscaled: whether its pixel size is not known although the model has one, so that it is seen as it is.
    """

    path: Path
    page: int | None
    box: tuple[int, int, int, int]
    region: tuple[int, int, int, int] | None
    disagreement: float
    foreground: float
    features: NDArray[np.float64]
    unscaled: bool = False

    @property
    def region_text(self) -> str:
        """As NumPy takes it, rows first: ``0:512,512:1024``; empty for a whole image."""
        if self.region is None:
            return ""
        top, left, height, width = self.region
        return f"{top}:{top + height},{left}:{left + width}"


class Part:
    """A window of an image that is read by rows: top, left, height, width."""

    def __init__(self, image: RowSource, box: tuple[int, int, int, int]):
        self.image, self.box = image, box
        self.shape: tuple[int, int, int] = (image.shape[0], box[2], box[3])

    def rows(self, top: int, bottom: int) -> NDArray:
        """Rows `top` to `bottom` - 1 as (C, bottom - top, W)."""
        first, left, _, width = self.box
        return self.image.rows(first + top, first + bottom)[:, :, left : left + width]


def edges(length: int, region: int) -> NDArray[np.intp]:
    """Where parts of about `region` px begin, and the end: (parts + 1,)."""
    return np.linspace(0, length, max(1, round(length / region)) + 1).round().astype(int)


def scan(
    predictor: Predictor,
    path: Path,
    region: int = REGION,
    progress: Callable[[float], None] = lambda share: None,
    pixel_size: float | None = None,
) -> list[Candidate]:
    """The candidates of a file: each page of a stack is an image.

    Args:
        predictor: the model.
        path: the file.
        region: side of a region of a large image, px as the network sees them.
        progress: hears the share done, 0 to 1.
        pixel_size: micrometres, in place of what the file says.

    Raises:
        InputError: if it cannot be read, or is too small to be described.
    """
    job = Job(path, predictor, Outputs(pixel_size=pixel_size))
    found: list[Candidate] = []
    pages = job.shape[0]
    with contextlib.closing(job.file):
        for number in range(pages):
            with job.page(number) as (file, rows):
                shown = (file.shape[0], file.shape[1])

                def report(done: int, total: int, number: int = number) -> None:
                    progress((number + done / total) / pages)

                found += _regions(predictor, rows, path, number + 1 if pages > 1 else None, shown, region, report)
    return [replace(each, unscaled=job.unscaled) for each in found]


def _regions(
    predictor: Predictor,
    image: RowSource,
    path: Path,
    page: int | None,
    shape: tuple[int, int],
    region: int,
    progress: Callable[[int, int], None],
) -> list[Candidate]:
    _, height, width = image.shape
    if min(height, width) < SMALLEST:
        raise InputError(f"{path}: {height}x{width} pixels are too few to be described; expected {SMALLEST} a side")
    whole = max(height, width) <= 1.5 * region
    down, across = (np.array([0, side]) if whole else edges(side, region) for side in (height, width))
    sums = np.zeros((2, len(down) - 1, len(across) - 1))  # disagreement and foreground
    for first, mean, disagreement in predictor.disagreement(image, progress=progress, name=str(path)):
        row = np.searchsorted(down, np.arange(first, first + len(disagreement)), side="right") - 1
        for total, values in zip(sums, (disagreement, (mean >= predictor.threshold).any(axis=0)), strict=True):
            np.add.at(total, row, np.add.reduceat(values.astype(float), across[:-1], axis=1))
    scale = shape[0] / height, shape[1] / width
    found = []
    for y, x in np.ndindex(sums.shape[1:]):
        top, bottom, left, right = (int(edge) for edge in (*down[y : y + 2], *across[x : x + 2]))
        box = (top, left, bottom - top, right - left)
        features = describe(Part(image, box))
        if features is None:
            continue
        share, marked = sums[:, y, x] / (box[2] * box[3])
        ends = [round(edge * factor) for edge, factor in zip((top, left, bottom, right), scale * 2, strict=True)]
        inside = None if whole else (ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1])
        found.append(Candidate(path, page, box, inside, float(share), float(marked), features))
    return found


def annotated_files(data: Path) -> list[Path]:
    """The images of a data set's train/ and val/, or of a folder with img/.

    Raises:
        InputError: if there are none.
    """
    folders = [place / "img" for place in (data / "train", data / "val", data) if (place / "img").is_dir()]
    files = [path for folder in folders for path in image_files(folder)]
    if not files:
        raise InputError(f"--annotated {data}: holds no images; expected a data set, or a folder with img/ and mask/")
    return files


def without_copies(files: Sequence[Path], annotated: Sequence[Path]) -> list[Path]:
    """Those of `files` that are not, byte for byte, one of the `annotated` ones."""
    by_size: dict[int, list[Path]] = {}
    for path in annotated:
        by_size.setdefault(path.stat().st_size, []).append(path)
    return [
        path
        for path in files
        if not (alike := by_size.get(path.stat().st_size)) or digest(path) not in map(digest, alike)
    ]


def describe_annotated(
    predictor: Predictor, files: Sequence[Path], pixel_size: float | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Numbers (N, 32) and names of annotated images; each page of a stack is an image.

    `pixel_size` is in micrometres, in place of what the files say.

    Raises:
        InputError: if one cannot be read.
    """
    numbers, names = [], []
    for path in files:
        job = Job(path, predictor, Outputs(pixel_size=pixel_size))
        with contextlib.closing(job.file):
            for page in range(job.shape[0]):
                with job.page(page) as (_, rows):
                    features = describe(rows)
                if features is not None:
                    numbers.append(features)
                    names.append(path.name)
    return np.array(numbers).reshape(len(names), FEATURES), names
