"""Curves: of a predictor whose answer to each change is known."""

import numpy as np
import pytest

from segexp.data.dataset import make_sample
from segexp.evaluation.corruptions import PERTURBATIONS, Perturbation, intensity
from segexp.evaluation.images import evaluate_fully
from segexp.evaluation.robustness import curve, generator, holding_range, robustness_curves
from segexp.evaluation.scoring import Tolerance


class Threshold:
    """Foreground is what is brighter than 100."""

    classes, threshold = ("a",), 0.5

    def probabilities(self, pixels, **_):
        return (pixels[:1] > 100).astype(np.float32)

    def together(self, versions):
        return [self.probabilities(version) for version in versions]

    def labels(self, maps):
        return (maps[0] >= 0.5).astype(np.uint8)


def samples(count=3):
    made = []
    for index in range(count):
        truth = np.zeros((40, 40), np.uint8)
        truth[10:30, 10 : 20 + index] = 1
        made.append(make_sample(f"{index}.tif", (50 + 150 * truth[None]).astype(np.uint16), truth, 1))
    return made


def test_the_curve_of_a_fixed_threshold():
    curves = robustness_curves(Threshold(), samples(), "dice", {"intensity": PERTURBATIONS["intensity"]})
    found = curves["intensity"]
    by_value = dict(zip(found["parameter"], found["score"], strict=True))
    assert by_value[1] == 1
    assert by_value[0.001] == by_value[0.1] == 0  # nothing is brighter than 100 any more
    assert 0 < by_value[1000] < 0.7  # everything is
    assert found["range"] == [1, 2]  # 2 x 50 is not over 100 yet
    assert found["number"] == pytest.approx(np.mean(found["score"]))
    assert found["interval"][found["parameter"].index(1)] == (1, 1)


def test_a_range_is_unbroken_and_lies_around_the_best():
    assert holding_range(np.array([0.9, 0.5, 0.89, 0.9, 0.885, 0.87])) == (0, 0)
    assert holding_range(np.array([0.8, 0.5, 0.89, 0.9, 0.881, 0.87])) == (2, 4)
    assert holding_range(np.array([0.3])) == (0, 0)
    assert holding_range(np.full(5, 0.7)) == (0, 4)


def test_smaller_images_are_scored_at_full_size():
    found = robustness_curves(Threshold(), samples(2), "dice", {"downscale": PERTURBATIONS["downscale"]})["downscale"]
    assert found["score"][0] == 1
    assert all(score > 0.85 for score in found["score"])
    assert found["interval"][0] is None


def test_the_same_run_gives_the_same_curves_and_noise_differs_between_values():
    class Sum(Threshold):
        def probabilities(self, pixels, **_):
            return np.clip(pixels[:1] / 300, 0, 1).astype(np.float32)

    chosen = {"photons": PERTURBATIONS["photons"]}
    first, second = (robustness_curves(Sum(), samples(), "dice", chosen)["photons"] for _ in range(2))
    np.testing.assert_array_equal(first["score"], second["score"])
    draws = [generator("a", "photons", 0), generator("a", "photons", 1), generator("b", "photons", 0)]
    assert len({rng.integers(2**60) for rng in draws}) == 3


def test_other_scores_can_be_monitored_and_progress_is_told():
    seen = []
    chosen = {"intensity": PERTURBATIONS["intensity"]._replace(values=(1.0,), change=intensity)}
    found = robustness_curves(Threshold(), samples(), "cldice", chosen, lambda: seen.append(1))
    assert found["intensity"]["score"] == [1]
    assert len(seen) == 3


def test_the_number_is_the_mean_of_the_curve():
    entry = curve(PERTURBATIONS["blur"], np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]] * 3))
    assert entry["number"] == pytest.approx(0.55)
    assert entry["range"] == [0, 0]


def test_an_image_that_is_not_changed_has_the_score_of_the_evaluation():
    """The outline is off by 4 px: right within 5 px, wrong within 2."""
    truth = np.zeros((64, 64), np.uint8)
    truth[20:44, 20:44] = 1
    sample = make_sample("a", (50 + 150 * np.roll(truth, 4, axis=1)[None]).astype(np.uint16), truth, 1)
    same = {"same": Perturbation("nothing", "", (1.0, 2.0), 1.0, "linear", lambda pixels, value, rng: pixels)}
    found = []
    for reach in (2.0, 5.0):
        tolerance = Tolerance(reach)
        (row,) = evaluate_fully(Threshold(), [sample], ("surface",), tolerance).rows
        curves = robustness_curves(Threshold(), [sample], "surface_dice", same, tolerance=tolerance)
        assert curves["same"]["score"].tolist() == [row["surface_dice"]] * 2
        found.append(row["surface_dice"])
    assert found[0] < found[1]
