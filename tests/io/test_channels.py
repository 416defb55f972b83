"""Colours become grey without losing levels; lookup tables are told from palettes."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.data.reading import Reading, locate, read_pixels
from segexp.io.channels import lookup_direction, single_hue, to_channels
from segexp.io.images import open_image, read_image, read_mask
from tests.data.files import read_image_as

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)
NOTHING = np.zeros_like(LEVELS)


@pytest.mark.parametrize(
    ("colours", "hue"),
    [
        ((NOTHING, NOTHING, LEVELS), 2),
        ((NOTHING, LEVELS, NOTHING), 1),
        ((LEVELS, NOTHING, LEVELS), 0),  # magenta
        ((LEVELS, LEVELS // 2, NOTHING), 0),  # orange
        ((NOTHING + 10, NOTHING + 20, LEVELS), 2),  # blue alone varies
        ((LEVELS, LEVELS, LEVELS), -1),  # grey
        ((LEVELS, LEVELS, (LEVELS * 0.9).astype(np.uint8)), -1),  # nearly grey: luma keeps its levels
        ((LEVELS, LEVELS.T, NOTHING), -1),
        ((LEVELS, LEVELS[::-1], NOTHING), -1),
        ((NOTHING, NOTHING, NOTHING), -1),
    ],
)
def test_an_image_of_one_hue_keeps_its_levels(colours, hue):
    image = np.dstack(colours)
    assert single_hue(lambda: [image]) == hue
    assert single_hue(lambda: [image[:5], image[5:]]) == hue
    grey = to_channels(image, 1)[0]
    if hue >= 0:
        np.testing.assert_array_equal(grey, image[..., hue])
    else:
        np.testing.assert_array_equal(grey, np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8))


def test_a_single_pixel_of_another_hue_makes_it_a_picture_in_colours():
    image = np.dstack([NOTHING, NOTHING, LEVELS])
    image[15, 15] = (90, 0, 0)
    assert single_hue(lambda: [image[:15], image[15:]]) == -1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_window_of_a_blue_image_is_the_window_of_the_whole(tmp_path, suffix):
    """The dark corner alone could be of any hue; what counts is the whole file."""
    image = np.dstack(
        [np.zeros((64, 64), np.uint8)] * 2 + [np.add.outer(np.arange(64), np.arange(64) * 2).astype("u1")]
    )
    path = tmp_path / f"a{suffix}"
    tifffile.imwrite(path, image, photometric="rgb") if suffix == ".tif" else cv2.imwrite(str(path), image[..., ::-1])
    whole, _ = read_image_as(path, Reading())
    assert len(np.unique(whole)) > 120, "luma leaves 22"
    assert suffix == ".jpg" or np.array_equal(whole[0], image[..., 2])
    with open_image(path) as file:
        window = read_pixels(file, Reading(), locate(file, Reading()), (0, 0, 9, 7))
    np.testing.assert_array_equal(window, whole[:, :9, :7])


def _tables():
    ramp = np.arange(256)
    fire = np.stack([np.minimum(ramp * 3, 255), np.clip(ramp * 3 - 255, 0, 255), np.clip(ramp * 3 - 510, 0, 255)], 1)
    return {"blue": np.stack([0 * ramp, 0 * ramp, ramp], 1), "fire": fire}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("table", ["blue", "fire"])
@pytest.mark.parametrize("falling", [False, True])
def test_a_lookup_table_gives_intensities(tmp_path, suffix, table, falling):
    colours = _tables()[table].astype(np.uint8)[:: -1 if falling else 1]
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, LEVELS, photometric="palette", colormap=colours.T.astype(np.uint16) * 257)
    else:
        picture = Image.frombytes("P", (16, 16), LEVELS.tobytes())
        picture.putpalette(colours.tobytes())
        picture.save(path)
    np.testing.assert_array_equal(read_image(path), 255 - LEVELS if falling else LEVELS)
    np.testing.assert_array_equal(read_mask(path), LEVELS)


def test_palettes_are_no_lookup_tables():
    rng = np.random.default_rng(0)
    assert lookup_direction(rng.integers(0, 256, (256, 3)).astype(np.uint8), 256) == 0
    ramp = _tables()["fire"].astype(np.uint8)
    assert lookup_direction(ramp, 256) == 1
    assert lookup_direction(ramp[:16], 256) == 0, "a few colours, sorted"
    assert lookup_direction(np.repeat(np.arange(256)[:, None], 3, 1).astype(np.uint8), 256) == 0, "greys are greys"


def test_alpha_is_dropped_whatever_it_holds(tmp_path):
    rng = np.random.default_rng(0)
    colours, alpha = rng.integers(0, 256, (8, 9, 3), np.uint8), rng.integers(0, 256, (8, 9), np.uint8)
    cv2.imwrite(str(tmp_path / "plain.png"), colours)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([colours, alpha]))
    plain, _ = read_image_as(tmp_path / "plain.png", Reading())
    np.testing.assert_array_equal(read_image_as(tmp_path / "alpha.png", Reading())[0], plain)
