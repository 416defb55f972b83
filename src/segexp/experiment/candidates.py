"""Choose the final model of a run among a few candidates: on which images they are compared, how, and the log line.

Everything here works on plain numbers and images; `segexp.experiment.finetune` trains the candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample, make_sample
from segexp.data.splits import split_fold
from segexp.io.labels import IGNORE
from segexp.metrics.interval import paired_difference
from segexp.metrics.registry import find
from segexp.training.schedule import Budget

GIVEN, TUNED, SCRATCH = "given", "trained", "scratch"
TITLES = {
    GIVEN: "the given model as it was",
    TUNED: "the fine-tuned model",
    SCRATCH: "the model from scratch",
}
FOLDS = 2
"""Number of folds of the annotated images."""
NARROWEST = 8
"""Smallest side of a part of an image that is not cut in the middle, in pixels."""
LEAST_SECONDS, LEAST_STEPS = 20, 60
"""Least time and number of steps for training from scratch in addition to fine-tuning: with less it hardly learns."""
KNOWN = 0.5
"""Dice on the annotated images below which the given model does not recognise the objects.

If there is time for one training only, the network is then trained from scratch: it learned more in the same number of
steps than by fine-tuning (docs/finetune.md).
"""

MARGIN = 0.02
"""By how much a trained model has to be better than the given one on a single annotated image (a score from 0 to 1).

