"""Tiles cover the image, and blending them gives back what a local function would give on the whole image."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.inference.tiles import blend_weight, predict_tiles, tile_starts


@given(length=st.integers(1, 3000), tile=st.integers(16, 512), share=st.floats(0, 0.5))
def test_tiles_cover_everything_and_overlap(length, tile, share):
    overlap = int(tile * share)
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] + tile == length or (length <= tile and starts == [0])
    for a, b in pairwise(starts):
        assert 0 < b - a <= tile - overlap


def test_blend_is_symmetric_positive_and_highest_in_the_middle():
    weight = blend_weight(33, 65)
    torch.testing.assert_close(weight, weight.flip(0, 1))
    assert weight.min() > 0
    assert weight.argmax() == 16 * 65 + 32


def test_a_local_function_is_reproduced_exactly():
    image = torch.randn(1, 150, 203)
    tiled = predict_tiles(lambda x: x * 2, image, tile=48, overlap=16, batch=3)
    torch.testing.assert_close(tiled, torch.sigmoid(image * 2), rtol=1e-5, atol=1e-6)


def test_tiles_are_cut_where_they_are_pasted():
    """Each tile's answer is the position in the image; a shift by a pixel would show."""
    image = torch.arange(100.0 * 90).reshape(1, 100, 90) / 9000
    tiled = predict_tiles(lambda x: torch.cat([x, -x], 1), image, tile=32, overlap=8)
    torch.testing.assert_close(tiled[0], torch.sigmoid(image[0]))
    torch.testing.assert_close(tiled[1], torch.sigmoid(-image[0]))


def test_small_images_go_through_whole():
    seen = []
    predict_tiles(lambda x: seen.append(x.shape) or x, torch.zeros(1, 70, 40), tile=48)
    assert seen == [(1, 1, 70, 40)]
