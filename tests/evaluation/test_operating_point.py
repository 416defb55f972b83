"""Threshold, temperature and smallest object: found where they are known, left alone where nothing is learned."""

import numpy as np
import pytest
from scipy import ndimage, special

from segexp.data.dataset import make_sample
from segexp.evaluation.operating_point import FINE, cautious, choose_operating_point, cross_fitted
from segexp.evaluation.scoring import Scoring
from segexp.inference.predictor import label_classes
from segexp.io.images import IGNORE
from segexp.metrics.calibration import temper
from segexp.metrics.overlap import confusion, overlap_scores

AUTO = Scoring(("probability", "object"), "dice", threshold=None, min_size=None)


class Maps:
    """A predictor whose probabilities are the image itself."""

    def __init__(self, classes=1):
        self.classes = [f"c{k}" for k in range(classes)]
        self.threshold, self.min_size, self.temperature = 0.5, 0, 1.0
        self.calls = 0

    def probabilities(self, pixels):
        self.calls += 1
        return temper(pixels[: len(self.classes)], self.temperature)


def blobs(seed, shape=(96, 96)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 5)


def samples(count, probability, truth=lambda field: field > 0.03):
    made = []
    for index in range(count):
        field = blobs(index)
        maps = np.asarray(probability(field, np.random.default_rng(100 + index)), np.float32)[None]
        made.append(make_sample(f"{index}.tif", maps, truth(field).astype(np.uint8), 1))
    return made


def shifted(field, rng):
    """Probabilities that pass 0.3, and not 0.5, where the truth begins."""
    return special.expit(40 * (field - 0.03) + special.logit(0.3))


def test_a_shifted_threshold_is_found():
    predictor = Maps()
    chosen = samples(6, shifted)
    point = choose_operating_point(predictor, chosen, Scoring(threshold=None))
    at = special.expit(special.logit(0.3) / point.temperature)
    assert point.threshold == pytest.approx(at, abs=0.03)
    assert predictor.threshold == point.threshold
    details = point.details
    assert details["score_chosen"] > details["score_at_half"] + 0.05
    assert details["score_chosen"] > 0.98
    assert details["optimism"] == pytest.approx(details["score_chosen"] - details["score_cross_fitted"])
    assert abs(details["optimism"]) < 0.01
    # the curve is what thresholding image by image gives
    for threshold, score in list(zip(FINE, details["curve"]["score"], strict=True))[::8]:
        by_hand = [
            overlap_scores(confusion(temper(s.pixels[0], point.temperature) >= threshold, s.labels == 1))["dice"]
            for s in chosen
        ]
        assert score == pytest.approx(np.mean(by_hand))


def test_what_is_right_already_stays():
    def right(field, rng):
        return special.expit(40 * (field - 0.03))

    point = choose_operating_point(Maps(), samples(5, right), Scoring(threshold=None))
    assert point.threshold == 0.5
    assert point.details["optimism"] == 0


def test_chance_teaches_nothing():
    """Thresholds that differ between images by chance alone cost new images less than a thousandth."""

    def noisy(field, rng):
        return special.expit(40 * (field - 0.03) + rng.normal(0, 0.3))

    for count in (4, 8):
        point = choose_operating_point(Maps(), samples(count, noisy), Scoring(threshold=None))
        assert abs(point.threshold - 0.5) < 0.1
        assert point.details["score_cross_fitted"] > point.details["score_at_half"] - 0.01
        if point.threshold == 0.5:
            assert "standard error" in point.details["notes"][-1]


def test_the_cautious_choice_by_hand():
    grid = np.array([0.3, 0.4, 0.5, 0.6])
    # 0.3 is best on average by one image alone: a difference of 0.02 with a standard error of 0.03
    lucky = np.array([[0.9, 0.8, 0.8, 0.1], [0.78, 0.8, 0.8, 0.1], [0.78, 0.8, 0.8, 0.1]])
    assert grid[cautious(lucky, grid)] == 0.5
    # the same difference in every image
    assert grid[cautious(np.tile([0.82, 0.8, 0.8, 0.1], (3, 1)), grid)] == 0.3
    # of the best and one that is level with it the nearer to 0.5
    assert grid[cautious(np.tile([0.82, 0.82, 0.8, 0.1], (3, 1)), grid)] == 0.4
    assert grid[cautious(np.array([[0.1, 0.2, 0.3, 0.9]]), grid)] == 0.6


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images(count):
    point = choose_operating_point(Maps(), samples(count, shifted), AUTO)
    assert (point.threshold, point.min_size, point.temperature) == (0.5, 0, 1.0)
    assert len(point.details["notes"]) == 3
    assert all("too few" in note for note in point.details["notes"])


