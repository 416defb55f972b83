"""The prediction of one file, page by page: reading, network, writing."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.data.reading import locate, read_pixels, reading_of_model
from segexp.errors import InputError
from segexp.inference.manifest import content_of
from segexp.inference.misfit import KEY, misfit
from segexp.inference.outputs import Outputs, PredictedImage, Stack, require_memory, write_objects
from segexp.inference.postprocess import labelled_bands
from segexp.inference.predictor import Predictor
from segexp.inference.row_reader import ArrayRows, FileRows, rescaled_bands
from segexp.inference.sliding_window import Progress, RowSource, Tiling
from segexp.inference.writers import Sinks
from segexp.io.images import ImageFile, open_image
from segexp.io.memory import free_memory
from segexp.io.tiff_writer import TILED, hidden_files
from segexp.measurements import Row

Band = tuple[int, NDArray[np.float32]]
"""First row, and probabilities (K, rows, W) from it on."""


@dataclass(frozen=True)
class Result:
    """The result of one file.

    Attributes:
        path: the image.
        error: why there is no result; None if there is.
        skipped: whether it was already predicted.
        foreground: share of its pixels that are foreground.
        pixels: of all pages.
        record: the facts for the manifest: ``foreground``, ``pixels`` and ``summary``, the rows of its measurements.
        files: the files written for it, by their final names; still hidden.
        content: size, time and hash of the image file before it was read.
        misfit: a sentence on how the image or its prediction is unlike the training images; empty if it is not.
        unscaled: whether its pixel size is not known although the model has one, so that it was predicted as it is.
    """

    path: Path
    error: str | None = None
    skipped: bool = False
    foreground: float = 0.0
    pixels: int = 0
    record: dict[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    misfit: str = ""
    unscaled: bool = False


class Job:
    """A file opened for prediction, and its pixels if they are few.

    Attributes:
        content: size, time and hash of the file before it was read.
        unscaled: whether its pixel size is not known although the model has one, so that it is read as it is.
    """

    def __init__(self, path: Path, predictor: Predictor, outputs: Outputs):
        self.path = path
        self.content = content_of(path)
        classes, channels = len(predictor.classes), predictor.model.settings["in_channels"]
        reading = reading_of_model(predictor.facts, channels, classes)
        self.reading = replace(reading, file_pixel_size=outputs.pixel_size)
        self.by_page = self.reading.page_of(None) is None  # else: as the model was trained, such as a projection
        self.file = self._open(1 if self.by_page else None)
        self.size = self.reading.size_of(self.file)
        self.unscaled = self.reading.pixel_size is not None and self.size is None
        pages = self.file.pages if self.by_page else 1
        self.shape = (pages, self.file.shape[0], self.file.shape[1])
        try:
            self.first = self.rows(self.file)
        except BaseException:
            self.file.close()
            raise

    def _open(self, page: int | None) -> ImageFile:
        return open_image(self.path, self.reading.page_of(page), self.reading.channel)

    def rows(self, file: ImageFile) -> RowSource:
        """The image that the network sees, in memory if it is small."""
        place = locate(file, self.reading)
        if place.shape[0] * place.shape[1] < TILED:
            return ArrayRows(read_pixels(file, self.reading, place))
        return FileRows(file, self.reading, place)

    @contextlib.contextmanager
    def page(self, number: int) -> Iterator[tuple[ImageFile, RowSource]]:
        """Page `number`, from 0."""
        if number == 0:
            yield self.file, self.first
            return
        with self._open(number + 1) as file:
            yield file, self.rows(file)


Finish = Callable[[], Result]
"""Writes the remaining outputs of a file, under hidden names."""


def predict_job(
    predictor: Predictor,
    job: Job,
    output: Path,
    outputs: Outputs,
    tiling: Tiling | None,
    progress: Progress | None,
) -> Finish:
    """Run the network over all pages of a file; returns a function that does the rest, to run beside the next file."""
    kept: list[PredictedImage] = []
    misfits: list[str] = []
    place = locate(job.file, job.reading)  # the settings of the measurements are in pixels that the network sees
    finer = math.sqrt(place.source[0] * place.source[1] / (place.shape[0] * place.shape[1]))
    outputs = replace(outputs, settings=outputs.settings.scaled(finer))
    with contextlib.closing(job.file):
        if job.file.orientation != 1:
            turn = f"has an EXIF orientation ({job.file.orientation})"
            predictor.log(f"{job.path.name}: {turn}; the results match the pixels as stored, not rotated")
        if outputs.whole:
            require_memory(job.shape, free_memory(), str(job.path))
        sinks = Sinks(output, job.path.stem, outputs, job.shape, len(predictor.classes), job.size, job.file.axis or "T")
        try:
            for number in range(job.shape[0]):
                before = sinks.foreground
                with job.page(number) as (file, rows):
                    on_progress = None if progress is None else _paged(progress, number, job.shape[0])
                    bands = predictor.bands(rows, tiling, on_progress, str(job.path))
                    labels = list(_label_page(predictor, bands, rows.shape, job.shape[1:], sinks, outputs.whole))
                    share = (sinks.foreground - before) / (job.shape[1] * job.shape[2])
                    misfits.append(misfit(predictor.facts, rows, share))
                    if outputs.whole:
                        kept.append(PredictedImage(_without_alpha(file), np.concatenate(labels)))
        except BaseException:
            sinks.abandon()
            raise

    def finish() -> Result:
        summaries: list[Row] = []
        files: dict[str, Path] = {}
        try:
            files |= sinks.finish()
            if outputs.whole:
                with hidden_files(files):
                    stack = Stack(job.file.axis, job.file.planes)
                    more, summaries = write_objects(job.path, output, kept, predictor.classes, outputs, job.size, stack)
                files |= more
        except (InputError, OSError) as error:
            return Result(job.path, str(error))
        except MemoryError:
            return Result(job.path, f"{job.path}: out of memory while its objects were measured and written")
        share, said = sinks.foreground / sinks.total, _first_misfit(misfits)
        if predictor.facts.get(KEY):
            summaries = [row | {"misfit": _of_page(row, misfits)} for row in summaries]
        record = {"foreground": share, "pixels": sinks.total, "summary": summaries, "misfit": said}
        record |= {"unscaled": True} if job.unscaled else {}
        return Result(job.path, None, False, share, sinks.total, record, files, job.content, said, job.unscaled)

    return finish


def _without_alpha(file: ImageFile) -> NDArray:
    """The image (H, W) or (H, W, C) as the file holds it, less the transparency of a colour image."""
    pixels = file.read()
    return pixels[..., :3] if file.colour and pixels.ndim == 3 else pixels


def _first_misfit(misfits: list[str]) -> str:
    """The message about a file: for a stack, that of the first page unlike the training images, and how many more."""
    numbered = [(number, text) for number, text in enumerate(misfits, 1) if text]
    if not numbered or len(misfits) == 1:
        return numbered[0][1] if numbered else ""
    more = f" (and {len(numbered) - 1} more of {len(misfits)} pages)" if len(numbered) > 1 else ""
    return f"page {numbered[0][0]} {numbered[0][1]}{more}"


def _of_page(row: Row, misfits: list[str]) -> str:
    return misfits[int(row.get("page", 1)) - 1]


def _label_page(
    predictor: Predictor,
    bands: Iterator[Band],
    seen: tuple[int, int, int],
    shape: tuple[int, int],
    sinks: Sinks,
    keep: bool,
) -> Iterator[NDArray[np.uint8]]:
    """Send a page's rows to the sinks; returns its labels if they are kept.

    `seen` is the shape (C, H, W) of the image that the network saw, `shape` the file's (H, W). The smallest object is
    given in pixels of the former, and is converted if the image was rescaled.
    """
    min_size = round(predictor.min_size * shape[0] * shape[1] / (seen[1] * seen[2]))
    rescaled = rescaled_bands(bands, seen[1:], shape)
    for probabilities, labels in labelled_bands(rescaled, shape[0], predictor.threshold, min_size):
        sinks.add(probabilities, labels)
        if keep:
            yield labels


def _paged(progress: Progress, page: int, pages: int) -> Progress:
    return lambda done, total: progress(page * total + done, pages * total)
