import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import j0, j1

from segexp.synthesis import noise, optics


def _keys(count):
    return torch.arange(count, dtype=torch.int64) * 977 + 3


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 3.0))
def test_psf_keeps_the_light(sigma):
    image = torch.zeros(1, 41, 41)
    image[0, 20, 20] = 1000.0
    assert float(optics.blur(image, np.array([sigma])).sum()) == pytest.approx(1000.0, rel=1e-5)


def test_psf_has_its_width():
    image = torch.zeros(2, 41, 41)
    image[:, 20, 20] = 1.0
    blurred = optics.blur(image, np.array([1.0, 2.5]))
    place = torch.arange(41) - 20.0
    for one, sigma in zip(blurred, (1.0, 2.5), strict=True):
        assert float((one.sum(0) * place**2).sum()) == pytest.approx(sigma**2, rel=0.01)
        assert float((one.sum(1) * place**2).sum()) == pytest.approx(sigma**2, rel=0.01)


def test_blur_leaves_a_flat_image_flat():
    flat = torch.full((1, 20, 20), 3.0)
    torch.testing.assert_close(optics.blur(flat, np.array([2.0])), flat)


def test_refining_is_bilinear():
    coarse = torch.rand(2, 3, 9, 7)
    wanted = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(optics.refined(coarse, 34, 27), wanted[..., :34, :27])


def test_each_image_has_its_own_psf():
    images = torch.rand(2, 30, 30)
    sigma = np.array([0.8, 2.0])
    both = optics.blur(images, sigma)
    for i in range(2):
        torch.testing.assert_close(optics.blur(images[i : i + 1], sigma[i : i + 1])[0], both[i], rtol=1e-6, atol=1e-6)


def test_noise_is_standard_normal_and_differs_between_keys():
    z = noise.normal(_keys(4), 256, 256)
    assert z.mean((1, 2)).abs().max() < 0.015
    assert (z.std((1, 2)) - 1).abs().max() < 0.01
    assert float((z**3).mean()) == pytest.approx(0.0, abs=0.02)
    assert float((z**4).mean()) == pytest.approx(3.0, abs=0.06)
    across = torch.corrcoef(z.flatten(1)).fill_diagonal_(0)
    assert across.abs().max() < 0.02
    assert abs(float((z[:, :, 1:] * z[:, :, :-1]).mean())) < 0.01


def test_both_halves_of_a_key_decide_the_noise():
    keys = torch.tensor([5, 5 + (1 << 32), 6], dtype=torch.int64)
    z = noise.normal(keys, 128, 128).flatten(1)
    assert torch.corrcoef(z).fill_diagonal_(0).abs().max() < 0.04


def test_noise_depends_on_its_key_alone():
    assert torch.equal(noise.normal(_keys(3), 20, 31)[2], noise.normal(_keys(3)[2:], 20, 31)[0])