def test_settings_win():
    predictor = Maps()
    point = choose_operating_point(predictor, samples(5, shifted), Scoring(threshold=0.8, min_size=7))
    assert (predictor.threshold, predictor.min_size) == (0.8, 7)
    assert point.record()["chosen_on"] == "settings"
    assert "score_chosen" not in point.details


def test_temperature():
    def overconfident(field, rng):
        return special.expit(3 * np.log(np.clip(rate(field), 1e-6, 1) / np.clip(1 - rate(field), 1e-6, 1)))

    def rate(field):
        return special.expit(30 * (field - 0.03))

    made = []
    for index in range(6):
        field = blobs(index)
        drawn = np.random.default_rng(index).random(field.shape) < rate(field)
        maps = overconfident(field, None).astype(np.float32)[None]
        made.append(make_sample(f"{index}", maps, drawn.astype(np.uint8), 1))
    point = choose_operating_point(Maps(), made, Scoring())
    assert point.temperature == pytest.approx(3, rel=0.1)
    before, after = point.details["cross_entropy"]
    assert after < 0.9 * before
    assert point.maps[0] == pytest.approx(temper(made[0].pixels, point.temperature))


def test_small_false_objects_are_dropped_and_true_ones_are_not():
    def speckled(field, rng):
        maps = np.where(field > 0.03, 0.9, 0.1)
        specks = rng.random(field.shape) > 0.995
        return np.where(specks & (field < 0), 0.9, maps)

    predictor = Maps()
    chosen = samples(8, speckled)
    point = choose_operating_point(predictor, chosen, AUTO)
    assert point.min_size >= 2
    areas = np.concatenate([np.bincount(ndimage.label(s.labels, np.ones((3, 3)))[0].ravel())[1:] for s in chosen])
    assert point.min_size <= np.percentile(areas, 1)
    clean = choose_operating_point(Maps(), samples(8, lambda field, rng: np.where(field > 0.03, 0.9, 0.1)), AUTO)
    assert clean.min_size == 0


def test_images_are_predicted_once_where_they_fit_into_memory(monkeypatch):
    predictor = Maps()
    point = choose_operating_point(predictor, samples(4, shifted), AUTO)
    assert predictor.calls == 4
    monkeypatch.setattr("segexp.evaluation.operating_point.KEPT_BYTES", 1000)
    again = Maps()
    other = choose_operating_point(again, samples(4, shifted), AUTO)
    assert other.maps is None
    assert again.calls > 4
    assert other.threshold == point.threshold


def test_cldice_is_chosen_by_thinning():
    point = choose_operating_point(Maps(), samples(4, shifted), Scoring(monitor="cldice", threshold=None))
    assert point.details["criterion"] == "cldice"
    assert point.threshold < 0.5


@pytest.mark.parametrize("monitor", ["dice", "cldice"])
def test_an_image_that_nobody_annotated_counts_in_no_score(monitor):
    scoring = Scoring(("object",), monitor, threshold=None, min_size=None)
    annotated = samples(4, shifted)
    blank = make_sample("blank.tif", annotated[0].pixels, np.full((96, 96), IGNORE, np.uint8), 1)
    alone = choose_operating_point(Maps(), annotated, scoring)
    mixed = choose_operating_point(Maps(), [blank, *annotated], scoring)
    assert len(mixed.maps) == 5
    np.testing.assert_equal(mixed.record(), alone.record())
    few = choose_operating_point(Maps(), [blank, *annotated[:2]], scoring)
    assert "2 images" in few.details["notes"][-1]
    nothing = choose_operating_point(Maps(), [blank], scoring)
    assert (nothing.threshold, nothing.min_size, nothing.temperature) == (0.5, 0, 1.0)


def test_two_classes_share_a_threshold():
    made = []
    for index in range(4):
        field, other = blobs(index), blobs(50 + index)
        truth = np.where(field > 0.03, 1, np.where(other > 0.05, 2, 0)).astype(np.uint8)
        maps = np.stack([0.35 * (truth == 1), 0.35 * (truth == 2)]).astype(np.float32) + np.float32(0.01)
        made.append(make_sample(f"{index}", maps, truth, 2))
    point = choose_operating_point(Maps(2), made, Scoring(threshold=None))
    labels = label_classes(point.maps[0], point.threshold)
    np.testing.assert_array_equal(labels, made[0].labels)


def test_cross_fitting_never_looks_at_the_group_it_scores():
    grid = np.array([0.2, 0.8, 0.95])
    values = np.repeat(np.eye(3)[:2], 3, axis=0)  # three images are right at 0.2, three at 0.8
    assert cross_fitted(values, list("aaabbb"), grid) == 0
    assert cross_fitted(values[:3], list("abc"), grid) == 1
    # alone, an image of one kind is outvoted by three of the other
    assert cross_fitted(values[[0, 3, 4, 5]], list("abbb"), grid) < 1
