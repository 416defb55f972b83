"""What images look like in numbers: cases with known answers, and what must not matter."""

import numpy as np
import pytest

from segexp.calibration.features import (
    BANDS,
    BINS,
    GROUPS,
    SCALES,
    describe,
    distance,
    groups_of,
    noise,
    spectrum,
    structures,
)

RNG = np.random.default_rng(0)


def discs(radius, cell=48):
    """Three by three of them."""
    y, x = np.mgrid[:cell, :cell] - cell / 2
    return np.tile((np.hypot(y, x) <= radius).astype(np.float32), (3, 3))


@pytest.mark.parametrize("task", ["vesicle", "cytoskeleton"])
def test_neither_gain_nor_offset_matters(task):
    image = RNG.gamma(2.0, 100.0, (80, 96))
    for other in (3 * image + 500, (image * 20).astype(np.uint16)):
        np.testing.assert_allclose(describe(other, task), describe(image, task), atol=0.02)


@pytest.mark.parametrize("task", ["vesicle", "cytoskeleton"])
def test_the_groups_cover_all_numbers_and_a_constant_image_has_finite_ones(task):
    numbers, parts = describe(np.full((64, 64), 7, np.uint8), task), groups_of(task)
    assert np.isfinite(numbers).all()
    assert tuple(parts) == GROUPS
    assert [k for part in parts.values() for k in range(part.start, part.stop)] == list(range(len(numbers)))


def test_white_noise_has_a_flat_spectrum_and_its_own_deviation_at_every_mean():
    plain = RNG.normal(size=(256, 256)).astype(np.float32)
    np.testing.assert_allclose(spectrum(plain)[4:], 0, atol=0.1)
    np.testing.assert_allclose(10 ** noise(plain), 1, rtol=0.06)


def test_a_blurred_image_has_less_power_at_high_frequencies():
    import cv2

    plain = RNG.normal(size=(256, 256)).astype(np.float32)
    change = spectrum(cv2.GaussianBlur(plain, (0, 0), 1.5)) - spectrum(plain)
    assert len(change) == BANDS
    assert change[0] > -0.1
    assert change[-1] < -2


def test_shot_noise_rises_with_the_root_of_the_mean():
    mean = np.repeat(np.linspace(20, 320, 256)[:, None], 256, 1)
    curve = 10 ** noise(RNG.poisson(mean).astype(np.float32))
    middle = 20 + 300 * (np.arange(BINS) + 0.5) / BINS
    np.testing.assert_allclose(curve, np.sqrt(middle), rtol=0.08)


@pytest.mark.parametrize(("radius", "cell", "place"), [(1.5, 12, 0), (4.0, 32, 2), (11.0, 64, 4)])
def test_a_disc_answers_most_at_its_own_scale(radius, cell, place):
    """A disc of radius r answers most at sigma = r / sqrt(2)."""
    strongest = structures(discs(radius, cell), "vesicle").reshape(len(SCALES["vesicle"]), -1)[:, 3]
    assert strongest.argmax() == place


def test_lines_are_straight_and_noise_is_not():
    lines = np.sin(np.arange(128) / 3)[None].repeat(128, 0).astype(np.float32)
    assert structures(lines, "cytoskeleton")[-1] > 0.99
    assert structures(RNG.normal(size=(128, 128)).astype(np.float32), "cytoskeleton")[-1] < 0.3


def test_bright_ridges_and_dark_ones_are_told_apart():
    line = np.zeros((96, 96), np.float32)
    line[:, 40:43] = 1
    bright, dark = (structures(sign * line, "cytoskeleton") for sign in (1, -1))
    assert bright[3] > dark[3]
    assert dark[4] > bright[4]


def test_distance_is_zero_to_itself_and_counts_in_scales():
    numbers = RNG.normal(size=(6, len(describe(discs(5), "vesicle"))))
    scale = np.full(numbers.shape[1], 2.0)
    assert distance(numbers, numbers, scale, "vesicle")["all"] == 0
    moved = numbers.copy()
    moved[:, groups_of("vesicle")["noise"]] += 3
    found = distance(numbers, moved, scale, "vesicle")
    assert found == pytest.approx({"histogram": 0, "spectrum": 0, "noise": 1.5, "structures": 0, "all": 1.5 / 4})
