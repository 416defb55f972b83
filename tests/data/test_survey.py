"""Images that are never held whole: the same facts, in little memory."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from segexp.data import survey
from segexp.data.dataset import Pair, Reading, read_folder, survey_sample
from segexp.data.normalization import band_statistics, image_statistics
from segexp.errors import InputError
from segexp.io import images


def write(tmp_path, pixels, mask, **more):
    (tmp_path / "img").mkdir()
    (tmp_path / "mask").mkdir()
    tifffile.imwrite(tmp_path / "img" / "a.tif", pixels, **more)
    np.save(tmp_path / "mask" / "a.npy", mask)
    return tmp_path / "img", tmp_path / "mask"


@pytest.mark.parametrize("normalization", ["standard", "log"])
@pytest.mark.parametrize("rows", [1, 7, 600])
def test_statistics_of_bands_are_those_of_the_whole(normalization, rows):
    pixels = (np.random.default_rng(0).lognormal(5, 1, (2, 600, 2000)) + 30000).astype(np.uint16)
    bands = (pixels[:, top : top + rows] for top in range(0, 600, rows))
    found, expected = band_statistics(bands, (600, 2000), normalization), image_statistics(pixels, normalization)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert band_statistics([np.full((1, 4, 5), 7)], (4, 5), "standard")[1] == 1


@pytest.mark.parametrize("pixel_size", [None, 0.15])
@pytest.mark.parametrize("masks", ["binary", "many ids"])
def test_the_facts_are_those_of_the_image_in_memory(tmp_path, monkeypatch, pixel_size, masks):
    pixels = np.random.default_rng(0).integers(0, 60000, (131, 97)).astype(np.uint16)
    mask = (pixels > 20000).astype(np.int32) * (1 if masks == "binary" else np.arange(97)[None] // 3)
    mask[:9] = -1
    folders = write(tmp_path, pixels, mask, tile=(16, 16))
    reading = Reading(ignore=-1, pixel_size=pixel_size, file_pixel_size=0.1)
    (whole,) = read_folder(*folders, reading)
    monkeypatch.setattr(survey, "LARGE", 1000)
    monkeypatch.setattr(survey, "BAND", 1000)
    (part,) = read_folder(*folders, reading, keep=False)
    assert part.pixels is None
    for name in ("name", "shape", "dtype", "mask_kind", "pixel_size", "has_instances"):
        assert getattr(whole, name) == getattr(part, name), name
    for name in ("foreground", "class_pixels"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(part, name))
    for name in ("offset", "scale"):
        np.testing.assert_allclose(getattr(whole, name), getattr(part, name), rtol=1e-6)
    for ours, theirs in zip(whole.load(), part.load(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("large", [1, 10**9])
@pytest.mark.parametrize("colours", [(1, 1, 1), (0, 0, 1)])
def test_a_crop_of_a_grey_image_in_colours_reads_its_own_pixels_alone(tmp_path, monkeypatch, large, colours):
    """How colours become grey is decided from the whole image, once: not again for each crop."""
    grey = np.random.default_rng(0).integers(0, 255, (64, 48)).astype(np.uint8)
    folders = write(tmp_path, grey[..., None] * np.array(colours, np.uint8), (grey > 100).astype(np.uint8))
    monkeypatch.setattr(survey, "LARGE", large)
    (sample,) = read_folder(*folders, keep=False)
    monkeypatch.setattr(images, "single_hue", None)
    pixels, labels = sample.window(5, 7, 16)
    np.testing.assert_array_equal(pixels[0], grey[5:21, 7:23])
    np.testing.assert_array_equal(labels, grey[5:21, 7:23] > 100)


def test_faults_of_a_large_image_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "LARGE", 100)
    monkeypatch.setattr(survey, "BAND", 100)
    folders = write(tmp_path, np.full((40, 30), np.nan, np.float32), np.zeros((40, 30), np.uint8))
    with pytest.raises(InputError, match=r"a\.tif: holds NaN"):
        read_folder(*folders, keep=False)
    np.save(folders[1] / "a.npy", np.zeros((30, 40), np.uint8))
    with pytest.raises(InputError, match="swapped"):
        read_folder(*folders, keep=False)


def test_a_large_image_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "BAND", 1 << 20)
    side = 4096
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        tile = np.random.default_rng(0).integers(0, 200, (256, 256)).astype(np.uint16)
        file.write((tile for _ in range(256)), shape=(side, side), dtype=np.uint16, tile=(256, 256), compression="zlib")
    mask = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (side, side))
    mask[2560:2600] = 255
    mask.flush()
    tracemalloc.start()
    sample = survey_sample(Pair(tmp_path / "a.tif", tmp_path / "a.npy"), Reading(), "log")
    pixels, labels = sample.window(2500, 100, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sample.class_pixels.tolist() == [side * (side - 40), side * 40]
    assert labels.sum() == 40 * 128
    assert pixels.shape == (1, 128, 128)
    assert peak < 30 * 2**20, "image and mask have 48 MiB"
