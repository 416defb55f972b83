"""``evaluation.json`` and ``scores.csv``: what they hold, by hand."""

import json
import math

import numpy as np
import pytest

from segexp.data.dataset import make_sample
from segexp.errors import InputError
from segexp.evaluation.images import evaluate_fully
from segexp.evaluation.io import evaluation_record, read_rows, write_scores
from segexp.evaluation.scoring import Tolerance, read_tolerance
from segexp.io.images import IGNORE
from segexp.metrics.registry import FAMILIES, SCORES


class Fixed:
    """A predictor whose probabilities are the image itself."""

    def __init__(self, classes=("a",)):
        self.classes, self.threshold, self.min_size = list(classes), 0.5, 0

    def probabilities(self, pixels, **_):
        return pixels[: len(self.classes)].astype(np.float32)

    def labels(self, maps):
        return np.where(maps.max(axis=0) >= self.threshold, maps.argmax(axis=0) + 1, 0).astype(np.uint8)


def sample(name, truth, probability, group=None):
    maps = np.asarray(probability, np.float32)
    made = make_sample(name, maps.reshape(-1, *maps.shape[-2:]), np.asarray(truth, np.uint8), 2)
    if group is not None:
        made.group = group
    return made


def disc(centre, radius, shape=(32, 32)):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def record_of(samples, predictor=None, pixel_size=None, families=FAMILIES):
    predictor = predictor or Fixed()
    found = evaluate_fully(predictor, samples, families, pixel_size=pixel_size)
    record = evaluation_record(
        found,
        task="t",
        model="m.pth",
        classes=predictor.classes,
        monitor="dice",
        operating_point={"threshold": 0.5},
    )
    return found, record


@pytest.fixture
def three():
    good, half, empty = disc((16, 16), 6), disc((10, 10), 6), np.zeros((32, 32), bool)
    return [
        sample("a.tif", good, 0.9 * good, "one"),
        sample("b.tif", half, 0.9 * (half & (np.indices((32, 32))[1] <= 10)), "two"),
        sample("c.tif", empty, empty, "two"),
    ]


def test_every_family_computes_the_scores_registered_for_it(three):
    found, _ = record_of(three)
    computed = set(found.rows[0]) - {"image", "class", "group", "tp", "fp", "fn", "tn"}
    assert computed == set(SCORES) - {"dice_pooled"}
    for family in FAMILIES:
        found, _ = record_of(three, families=(family,))
        computed = set(found.rows[0]) - {"image", "class", "group", "tp", "fp", "fn", "tn"}
        assert computed == {name for name, score in SCORES.items() if score.family in ("overlap", family)}


def test_means_groups_and_pooled(three):
    found, record = record_of(three)
    dice = record["scores"]["dice"]
    values = [row["dice"] for row in found.rows]
    assert values[0] == values[2] == 1
    assert dice["mean"] == pytest.approx(np.mean(values))
    assert dice["images"] == 3
    low, high = dice["interval"]
    assert low <= dice["mean"] <= high
    assert dice["groups"]["one"]["mean"] == 1
    assert dice["groups"]["two"]["mean"] == pytest.approx(np.mean(values[1:]))
    assert dice["groups"]["two"]["interval"] is None
    counts = {name: sum(row[name] for row in found.rows) for name in ("tp", "fp", "fn")}
    assert dice["pooled"] == pytest.approx(2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"]))
    assert record["scores"]["object_f1"]["pooled"] == 1
    assert record["scores"]["average_precision"]["images"] == 2
    assert record["scores"]["brier"]["pooled"] is None


def test_histograms_hold_every_object_and_the_diagram_every_pixel(three):
    _, record = record_of(three, pixel_size=0.5)
    diameters = record["histograms"]["object_diameter"]
    assert diameters["unit"] == "µm"
    assert sum(diameters["truth"]) == sum(diameters["prediction"]) == 2
    expected = 0.5 * 2 * math.sqrt(disc((16, 16), 6).sum() / math.pi)
    assert diameters["edges"][-2] <= expected <= diameters["edges"][-1] * 1.001
    assert sum(record["calibration"]["a"]["count"]) == 3 * 32 * 32
    assert record["unit"] == "µm"


def test_lengths_are_in_micrometres_where_every_file_says_its_pixel_size(three):
    plain, _ = record_of(three)
    for one, size in zip(three, [(0.5, 0.5), (0.1, 0.4), (1.0, 1.0)], strict=True):
        one.pixel_size = size
    found, record = record_of(three)
    assert record["unit"] == record["scores"]["hd95"]["unit"] == "µm"
    assert [image["pixel_size"] for image in record["images"]] == pytest.approx([0.5, 0.2, 1.0])
    assert found.rows[1]["hd95"] == pytest.approx(0.2 * plain.rows[1]["hd95"])
    # two pixels are two pixels in every image
    assert found.rows[1]["surface_dice"] == plain.rows[1]["surface_dice"]
    three[2].pixel_size = None
    found, record = record_of(three)
    assert record["unit"] == "px"
    assert found.rows[1]["hd95"] == plain.rows[1]["hd95"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", (2, "px")), ("1.5px", (1.5, "px")), (" .5 um", (0.5, "µm")), ("0.2µm", (0.2, "µm")), ("0", (0, "px"))],
)
def test_a_tolerance_has_a_unit(text, expected):
    assert read_tolerance(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "2 mm", "um", "1e3", "nan"])
