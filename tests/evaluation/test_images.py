"""Rows of scores and their two kinds of mean."""

import numpy as np
import pytest

from segexp.data.pairs import Reading, read_folder
from segexp.evaluation import evaluate_fully, score_image, summarize
from segexp.inference.predictor import Predictor
from segexp.models import UNet


def rows_of(truth, prediction, image="a", classes=("x",)):
    truth, prediction = np.array(truth, np.uint8), np.array(prediction, np.uint8)
    probabilities = np.stack([np.where(prediction == k, 0.9, 0.1) for k in range(1, len(classes) + 1)])
    return [scores.row for scores in score_image(probabilities, prediction, truth, classes, image)]


def test_one_image_by_hand():
    (row,) = rows_of([[1, 1, 0, 0]], [[1, 0, 1, 0]])
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (1, 1, 1, 1)
    assert row["dice"] == 0.5
    assert row["bce"] == pytest.approx(-(2 * np.log(0.9) + 2 * np.log(0.1)) / 4)


def test_mean_weighs_images_and_pooled_weighs_pixels():
    rows = rows_of([[1] * 100], [[1] * 100], "large") + rows_of([[1, 0]], [[0, 1]], "small")
    scores = summarize(rows)
    assert scores["dice"] == 0.5
    assert scores["dice_pooled"] == pytest.approx(200 / 202)


def test_classes_are_scored_apart():
    rows = rows_of([[1, 2, 0]], [[1, 0, 0]], classes=("a", "b"))
    assert [(row["class"], row["dice"]) for row in rows] == [("a", 1), ("b", 0)]


def test_pixels_nobody_annotated_count_nowhere():
    (row,) = rows_of([[1, 255, 255]], [[1, 1, 0]])
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (1, 0, 0, 0)
    (row,) = rows_of([[255, 255]], [[1, 0]])
    assert row["dice"] == 1
    assert row["bce"] == 0


@pytest.mark.parametrize(("ids", "found"), [(True, (2, 2, 1.0)), (False, (1, 1, 1.0))])
def test_touching_objects_are_told_apart_where_the_truth_does(tmp_path, ids, found):
    """Two discs that touch, predicted perfectly: two objects each with ids in the mask, one without."""
    y, x = np.mgrid[:40, :64]
    discs = [(y - 20) ** 2 + (x - middle) ** 2 <= 100 for middle in (21, 41)]
    mask = (discs[0] | discs[1]).astype(np.uint16)
    mask[discs[1]] = 9 if ids else 1
    for name in ("img", "mask"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "img" / "a.npy", mask)
    np.save(tmp_path / "mask" / "a.npy", mask)
    reading = Reading(masks="instances" if ids else "binary")
    samples = read_folder(tmp_path / "img", tmp_path / "mask", reading)
    maps = (mask > 0).astype(np.float32)[None]
    predictor = Predictor(UNet(1, 1, widths=(4, 8)), "standard", ["disc"])
    scored = evaluate_fully(predictor, samples, ("object",), probabilities=lambda index, pixels: maps, split=0.5)
    (row,) = scored.rows
    assert (row["objects_truth"], row["objects_prediction"], row["object_f1"]) == found
