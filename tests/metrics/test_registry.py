"""Each score is described once; lists of names, direction, and scores of a lab's own follow from that."""

import numpy as np
import pytest

from segexp.errors import InputError
from segexp.evaluation.scores import score_class
from segexp.metrics import registry
from segexp.metrics.registry import ALONE, FAMILIES, SCORES, Score, add, find, is_better, learn, monitors, shown


def area(predicted, true):
    return abs(int(predicted.sum()) - int(true.sum()))


def test_every_score_is_described():
    for name, score in SCORES.items():
        assert score.name == name
        assert score.label
        assert score.meaning or not score.better
        assert score.family in ("overlap", "pooled", *FAMILIES)
        assert score.better or not score.monitor
        assert set(score.shown) <= {"validation", "curve", "summary", "key"}
    assert {"dice", "cldice", "hd95", "object_f1", "bce", "count_error"} <= set(monitors())
    assert not {"dice_pooled", "centre_error", "radius_error", "objects_truth"} & set(monitors())


def test_the_places_hold_what_they_did():
    assert shown("validation") == ("dice", "dice_pooled", "iou", "precision", "recall", "cldice")
    assert shown("curve") == ("dice", "iou", "precision", "recall", "cldice")
    assert shown("summary") == ("dice", "dice_pooled", "iou", "precision", "recall", "cldice", "object_f1")
    key = {"dice", "precision", "recall", "dice_pooled", "cldice", "object_f1", "count_error", "length_error", "ece"}
    assert set(shown("key")) == key
    assert {name for name, score in SCORES.items() if score.without_truth} == {"specificity", "bce", "brier", "ece"}
    assert [name for name, score in SCORES.items() if score.chooses_threshold] == ["dice", "iou", "cldice"]


def test_direction():
    assert is_better("dice", 0.9, 0.8)
    assert not is_better("dice", 0.7, 0.8)
    assert is_better("hd95", 3.0, 4.0)
    assert not is_better("hd95", 5.0, 4.0)
    assert is_better("hd95", 4.0, 4.0)
    with pytest.raises(ValueError, match="expected 'higher', 'lower' or ''"):
        Score("x", "x", "bigger")


def test_what_has_to_be_computed():
    assert registry.to_compute("dice") == ()
    assert registry.to_compute("cldice") == ("cldice",)
    assert registry.to_compute("hd95") == ("surface",)


def test_a_score_of_ones_own():
    add("lab.area", Score("area_error", "area error", "lower", "pixels too many or too few", area))
    assert "area_error" in monitors()
    assert registry.to_compute("area_error") == ("lab.area",)
    predicted, true = np.zeros((2, 8, 8), bool)
    predicted[:3], true[:2], known = True, True, np.ones((8, 8), bool)
    known[2] = False
    row = score_class(predicted.astype(np.float32), predicted, true, None, ("lab.area",)).row
    assert row["area_error"] == 8
    assert score_class(predicted.astype(np.float32), predicted, true, known, ("lab.area",)).row["area_error"] == 0
    assert "area_error" not in score_class(predicted.astype(np.float32), predicted, true, None).row


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Score("dice", "my Dice", "higher", function=area), "its column dice is that of another score"),
        (Score("my-dice", "my Dice", "higher", function=area), "a name of letters, digits and _"),
        (Score("mine", "mine", "higher"), "a function"),
    ],
)
def test_an_unfit_score_is_refused(score, words):
    with pytest.raises(ValueError, match=words):
        add("lab.mine", score)
    assert "lab.mine" not in ALONE


@pytest.mark.parametrize("value", [lambda a, b: 1 / 0, lambda a: 1, lambda a, b: "many", lambda a, b: float("inf")])
def test_a_function_that_gives_no_number_is_said_in_words(value):
    add("lab.mine", Score("mine", "mine", "higher", function=value))
    mask = np.zeros((8, 8), bool)
    with pytest.raises(InputError, match="score mine: its function"):
        score_class(mask.astype(np.float32), mask, mask, None, ("lab.mine",))


def test_a_record_tells_of_scores_that_are_not_computed_here():
    learn({"tips": {"words": "tips missed", "better": "lower"}, "dice": {"words": "mine", "better": "lower"}})
    assert find("tips").lower
    assert find("tips").label == "tips missed"
    assert find("dice").label == "Dice"
    assert find("never_heard_of").label == "never heard of"
    assert "tips" not in monitors()
