"""Self-training: a run learns from images without annotation, labelled by the model that it starts from.

Pseudo-labels (Lee, ICML Workshop on Challenges in Representation Learning, 2013): the given model is applied in the
eight symmetries of the square and averaged. A pixel gets the label of a class whose mean probability is `SURE` or more,
and is background if all are 1 - `SURE` or less; all other pixels are left out of the loss. Symmetries that disagree
give a mean between the two. The labels are computed at the start of the run, and again when it is resumed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.config import RunConfig
from segexp.config.folders import existing
from segexp.config.schema import reading_of
from segexp.data.dataset import Sample, make_sample
from segexp.data.reading import Pair, Reading, locate, read_pixels
from segexp.errors import InputError
from segexp.experiment.start import Started
from segexp.inference.predictor import load_model
from segexp.io.images import IMAGE_SUFFIXES, image_files, open_image
from segexp.io.labels import IGNORE
from segexp.io.ownership import digest

SURE = 0.8


def pseudo_labels(probabilities: NDArray[np.float32], sure: float = SURE) -> NDArray[np.uint8]:
    """Labels (H, W) from mean probabilities (K, H, W): k for class k - 1, 0 for background, 255 if uncertain."""
    labels = np.full(probabilities.shape[1:], IGNORE, np.uint8)
    top = probabilities.max(axis=0)
    labels[top <= 1.0 - sure] = 0
    certain = top >= sure
    labels[certain] = probabilities.argmax(axis=0)[certain] + 1
    return labels


def unlabelled_images(folder: Path) -> list[Path]:
    """The image files in a folder, sub-folders excluded, sorted by name.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"data.unlabelled={folder}: no such folder; expected a folder of images without masks")
    files = image_files(folder)
    if not files:
        raise InputError(
            f"data.unlabelled={folder}: no images in it; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return files


def pseudo_labelled(cfg: RunConfig, started: Started | None, device: str, log: Callable[[str], None]) -> list[Sample]:
    """Training samples of the images in ``data.unlabelled``, kept in memory.

    Raises:
        InputError: if the folder or the given model is missing, an image cannot be read, or the model finds nothing
            that it is sure of.
    """
    assert cfg.data.unlabelled is not None
    if started is None:
        raise InputError(
            "missing: model.weights, for data.unlabelled; expected a model file, a run, a sweep, or the name of a "
            "ready model: model.weights=cytoskeleton"
        )
    path = started.model.path if started.model is not None else Path(started.facts["file"])
    if not path.is_file() or digest(path) != started.facts["sha256"]:
        raise InputError(f"{path}: missing or changed; data.unlabelled needs the model that the run started from")
    files = unlabelled_images(existing(cfg.data.unlabelled))
    predictor = load_model(path, device, tta=True, allow_targets=tuple(cfg.allow_targets))
    if tuple(predictor.classes) != tuple(cfg.task.classes):
        raise InputError(
            f"data.unlabelled: the given model has the classes {', '.join(predictor.classes)}, the run "
            f"{', '.join(cfg.task.classes)}; they must be the same"
        )
    reading = reading_of(cfg.data, cfg.task)
    if predictor.model.settings["in_channels"] != reading.channels:
        raise InputError(
            f"data.unlabelled: the given model takes {predictor.model.settings['in_channels']} channels, the run has "
            f"data.channels={reading.channels}; they must be the same"
        )
    samples, unsure, found = [], [], []
    for number, file in enumerate(files, 1):
        for name, pixels in _pages(file, reading):
            labels = pseudo_labels(predictor.probabilities(pixels))
            unsure.append(np.mean(labels == IGNORE))
            found.append(np.mean((labels > 0) & (labels != IGNORE)))
            samples.append(make_sample(name, pixels, labels, reading.classes, cfg.task.normalization))
        if number in (1, len(files)) or number % 10 == 0:
            log(f"labelling images without masks: {number} of {len(files)}")
    log(
        f"unlabelled: {len(samples)} images, labelled by {started.facts['weights']}; "
        f"{100 * np.mean(found):.2g} % foreground, {100 * np.mean(unsure):.2g} % of the pixels unsure and left out"
    )
    if not any(found):
        raise InputError(
            f"data.unlabelled: {started.facts['weights']} finds no foreground with certainty in any image, so there "
            "is nothing to learn from them. Try another model: segexp models lists those that come with segexp"
        )
    return samples


def _pages(path: Path, reading: Reading) -> Iterator[tuple[str, NDArray]]:
    """Name and pixels (C, H, W) of an image; of a stack's pages one by one with ``data.page=each``."""
    pages = 1
    if reading.page == "each":
        with open_image(path, "first") as file:
            pages = file.pages
    for number in range(1, pages + 1):
        pair = Pair(path, path, number if pages > 1 else None)
        with open_image(path, reading.page_of(pair.page), reading.channel) as image:
            yield pair.name, read_pixels(image, reading, locate(image, reading))
