"""Rows of scores and their two kinds of mean."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from segexp.data.dataset import Reading, find_pairs, make_sample, read_folder, read_samples
from segexp.errors import InputError
from segexp.evaluation import FAMILIES, evaluate_fully, score_image, summarize
from segexp.evaluation.images import pooled_scores, without_absent_classes
from segexp.evaluation.io import score_table
from segexp.evaluation.operating_point import choose_operating_point
from segexp.evaluation.scoring import Scoring, monitor_for, present_classes
from segexp.inference.predictor import Predictor
from segexp.models import UNet
from tests.inference.test_predictor import HOT, Overflows


def rows_of(truth, prediction, image="a", classes=("x",)):
    truth, prediction = np.array(truth, np.uint8), np.array(prediction, np.uint8)
    probabilities = np.stack([np.where(prediction == k, 0.9, 0.1) for k in range(1, len(classes) + 1)])
    return [scores.row for scores in score_image(probabilities, prediction, truth, classes, image)]


def test_one_image_by_hand():
    (row,) = rows_of([[1, 1, 0, 0]], [[1, 0, 1, 0]])
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (1, 1, 1, 1)
    assert row["dice"] == 0.5
    assert row["bce"] == pytest.approx(-(2 * np.log(0.9) + 2 * np.log(0.1)) / 4)


def test_an_answer_that_is_no_number_is_not_scored_as_background():
    sample = make_sample("hot.tif", HOT, np.zeros(HOT.shape[1:], np.uint8), 1)
    predictor = Predictor(Overflows(), "standard", ["x"], finished=True)
    with pytest.raises(InputError, match=r"hot\.tif: the network returns NaN"):
        evaluate_fully(predictor, [sample], FAMILIES)


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


def test_cldice_is_the_same_alone_and_among_the_filament_scores_where_not_all_is_annotated():
    rng = np.random.default_rng(0)
    truth, predicted, unknown = (gaussian_filter(rng.random((3, 64, 64)), (0, 3, 3)) > 0.5).astype(np.uint8)
    truth[unknown > 0] = 255
    maps = predicted[None].astype(np.float32)
    alone, among = (
        score_image(maps, predicted, truth, ["x"], "a", (family,))[0].row["cldice"] for family in ("cldice", "filament")
    )
    assert alone == among
    assert 0 < among < 1


def test_an_image_that_nobody_annotated_is_no_perfect_one():
    rows = rows_of([[255, 255]], [[1, 0]], "blank") + rows_of([[1, 0, 1, 0]], [[1, 0, 0, 0]], "half")
    assert np.isnan(rows[0]["dice"])
    assert (rows[0]["tp"], rows[0]["tn"]) == (0, 0)
    scores = summarize(rows)
    assert scores["dice"] == scores["dice_pooled"] == pytest.approx(2 / 3)
    assert scores["specificity"] == 1
    assert scores["bce"] == rows[1]["bce"]


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


def test_a_class_that_no_image_holds_is_undefined_and_counts_in_no_mean():
    rows = rows_of([[1, 2, 0, 0]], [[0, 0, 0, 0]], "a", classes=("a", "b", "c"))
    rows += rows_of([[1, 0, 0, 0]], [[0, 0, 3, 0]], "b", classes=("a", "b", "c"))
    scores = summarize(rows)
    # image a: classes a and b are missed, 0 and 0; image b: a missed, 0, and b absent here only, 1
    assert scores["dice"] == scores["iou"] == (0 + 0.5) / 2
    assert scores["recall"] == 0.25
    assert scores["dice_pooled"] == 0
    assert scores["specificity"] == pytest.approx((1 + (1 + 1 + 0.75) / 3) / 2)
    blank = without_absent_classes(rows)
    assert [np.isnan(row["dice"]) for row in blank] == [False, False, True] * 2
    assert [row["fp"] for row in blank] == [row["fp"] for row in rows]
    assert np.isnan(pooled_scores(blank)["c"]["dice"])


def test_without_any_foreground_only_what_needs_none_is_defined():
    scores = summarize(rows_of([[0, 0, 0, 0]], [[1, 0, 0, 0]]) + rows_of([[0, 0]], [[0, 0]], "b"))
    assert set(scores) == {"specificity", "bce"}
    assert scores["specificity"] == (0.75 + 1) / 2


def test_the_record_of_an_absent_class_is_empty(tmp_path):
    for name in ("img", "mask"):
        (tmp_path / name).mkdir()
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 4:8] = 1
    for name in ("a", "b", "c"):
        np.save(tmp_path / "img" / f"{name}.npy", mask)
        np.save(tmp_path / "mask" / f"{name}.npy", mask)
    samples = read_folder(tmp_path / "img", tmp_path / "mask", Reading(classes=2))
    predictor = Predictor(UNet(1, 2, widths=(4, 8)), "standard", ["here", "nowhere"])
    maps = np.stack([mask.astype(np.float32), np.zeros((16, 16), np.float32)])
    found = evaluate_fully(predictor, samples, FAMILIES, probabilities=lambda index, pixels: maps)
    table = score_table(found)
    assert table["dice"]["mean"] == table["dice"]["pooled"] == 1
    assert table["dice"]["classes"]["nowhere"] == {"mean": None, "interval": None, "images": 0, "pooled": None}
    assert table["object_f1"]["classes"]["nowhere"]["pooled"] is None
    assert table["specificity"]["classes"]["nowhere"]["mean"] == 1
    assert present_classes(samples) == [1]
    assert monitor_for(samples, "dice") == "dice"
    for scoring in (Scoring(threshold=None), Scoring(threshold=None, monitor="cldice")):
        predictor = Predictor(UNet(1, 2, widths=(4, 8)), "standard", ["here", "nowhere"])
        predictor.probabilities = lambda pixels: 0.8 * maps
        curve = choose_operating_point(predictor, samples, scoring).details["curve"]
        assert max(curve["score"]) == 1  # not (1 + 1) / 2 with what is missed by nobody
        assert min(curve["score"]) == 0  # thresholds above 0.8


def test_images_without_foreground_are_judged_by_specificity(tmp_path):
    for name in ("img", "mask"):
        (tmp_path / name).mkdir()
    for name in "abc":
        np.save(tmp_path / "img" / f"{name}.npy", np.eye(16, dtype=np.uint8))
        np.save(tmp_path / "mask" / f"{name}.npy", np.zeros((16, 16), np.uint8))
    samples, faults = read_samples(find_pairs(tmp_path / "img", tmp_path / "mask")[0], Reading(), keep=True)
    assert not faults
    assert monitor_for(samples, "dice") == "specificity"
    predictor = Predictor(UNet(1, 1, widths=(4, 8)), "standard", ["x"])
    point = choose_operating_point(predictor, samples, Scoring(threshold=None, min_size=None))
    assert (point.threshold, point.min_size, point.temperature) == (0.5, 0, 1.0)
    assert "threshold 0.5: no image has foreground to choose a threshold by" in point.details["notes"]
