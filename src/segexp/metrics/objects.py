"""Scores of objects rather than pixels: how many were found, and how well each.

Objects are the 8-connected pieces of a mask, or the labels of a label image. A predicted and a true object match where
their intersection over union reaches a threshold of 0.5 or more; then no object has two partners, but for halves that
share an object exactly, where either choice gives the same counts. So no assignment has to be searched.

The rule for empty images: with no object in either, F1, average precision and panoptic quality are 1; with objects in
only one, 0. Centre and radius errors are means over matched pairs and NaN if there are none: such an image takes no
part in their mean.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.metrics.region import Pieces, pieces, shared_pixels

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
"""Intersections over union at which objects are matched: 0.5, 0.55, ... 0.9."""


class Matching(NamedTuple):
    """Predicted and true objects of an image, and the pairs of them that overlap most.

    Attributes:
        predicted, true: the objects: areas in pixels (N,), centres (N, 2).
        pairs: int64 (P, 2): indices of a predicted and a true object, each in one pair at most.
        iou: (P,) of each pair, 0.5 or more.
    """

    predicted: Pieces
    true: Pieces
    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]


def match_objects(prediction: NDArray, truth: NDArray, known: NDArray | None = None) -> Matching:
    """Match the objects of two masks (H, W): boolean, or integer labels with 0 outside.

    Pixels where `known` is False belong to no object; a predicted object that lies there by more than half is dropped,
    since nobody knows whether it is right.
    """
    predicted, true = _objects(np.asarray(prediction)), _objects(np.asarray(truth))
    if known is not None and not known.all():
        true = _objects(np.where(known, true.labels, 0))
        inside = np.bincount(predicted.labels[known], minlength=len(predicted.areas) + 1)[1:]
        keep = np.concatenate([[False], 2 * inside >= predicted.areas])
        predicted = _objects(np.where(keep[predicted.labels] & known, predicted.labels, 0))
    predicted_sizes, true_sizes, shared = shared_pixels(predicted.labels, true.labels)
    iou = shared / (predicted.areas[predicted_sizes - 1] + true.areas[true_sizes - 1] - shared)
    order = np.argsort(-iou, kind="stable")
    order = order[iou[order] >= 0.5]
    taken_predicted: set[int] = set()
    taken_true: set[int] = set()
    chosen = []
    for index in order:
        pair = int(predicted_sizes[index]), int(true_sizes[index])
        if pair[0] not in taken_predicted and pair[1] not in taken_true:
            taken_predicted.add(pair[0])
            taken_true.add(pair[1])
            chosen.append(index)
    rows = np.array(chosen, np.int64)
    pairs = np.stack([predicted_sizes[rows], true_sizes[rows]], axis=1) - 1 if len(rows) else np.empty((0, 2), np.int64)
    return Matching(predicted, true, pairs, iou[rows])


def object_scores(matching: Matching, spacing: float = 1.0) -> dict[str, float]:
    """Scores of matched objects.

    Returns:
        `object_f1`, `object_precision` and `object_recall` at IoU 0.5; `object_f1_75` at 0.75; `object_ap`, the mean
        over IoU 0.5 to 0.9 of matched / (matched + missed + invented) (Caicedo et al. 2019,
        doi:10.1038/s41592-019-0612-7); `panoptic_quality` (Kirillov et al. 2019, arXiv:1801.00868); `objects_truth`
        and `objects_prediction`, counts; `count_error`, their absolute difference; `centre_error` and `radius_error`
        of matched pairs, mean absolute, in the unit of `spacing`, the radius being that of a disc of the same area.
    """
    predicted, true = len(matching.predicted.areas), len(matching.true.areas)
    matched = [int(np.count_nonzero(matching.iou >= threshold)) for threshold in THRESHOLDS]
    empty = 1.0 if predicted + true == 0 else 0.0

    def share(part: float, whole: float) -> float:
        return part / whole if whole else empty

    predicted_ids, true_ids = matching.pairs.T
    apart = matching.predicted.centres[predicted_ids] - matching.true.centres[true_ids]
    wider = equivalent_radius(matching.predicted.areas[predicted_ids]) - equivalent_radius(
        matching.true.areas[true_ids]
    )
    return {
        "object_f1": share(2 * matched[0], predicted + true),
        "object_precision": share(matched[0], predicted),
        "object_recall": share(matched[0], true),
        "object_f1_75": share(2 * matched[5], predicted + true),
        "object_ap": float(np.mean([share(hits, predicted + true - hits) for hits in matched])),
        "panoptic_quality": share(2 * float(matching.iou.sum()), predicted + true),
        "count_error": float(abs(predicted - true)),
        "centre_error": float(np.hypot(*apart.T).mean()) * spacing if len(predicted_ids) else math.nan,
        "radius_error": float(np.abs(wider).mean()) * spacing if len(predicted_ids) else math.nan,
        "objects_truth": float(true),
        "objects_prediction": float(predicted),
    }


def equivalent_radius(areas: NDArray) -> NDArray[np.float64]:
    """Radius of the disc that has the same area."""
    return np.sqrt(np.asarray(areas, np.float64) / math.pi)


def _objects(image: NDArray) -> Pieces:
    """Objects of a boolean mask, or of a label image, numbered anew without gaps."""
    if image.dtype == bool:
        return pieces(image)
    names, inverse = np.unique(image, return_inverse=True)
    labels: NDArray = inverse.reshape(image.shape) + int(names[0] != 0)
    areas = np.bincount(labels.ravel(), minlength=1)[1:]
    rows, columns = np.indices(image.shape)
    sums = [np.bincount(labels.ravel(), weights=axis.ravel(), minlength=1)[1:] for axis in (rows, columns)]
    return Pieces(labels, areas, np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None])
