"""Pieces, holes, breaks and merges, counted on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segexp.metrics.topology import betti_numbers, topology_scores

CROSS = ndimage.generate_binary_structure(2, 1)


def picture(text):
    return np.array([[letter == "#" for letter in row] for row in text.split()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("... ... ...", (0, 0)),
        ("### ### ###", (1, 0)),
        ("### #.# ###", (1, 1)),
        ("#.. .#. ..#", (1, 0)),  # a diagonal is one piece
        ("#.# ... #.#", (4, 0)),
        (".#. #.# .#.", (1, 1)),  # and closes a ring
        ("##### #.#.# #####", (1, 2)),
        ("#...# #...# #####", (1, 0)),  # open to the edge: no hole
        ("####### #.....# #.###.# #.#.#.# #.###.# #.....# #######", (2, 2)),  # a ring in a ring
    ],
)
def test_betti_numbers(text, expected):
    assert betti_numbers(picture(text)) == expected


@given(arrays(bool, (9, 8)))
def test_betti_numbers_agree_with_scipy_and_euler(mask):
    from skimage.measure import euler_number

    pieces = ndimage.label(mask, np.ones((3, 3)))[1]
    holes = ndimage.label(np.pad(~mask, 1, constant_values=True), CROSS)[1] - 1
    assert betti_numbers(mask) == (pieces, holes)
    assert euler_number(mask, connectivity=2) == pieces - holes


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ("#########", "#########", (0, 0, 0, 0)),
        (".........", ".........", (0, 0, 0, 0)),
        ("##.###.##", "#########", (2, 0, 2, 0)),  # found in three parts
        ("#########", "##.###.##", (2, 0, 0, 2)),  # three joined
        (".........", "#########", (1, 0, 0, 0)),  # missed: neither broken nor merged
        ("#..#..#..", ".........", (3, 0, 0, 0)),  # invented
        ("#..######", "####..###", (0, 0, 1, 1)),  # one break and one merge cancel in Betti-0
        ("### #.# ###", "### ### ###", (0, 1, 0, 0)),
    ],
)
def test_mistakes(prediction, truth, expected):
    scores = topology_scores(picture(prediction), picture(truth))
    assert tuple(scores[name] for name in ("betti0_error", "betti1_error", "breaks", "merges")) == expected


@given(arrays(bool, (6, 9)), arrays(bool, (6, 9)))
def test_breaks_and_merges_are_each_others_mirror(a, b):
    there, back = topology_scores(a, b), topology_scores(b, a)
    assert (there["breaks"], there["merges"]) == (back["merges"], back["breaks"])
    assert there["betti0_error"] == abs(betti_numbers(a)[0] - betti_numbers(b)[0])
    assert there["betti1_error"] == abs(betti_numbers(a)[1] - betti_numbers(b)[1])


def test_both_are_cut_where_nobody_annotated():
    known = picture("####..####")
    scores = topology_scores(picture("##.#######"), picture("####..####"), known)
    assert scores == {"betti0_error": 1, "betti1_error": 0, "breaks": 1, "merges": 0}