With more images it is divided by the square root of their number, as the error of a mean is. Images that were annotated
are not like all others: on nuclei, models fine-tuned on one and two images were better there by 0.014 and 0.007 and
worse on others by 0.013 and 0.007 (docs/finetune.md).
"""


@dataclass(frozen=True)
class Candidate:
    """A model that a run may end with.

    Attributes:
        kind: `GIVEN`, `TUNED` or `SCRATCH`.
        values: (N,) its score of each image; NaN if it is not defined.
        optimism: what the choice of its threshold on the same images is expected to gain.
    """

    kind: str
    values: NDArray[np.float64]
    optimism: float = 0.0

    def mean(self) -> float:
        """Mean score over the images that have one; NaN if none has."""
        return float("nan") if np.isnan(self.values).all() else float(np.nanmean(self.values))


def choose(
    candidates: Sequence[Candidate], score: str, lower: bool, images: str, margin: float = 0.0
) -> tuple[Candidate, str, dict[str, Any]]:
    """Choose the candidate with the best mean score minus its optimism; the first one of equals.

    A trained one must be better than the given model by more than `margin`.

    Args:
        candidates: scored on the same images, in the same order.
        score: its name, for the log line.
        lower: whether lower scores are better.
        images: what they were compared on, for the log line: ``9 validation images``.
        margin: in units of the score.

    Returns:
        the candidate; the log line, with the difference to each other candidate and its interval, paired by image; the
        same facts as plain values, for the model file.
    """
    sign = -1.0 if lower else 1.0

    def worth(candidate: Candidate) -> float:
        mean = sign * candidate.mean() - candidate.optimism - margin * (candidate.kind != GIVEN)
        return -np.inf if np.isnan(mean) else mean

    best = max(candidates, key=worth)
    parts, against = [], {}
    for other in candidates:
        if other is best:
            continue
        gap = paired_difference(best.values, other.values)
        interval = list(gap.interval) if gap.interval else None
        between = f"95 % interval {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else "too few for an interval"
        parts.append(f"{gap.mean:+.4f} against {TITLES[other.kind]} ({other.mean():.4f}; {between})")
        against[other.kind] = {"difference": gap.mean, "interval": interval}
    line = f"kept: {TITLES[best.kind]}; {score} {best.mean():.4f}, {', '.join([*parts, f'over {images}'])}"
    chance = [f"{each.optimism:.4f} for {TITLES[each.kind]}" for each in candidates if each.optimism > 0]
    if chance:
        line += f"; taken off for the choice of the threshold: {', '.join(chance)}"
    if margin and any(each.kind == GIVEN for each in candidates):
        line += f"; with so few images a trained model has to be better than the given one by {margin:.4f}"
    scores = {each.kind: each.mean() for each in candidates}
    return best, line, {"kept": best.kind, "score": score, "scores": scores, "images": images, "against": against}


def margin_of(samples: Sequence[Sample], score: str) -> float:
    """The margin of `choose` for a comparison on these annotated images; images of a group count as one.

    0 for a score that is not from 0 to 1 with higher ones better.
    """
    found = find(score)
    if found.lower or found.unit:
        return 0.0
    return MARGIN / len({sample.group or str(index) for index, sample in enumerate(samples)}) ** 0.5


def affordable(budget: Budget, share: float) -> bool:
    """Whether `share` of a budget is enough to train a network from scratch."""
    if not share:
        return False
    part = budget.part(share)
    steps = [limit for limit in (part.steps, part.epochs) if limit is not None]
    return min(steps, default=LEAST_STEPS) >= LEAST_STEPS and (part.seconds or LEAST_SECONDS) >= LEAST_SECONDS


def kinds_to_train(given: float, both: bool) -> tuple[str, ...]:
    """The candidates to train, in order.

    Args:
        given: Dice of the given model on the annotated images; NaN if it cannot be compared.
        both: whether there is time for training from scratch in addition to fine-tuning.
    """
    if both:
        return TUNED, SCRATCH
    return (SCRATCH,) if given < KNOWN else (TUNED,)


def annotated(train: Sequence[Sample], val: Sequence[Sample]) -> list[Sample]:
    """The images of both lists, each once; if two have the same name, that of `val` is renamed to ``val_NAME``."""
    found = {sample.digest or sample.name: sample for sample in train}
    names = {sample.name for sample in train}
    for sample in val:
        other = replace(sample, name=f"val_{sample.name}") if sample.name in names else sample
        found.setdefault(sample.digest or other.name, other)
    return list(found.values())


def fold_images(
    samples: Sequence[Sample], classes: int, normalization: str, seed: int
) -> tuple[list[Sample], list[list[int]]]:
    """Images for a cross-fitted comparison, and the numbers of those in each of the `FOLDS` folds.

    Images of a group stay together. Each fold gets images with foreground, since a model learns nothing from images
    without any, and one that finds nothing has the best score on them. If only one image or group has foreground, each
    image is cut into two halves, and all first halves form one fold.

    Args:
        samples: the annotated images.
        classes: the background not counted.
        normalization: of the task.
        seed: of the random division.
    """
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.group or str(index), []).append(index)
    empty = [name for name, members in groups.items() if not any(_has_foreground(samples[index]) for index in members)]
    filled = groups.keys() - set(empty)
    if len(filled) < FOLDS:
        halves = [half for sample in samples for half in cut(sample, classes, normalization)]
        return halves, [list(range(0, len(halves), 2)), list(range(1, len(halves), 2))]
    names = [list(split_fold(filled, fold, FOLDS, None, seed).val) for fold in range(1, FOLDS + 1)]
    for number, name in enumerate(empty, 1):
        names[-number % FOLDS].append(name)  # the last fold first: it is never the larger one
    return list(samples), [sorted(index for name in part for index in groups[name]) for part in names]


def _has_foreground(sample: Sample) -> bool:
    return bool(sample.class_pixels[1:].any())


def cut(sample: Sample, classes: int, normalization: str) -> tuple[Sample, Sample]:
    """Cut an image in two, across its rows or its columns, whichever leaves more foreground in both parts.

    It is cut in the middle, or, if one part would then hold no foreground, through the middle of the foreground.
    """
    pixels, labels = sample.load()
    foreground = (labels > 0) & (labels != IGNORE)
    halves = _best_cut(foreground, [length // 2 for length in labels.shape])
    if _least(foreground, halves) == 0 and foreground.any():
        middles = [int(np.median(places)) for places in np.nonzero(foreground)]
        least = [min(NARROWEST, length // 2) for length in labels.shape]
        inside = zip(middles, least, labels.shape, strict=True)
        halves = _best_cut(foreground, [min(max(place, few), length - few) for place, few, length in inside])
    stem, dot, suffix = sample.name.rpartition(".")
    first, second = (
        make_sample(
            f"{stem or suffix}_half{number}{dot if stem else ''}{suffix if stem else ''}",
            np.ascontiguousarray(pixels[:, *half]),
            np.ascontiguousarray(labels[half]),
            classes,
            normalization,
        )
        for number, half in enumerate(halves, 1)
    )
    for half in (first, second):
        half.pixel_size, half.group = sample.pixel_size, sample.group
    return first, second


Window = tuple[slice, slice]


def _best_cut(foreground: NDArray[np.bool_], places: Sequence[int]) -> tuple[Window, Window]:
    """The two windows before and behind a row or a column, given by `places`, that leave more foreground in both."""
    row, column = places
    everything = slice(None)
    cuts: list[tuple[Window, Window]] = [
        ((slice(None, row), everything), (slice(row, None), everything)),
        ((everything, slice(None, column)), (everything, slice(column, None))),
    ]
    return max(cuts, key=lambda windows: _least(foreground, windows))


def _least(foreground: NDArray[np.bool_], windows: tuple[Window, Window]) -> int:
    return min(int(np.count_nonzero(foreground[window])) for window in windows)
