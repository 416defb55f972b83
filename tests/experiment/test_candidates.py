"""Which candidate a run keeps, by made-up numbers, and how few images are divided."""

import numpy as np
import pytest

from segexp.data.dataset import make_sample
from segexp.experiment.candidates import (
    GIVEN,
    SCRATCH,
    TUNED,
    Candidate,
    affordable,
    annotated,
    choose,
    cut,
    fold_images,
    kinds_to_train,
    margin_of,
)
from segexp.io.labels import IGNORE
from segexp.training.schedule import Budget


def candidate(kind, *values, optimism=0.0):
    return Candidate(kind, np.array(values), optimism)


def sample(number, shape=(8, 12), group=""):
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (1, *shape)).astype(np.uint8)
    made = make_sample(f"image_{number}.png", pixels, (pixels[0] > 128).astype(np.uint8), 1)
    made.group = group
    return made


def test_the_best_mean_is_kept_and_the_difference_to_each_other_is_said():
    given = candidate(GIVEN, 0.7, 0.8, 0.9)
    tuned = candidate(TUNED, 0.8, 0.85, 0.95)
    scratch = candidate(SCRATCH, 0.5, 0.6, 0.4)
    best, words, record = choose([given, tuned, scratch], "dice", False, "3 validation images")
    assert best is tuned
    assert words.startswith(
        "kept: the fine-tuned model; dice 0.8667, +0.0667 against the given model as it was (0.8000"
    )
    assert "+0.3667 against the model from scratch (0.5000; 95 % interval" in words
    assert words.endswith("over 3 validation images")
    assert record["kept"] == TUNED
    assert record["scores"] == pytest.approx({GIVEN: 0.8, TUNED: 2.6 / 3, SCRATCH: 0.5})
    assert record["against"][GIVEN]["interval"][0] > 0


def test_what_the_choice_of_a_threshold_gains_by_chance_does_not_count():
    given, tuned = candidate(GIVEN, 0.80, 0.80), candidate(TUNED, 0.81, 0.81, optimism=0.02)
    best, words, _ = choose([given, tuned], "dice", False, "2 validation images")
    assert best is given
    assert "-0.0100 against the fine-tuned model (0.8100; too few for an interval)" in words
    assert "taken off for the choice of the threshold: 0.0200 for the fine-tuned model" in words


@pytest.mark.parametrize(("gain", "kept"), [(0.011, GIVEN), (0.013, TUNED)])
def test_on_few_images_a_trained_model_must_be_better_by_a_margin(gain, kept):
    margin = margin_of([sample(number) for number in range(3)], "dice")
    assert margin == pytest.approx(0.02 / 3**0.5)
    given, tuned = candidate(GIVEN, 0.8, 0.8, 0.8), candidate(TUNED, *[0.8 + gain] * 3)
    best, words, _ = choose([given, tuned], "dice", False, "3 images in 2 folds", margin)
    assert best.kind == kept
    assert "has to be better than the given one by 0.0115" in words
    alone, words, _ = choose([tuned, candidate(SCRATCH, 0.8, 0.8, 0.8)], "dice", False, "3 images", margin)
    assert alone is tuned
    assert "has to be better" not in words


def test_the_margin_counts_groups_and_not_for_errors():
    stack = [sample(number, group="stack") for number in range(4)]
    assert margin_of(stack, "dice") == 0.02
    assert margin_of([*stack, sample(5)], "dice") == pytest.approx(0.02 / 2**0.5)
    assert margin_of(stack, "hd95") == margin_of(stack, "bce") == 0


def test_of_equals_the_given_model_stays_and_less_may_be_better():
    assert choose([candidate(GIVEN, 0.5), candidate(TUNED, 0.5)], "dice", False, "")[0].kind == GIVEN
    assert choose([candidate(GIVEN, 0.5), candidate(TUNED, 0.4)], "bce", True, "")[0].kind == TUNED


def test_a_candidate_without_any_score_is_not_kept():
    best, _, _ = choose([candidate(GIVEN, np.nan, np.nan), candidate(TUNED, np.nan, 0.1)], "dice", False, "")
    assert best.kind == TUNED


@pytest.mark.parametrize(
    ("budget", "share", "enough"),
    [
        (Budget(steps=150), 0.4, True),
        (Budget(steps=140), 0.4, False),
        (Budget(seconds=60), 0.4, True),
        (Budget(seconds=45), 0.4, False),
        (Budget(steps=1000, seconds=45), 0.4, False),
        (Budget(epochs=100), 0.4, False),
        (Budget(steps=1000), 0.0, False),
    ],
)
def test_a_network_from_scratch_needs_time(budget, share, enough):
    assert affordable(budget, share) == enough


