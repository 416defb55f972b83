"""Pictures and layers of classes as masks: one meaning over all files, and what is no such picture refused."""

import cv2
import numpy as np
import pytest
import tifffile

from segexp.annotations.convert import Conversion, convert
from segexp.errors import InputError

SHAPE = (20, 30)
IDS = np.zeros(SHAPE, np.uint8)
IDS[2:6, 3:9] = 1
IDS[8:18, 10:25] = 2


def run(folder, **how):
    """Masks of the pictures in a folder by name, and what was said."""
    said = []
    output = folder.parent / "masks"
    convert(folder, None, output, Conversion(**how), said.append)
    masks = {path.stem: np.load(path) for path in sorted(output.iterdir())}
    for path in output.iterdir():
        path.unlink()
    return masks, said


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "drawn").mkdir()
    return tmp_path / "drawn"


def test_layers_mean_the_same_in_all_files(folder):
    """The layers of `b` fill it, those of `a` do not: in both the first is class 1."""
    layers = np.eye(3, dtype=np.uint8)[IDS]
    layers[0, 0] = 0
    np.save(folder / "a.npy", layers)
    np.save(folder / "b.npy", np.eye(3, dtype=np.uint8)[IDS])
    masks, said = run(folder)
    np.testing.assert_array_equal(masks["b"], IDS + 1)
    np.testing.assert_array_equal(masks["a"][1:], IDS[1:] + 1)
    assert masks["a"][0, 0] == 0
    assert said == ["arrays of 3 layers: the first layer is class 1"]
    (folder / "a.npy").unlink()
    masks, said = run(folder)
    np.testing.assert_array_equal(masks["b"], IDS)
    assert said == ["arrays of 3 layers: the first layer is background"]


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_channels_that_are_no_colours_are_refused(folder, channels):
    pixels = np.zeros((*SHAPE, channels), np.uint8)
    pixels[IDS > 0, 1] = 255
    tifffile.imwrite(folder / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=rf"a\.tif: {channels} channels that are not colours.*\.npy"):
        run(folder)


@pytest.mark.parametrize("value", [0.7, np.nan, np.inf])
def test_fractions_are_refused(folder, value):
    pixels = IDS.astype(np.float32)
    tifffile.imwrite(folder / "a.tif", pixels)
    np.testing.assert_array_equal(run(folder)[0]["a"], IDS)
    pixels[3, 4] = value
    tifffile.imwrite(folder / "a.tif", pixels)
    with pytest.raises(InputError, match=r"a\.tif: float32 with fractions.*task\.masks=probabilities"):
        run(folder)


def test_one_channel_is_read_as_masks_are(folder):
    """ImageJ's binary masks, white-is-zero or behind an inverting lookup table, hold 255 at the object."""
    pixels = np.where(IDS > 0, 255, 0).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", pixels, photometric="miniswhite")
    inverting = np.zeros((3, 256), np.uint16)
    inverting[2] = 257 * np.arange(255, -1, -1)  # blue, darker the larger the value
    tifffile.imwrite(folder / "b.tif", pixels, photometric="palette", colormap=inverting)
    masks, said = run(folder)
    for mask in masks.values():
        np.testing.assert_array_equal(mask, IDS > 0)
    assert said == ["colour 255 is class 1"]


def test_grey_and_rgb_pictures_share_their_colours(folder):
    grey = np.array([0, 60, 255], np.uint8)[IDS]
    cv2.imwrite(str(folder / "a.png"), grey)
    cv2.imwrite(str(folder / "b.png"), np.dstack([grey, grey, grey]))
    masks, said = run(folder)
    assert said == ["colour 60 is class 1", "colour 255 is class 2"]
    for mask in masks.values():
        np.testing.assert_array_equal(mask, IDS)
    masks, _ = run(folder, background=(255, 255, 255))
    for mask in masks.values():
        np.testing.assert_array_equal(mask, np.array([1, 2, 0])[IDS])


def test_black_is_a_class_only_in_transparent_layers(folder):
    layer = np.zeros((*SHAPE, 4), np.uint8)
    layer[..., 3] = np.where(IDS == 1, 255, 0)
    cv2.imwrite(str(folder / "a.png"), layer)
    cv2.imwrite(str(folder / "b.png"), np.where(IDS == 2, 255, 0).astype(np.uint8))
    masks, said = run(folder)
    assert said == ["colour 0 is class 1", "colour 255 is class 2"]
    np.testing.assert_array_equal(masks["a"], IDS == 1)
    np.testing.assert_array_equal(masks["b"], 2 * (IDS == 2))


def test_a_background_that_no_picture_has_is_refused(folder):
    cv2.imwrite(str(folder / "a.png"), np.where(IDS > 0, 9, 255).astype(np.uint8))
    with pytest.raises(InputError, match=r"--background 254: no picture has this colour.*found 9, 255"):
        run(folder, background=(254, 254, 254))
    np.testing.assert_array_equal(run(folder, background=(255, 255, 255))[0]["a"], IDS > 0)


def test_one_grey_value_names_the_background_of_colours(folder):
    from segexp.cli.masks import _colour

    assert _colour("255") == (255, 255, 255)
    assert _colour("1,2,3") == (1, 2, 3)


def test_damaged_and_pickled_arrays_are_refused(folder):
    np.save(folder / "a.npy", np.eye(3)[IDS])
    data = (folder / "a.npy").read_bytes()
    (folder / "a.npy").write_bytes(data[:1000])
    with pytest.raises(InputError, match=r"a\.npy: cannot be read"):
        run(folder)
    np.save(folder / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: holds pickled"):
        run(folder)


def test_more_classes_than_a_mask_holds_are_refused(folder):
    for number in range(6):
        picture = np.zeros((7, 8), np.uint8)
        picture.flat[1:51] = np.arange(1, 51) + 50 * number if number < 5 else np.arange(206, 256)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    with pytest.raises(InputError, match="255 colours over all pictures; expected at most 254"):
        run(folder)
    for path in folder.iterdir():
        path.unlink()
    np.save(folder / "a.npy", np.zeros((300, 4, 255), np.uint8))
    with pytest.raises(InputError, match="255 layers; expected at most 254"):
        run(folder)