def test_other_tolerances_are_refused(text):
    with pytest.raises(InputError, match="tolerance"):
        read_tolerance(text)


def test_a_tolerance_in_micrometres_needs_to_know_the_pixels(three):
    with pytest.raises(InputError, match=r"a\.tif does not state"):
        evaluate_fully(Fixed(), three, ("surface",), Tolerance(0.2, "µm"))
    wide = evaluate_fully(Fixed(), three, ("surface",), Tolerance(9, "µm"), pixel_size=1.0)
    narrow = evaluate_fully(Fixed(), three, ("surface",), Tolerance(9, "µm"), pixel_size=9.0)
    assert wide.rows[1]["surface_dice"] > narrow.rows[1]["surface_dice"]


def test_files_can_be_read_again(three, tmp_path):
    found, record = record_of(three)
    write_scores(found.rows, record, tmp_path / "scores.csv", tmp_path / "evaluation.json")
    rows = read_rows(tmp_path / "scores.csv")
    assert [row["image"] for row in rows] == ["a.tif", "b.tif", "c.tif"]
    for ours, read in zip(found.rows, rows, strict=True):
        assert list(ours) == list(read)
        for key, value in ours.items():
            same = math.isnan(value) and math.isnan(read[key]) if isinstance(value, float) else False
            assert same or read[key] == value
    assert math.isnan(rows[2]["average_precision"])
    loaded = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert loaded["format"] == 1
    assert loaded["scores"]["centre_error"]["images"] == 2
    assert len({image["truth"] for image in loaded["images"]}) == 3


def test_classes_are_averaged_within_an_image():
    truth = np.zeros((16, 16), int)
    truth[:4, :4], truth[8:12, 8:12] = 1, 2
    maps = np.stack([truth == 1, np.zeros((16, 16))])
    _, record = record_of([sample("a", truth, maps)], Fixed("ab"), families=("probability",))
    dice = record["scores"]["dice"]
    assert (dice["classes"]["a"]["mean"], dice["classes"]["b"]["mean"], dice["mean"]) == (1, 0, 0.5)
    assert dice["pooled"] == 0.5
    assert set(record["calibration"]) == {"a", "b"}


def test_unknown_pixels_change_no_score(three):
    """The same images with a border that nobody annotated, predicted as foreground there: every score is the same."""

    def bordered(one):
        pixels, truth = one.load()
        wide = np.full((52, 52), IGNORE, np.uint8)
        wide[10:42, 10:42] = truth
        maps = np.full((1, 52, 52), 0.9, np.float32)
        maps[:, 8:44, 8:44] = 0
        maps[:, 10:42, 10:42] = pixels
        return sample(one.name, wide, maps, one.group)

    plain, _ = record_of(three)
    ignoring, _ = record_of([bordered(one) for one in three])
    for before, after in zip(plain.rows, ignoring.rows, strict=True):
        for name in SCORES.keys() - {"dice_pooled"}:
            assert after[name] == pytest.approx(before[name], nan_ok=True), name
