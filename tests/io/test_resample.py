"""Change of scale: OpenCV as the referee, windows equal to the whole, constants kept."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexp.errors import InputError
from segexp.io.resample import rescale, rescale_window, scaled_shape, source_window

IMAGE = np.random.default_rng(0).integers(0, 60000, (37, 53)).astype(np.uint16)


@pytest.mark.parametrize("shape", [(20, 30), (12, 17), (36, 50), (1, 1)])
def test_shrinking_averages_areas_as_opencv_does(shape):
    expected = cv2.resize(IMAGE.astype(np.float64), shape[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(rescale(IMAGE.astype(np.float64), shape), expected, rtol=1e-4)
    assert abs(float(rescale(IMAGE, shape).mean()) - IMAGE.mean()) < 1  # light is neither lost nor made


@pytest.mark.parametrize("shape", [(60, 90), (38, 54), (370, 53)])
def test_growing_interpolates_as_opencv_does(shape):
    expected = cv2.resize(IMAGE.astype(np.float64), shape[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(rescale(IMAGE.astype(np.float64), shape), expected, rtol=1e-3)


@pytest.mark.parametrize("shape", [(20, 30), (60, 90), (111, 53)])
def test_labels_take_the_nearest_value(shape):
    labels = np.random.default_rng(0).integers(0, 3, (37, 53)).astype(np.uint8)
    expected = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert (rescale(labels, shape, nearest=True) == expected).mean() > 0.99  # OpenCV rounds ties in fixed point


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u4", "f2", "f4", "f8"])
def test_dtype_and_constants_are_kept(dtype):
    image = np.full((2, 30, 40), 100, dtype)
    for shape in ((11, 13), (70, 41), (30, 40)):
        result = rescale(image, shape)
        assert result.dtype == image.dtype
        assert result.shape == (2, *shape)
        np.testing.assert_allclose(result, 100, rtol=1e-12)


@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    cut=st.tuples(*[st.floats(0, 1)] * 4),
    nearest=st.booleans(),
)
def test_a_window_is_the_window_of_the_whole(source, shape, cut, nearest):
    image = np.random.default_rng(1).integers(0, 60000, source).astype(np.uint16)
    corner = (int(cut[0] * (shape[0] - 1)), int(cut[1] * (shape[1] - 1)))
    size = tuple(1 + int(cut[2 + axis] * (shape[axis] - 1 - corner[axis])) for axis in range(2))
    start, extent = source_window(source, shape, corner, size)
    part = image[start[0] : start[0] + extent[0], start[1] : start[1] + extent[1]]
    window = rescale_window(part, shape, start, source, corner, size, nearest)
    whole = rescale(image, shape, nearest)
    np.testing.assert_array_equal(window, whole[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]])


def test_the_shape_at_another_scale():
    assert scaled_shape((100, 200), (0.2, 0.1), 0.1) == (200, 200)
    assert scaled_shape((100, 200), (0.1005, 0.0995), 0.1) == (100, 200)
    assert scaled_shape((100, 200), None, 0.1) == (100, 200)
    assert scaled_shape((100, 200), (0.2, 0.1), None) == (100, 200)
    assert scaled_shape((3, 3), (0.01, 0.01), 0.1) == (1, 1)
    with pytest.raises(InputError, match=r"a\.tif.*data\.pixel_size"):
        scaled_shape((100, 200), (100.0, 100.0), 0.1, "a.tif")