@pytest.mark.parametrize("read", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("light", [4.0, 30.0, 1000.0])
def test_counts_have_the_moments_of_poisson_and_read_noise(light, read):
    z = noise.normal(_keys(1), 1000, 500).double()
    counts = optics.detected(torch.full_like(z, light), torch.tensor([read]), z)
    variance = light + read**2
    assert float(counts.mean()) == pytest.approx(light, abs=5 * (variance / z.numel()) ** 0.5)
    assert float(counts.var()) == pytest.approx(variance, rel=0.02)
    third = float(((counts - counts.mean()) ** 3).mean())
    assert third == pytest.approx(light, abs=20 * (variance**3 / z.numel()) ** 0.5)


def test_variance_rises_with_the_mean_as_the_camera_says():
    """Photon transfer: grey-level variance = gain * (mean - offset) + (gain * read noise)^2."""
    levels = torch.tensor([20.0, 100.0, 400.0, 900.0])
    p = {
        "bits": torch.full((4,), 16.0), "exposure": torch.full((4,), 0.5), "offset": torch.full((4,), 0.01),
        "photons": torch.full((4,), 500.0), "background": torch.full((4,), 0.2), "read_noise": torch.full((4,), 3.0),
        "stretch": torch.zeros(4), "subtracted": torch.zeros(4),
    }  # fmt: skip
    z = noise.normal(_keys(4), 300, 300)
    grey = optics.exposed(levels[:, None, None].expand(4, 300, 300), p, z, torch.zeros(4, 300, 300)).double()
    gain = float(optics.gain(p)[0])
    expected = gain * (grey.mean((1, 2)) - 655.35) + (gain * 3.0) ** 2
    np.testing.assert_allclose(grey.var((1, 2)), expected, rtol=0.03)
    slope = np.polyfit(grey.mean((1, 2)), grey.var((1, 2)), 1)[0]
    assert slope == pytest.approx(gain, rel=0.03)


@pytest.mark.parametrize(("bits", "stretch", "top"), [(8, 0, 255), (12, 0, 4095), (8, 1, 65535), (16, 0, 65535)])
def test_the_camera_saturates_at_its_depth(bits, stretch, top):
    p = {
        "bits": float(bits), "exposure": 0.5, "offset": 0.01, "photons": 100.0, "background": 0.2, "read_noise": 1.0,
        "stretch": float(stretch), "subtracted": 0.0,
    }  # fmt: skip
    p = {name: torch.tensor([value]) for name, value in p.items()}
    expected = torch.linspace(0, 1000, 64).expand(1, 64, 64)
    grey = optics.exposed(expected, p, torch.zeros(1, 64, 64), torch.zeros(1, 64, 64))
    assert int(grey.max()) == top
    assert int(grey.min()) == pytest.approx(0.01 * top, abs=max(1, top / (2**bits - 1)))
    assert len(torch.unique(grey)) <= 2**bits


def test_smoothed_noise_keeps_its_variance():
    z = noise.normal(_keys(1), 400, 400)
    assert float(optics.smoothed_noise(z, np.array([0.8])).std()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("radius", [1.0, 2.0, 6.0])
def test_disc_peak_is_that_of_a_blurred_disc(radius):
    place = torch.arange(401) / 20.0 - 10.0  # twenty places a px
    disc = (torch.hypot(place[:, None], place[None]) <= radius).float()[None]
    peak = float(optics.blur(disc, np.array([20 * 1.4]))[0, 200, 200])
    assert float(optics.disc_peak(np.array(radius), 1.4)) == pytest.approx(peak, rel=0.02)


def test_the_psf_of_a_weak_lens_is_the_paraxial_one():
    """Zhang et al. 2007, table 1: sqrt(2) / (k NA) in widefield."""
    assert optics.psf_sigma(500.0, 0.1, 100.0) == pytest.approx(2**0.5 / (2 * np.pi / 500.0 * 0.1) / 100.0, rel=1e-3)


@pytest.mark.parametrize("aperture", [0.5, 1.2, 1.4])
def test_the_psf_is_that_of_diffraction_at_its_peak(aperture):
    """Scalar diffraction by a lens that fulfils the sine condition, integrated over the aperture's angle."""
    k, index = 2 * np.pi / 520.0, 1.515

    def field(r):
        def wave(t):
            return np.cos(t) ** 0.5 * np.sin(t) * j0(k * index * r * np.sin(t))

        return quad(wave, 0.0, np.arcsin(aperture / index))[0]

    step = 4.0  # nm
    curvature = 2.0 * (1.0 - (field(step) / field(0.0)) ** 2) / step**2
    assert optics.psf_sigma(520.0, aperture, 65.0) * 65.0 == pytest.approx(curvature**-0.5, rel=2e-3)


def test_a_small_pinhole_narrows_the_psf():
    wide = optics.psf_sigma(520.0, 1.4, 65.0)
    assert optics.psf_sigma(520.0, 1.4, 65.0, excitation=520.0) == pytest.approx(wide / 2**0.5)
    assert optics.psf_sigma(520.0, 1.4, 65.0, excitation=1e9) == pytest.approx(wide)
    with pytest.raises(ValueError, match=r"aperture 1\.6"):
        optics.psf_sigma(520.0, 1.6, 65.0)


@pytest.mark.parametrize("sigma", [1.2, 2.5])
def test_an_airy_pattern_is_that_of_the_bessel_function(sigma):
    image = torch.zeros(1, 81, 81)
    image[0, 40, 40] = 1.0
    got = optics.airy_blur(image, np.array([sigma]))[0].numpy()
    radius = np.hypot(*(np.mgrid[:81, :81] - 40.0))
    v = np.maximum(2**0.5 * radius / sigma, 1e-9)
    wanted = (2 * j1(v) / v) ** 2 / (2 * np.pi * sigma**2)  # (k NA)^2 / 4 pi is the peak of unit light
    near = radius < 6 * sigma
    np.testing.assert_allclose(got[near], wanted[near], atol=0.004 * wanted.max())
    inside = 1.0 - j0(v[40, -1]) ** 2 - j1(v[40, -1]) ** 2  # Rayleigh: light within the radius that fits the image
    assert inside <= got.sum() <= 1.0 + 1e-3
