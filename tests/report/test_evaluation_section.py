"""What evaluation.json adds to the page."""

import re

import pytest

from segexp.report import evaluation_section as section

DICE = {"mean": 0.9, "interval": [0.85, 0.95], "images": 3, "pooled": 0.93}
RECORD = {
    "unit": "µm",
    "monitor": "dice",
    "scores": {
        "dice": DICE | {"classes": {"a": DICE, "b": {"mean": None, "interval": None}}, "groups": {"mouse 1": DICE}},
        "hd95": {"mean": 12.345, "interval": None, "pooled": None},
        "new_score": {"mean": None, "interval": None, "pooled": None},
    },
    "operating_point": {
        "threshold": 0.42,
        "min_size": 12,
        "temperature": 1.0,
        "chosen_on": "validation",
        "notes": ["temperature 1: too few"],
        "criterion": "dice",
        "curve": {"threshold": [0.2, 0.5], "score": [0.8, 0.9]},
    },
    "calibration": {"a": {"predicted": [0.1, 0.9], "observed": [0.2, 0.7], "count": [5, 5]}},
    "histograms": {
        "object_diameter": {"unit": "µm", "edges": [0, 1, 2], "truth": [3, 1], "prediction": [1, 1]},
        "filament_length": {"unit": "µm", "edges": [0, 1], "truth": [0], "prediction": [0]},
    },
    "robustness": {
        "gamma": {"parameter": [0.5, 1, 2], "score": [0.7, 0.9, None], "range": [1, 1], "number": 0.8, "unit": ""},
        "noise": {"words": "photons", "unit": "", "parameter": [1, 100], "score": [0.5, 0.9],
                  "interval": [[0.4, 0.6], [0.8, 1.0]], "range": None, "number": 0.7},
    },
}  # fmt: skip


def test_scores_stand_by_family_with_interval_unit_and_meaning():
    groups = section.score_groups(RECORD, {})
    assert [group["family"] for group in groups] == ["Area", "Outlines", "Other"]
    dice, hd95, new = (group["rows"][0] for group in groups)
    assert (dice["label"], dice["mean"], dice["interval"], dice["pooled"]) == (
        "Dice",
        "0.900",
        "0.850 to 0.950",
        "0.930",
    )
    assert "overlap" in dice["meaning"]
    assert (hd95["label"], hd95["mean"], hd95["interval"], hd95["pooled"]) == ("HD95 (µm)", "12.35", "", "")
    assert (new["label"], new["mean"]) == ("new score", "")
    assert [row["name"] for row in section.key_rows(groups)] == ["dice"]


def test_without_a_record_the_summary_gives_the_means():
    (group,) = section.score_groups({}, {"dice": 0.5, "epoch": 3})
    assert group["rows"][0]["mean"] == "0.500"
    assert len(group["rows"]) == 1


def test_classes_and_groups_are_compared_where_there_are_several():
    table = section.parts_table(RECORD, "classes")
    assert table["columns"] == ["a", "b"]
    assert table["rows"][0] == ["Dice", "0.900 (0.850 to 0.950)", ""]
    assert section.parts_table(RECORD, "groups") is None
    assert section.parts_table({}, "classes") is None


def test_the_operating_point_in_words():
    first, note = section.operating_point(RECORD)
    assert first == (
        "A pixel counts as foreground from a probability of 0.420; objects under 12 pixels are dropped. "
        "Chosen on the validation images."
    )
    assert note == "Kept at temperature 1: too few."
    assert section.operating_point({}) == []
    kept = {
        "threshold": 0.5,
        "min_size": 0,
        "temperature": 1,
        "chosen_on": "validation",
        "notes": ["threshold 0.5: few"],
    }
    assert section.operating_point({"operating_point": kept}) == [
        "A pixel counts as foreground from a probability of 0.500.",
        "Kept at threshold 0.5: few.",
    ]


def test_charts_of_the_model_as_it_is():
    (sizes,) = section.size_charts(RECORD)  # the empty histogram is left out
    assert sizes.title == "Diameter of objects"
    assert sizes.summary.startswith("4 in the truth, 2 in the prediction.")
    assert sizes.columns[0] == "diameter (µm)"
    (calibration,) = section.calibration_chart(RECORD)
    assert calibration.rows == [["0.100", "0.200"], ["0.900", "0.700"]]
    (threshold,) = section.threshold_chart(RECORD)
    assert threshold.summary.startswith("Dice is 0.900 at best")
    for function in (
        section.size_charts,
        section.calibration_chart,
        section.threshold_chart,
        section.robustness_charts,
    ):
        assert function({}) == []


def test_robustness_curves():
    gamma, noise = section.robustness_charts(RECORD)
    assert gamma.title == "Gamma"
    assert gamma.summary == "Within 0.02 of its best at 1 only. On average 0.800."
    assert gamma.rows == [["0.500", "0.700"], ["1", "0.900"]]  # the undefined score is left out
    assert noise.rows[0] == ["1", "0.500 (0.400 to 0.600)"]
    assert noise.summary == "On average 0.700."
    assert ">10<" in noise.svg  # a logarithmic axis


def test_robustness_of_a_distance_has_an_axis_of_its_own():
    curve = {"parameter": [1, 2, 3], "score": [12.0, 20.0, 31.0], "range": None, "number": 21.0, "unit": ""}
    (chart,) = section.robustness_charts({"monitor": "hd95", "robustness": {"blur": curve}})
    ticks = [float(text) for text in re.findall(r">([0-9.]+)<", chart.svg)]
    assert {15.0, 20.0, 25.0} <= set(ticks)
    assert not {0.2, 0.4, 0.6, 0.8} & set(ticks)


@pytest.mark.parametrize("name", ["dice", "hd95", "length_truth", "absent"])
def test_every_name_has_a_label_and_a_direction(name):
    from segexp.report import metric_labels

    assert metric_labels.label(name)
    assert metric_labels.lower(name) == (name == "hd95")
