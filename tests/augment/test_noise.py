"""Photon noise against the moments of the Poisson distribution, and the random numbers behind it."""

import pytest
import torch

from segexp.augment.noise import _normal, noise, photon_noise


@pytest.mark.parametrize("photons", [4.0, 30.0, 1000.0])
def test_photon_noise_has_poissons_mean_and_variance(photons):
    # a sheet of brightest pixels and one darkest: the sheet stands for `photons` a pixel
    given = torch.ones(1, 1, 256, 256)
    given[0, 0, 0, 0] = 0
    none, some = torch.zeros(1), torch.tensor([photons])
    counts = photon_noise(given, some, none, none, torch.tensor([7]))[0, 0, 1:] * photons
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert counts.mean() == pytest.approx(photons, rel=0.01)
    assert counts.var() == pytest.approx(photons, rel=0.05)


def test_read_noise_is_in_photons():
    given = torch.zeros(1, 1, 200, 200)
    given[0, 0, 0, 0] = 1
    noisy = photon_noise(given, torch.tensor([50.0]), torch.zeros(1), torch.tensor([3.0]), torch.tensor([7]))
    assert (noisy[0, 0, 1:] * 50).std() == pytest.approx(3, rel=0.03)


def test_noise_is_normal_uncorrelated_and_follows_the_seed():
    shape = torch.empty(2, 1, 200, 200)
    first, second = noise(torch.tensor([1, 2]), shape)[:, 0]
    assert torch.equal(noise(torch.tensor([2]), shape[:1])[0, 0], second)
    for sample in (first, second):
        assert abs(sample.mean()) < 0.02
        assert sample.std() == pytest.approx(1, abs=0.02)
        assert (sample.abs() < 1).float().mean() == pytest.approx(0.6827, abs=0.01)
        assert abs((sample[:, 1:] * sample[:, :-1]).mean()) < 0.02
        assert abs((sample[1:] * sample[:-1]).mean()) < 0.02
    assert abs((first * second).mean()) < 0.02
    assert abs((first.flatten()[1:] * second.flatten()[:-1]).mean()) < 0.02  # nor is one the other, shifted


def test_the_smallest_and_the_largest_random_bits_give_finite_numbers_of_opposite_sign():
    last = 2**24 - 1
    bits = torch.tensor([0, 1, 12345, 2**23 - 1], dtype=torch.int32)
    low, high = _normal(bits), _normal(last - bits)
    assert low.isfinite().all()
    assert torch.equal(low, -high)
    assert -6 < low[0] < -5
    assert -1e-6 < low[-1] < 0
