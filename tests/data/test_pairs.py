"""Pairing by stem, and every fault of a folder at once."""

import numpy as np
import pytest
import tifffile

from segexp.data.pairs import FOREGROUND_POINTS, find_pairs, make_sample, pixel_bytes, read_folder
from segexp.errors import InputError


def dataset(tmp_path, count=3, shape=(20, 30)):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 1000, shape).astype(np.uint16)
        tifffile.imwrite(img / f"{i}.tif", pixels)
        np.save(mask / f"{i}.npy", (pixels > 500).astype(np.uint8))
    return img, mask


def test_pairs_by_stem_in_order_and_passes_other_files_over(tmp_path):
    img, mask = dataset(tmp_path)
    (img / ".DS_Store").write_text("x")
    (img / "notes.txt").write_text("x")
    pairs, faults = find_pairs(img, mask)
    assert [p.image.name for p in pairs] == ["0.tif", "1.tif", "2.tif"]
    assert [p.mask.name for p in pairs] == ["0.npy", "1.npy", "2.npy"]
    assert faults == []


def test_every_fault_is_reported_at_once(tmp_path):
    img, mask = dataset(tmp_path, 6)
    (mask / "0.npy").unlink()
    (img / "1.tif").unlink()
    (img / "2.tif").write_bytes(b"")
    np.save(mask / "3.npy", np.zeros((30, 20), np.uint8))
    (mask / "4.npy").write_bytes(b"broken")
    (img / "5.png").write_bytes(b"second image of one name")
    with pytest.raises(InputError) as error:
        read_folder(img, mask, 1, 1, keep=True)
    lines = str(error.value).splitlines()
    assert len(lines) == 7
    for name, words in {
        "0.tif": "no mask",
        "1.npy": "no image",
        "2.tif": "0 bytes",
        "3.npy": "swapped",
        "4.npy": "NumPy",
        "5.tif": "same name",
        "5.png": "damaged",
    }.items():
        assert any(name in line and words in line for line in lines), (name, words, lines)


def test_a_mask_of_another_format_is_pointed_out(tmp_path):
    img, mask = dataset(tmp_path, 1)
    (mask / "0.npy").rename(mask / "0.png")
    _, faults = find_pairs(img, mask)
    assert "0.png" in faults[0]
    assert ".npy" in faults[0]


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "mask").mkdir()
    assert "no such folder" in find_pairs(tmp_path / "img", tmp_path / "mask")[1][0]
    (tmp_path / "img").mkdir()
    assert "no images" in find_pairs(tmp_path / "img", tmp_path / "mask")[1][0]


def test_masks_without_any_foreground_are_refused(tmp_path):
    img, mask = dataset(tmp_path, 2)
    for path in mask.iterdir():
        np.save(path, np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="every mask is empty"):
        read_folder(img, mask, 1, 1, keep=True)


def test_nan_is_refused(tmp_path):
    img, mask = dataset(tmp_path, 1)
    tifffile.imwrite(img / "0.tif", np.full((20, 30), np.nan, np.float32))
    with pytest.raises(InputError, match=r"0\.tif: holds NaN"):
        read_folder(img, mask, 1, 1, keep=True)


def test_on_demand_reads_what_memory_holds(tmp_path):
    img, mask = dataset(tmp_path)
    kept, lazy = (read_folder(img, mask, 1, 1, keep) for keep in (True, False))
    for a, b in zip(kept, lazy, strict=True):
        assert b.pixels is None
        np.testing.assert_array_equal(a.load()[0], b.load()[0])
        np.testing.assert_array_equal(a.load()[1], b.load()[1])
        assert a.pixels.dtype == np.uint16


def test_facts_of_a_sample():
    labels = np.zeros((100, 100), np.uint8)
    labels[10, 20] = 1
    labels[30:, :] = 255
    sample = make_sample("a", np.ones((1, 100, 100), np.uint8), labels, 1)
    assert sample.foreground.tolist() == [[10, 20]]
    assert sample.class_pixels.tolist() == [2999, 1]
    full = make_sample("a", np.ones((1, 100, 100), np.uint8), np.ones((100, 100), np.uint8), 1)
    assert len(full.foreground) == FOREGROUND_POINTS
    assert full.foreground[-1].tolist() == [99, 99]


def test_pixel_bytes(tmp_path):
    img, mask = dataset(tmp_path, 4)
    assert pixel_bytes(img, mask) == pytest.approx(4 * 20 * 30 * 3, rel=0.01)
