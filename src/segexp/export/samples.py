"""Images on which an exported model is compared and shown: the user's annotated ones, or generated ones."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp import synthesis
from segexp.data.dataset import Sample, make_sample
from segexp.errors import InputError
from segexp.evaluation.run import find_samples
from segexp.inference.predictor import Predictor

SEED = 41  # of the generated images; not the seed of any recipe in conf/


def annotated(predictor: Predictor, data: Path | None, count: int = 16, size: int = 256) -> list[Sample]:
    """The validation images of a data set (``DATA/val/img``, ``DATA/val/mask``), or `count` generated ones.

    Raises:
        InputError: if no data is given and nothing can be generated for the model's task.
    """
    channels, classes = predictor.model.settings["in_channels"], len(predictor.classes)
    if data is not None:
        return find_samples(predictor, data)
    task = predictor.facts.get("task")
    if task not in synthesis.TASKS or classes != 1:
        raise InputError(f"images for task {task!r} cannot be generated; give annotated ones: --data DIR")
    images, masks = synthesis.generate(task, count, size, SEED)
    return [
        make_sample(f"generated_{index:05}", np.repeat(image[None], channels, 0), mask, 1, predictor.normalization)
        for index, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]


def patterned(predictor: Predictor, height: int, width: int) -> NDArray[np.float32]:
    """An image (C, height, width) like those of the model's task, or of blurred noise for any other task."""
    channels, task = predictor.model.settings["in_channels"], predictor.facts.get("task")
    if task in synthesis.TASKS:
        image = synthesis.generate(task, 1, (height, width), SEED)[0][0]
    else:
        noise = np.random.default_rng(SEED).normal(size=(height // 4 + 1, width // 4 + 1))
        image = 100 * np.exp(np.kron(noise, np.ones((4, 4))))[:height, :width]
    return np.repeat(image[None], channels, 0).astype(np.float32)
