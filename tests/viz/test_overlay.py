"""Overlays: size, colours at the right pixels, any dtype."""

import cv2
import numpy as np
import pytest

from segexp.viz.overlay import PREDICTION, TRUTH, overlay, to_display, write_png


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_display_is_stretched(dtype):
    picture = to_display(np.linspace(10, 200, 10000).reshape(1, 100, 100).astype(dtype))
    assert picture.shape == (100, 100, 3)
    assert picture.min() == 0
    assert picture.max() == 255
    assert to_display(np.full((1, 4, 4), 7, dtype)).max() == 0


def test_outlines_lie_on_the_borders():
    truth, prediction = np.zeros((600, 600), np.uint8), np.zeros((600, 600), np.uint8)
    truth[100:201, 100:201] = 1
    prediction[300:401, 300:401] = 1
    picture = overlay(np.zeros((1, 600, 600), np.uint8), truth, prediction)
    assert picture.shape == (600, 1200, 3)
    marked = picture[:, 600:]
    assert tuple(marked[100, 150]) == TRUTH
    assert tuple(marked[400, 350]) == PREDICTION
    assert marked[150, 150].sum() == 0
    assert picture[:, :600].sum() == 0


def test_small_images_are_enlarged():
    mask = np.ones((100, 80), np.uint8)
    assert overlay(np.zeros((3, 100, 80), np.uint8), None, mask).shape == (600, 960, 3)


def test_png_keeps_colours(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[0, 0] = TRUTH
    write_png(tmp_path / "é.png", picture)
    read = cv2.imdecode(np.fromfile(tmp_path / "é.png", np.uint8), cv2.IMREAD_COLOR)
    assert tuple(read[0, 0, ::-1]) == TRUTH
