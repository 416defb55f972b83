"""Rows of scores and their two kinds of mean."""

import numpy as np
import pytest

from segexp.evaluation import score_image, summarize


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
