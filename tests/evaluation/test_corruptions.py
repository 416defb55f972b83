"""Changed images: what each change does, by hand, and that its neutral value does nothing."""

import numpy as np
import pytest
from scipy import ndimage

from segexp.evaluation.corruptions import (
    PERTURBATIONS,
    blur,
    downscale,
    gamma,
    grey_levels,
    illumination,
    intensity,
    jpeg,
    offset,
    photons,
)


@pytest.fixture
def image():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((1, 48, 56)), (0, 3, 3))
    return (1000 + 3000 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_value_gives_finite_pixels_and_never_touches_the_original(image, name, channels):
    pixels = np.repeat(image, channels, axis=0)
    before = pixels.copy()
    perturbation = PERTURBATIONS[name]
    for value in perturbation.values:
        changed = perturbation.change(pixels, value, rng())
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert changed.shape == pixels.shape or name == "downscale"
        np.testing.assert_array_equal(changed, perturbation.change(pixels, value, rng()))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_neutral_value_is_among_those_tried_and_changes_next_to_nothing(image, name):
    perturbation = PERTURBATIONS[name]
    assert perturbation.neutral in perturbation.values
    assert list(perturbation.values) == sorted(perturbation.values)
    changed = perturbation.change(image, perturbation.neutral, rng())
    assert np.abs(changed - image).mean() < 0.015 * np.ptp(image)
    assert np.corrcoef(changed.ravel(), image.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_constant_image_stays_finite(name):
    for value in PERTURBATIONS[name].values:
        assert np.isfinite(PERTURBATIONS[name].change(np.full((1, 20, 20), 7, np.float32), value, rng())).all()


def test_intensity_and_offset(image):
    np.testing.assert_allclose(intensity(image, 65000, rng()), image * 65000.0)
    white = np.percentile(image, 99.9)
    np.testing.assert_allclose(offset(image, 0.5, rng()), image + 0.5 * (white - 1000), rtol=1e-6)
    lowered = offset(image, -0.5, rng())
    assert lowered.min() == 1000
    assert (lowered == 1000).mean() > 0.2


def test_gamma_keeps_black_and_bends_the_middle():
    ramp = np.linspace(0, 1, 1001, dtype=np.float32)[None, None]
    bent = gamma(ramp, 2, rng())[0, 0]
    assert bent[0] == 0
    white = np.percentile(ramp, 99.9)
    assert bent[500] == pytest.approx(0.25 / white, rel=1e-3)


def test_photon_noise_is_poisson():
    flat = np.full((1, 200, 200), 0.5, np.float32)
    flat[0, 0, 0], flat[0, 100:110] = 0, 1
    noisy = photons(flat, 40, rng())[0, 120:]
    assert noisy.mean() == pytest.approx(0.5, rel=0.01)
    assert noisy.var() == pytest.approx(20 / 40**2, rel=0.05)


def test_blur_spreads_a_point_into_a_gaussian():
    point = np.zeros((1, 41, 41), np.float32)
    point[0, 20, 20] = 1
    spread = blur(point, 2, rng())[0]
    assert spread.sum() == pytest.approx(1, rel=1e-3)
    rows = np.indices(spread.shape)[0] - 20
    assert (spread * rows**2).sum() == pytest.approx(4, rel=0.05)


def test_illumination_loses_most_at_the_far_corner(image):
    flat = np.full((1, 101, 101), 10, np.float32)
    flat[0, 0, 0] = 0
    dark = illumination(flat, 0.8, rng())[0]
    assert dark[-1, -1] == pytest.approx(2, rel=1e-5)
    assert dark[40, 35] == pytest.approx(10)


def test_downscale_averages_areas():
    pixels = np.arange(64 * 48, dtype=np.float32).reshape(1, 64, 48)
    smaller = downscale(pixels, 2, rng())
    np.testing.assert_allclose(smaller, pixels.reshape(1, 32, 2, 24, 2).mean(axis=(2, 4)))
    assert downscale(pixels, 4, rng()).shape == (1, 16, 16)


def test_levels_are_counted(image):
    for levels in (4, 16):
        assert len(np.unique(grey_levels(image, levels, rng()).round(2))) == levels


def test_jpeg_is_close_at_the_top_and_blocky_at_the_bottom(image):
    step = np.ptp(image) / 255
    assert np.abs(jpeg(image, 100, rng()) - image)[image < np.percentile(image, 99.8)].max() < 3 * step
    assert np.abs(jpeg(image, 5, rng()) - image).mean() > np.abs(jpeg(image, 75, rng()) - image).mean()


def test_colours_keep_their_order_through_jpeg():
    pixels = np.zeros((3, 32, 32), np.float32)
    pixels[0] = 200
    through = jpeg(pixels, 95, rng())
    assert through[0].mean() > 150 > through[1:].mean()
