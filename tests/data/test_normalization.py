"""Statistics of the whole image make every multiple of it look the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.data.normalization import compress, finish, image_statistics, match_moments, standardize
from segexp.errors import InputError


def normalise(pixels, kind):
    offset, scale = (torch.from_numpy(a)[None] for a in image_statistics(pixels, kind))
    return compress(standardize(torch.from_numpy(pixels)[None], offset, scale), kind)


def test_by_hand():
    pixels = np.array([[[1, 3], [1, 3]]], np.uint16)
    assert normalise(pixels, "standard").flatten().tolist() == [-1, 1, -1, 1]
    expected = [0, np.log(3)] * 2  # black is 1, the standard deviation 1
    np.testing.assert_allclose(normalise(pixels, "log").flatten(), expected, rtol=1e-6)


@given(factor=st.floats(1e-3, 65000), kind=st.sampled_from(["standard", "log"]), seed=st.integers(0, 9))
def test_a_multiple_of_an_image_is_the_same_image(factor, kind, seed):
    pixels = np.random.default_rng(seed).lognormal(3, 1, (1, 16, 16)).astype(np.float32)
    scaled = (pixels * np.float32(factor)).astype(np.float32)
    torch.testing.assert_close(normalise(pixels, kind), normalise(scaled, kind), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_becomes_zeros(value):
    assert normalise(np.full((1, 8, 8), value, np.uint16), "log").abs().max() < 1e-2


def test_statistics_of_dim_images_in_large_offsets_are_exact():
    pixels = (np.arange(10000).reshape(1, 100, 100) % 2 + 60000).astype(np.uint16)
    mean, deviation = image_statistics(pixels, "standard")
    assert mean[0] == pytest.approx(60000.5)
    assert deviation[0] == pytest.approx(0.5)


def test_channels_are_normalised_apart():
    pixels = np.stack([np.arange(16.0), 1000 * np.arange(16.0)]).reshape(2, 4, 4).astype(np.float32)
    result = normalise(pixels, "standard")[0]
    torch.testing.assert_close(result[0], result[1])


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"standard, log"):
        compress(torch.zeros(1), "minmax")


def test_black_is_the_first_percentile_of_large_images_too():
    pixels = np.arange(2000 * 1000, dtype=np.float32).reshape(1, 2000, 1000)
    offset, _ = image_statistics(pixels, "log")
    assert offset[0] == pytest.approx(20000, rel=0.01)


def test_moments_are_given_back_sample_by_sample():
    reference = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).reshape(2, 1, 1, 2)
    images = torch.tensor([[-5.0, 5.0], [7.0, 7.0]]).reshape(2, 1, 1, 2)
    assert match_moments(images, reference).flatten().tolist() == pytest.approx([1, 3, 20, 20])
    torch.testing.assert_close(match_moments(reference, reference), reference)


def test_a_multiplication_acts_but_leaves_the_range():
    """What the vesicle augmentation relies on: times 65,000, dim and bright move closer, mean and spread stay."""
    plain = torch.tensor([0.0, 0.01, 0.1, 10.0]).reshape(1, 1, 1, 4)
    seen = match_moments(compress(plain * 65000, "log"), compress(plain, "log"))
    before, after = compress(plain, "log").flatten(), seen.flatten()
    assert after.mean() == pytest.approx(before.mean())
    assert after.std() == pytest.approx(before.std())
    assert (after[1] - after[0]) > 20 * (before[1] - before[0])


def test_only_the_logarithm_gives_moments_back():
    plain = torch.tensor([0.0, 0.1, 1.0, 10.0]).reshape(1, 1, 1, 4)
    torch.testing.assert_close(finish(plain * 3, plain, "standard"), plain * 3)
    assert finish(plain * 65000, plain, "log").mean() == pytest.approx(compress(plain, "log").mean())
    torch.testing.assert_close(finish(plain, plain, "log"), compress(plain, "log"))
