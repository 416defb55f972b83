"""A threshold at which, on average, a given share of the foreground is found: conformal risk control.

The risk of an image is the share of its foreground that the mask misses, between 0 and 1. It can only grow with the
threshold, also where small pieces are dropped. With n annotated images of mean risk R(t), the largest threshold t with
(n R(t) + 1) / (n + 1) <= a keeps the expected risk of a further image at or below a, if that image and the n are
exchangeable (Angelopoulos, Bates, Fisch, Lei, Schuster: Conformal Risk Control, arXiv:2208.02814, theorem 1). So n and
R at some thresholds are all that a model file has to keep.

Each class has a risk of its own, over the images that hold it; the lowest of the thresholds serves all classes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample
from segexp.errors import InputError
from segexp.inference.predictor import Predictor
from segexp.inference.row_reader import ArrayRows
from segexp.inference.sliding_window import Tiling, assemble
from segexp.io.images import IGNORE
from segexp.metrics.region import without_small
from segexp.model_facts import LEVELS as COUNT

KEY = "guarantee"
"""Key of the entry in a model file."""
LEVELS = (1 / (1 + np.exp(-np.arange(-40, COUNT - 40) / 4))).astype(np.float32)
"""Thresholds at which risks are kept, evenly in the logit: 4.5e-5 to 0.85."""
_TINY = 1e-9  # what 1 - 0.9 lacks of 0.1


class Counts(NamedTuple):
    """Pixels of one image by class.

    Attributes:
        found: (K, `LEVELS`) true positive pixels at each threshold.
        marked: (K, `LEVELS`) predicted pixels at each threshold.
        true: (K,) pixels of the class.
    """

    found: NDArray[np.int64]
    marked: NDArray[np.int64]
    true: NDArray[np.int64]


class Choice(NamedTuple):
    """A threshold for a guarantee.

    Attributes:
        threshold: to predict with; never above the model's own.
        images: the smallest number of images of a class from which it was computed.
        lines: sentences on what is guaranteed and what it costs.
    """

    threshold: float
    images: int
    lines: list[str]


def count(maps: NDArray[np.float32], truth: NDArray[np.uint8], min_size: int = 0) -> Counts:
    """Count true positive and predicted pixels at all `LEVELS`, from probabilities (K, H, W) and labels (H, W).

    The masks are those of `Predictor.labels`: the likeliest class, without pieces under `min_size` pixels. Dropping
    these takes a second a megapixel and class.
    """
    known = truth != IGNORE
    likeliest = maps.argmax(axis=0) if len(maps) > 1 else None
    found: list[NDArray[np.int64]] = []
    marked: list[NDArray[np.int64]] = []
    true = []
    for index, probability in enumerate(maps):
        level = np.searchsorted(LEVELS, probability, side="right").astype(np.uint8)  # thresholds that it reaches
        if likeliest is not None:
            level[likeliest != index] = 0
        if min_size > 1:
            level = _without_small(level, min_size)
        own = truth == index + 1
        for pixels, into in ((own, found), (known, marked)):
            histogram = np.bincount(level[pixels], minlength=COUNT + 1)
            into.append(histogram[::-1].cumsum()[::-1][1:])
        true.append(np.count_nonzero(own))
    return Counts(np.array(found), np.array(marked), np.array(true))


def _without_small(level: NDArray[np.uint8], min_size: int) -> NDArray[np.uint8]:
    """How many levels a pixel reaches without the pieces that are under `min_size` pixels at that level."""
    kept = np.zeros_like(level)
    for each in range(COUNT):
        kept += without_small(level > each, min_size)
    return kept


def table(counts: Sequence[Counts]) -> list[dict[str, Any]]:
    """The entries of a model file, one a class: ``images`` that hold it; their mean share ``missed``; ``precision``.

    The last two at each of `LEVELS`; precision is of the pixels of all images together.
    """
    found, marked, true = (np.array(part) for part in zip(*counts, strict=True))  # images first
    entries = []
    for label in range(true.shape[1]):
        holding = true[:, label] > 0
        missed = 1 - found[holding, label] / true[holding, label, None]
        precision = found[:, label].sum(axis=0) / np.maximum(marked[:, label].sum(axis=0), 1)
        mean = missed.mean(axis=0) if holding.any() else np.ones(COUNT)
        entries.append({"images": int(holding.sum()), "missed": mean.tolist(), "precision": precision.tolist()})
    return entries


def calibrate(
    predictor: Predictor,
    samples: Iterable[Sample],
    tiling: Tiling | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """`table` of a predictor with its settings, ensembles and symmetries included, from annotated images."""
    counts = []
    for done, sample in enumerate(samples, 1):
        pixels, truth = sample.load()
        bands = predictor.bands(ArrayRows(pixels), tiling, name=sample.name)
        maps = assemble(bands, (len(predictor.classes), *truth.shape))
        counts.append(count(maps, truth, predictor.min_size))
        progress(done)
    return table(counts)


def choose(entries: Sequence[Mapping[str, Any]], classes: Sequence[str], found: float, own: float) -> Choice:
    """The threshold at which on average a share of at least `found` of the foreground is found.

    Args:
        entries: of `table`.
        classes: their names.
        found: 0.9 allows an expected risk of 0.1.
        own: the model's threshold, kept if it is low enough.

    Raises:
        InputError: if there are too few images for that share, or no threshold reaches it.
    """
    risk = 1 - found
    chosen, lines = own, []
    for name, entry in zip(classes, entries, strict=True):
        which = f" of {name}" if len(classes) > 1 else ""
        images, missed = entry["images"], np.array(entry["missed"])
        needed = math.ceil(1 / risk - 1 - _TINY)
        if images < needed:
            most = _floor(images / (images + 1))
            less = f"ask for {most:g} or less, or give" if most > 0 else "give"
            raise InputError(
                f"a guarantee of {found:g} needs {needed} or more validation images with foreground{which}; there are "
                f"{images}; {less} more annotated images by --calibrate-on DATA"
            )
        bounds = (images * missed + 1) / (images + 1)
        fitting = np.flatnonzero(bounds <= risk + _TINY)
        if not len(fitting):
            raise InputError(
                f"a guarantee of {found:g} cannot be given: on the {images} validation images the model misses "
                f"{100 * missed[0]:.3g} % of the foreground{which} even at a threshold of {LEVELS[0]:.1g}; "
                + (f"ask for {_floor(1 - bounds[0]):g} or less" if _floor(1 - bounds[0]) > 0 else "no share can be")
            )
        chosen = min(chosen, float(LEVELS[fitting[-1]]))
    for name, entry in zip(classes, entries, strict=True):
        of = f"{name}: " if len(classes) > 1 else ""
        before = "" if chosen == own else f", and {_at(entry, own)} at its own threshold of {own:.3g}"
        lines.append(f"{of}on the {entry['images']} validation images {_at(entry, chosen)}{before}")
    promise = (
        f"guarantee {found:g}: threshold {chosen:.3g}; of the foreground of a further image, drawn as the validation "
        f"images were, {100 * found:.4g} % or more is found in expectation"
    )
    return Choice(chosen, min(entry["images"] for entry in entries), [promise, *lines])


def _floor(share: float) -> float:
    """To two digits, never above."""
    return math.floor(100 * share + _TINY) / 100


def _at(entry: Mapping[str, Any], threshold: float) -> str:
    """What is found at the nearest threshold of which that is known, not above `threshold`."""
    place = max(int(np.searchsorted(LEVELS, np.float32(threshold), side="right")) - 1, 0)
    return f"{100 * (1 - entry['missed'][place]):.1f} % is found (precision {entry['precision'][place]:.2f})"
