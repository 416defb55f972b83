"""Predict and measure a layer of a viewer, one image or a stack page by page, in steps that can be stopped."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.data.reading import Reading, reading_of_model
from segexp.errors import InputError
from segexp.inference.misfit import misfit
from segexp.inference.predictor import Predictor, drop_small, label_classes
from segexp.inference.row_reader import ArrayRows, checked, rescaled_bands
from segexp.io.images import to_channels
from segexp.io.resample import rescale, scaled_shape
from segexp.measurements import Row, Settings, measure


@dataclass
class Segmentation:
    """The result of segmenting a layer.

    Attributes:
        labels: int32, the layer's shape without colours: 0, or the ``label`` of a row of `rows`. Numbers go on from
            page to page and from class to class.
        probabilities: float32 in [0, 1], a class in front if there are several: ([K,] ..., H, W).
        rows: one an object, with its ``label``, ``page`` (of a stack) and ``class`` (of several).
        misfits: in words, how pages and what was found in them are unlike the training images.
        remark: in words, why the layer was not brought to the model's pixel size; empty if it was, or has no need.
    """

    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    rows: list[Row] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    remark: str = ""


def segment(
    predictor: Predictor, data: Any, colour: bool = False, pixel_size: float | None = None
) -> Iterator[float | Segmentation]:
    """Yields the share that is done, in [0, 1], after each row of tiles, and the `Segmentation` at the end.

    Args:
        predictor: the model.
        data: (..., H, W), or (..., H, W, colours) with `colour`; any array that NumPy can read page by page.
        colour: whether the last axis holds colours.
        pixel_size: side of a pixel in micrometres; adds the columns in micrometres. A model of another pixel size
            sees the layer at its own, and what it finds is brought back to the layer's. None: unknown; then it sees
            the layer as it is.

    Raises:
        InputError: if the layer has fewer than two axes, or a page does not suit the model.
    """
    shape = tuple(data.shape[:-1] if colour else data.shape)
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"a layer of shape {tuple(data.shape)}: expected an image or a stack of images")
    classes, pages = len(predictor.classes), list(np.ndindex(shape[:-2]))
    result = Segmentation(np.zeros(shape, np.int32), np.zeros((classes, *shape), np.float32))
    reading = reading_of_model(predictor.facts, predictor.model.settings["in_channels"], classes)
    known, size = None if pixel_size is None else (pixel_size, pixel_size), reading.pixel_size
    if size is not None and known is None:
        result.remark = (
            f"the layer states no pixel size in a unit of length, or its pixels are not square; it was not brought to "
            f"the model's {size:g} µm a pixel"
        )
    for number, page in enumerate(pages):
        image, colour_kept = _as_trained(np.asarray(data[page]), colour, reading)
        count = image.shape[2] if image.ndim == 3 else 1
        turned = (reading.channels == 1 and colour_kept) or (reading.channels == 3 and count == 1)
        if count != reading.channels and not turned:
            raise InputError(
                f"the model takes {reading.channels} channels and an image of this layer has {count}: such a model "
                "predicts files, with segexp predict"
            )
        pixels = checked(to_channels(image, reading.channels, f"page {number}", colour_kept), f"page {number}")
        maps = result.probabilities[(slice(None), *page)]
        own = pixels.shape[1:]
        seen = rescale(pixels, scaled_shape(own, known, size, f"page {number}"))
        bands = predictor.bands(ArrayRows(seen), name=f"page {number}")
        for first, band in rescaled_bands(bands, seen.shape[1:], own):
            maps[:, first : first + band.shape[1]] = band
            yield (number + (first + band.shape[1]) / shape[-2]) / len(pages)
        min_size = round(predictor.min_size * maps[0].size / seen[0].size)
        classified = drop_small(label_classes(maps, predictor.threshold), classes, min_size)
        settings = Settings.of(predictor.facts).scaled(math.sqrt(maps[0].size / seen[0].size))
        _measure(predictor, result, page, image, classified, number if len(pages) > 1 else None, pixel_size, settings)
        share = float(np.count_nonzero(classified)) / classified.size
        text = misfit(predictor.facts, ArrayRows(seen), share)
        if text:
            result.misfits.append(text if len(pages) == 1 else f"page {number}: {text}")
    if classes == 1:
        result.probabilities = result.probabilities[0]
    yield result


def _as_trained(image: NDArray, colour: bool, reading: Reading) -> tuple[NDArray, bool]:
    """A page (H, W) or (H, W, C) without alpha, of colours those the model was trained on; and whether it has colours.

    So brightness is measured in what ``segexp predict`` measures it in.
    """
    if not colour:
        return image, False
    image = image[..., :3]
    if reading.channel is None:
        return image, True
    chosen = [reading.channel] if isinstance(reading.channel, int) else list(reading.channel)
    if max(chosen) > image.shape[-1]:
        return image, True
    image = image[..., [number - 1 for number in chosen]]
    return image[..., 0] if len(chosen) == 1 else image, False


def _measure(
    predictor: Predictor,
    result: Segmentation,
    page: tuple[int, ...],
    image: NDArray,
    classified: NDArray[np.uint8],
    number: int | None,
    pixel_size: float | None,
    settings: Settings,
) -> None:
    """Add the objects of one page, whose labels are `classified`, to `result`."""
    for index, name in enumerate(predictor.classes, 1):
        measured = measure(classified == index, image, settings, pixel_size)
        drawn, offset = measured.labels > 0, len(result.rows)
        result.labels[page][drawn] = measured.labels[drawn] + offset
        for place, row in enumerate(measured.objects, 1):
            front: Row = {"label": offset + place}
            if number is not None:
                front["page"] = number
            if len(predictor.classes) > 1:
                front["class"] = name
            # "object" counts within the page and the class; "label" counts throughout
            result.rows.append(front | {key: value for key, value in row.items() if key != "object"})
