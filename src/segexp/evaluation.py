"""Scores of a model on annotated images: a row for each image and class, and their means."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from segexp.data.images import IGNORE
from segexp.data.pairs import Sample
from segexp.inference.predictor import Predictor
from segexp.metrics import Counts, cldice, confusion, overlap_scores

Row = dict[str, str | int | float]
SCORES = ("dice", "iou", "precision", "recall", "cldice", "bce")


def score_image(
    probabilities: np.ndarray,
    labels: np.ndarray,
    truth: np.ndarray,
    classes: Sequence[str],
    image: str,
    centreline: bool = False,
) -> list[Row]:
    """Rows of one image, one a class.

    Probabilities (K, H, W), predicted and true labels (H, W); 255 in the truth counts nowhere. `bce` is the mean binary
    cross-entropy in nats, the validation loss.
    """
    known = truth != IGNORE
    rows: list[Row] = []
    for index, name in enumerate(classes, 1):
        predicted, true = (labels == index) & known, truth == index
        counts = confusion(predicted, true, known)
        likelihood = np.where(true, probabilities[index - 1], 1 - probabilities[index - 1])[known]
        bce = -float(np.log(likelihood.clip(1e-7)).mean()) if likelihood.size else 0.0
        row: Row = {"image": image, "class": name, **overlap_scores(counts), "bce": bce, **counts._asdict()}
        if centreline:
            row["cldice"] = cldice(predicted, true)
        rows.append(row)
    return rows


def evaluate(
    predictor: Predictor,
    samples: Iterable[Sample],
    centreline: bool = False,
    look: Callable[[int, Sample, np.ndarray], None] | None = None,
) -> list[Row]:
    """Predict every sample whole and score it.

    `centreline` adds clDice, which skeletonises and takes longer; `look` is shown the number, the sample and its
    predicted labels (H, W).
    """
    rows: list[Row] = []
    for index, sample in enumerate(samples):
        pixels, truth = sample.load()
        probabilities = predictor.probabilities(pixels)
        labels = predictor.labels(probabilities)
        rows += score_image(probabilities, labels, truth, predictor.classes, sample.name, centreline)
        if look is not None:
            look(index, sample, labels)
    return rows


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """Mean of each score over images and classes, and `dice_pooled`, from the pixels of all images together.

    The mean weighs every image alike, however much it holds; the pooled score weighs every pixel alike.
    """
    means = {name: float(np.mean([row[name] for row in rows])) for name in SCORES if name in rows[0]}
    pooled = []
    for name in dict.fromkeys(row["class"] for row in rows):
        counts = [Counts(*(int(row[f]) for f in Counts._fields)) for row in rows if row["class"] == name]
        pooled.append(overlap_scores(sum(counts, Counts(0, 0, 0, 0)))["dice"])
    return means | {"dice_pooled": float(np.mean(pooled))}