@pytest.mark.parametrize(
    ("given", "both", "kinds"),
    [
        (0.3, True, (TUNED, SCRATCH)),
        (0.9, True, (TUNED, SCRATCH)),
        (0.3, False, (SCRATCH,)),
        (0.5, False, (TUNED,)),
        (float("nan"), False, (TUNED,)),
    ],
)
def test_with_time_for_one_training_a_model_that_knows_nothing_is_not_fine_tuned(given, both, kinds):
    assert kinds_to_train(given, both) == kinds


def test_of_two_images_of_one_name_one_is_renamed():
    first, second = sample(1), sample(2)
    second.name = first.name
    assert [each.name for each in annotated([first], [second])] == ["image_1.png", "val_image_1.png"]
    assert second.name == first.name


def test_halves_have_the_pixel_size_and_group_of_their_image():
    whole = sample(1, (40, 30), "stack")
    whole.pixel_size = (0.1, 0.2)
    halves = cut(whole, 1, "standard")
    assert [(half.pixel_size, half.group) for half in halves] == [((0.1, 0.2), "stack")] * 2


def test_images_that_are_in_both_lists_count_once():
    first, second = sample(1), sample(2)
    again = sample(1)
    assert annotated([first, second], [again]) == [first, second]
    assert len(annotated([first, second], [])) == 2


@pytest.mark.parametrize(("count", "folds"), [(2, 2), (3, 2), (7, 2)])
def test_each_image_is_in_one_fold(count, folds):
    samples = [sample(number) for number in range(count)]
    pool, parts = fold_images(samples, 1, "standard", seed=0)
    assert pool == samples
    assert len(parts) == folds
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_images_of_a_group_are_in_one_fold():
    samples = [sample(number, group="ab"[number % 2]) for number in range(4)]
    _, parts = fold_images(samples, 1, "standard", seed=0)
    assert sorted(parts) == [[0, 2], [1, 3]]


def test_a_single_image_is_cut_into_halves_and_so_are_those_of_a_single_group():
    pool, parts = fold_images([sample(1)], 1, "standard", seed=0)
    assert parts == [[0], [1]]
    assert [half.name for half in pool] == ["image_1_half1.png", "image_1_half2.png"]
    pool, parts = fold_images([sample(1, group="a"), sample(2, group="a")], 1, "standard", seed=0)
    assert parts == [[0, 2], [1, 3]]
    assert pool[2].name == "image_2_half1.png"


def test_an_image_is_cut_where_both_halves_hold_foreground():
    labels = np.zeros((10, 10), np.uint8)
    labels[2, 1] = labels[2, 8] = 1
    pixels = np.arange(100, dtype=np.uint16).reshape(1, 10, 10)
    first, second = cut(make_sample("a", pixels, labels, 1), 1, "standard")
    assert first.shape == second.shape == (1, 10, 5)
    assert (first.class_pixels[1], second.class_pixels[1]) == (1, 1)
    assert np.array_equal(np.concatenate([first.load()[0], second.load()[0]], axis=2), pixels)
    assert (first.name, second.name) == ("a_half1", "a_half2")


def empty(number, group=""):
    made = sample(number, group=group)
    return make_sample(made.name, made.load()[0], np.zeros((8, 12), np.uint8), 1)


def test_pixels_that_nobody_annotated_do_not_decide_where_an_image_is_cut():
    labels = np.zeros((16, 16), np.uint8)
    labels[2, 2] = labels[3, 2:4] = labels[13, 2] = 1  # all in the left half
    labels[8:, 8:] = IGNORE
    first, second = cut(make_sample("a", np.zeros((1, 16, 16), np.uint8), labels, 1), 1, "standard")
    assert (first.class_pixels[1], second.class_pixels[1]) == (3, 1)


def test_an_image_with_one_object_is_cut_through_it():
    labels = np.zeros((64, 64), np.uint8)
    labels[4:14, 4:12] = 1
    first, second = cut(make_sample("a", np.zeros((1, 64, 64), np.uint8), labels, 1), 1, "standard")
    assert first.shape == (1, 64, 8)
    assert (first.class_pixels[1], second.class_pixels[1]) == (40, 40)


@pytest.mark.parametrize("seed", range(6))
def test_each_fold_has_images_with_foreground(seed):
    samples = [sample(1), empty(2), empty(3), sample(4), empty(5)]
    pool, parts = fold_images(samples, 1, "standard", seed)
    assert pool == samples
    assert sorted(index for part in parts for index in part) == [0, 1, 2, 3, 4]
    assert sorted(map(len, parts)) == [2, 3]
    assert all({0, 3} & set(part) for part in parts)


def test_where_one_image_alone_has_foreground_all_are_cut():
    pool, parts = fold_images([empty(1), sample(2), empty(3)], 1, "standard", seed=0)
    assert parts == [[0, 2, 4], [1, 3, 5]]
    assert pool[2].class_pixels[1] > 0
    assert pool[3].class_pixels[1] > 0
