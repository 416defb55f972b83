"""The one rule between the names of images and of masks: found, refused where it is not the only one, never guessed."""

import itertools

import pytest

from segexp.data.naming import Rule, find_rules

FOUND = {  # image, mask
    "_mask": ("c{}", "c{}_mask"),
    "_cp_masks": ("c{}", "c{}_cp_masks"),
    "dash": ("c{}", "c{}-labels"),
    "no separator": ("t{}", "t{}GT"),
    "prefix exchanged": ("image_{}", "mask_{}"),
    "prefix added": ("{}", "mask_{}"),
    "prefix taken off": ("img_{}", "{}"),
    "nnU-Net": ("c{}_0000", "c{}"),
    "OME": ("c{}.ome", "c{}"),
    "whole name": ("c{}", "c{}.tif"),
    "suffix exchanged": ("{}_training", "{}_manual1"),
    "both ends": ("raw_{}.ome", "gt_{}_seg"),
    "within": ("day{}_image_z", "day{}_mask_z"),
}


@pytest.mark.parametrize("case", FOUND)
@pytest.mark.parametrize(
    "numbers", [range(1, 3), range(8, 13), [f"{n:03}" for n in range(98, 103)], ["a", "bc", "bcd"]]
)
def test_one_rule_pairs_every_image_with_its_own_mask(case, numbers):
    image, mask = FOUND[case]
    expected = {image.format(n): mask.format(n) for n in numbers}
    found = find_rules(expected.keys(), set(expected.values()))
    assert len(found) == 1
    rule, pairs = found[0]
    assert pairs == expected
    assert rule.is_plain


def test_a_mask_that_is_missing_and_one_too_many():
    images = [f"c{n}" for n in range(10)]
    masks = [f"c{n}_mask" for n in range(1, 12)]
    ((_, pairs),) = find_rules(images, masks)
    assert pairs == {f"c{n}": f"c{n}_mask" for n in range(1, 10)}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["c1", "c2"], ["x", "y"]),
        (["c1", "c2", "c3"], ["c1_1", "c1_2", "c2_1", "c3_1"]),  # objects of one image each, or pages
        (["c1", "c2"], ["c10", "c20"]),
        (["c1_0000", "c1_0001", "c2_0000", "c2_0001"], ["c1", "c2"]),  # two channels of one case
        (["s"], ["s_001", "s_002"]),
    ],
)
def test_no_rule_to_follow(images, masks):
    assert not any(rule.is_plain for rule, _ in find_rules(images, masks))


def test_two_rules_are_told_apart_by_what_says_mask_or_not_at_all():
    images = ["c1", "c2"]
    cellpose = find_rules(images, ["c1_cp_masks", "c2_cp_masks", "c1_flows", "c2_flows"])
    assert [pairs["c1"] for _, pairs in cellpose] == ["c1_cp_masks"]
    observers = find_rules(images, ["c1_1stHO", "c2_1stHO", "c1_2ndHO", "c2_2ndHO"])
    assert sorted(pairs["c1"] for _, pairs in observers) == ["c1_1stHO", "c1_2ndHO"]


def test_what_is_exchanged_must_say_mask_or_image():
    ((rule, _),) = find_rules(["day1_a", "day1_b"], ["day2_a", "day2_b"])
    assert rule.patterns == ("day1*", "day2*")
    assert not rule.is_plain


def test_no_rule_gives_two_images_one_mask():
    names = ["".join(letters) for length in (1, 2, 3) for letters in itertools.product("a1_", repeat=length)]
    for first, second in itertools.combinations(names, 2):
        for _, pairs in find_rules([first, second], names):
            assert len(set(pairs.values())) == 2


def test_a_rule_needs_something_that_differs():
    assert Rule("image", "", "mask", "").mask_of("image") is None
    assert Rule("a", "a", "b", "b").mask_of("a") is None
