"""Guarantees: the promise itself by simulation, what is refused, and masks counted as they are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexp import checkpoint
from segexp.data.dataset import read_folder
from segexp.errors import InputError
from segexp.inference.guarantee import KEY, LEVELS, calibrate, choose, count, table
from segexp.inference.predictor import drop_small, label_classes, load_model
from segexp.io.images import IGNORE
from segexp.model_facts import check_facts
from tests.inference.test_predictor import write_model

shares = st.lists(st.floats(0, 1), min_size=len(LEVELS), max_size=len(LEVELS)).map(sorted)


def entry(missed, images=20):
    return {"images": images, "missed": list(missed), "precision": [0.5] * len(LEVELS)}


def draw(rng, images):
    """Images of 60 pixels, of which a tenth to a half is foreground, some far harder than others."""
    counts = []
    for _ in range(images):
        truth = (rng.random((6, 10)) < rng.uniform(0.1, 0.5)).astype(np.uint8)
        logits = rng.normal(4 * truth - 2 - rng.exponential(2.0), 1.5)
        counts.append(count((1 / (1 + np.exp(-logits)))[None].astype(np.float32), truth))
    return counts


def missed(counts, threshold):
    place = int(np.flatnonzero(np.float32(threshold) == LEVELS)[0])
    return [1 - one.found[0, place] / one.true[0] for one in counts if one.true[0]]


@pytest.mark.parametrize(("found", "images"), [(0.8, 5), (0.8, 40), (0.9, 12)])
def test_the_promise_holds_over_many_draws(found, images):
    rng = np.random.default_rng(0)
    risks = []
    for _ in range(200):
        try:
            choice = choose(table(draw(rng, images)), ["x"], found, 0.5)
        except InputError:
            continue
        risks.append(np.mean(missed(draw(rng, 20), choice.threshold)))
    risk = 1 - found
    error = np.std(risks) / np.sqrt(len(risks))
    assert len(risks) > 150
    assert np.mean(risks) <= risk + 2 * error
    usual = np.mean(missed(draw(rng, 500), 0.5))
    assert usual > 1.5 * risk, "images that do not need the guarantee would prove nothing"
    if images == 40:
        assert np.mean(risks) > risk / 2, "so low a threshold is no guarantee but a waste"


@given(shares, shares, st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_share_never_raises_the_threshold(first, second, low, high, own):
    low, high = sorted((low, high))
    entries = [entry(first, 50), entry(second, 80)]
    try:
        more = choose(entries, ["a", "b"], high, own).threshold
    except InputError:
        return
    less = choose(entries, ["a", "b"], low, own).threshold
    assert more <= less <= own
    assert more <= choose(entries[:1], ["a"], high, own).threshold


def test_the_finite_sample_correction_is_counted_by_hand():
    curve = np.full(len(LEVELS), 0.5)
    curve[:10], curve[10:20] = 0.0, 0.06
    bound = (19 * 0.06 + 1) / 20  # 0.107
    assert choose([entry(curve, 19)], ["x"], 1 - bound - 1e-6, 0.5).threshold == LEVELS[19]
    assert choose([entry(curve, 19)], ["x"], 1 - bound + 1e-6, 0.5).threshold == LEVELS[9]
    assert choose([entry(curve, 19)], ["x"], 0.95, 0.5).threshold == LEVELS[9], "n = 19 is enough for 0.95"
    assert choose([entry(curve, 19)], ["x"], 0.3, 0.5).threshold == 0.5, "the model's own is low enough"


@pytest.mark.parametrize(
    ("images", "found", "words"),
    [
        (6, 0.95, "needs 19 or more validation images with foreground; there are 6; ask for 0.85 or less"),
        (8, 0.9, "needs 9 or more"),
        (0, 0.5, "there are 0; give more annotated images"),
    ],
)
def test_too_few_images_are_refused(images, found, words):
    with pytest.raises(InputError, match=words):
        choose([entry(np.zeros(len(LEVELS)), images)], ["x"], found, 0.5)


def test_what_no_threshold_reaches_is_refused():
    with pytest.raises(InputError, match=r"misses 30 % of the foreground of b .* ask for 0.69 or less"):
        choose([entry(np.zeros(len(LEVELS)), 99), entry(np.full(len(LEVELS), 0.3), 99)], ["a", "b"], 0.9, 0.5)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("min_size", [0, 5])
def test_masks_are_counted_as_they_are_written(classes, min_size):
    rng = np.random.default_rng(classes)
    maps = rng.random((classes, 30, 40), np.float32)
    truth = rng.integers(0, classes + 1, (30, 40)).astype(np.uint8)
    truth[:3] = IGNORE
    counts = count(maps, truth, min_size)
    for place, threshold in enumerate(LEVELS):
        labels = drop_small(label_classes(maps, float(threshold)), classes, min_size)
        for label in range(1, classes + 1):
            assert counts.found[label - 1, place] == np.sum((labels == label) & (truth == label))
            assert counts.marked[label - 1, place] == np.sum((labels == label) & (truth != IGNORE))
            assert counts.true[label - 1] == np.sum(truth == label)
    assert (np.diff(counts.found) <= 0).all()


def test_images_without_foreground_do_not_dilute_the_risk():
    full, empty = np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    maps = np.full((1, 4, 4), 0.3, np.float32)
    [one] = table([count(maps, full), count(maps, empty)])
    assert one["images"] == 1
    assert one["missed"][LEVELS.searchsorted(0.5)] == 1
    assert one["precision"][0] == 0.5


def test_a_predictor_is_calibrated_as_it_is_set(tmp_path):
    write_model(tmp_path / "m.pth")
    for part in ("img", "mask"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        np.save(tmp_path / "img" / f"{name}.npy", rng.integers(0, 255, (40, 50), np.uint8))
        np.save(tmp_path / "mask" / f"{name}.npy", (rng.random((40, 50)) < 0.3).astype(np.uint8))
    predictor = load_model(tmp_path / "m.pth", tta=True)
    predictor.min_size = 4
    samples = read_folder(tmp_path / "img", tmp_path / "mask")
    seen = []
    entries = calibrate(predictor, samples, progress=seen.append)
    assert seen == [1, 2]
    predictor.threshold = float(LEVELS[40])
    rates = []
    for sample in samples:
        pixels, truth = sample.load()
        labels = predictor.labels(predictor.probabilities(pixels))
        rates.append(np.mean(labels[truth == 1] == 0))
    assert entries[0]["missed"][40] == pytest.approx(np.mean(rates))
    check_facts("m.pth", checkpoint.load(tmp_path / "m.pth") | {KEY: entries})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"missed": [0.5] * 3}, "48 shares"),
        ({"missed": [0.5, 0.4, *[0.9] * 46]}, "fall with the threshold"),
        ({"missed": [2.0] * 48}, "a number from 0 to 1"),
        ({"images": -1}, "images is -1"),
    ],
)
def test_a_file_with_another_table_is_refused(tmp_path, change, words):
    write_model(tmp_path / "m.pth")
    content = checkpoint.load(tmp_path / "m.pth")
    check_facts("m.pth", content | {KEY: [entry(np.zeros(48))]})
    with pytest.raises(InputError, match=words):
        check_facts("m.pth", content | {KEY: [entry(np.zeros(48)) | change]})
    with pytest.raises(InputError, match="guarantee has 2 entries"):
        check_facts("m.pth", content | {KEY: [entry(np.zeros(48))] * 2})
