"""Tiles cover the image, and blending them gives back what a local function would give on the whole image."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.inference.row_reader import ArrayRows
from segexp.inference.sliding_window import Tiling, assemble, lay_tiles, predict_bands, ramp, reflected


def tiled(forward, image, classes=1, **tiling):
    bands = predict_bands(forward, ArrayRows(image), classes, Tiling(**tiling))
    return assemble(bands, (classes, *image.shape[1:]))


@given(
    length=st.integers(1, 3000),
    tile=st.integers(16, 512),
    share=st.floats(0, 0.5),
    multiple=st.sampled_from([1, 2, 8, 16]),
    margin=st.integers(0, 40),
)
def test_tiles_cover_everything_overlap_and_start_at_multiples(length, tile, share, multiple, margin):
    overlap = int(tile * share)
    axis = lay_tiles(length, Tiling(tile, overlap, 8, multiple, margin))
    assert axis.before >= margin
    assert axis.extended - axis.before - length >= margin
    assert all(start % multiple == 0 for start in [*axis.starts, axis.tile, axis.before])
    assert axis.starts[0] == 0
    assert axis.total().min() > 0
    for a, b in pairwise(axis.starts):
        assert 0 < b - a <= axis.tile - min(overlap, axis.tile - multiple)  # a tile is never larger than asked for
    if len(axis.starts) > 1:
        assert axis.tile < tile + multiple


def test_tiles_are_no_larger_than_needed():
    """1100 px by tiles of up to 512 that share 128 would take three of 512; three of 456 do."""
    axis = lay_tiles(1100, Tiling(512, 128, multiple=8))
    assert (axis.starts, axis.tile) == ([0, 320, 648], 456)


def test_a_tile_hands_over_to_the_next_in_the_middle_of_their_overlap():
    """Tiles of 12 px that share 6, blended over 2: outermost 2 px as good as nothing, then a ramp, then 1."""
    expected = [1e-4, 1e-4, 0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25, 1e-4, 1e-4]
    np.testing.assert_allclose(ramp(12, 6, 2), expected, rtol=1e-6)
    np.testing.assert_allclose(ramp(12, 6, 2)[6:] + ramp(12, 6, 2)[:6], 1, atol=2e-4)
    assert ramp(12, 6, 0).tolist() == pytest.approx([1e-4] * 3 + [1] * 6 + [1e-4] * 3)
    assert ramp(12, 6, 100).tolist() == ramp(12, 6, 6).tolist()


def test_what_a_tile_gets_wrong_at_its_edges_is_left_to_its_neighbours():
    """A function that is wrong in the outer 12 px of each tile, on an image whose borders it gets right."""

    def forward(x):
        wrong = x + 1
        wrong[..., 12:-12, 12:-12] = x[..., 12:-12, 12:-12]
        return wrong

    image = np.random.default_rng(0).random((1, 200, 300), np.float32)
    result = tiled(forward, image, tile=96, overlap=32, blend=8, multiple=8, margin=16)
    np.testing.assert_allclose(result, image, atol=3e-4)
    assert np.abs(tiled(forward, image, tile=96, overlap=32, blend=32, multiple=8, margin=16) - image).max() > 0.01


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_reflection_is_numpys(length):
    expected = np.pad(np.arange(length), 40, mode="reflect")
    np.testing.assert_array_equal(reflected(-40, length + 40, length), expected)


@given(
    height=st.integers(1, 150), width=st.integers(1, 150), batch=st.integers(1, 4), margin=st.sampled_from([0, 8, 40])
)
def test_a_local_function_is_reproduced(height, width, batch, margin):
    """Each pixel's answer is its own value and its place's parity: a shift by a pixel anywhere would show."""
    image = np.random.default_rng(0).random((1, height, width), np.float32)
    result = tiled(
        lambda x: torch.cat([x, 1 - x], 1), image, 2, tile=48, overlap=16, multiple=8, margin=margin, batch=batch
    )
    np.testing.assert_allclose(result, np.concatenate([image, 1 - image]), atol=1e-5)


def test_the_network_sees_a_reflection_at_the_border():
    image = np.random.default_rng(0).random((1, 40, 30), np.float32)
    shifted = tiled(lambda x: torch.roll(x, (9, 5), (2, 3)), image, tile=64, overlap=8, multiple=1, margin=10)
    expected = np.pad(image[0], 10, mode="reflect")[1:41, 5:35]
    np.testing.assert_allclose(shifted[0], expected, atol=1e-6)


def test_small_images_go_through_whole():
    seen = []
    tiled(lambda x: seen.append(tuple(x.shape)) or x, np.zeros((1, 70, 40), np.float32), tile=72, multiple=8)
    assert seen == [(1, 1, 72, 40)]


def test_rows_are_read_once_and_the_batch_is_kept():
    image, read, seen = np.zeros((1, 500, 200), np.uint16), [], []

    class Watched(ArrayRows):
        def rows(self, top, bottom):
            read.append((top, bottom))
            return super().rows(top, bottom)

    forward = lambda x: seen.append(x.shape) or torch.zeros(x.shape)  # noqa: E731
    list(predict_bands(forward, Watched(image), 1, Tiling(64, 16, multiple=4, batch=3)))
    assert read[0][0] == 0
    assert read[-1][1] == 500
    assert all(a[1] == b[0] for a, b in pairwise(read))
    assert max(len(range(*r)) for r in read) <= 64
    assert {shape[0] for shape in seen} == {3, 1}


def test_out_of_memory_halves_the_batch_and_goes_on():
    said, sizes = [], []

    def forward(x):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x

    image = np.random.default_rng(0).random((1, 64, 500), np.float32)
    bands = predict_bands(forward, ArrayRows(image), 1, Tiling(64, 16, multiple=8, batch=8), log=said.append)
    np.testing.assert_allclose(assemble(bands, (1, 64, 500)), image, atol=1e-6)
    assert sizes[:3] == [8, 4, 2]
    assert said == [
        "out of memory with 8 tiles at once; continuing with 4",
        "out of memory with 4 tiles at once; continuing with 2",
    ]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("one tile is too much"), RuntimeError("shape mismatch")])
def test_other_failures_are_not_swallowed(error):
    def forward(x):
        raise error

    with pytest.raises(type(error), match=str(error)):
        tiled(forward, np.zeros((1, 20, 20), np.float32))


def test_progress_counts_up_to_all_pixels():
    heard = []
    image = np.zeros((1, 300, 100), np.float32)
    list(
        predict_bands(lambda x: x, ArrayRows(image), 1, Tiling(64, 16, multiple=8), progress=lambda *x: heard.append(x))
    )
    assert heard[-1] == (30000, 30000)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert len(heard) > 4


def test_an_overlap_as_wide_as_a_tile_leaves_tiles_of_the_size_that_was_asked_for():
    for tile in (16, 32, 64):
        axis = lay_tiles(300, Tiling(tile=tile, overlap=64, blend=16, multiple=16, margin=16))
        assert axis.tile == tile
        assert (axis.total() > 0).all()
