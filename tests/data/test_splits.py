"""Splits: no group on two sides, every image validated once, the same everywhere, written and read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexp.data.splits import (
    draw,
    group_names,
    parse_fold,
    read_split,
    split_fold,
    split_fraction,
    split_text,
)
from segexp.errors import InputError

PATTERN = r"^(.+)_z\d+$"
STACKS = st.dictionaries(st.text("abcdeé ", min_size=1, max_size=4), st.integers(1, 9), min_size=2, max_size=12)


def slices(stacks):
    return [f"{stack}_z{number}" for stack, count in stacks.items() for number in range(count)]


@given(stacks=STACKS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99), order=st.randoms())
def test_a_fraction_keeps_groups_whole_and_uses_every_image_once(stacks, fraction, seed, order):
    names = slices(stacks)
    split = split_fraction(names, fraction, PATTERN, seed)
    assert sorted([*split.train, *split.val]) == sorted(names)
    assert split.train
    assert split.val
    sides = [{name.rpartition("_z")[0] for name in side} for side in (split.train, split.val)]
    assert not sides[0] & sides[1]
    order.shuffle(names)
    assert split_fraction(names, fraction, PATTERN, seed) == split


@given(stacks=STACKS, data=st.data(), seed=st.integers(0, 99))
def test_folds_keep_groups_whole_and_validate_every_image_once(stacks, data, seed):
    names = slices(stacks)
    folds = data.draw(st.integers(2, len(stacks)))
    splits = [split_fold(names, fold, folds, PATTERN, seed) for fold in range(1, folds + 1)]
    assert sorted(name for split in splits for name in split.val) == sorted(names)
    for split in splits:
        assert sorted([*split.train, *split.val]) == sorted(names)
        sides = [{name.rpartition("_z")[0] for name in side} for side in (split.train, split.val)]
        assert not sides[0] & sides[1]
        assert split.val
        assert split.train


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5])
def test_the_share_is_what_was_asked_for(fraction):
    names = [f"cell_{n:03}" for n in range(100)]
    assert len(split_fraction(names, fraction, None, 0).val) == 100 * fraction
    assert split_fraction(names, fraction, None, 0).val != split_fraction(names, fraction, None, 1).val
    assert [len(split_fold(names, fold, 3, None, 0).val) for fold in (1, 2, 3)] == [34, 33, 33]


def test_an_image_that_is_added_moves_few_others():
    names = [f"cell_{n:03}" for n in range(100)]
    before, after = (set(split_fraction(more, 0.2, None, 0).val) for more in (names, [*names, "cell_100"]))
    assert len(before ^ after) <= 2


def test_too_few_groups_and_bad_patterns():
    with pytest.raises(InputError, match=r"data\.val_fraction=0\.2: 1 group of images; needs 2"):
        split_fraction(["a_z1", "a_z2"], 0.2, PATTERN, 0)
    with pytest.raises(InputError, match=r"data\.fold=1/5: 3 groups"):
        split_fold(["a", "b", "c"], 1, 5, None, 0)
    with pytest.raises(InputError, match=r"matches no group in 1 of 2 names: b"):
        group_names(["a_z1", "b"], PATTERN)
    with pytest.raises(InputError, match="parentheses"):
        group_names(["a"], "a")
    with pytest.raises(InputError, match="not a regular expression"):
        group_names(["a"], "(a")
    for text in ("5", "0/5", "6/5", "1/1", "a/b", "1/2/3", "-1/3"):
        with pytest.raises(InputError, match=r"data\.fold"):
            parse_fold(text)
    assert parse_fold("2/5") == (2, 5)


def test_a_split_is_written_and_read_back(tmp_path):
    names = [f"é {n}" for n in range(10)]
    split = split_fraction(names, 0.3, None, 5)
    (tmp_path / "split.json").write_text(split_text(split), encoding="utf-8")
    assert read_split(tmp_path / "split.json", names) == split
    assert read_split(tmp_path, names) == split
    for other, words in ((names[1:], "not among the images"), ([*names, "x"], r"on neither side \(x\)")):
        with pytest.raises(InputError, match=words):
            read_split(tmp_path, other)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"], "val": ["a"]}))
    with pytest.raises(InputError, match="on both sides"):
        read_split(tmp_path, ["a"])
    for text in ("", "[]", '{"train": 3, "val": []}', "[" * 100_000, '{"train": [], "val": []}'):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(InputError, match=r"split\.json"):
            read_split(tmp_path, [])
    with pytest.raises(InputError, match="run folder"):
        read_split(tmp_path / "nowhere", names)


@given(stacks=STACKS, seed=st.integers(0, 99), order=st.randoms())
def test_a_larger_draw_has_the_images_of_a_smaller_one(stacks, seed, order):
    names = slices(stacks)
    mixed = list(names)
    order.shuffle(mixed)
    previous: set[str] = set()
    for count in range(1, len(names) + 1):
        drawn = draw(mixed, count, None, seed)
        assert len(set(drawn)) == count
        assert previous < set(drawn) <= set(names)
        previous = set(drawn)


@given(stacks=STACKS, seed=st.integers(0, 99), share=st.floats(0.01, 1))
def test_a_draw_uses_up_one_group_after_the_other(stacks, seed, share):
    names = slices(stacks)
    drawn = set(draw(names, max(1, int(share * len(names))), PATTERN, seed))
    groups = group_names(names, PATTERN).values()
    assert sum(0 < len(drawn & set(group)) < len(group) for group in groups) <= 1


def test_draws_differ_by_seed_and_stop_at_what_is_there():
    names = [f"cell_{number}" for number in range(20)]
    assert len({tuple(draw(names, 5, None, seed)) for seed in range(10)}) > 7
    with pytest.raises(InputError, match=r"data.images=21: there are 20 training images; expected 1 to 20, or null"):
        draw(names, 21, None, 0)
