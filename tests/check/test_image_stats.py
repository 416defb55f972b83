"""Facts of single images and masks, against numbers worked out by hand and independent libraries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label, regionprops

from segexp.check.image_stats import descriptor, image_facts, mask_facts

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_quantiles_are_numpys(dtype):
    pixels = RNG.integers(3, 250, (1, 101, 97)).astype(dtype)
    facts = image_facts(pixels)
    expected = np.quantile(pixels, (0, 0.01, 0.5, 0.99, 1), method="inverted_cdf")
    np.testing.assert_allclose(facts.quantiles, expected, atol=1)
    assert facts.dtype == np.dtype(dtype).name
    assert facts.shape == (1, 101, 97)


def test_a_large_image_is_counted_in_parts(monkeypatch):
    monkeypatch.setattr("segexp.check.image_stats._HISTOGRAM_PIXELS", 100)
    pixels = RNG.integers(0, 65536, (1, 40, 41)).astype(np.uint16)
    assert image_facts(pixels).quantiles[2] == np.sort(pixels.ravel())[819]


@pytest.mark.parametrize(
    ("dtype", "top", "share"),
    [
        (np.uint8, 255, 0.25),
        (np.uint16, 65535, 0.25),
        (np.uint16, 4095, 0.25),
        (np.uint16, 4000, 0),
        (np.uint8, 200, 0),
    ],
)
def test_saturation_is_the_share_at_a_cameras_limit(dtype, top, share):
    pixels = np.array([[[1, 2, 3, top]]], dtype)
    assert image_facts(pixels).saturated == share


def test_values_grey_and_constant():
    flat = np.full((1, 8, 8), 7, np.uint8)
    assert image_facts(flat).constant
    assert image_facts(flat).values == 1
    two = flat.copy()
    two[0, 0, 0] = 9
    assert image_facts(two).values == 2
    assert not image_facts(two).constant
    colour = RNG.integers(0, 255, (3, 30, 30)).astype(np.uint8)
    assert not image_facts(colour).grey
    assert image_facts(np.repeat(colour[:1], 3, axis=0)).grey


def test_equal_pixels_have_one_digest_and_others_another():
    image = RNG.integers(0, 255, (1, 9, 12)).astype(np.uint8)
    digests = {
        image_facts(x).digest
        for x in (image, image.copy(order="F"), image.reshape(1, 12, 9), image.astype(np.uint16), 255 - image)
    }
    assert len(digests) == 4


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 300), (1, 5, 7), (3, 40, 90), (1, 700, 20)])
def test_the_descriptor_has_norm_1_or_0(shape):
    vector = descriptor(RNG.integers(0, 65535, shape).astype(np.uint16))
    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) or not vector.any()


@pytest.mark.parametrize("value", [0, 1, 77, 65535])
def test_a_constant_image_has_no_descriptor(value):
    assert not descriptor(np.full((1, 512, 512), value, np.uint16)).any()


def test_the_descriptor_ignores_light_and_knows_other_scenes():
    field = np.kron(RNG.random((32, 32)), np.ones((8, 8))).astype(np.float32)
    slope = np.linspace(0, 5, 256, dtype=np.float32)
    same = descriptor(field[None]) @ descriptor((3 * field + 10 + slope)[None])
    other = np.kron(RNG.random((32, 32)), np.ones((8, 8))).astype(np.float32)
    assert same > 0.9
    assert abs(descriptor((field + slope)[None]) @ descriptor((other + slope)[None])) < 0.5


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_objects_are_scikit_images(labels):
    facts = mask_facts(labels, 1)
    areas = sorted(int(region.area) for region in regionprops(label(labels, connectivity=2)))
    assert facts.areas.tolist() == areas
    assert facts.objects == len(areas)
    assert facts.foreground == pytest.approx(labels.mean())
    assert sum(facts.class_pixels) == labels.size


def test_the_middle_object_is_not_the_middle_of_the_specks():
    labels = np.zeros((40, 40), np.uint8)
    labels[:20, :10] = 1  # 200 pixels, and nine of 1 pixel
    labels[30, ::4] = 1
    facts = mask_facts(labels, 1)
    assert facts.middle == 200
    assert np.median(facts.areas) == 1


@pytest.mark.parametrize("width", [4, 8, 16])
def test_the_width_of_a_strip_is_its_width(width):
    labels = np.zeros((200, 60), np.uint8)
    labels[:, 20 : 20 + width] = 1
    assert mask_facts(labels, 1).width == pytest.approx(width, rel=0.1)


def test_unannotated_pixels_are_neither_foreground_nor_background():
    labels = np.array([[0, 1, 255, 255]], np.uint8)
    facts = mask_facts(labels, 1)
    assert facts.class_pixels == (1, 1)
    assert facts.ignored == 0.5
    assert facts.foreground == 0.5
    assert facts.objects == 1


def test_an_empty_mask():
    facts = mask_facts(np.zeros((5, 5), np.uint8), 2)
    assert facts.class_pixels == (25, 0, 0)
    assert (facts.objects, facts.width, facts.foreground) == (0, 0, 0)
