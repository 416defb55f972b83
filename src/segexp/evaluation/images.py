"""Score a model on many annotated images: briefly during training, in full after it and by `segexp evaluate`."""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segexp.data.dataset import Sample
from segexp.evaluation.scores import Row, is_number, score_image
from segexp.evaluation.scoring import TWO_PIXELS, Scoring, Tolerance, pixel_sides
from segexp.inference.predictor import Predictor
from segexp.measurements.vesicles import split_touching
from segexp.metrics.overlap import Counts, overlap_scores
from segexp.metrics.registry import SCORES, to_compute

OnImage = Callable[[int, Sample, NDArray], None]
"""Called with the number of an image, the sample and its predicted labels (H, W)."""


@dataclass
class Evaluation:
    """The results of a model on some images.

    Attributes:
        unit: of lengths: ``px``, or ``µm`` if the size of every image's pixels is known.
        tolerance: of centrelines and outlines.
        rows: one an image and class: image, class, group, every score, tp, fp, fn, tn.
        images: one an image: name, group, height, width, pixel size (µm or None), and fingerprints of its truth and of
            its pixels.
        histograms: (2, BINS) by class, the sum over images; empty without the family ``probability``.
        sizes: by kind (``object_diameter``, ``filament_length``) the sizes of all true and of all predicted ones.
    """

    unit: str = "px"
    tolerance: Tolerance = TWO_PIXELS
    rows: list[Row] = field(default_factory=list)
    images: list[dict[str, str | float | None]] = field(default_factory=list)
    histograms: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    sizes: dict[str, tuple[list[NDArray], list[NDArray]]] = field(default_factory=dict)


def evaluate(
    predictor: Predictor,
    samples: Iterable[Sample],
    scoring: Scoring | None = None,
    on_image: OnImage | None = None,
    sides: Sequence[float] | None = None,
) -> list[Row]:
    """Rows of overlap scores and of the monitored score's inputs: all that validation during training needs.

    `scoring` names the monitored score (None: one of overlap) and its tolerance; `sides` are the pixels' in µm for each
    sample, None: lengths in pixels.
    """
    scoring = scoring or Scoring()
    families = to_compute(scoring.monitor)
    rows: list[Row] = []
    for index, sample in enumerate(samples):
        pixels, truth = sample.load()
        probabilities = predictor.probabilities(pixels)
        labels = predictor.labels(probabilities)
        side = sides[index] if sides else 1.0
        objects = objects_of(sample, labels, scoring.split) if "object" in families else None
        reach = scoring.tolerance.of(side)
        scored = score_image(
            probabilities, labels, truth, predictor.classes, sample.name, families, "", reach, side, objects
        )
        rows += [scores.row for scores in scored]
        if on_image is not None:
            on_image(index, sample, labels)
    return rows


def evaluate_fully(
    predictor: Predictor,
    samples: Sequence[Sample],
    families: Collection[str],
    tolerance: Tolerance = TWO_PIXELS,
    pixel_size: float | None = None,
    on_image: OnImage | None = None,
    probabilities: Callable[[int, NDArray], NDArray] | None = None,
    split: float = 0.0,
) -> Evaluation:
    """Predict every sample whole and compute every score of the `families`.

    Args:
        tolerance: of centrelines and outlines.
        pixel_size: µm, in place of what the files say. Lengths are in µm if it is known of all images.
        probabilities: returns known probabilities of image number i with these pixels.
        split: depth at which predicted objects are split if the truth separates touching ones; see `Scoring`.
    """
    sides = pixel_sides(samples, pixel_size, tolerance)
    result = Evaluation(unit="px" if sides is None else "µm", tolerance=tolerance)
    for index, sample in enumerate(samples):
        pixels, truth = sample.load()
        maps = probabilities(index, pixels) if probabilities else predictor.probabilities(pixels, name=sample.name)
        labels = predictor.labels(maps)
        group = sample.group
        side = 1.0 if sides is None else sides[index]
        reach = tolerance.of(side)
        objects = objects_of(sample, labels, split) if "object" in families else None
        scored = score_image(maps, labels, truth, predictor.classes, sample.name, families, group, reach, side, objects)
        for name, scores in zip(predictor.classes, scored, strict=True):
            result.rows.append(scores.row)
            if scores.histogram is not None:
                result.histograms[name] = result.histograms.get(name, 0) + scores.histogram
            for kind, (true, predicted) in scores.sizes.items():
                kept = result.sizes.setdefault(kind, ([], []))
                kept[0].append(true)
                kept[1].append(predicted)
        result.images.append(
            {
                "name": sample.name,
                "group": group,
                "height": truth.shape[0],
                "width": truth.shape[1],
                "pixel_size": None if sides is None else side,
                "truth": _digest(truth),
                "pixels": _digest(pixels),
            }
        )
        if on_image is not None:
            on_image(index, sample, labels)
    result.rows = without_absent_classes(result.rows)
    return result


def objects_of(sample: Sample, labels: NDArray, split: float) -> tuple[NDArray, NDArray] | None:
    """Ids of predicted and true objects (H, W) if the truth separates touching objects; else None."""
    ids = sample.instances()
    return None if ids is None else (split_touching(labels == 1, split), ids)


def without_absent_classes(rows: Sequence[Row]) -> list[Row]:
    """The rows, with NaN for the scores of a class of which no image in the rows holds a pixel.

    Such a class cannot be found or missed there; only scores over all pixels (`Score.without_truth`) are kept. A class
    that is absent from one image and present in another keeps its scores: 1 if nothing was predicted either, else 0.
    """
    present = {row["class"] for row in rows if row["tp"] or row["fn"]}
    blank = {name: math.nan for name, score in SCORES.items() if not score.without_truth}
    return [
        row if row["class"] in present else row | {name: nan for name, nan in blank.items() if name in row}
        for row in rows
    ]


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """Mean of each score over images and classes, and `dice_pooled`, from the pixels of all images together.

    The mean weights images equally; the pooled score weights pixels equally. A score that no image has is left out, and
    a class that no image holds is left out of all scores except those over all pixels.
    """
    rows, means = without_absent_classes(rows), {}
    for name in SCORES:
        values = image_values(rows, name)
        if not np.isnan(values).all():
            means[name] = float(np.nanmean(values))
    pooled = [scores["dice"] for scores in pooled_scores(rows).values() if is_number(scores["dice"])]
    return means | ({"dice_pooled": float(np.mean(pooled))} if pooled else {})


def image_values(rows: Sequence[Row], score: str) -> NDArray[np.float64]:
    """A score of each image, in the order of their first rows: the mean of its classes; NaN if none has it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        cell = row.get(score)
        values.setdefault(str(row["image"]), []).extend([float(cell)] if is_number(cell) else [])  # type: ignore[arg-type]
    return np.array([np.mean(found) if found else np.nan for found in values.values()])


def pooled_scores(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Overlap scores by class, from the pixels of all images together; NaN if no row has the score."""
    pooled = {}
    for name in dict.fromkeys(str(row["class"]) for row in rows):
        own = [row for row in rows if row["class"] == name]
        counts = [Counts(*(int(row[f]) for f in Counts._fields)) for row in own]
        pooled[name] = {
            score: value if any(is_number(row.get(score)) for row in own) else math.nan
            for score, value in overlap_scores(sum(counts, Counts(0, 0, 0, 0))).items()
        }
    return pooled


def _digest(array: NDArray) -> str:
    """Sixteen hexadecimal digits that differ if shape, dtype or any value does."""
    digest = hashlib.blake2b(f"{array.shape} {array.dtype}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
