"""What is done band by band is what would be done to the whole."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segexp.inference.postprocess import labelled_bands
from segexp.inference.predictor import drop_small, label_classes
from segexp.inference.row_reader import rescaled_bands
from segexp.io.resample import rescale


def cut(image, cuts):
    edges = [0, *sorted({c for c in cuts if 0 < c < image.shape[1]}), image.shape[1]]
    return [(a, image[:, a:b]) for a, b in pairwise(edges)]


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    cuts=st.lists(st.integers(1, 39)),
    min_size=st.integers(0, 12),
    classes=st.integers(1, 2),
)
def test_small_pieces_are_dropped_as_in_the_whole(seed, height, cuts, min_size, classes):
    rng = np.random.default_rng(seed)
    image = (rng.random((classes, height, 9)) ** 0.8).astype(np.float32)
    parts = list(labelled_bands(cut(image, cuts), height, 0.6, min_size))
    np.testing.assert_array_equal(np.concatenate([p for p, _ in parts], axis=1), image)
    expected = drop_small(label_classes(image, 0.6), classes, min_size)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), expected)


@given(
    held=st.tuples(st.integers(1, 30), st.integers(1, 9)),
    wanted=st.tuples(st.integers(1, 60), st.integers(1, 12)),
    cuts=st.lists(st.integers(1, 29)),
)
def test_rescaling_by_bands_is_rescaling_the_whole(held, wanted, cuts):
    image = np.random.default_rng(0).random((2, *held)).astype(np.float32)
    parts = list(rescaled_bands(cut(image, cuts), held, wanted))
    np.testing.assert_allclose(np.concatenate([part for _, part in parts], axis=1), rescale(image, wanted), atol=1e-6)
    firsts = np.cumsum([0, *(part.shape[1] for _, part in parts)])
    assert [first for first, _ in parts] == firsts[:-1].tolist()
