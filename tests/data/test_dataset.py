"""Pairing by stem, and every fault of a folder at once."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from segexp.data import survey
from segexp.data.dataset import (
    FOREGROUND_POINTS,
    Reading,
    find_pairs,
    make_sample,
    pixel_bytes,
    read_folder,
    read_samples,
    survey_sample,
)
from segexp.data.sources import describe_masks
from segexp.errors import InputError
from segexp.io.images import image_files
from segexp.io.ownership import RECORD


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
    pairs, faults, notes = find_pairs(img, mask)
    assert [p.image.name for p in pairs] == ["0.tif", "1.tif", "2.tif"]
    assert [p.mask.name for p in pairs] == ["0.npy", "1.npy", "2.npy"]
    assert faults == notes == []


def test_every_fault_is_reported_at_once(tmp_path):
    img, mask = dataset(tmp_path, 6)
    (mask / "0.npy").unlink()
    (img / "1.tif").unlink()
    (img / "2.tif").write_bytes(b"")
    np.save(mask / "3.npy", np.zeros((30, 20), np.uint8))
    (mask / "4.npy").write_bytes(b"broken")
    (img / "5.png").write_bytes(b"second image of one name")
    with pytest.raises(InputError) as error:
        read_folder(img, mask)
    lines = str(error.value).splitlines()
    assert len(lines) == 7
    for name, words in {
        "0.tif": "no mask",
        "1.npy": "no image",
        "2.tif": "0 bytes",
        "3.npy": "swapped",
        "4.npy": "NumPy",
        "5.tif": "another file has the same name",
        "5.png": "damaged",
    }.items():
        assert any(name in line and words in line for line in lines), (name, words, lines)


def test_a_mask_of_another_format_is_pointed_out(tmp_path):
    img, mask = dataset(tmp_path, 1)
    (mask / "0.npy").rename(mask / "0.jpg")
    faults = find_pairs(img, mask).faults
    assert "0.jpg" in faults[0]
    assert ".npy" in faults[0]


def test_masks_as_pictures_and_previews_beside_arrays(tmp_path):
    img, mask = dataset(tmp_path)
    for name in ("0.png", "1_overlay.png"):
        cv2.imwrite(str(mask / name), np.zeros((20, 30), np.uint8))
    pairs, faults, _ = find_pairs(img, mask)
    assert [pair.mask.name for pair in pairs] == ["0.npy", "1.npy", "2.npy"]
    assert faults == []
    expected = [sample.labels for sample in read_folder(img, mask)]
    for path in [*mask.glob("*.npy")]:
        values = np.load(path)
        path.unlink()
        cv2.imwrite(str(path.with_suffix(".png")), values * 255)
    (mask / "1_overlay.png").unlink()
    (mask / "2.png").unlink()
    tifffile.imwrite(mask / "2.tif", expected[2])
    samples = read_folder(img, mask)
    assert [sample.mask_kind for sample in samples] == ["0/255", "0/255", "0/1"]
    for sample, labels in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(sample.labels, labels)
    cv2.imwrite(str(mask / "2.png"), np.zeros((20, 30), np.uint8))
    (img / "1.tif").unlink()
    faults = find_pairs(img, mask).faults
    assert len(faults) == 2
    assert "2.tif: another file has the same name" in faults[0]
    assert "1.png: no image" in faults[1]


@pytest.mark.parametrize("each", ["stack", "files"])
def test_every_page_is_a_sample(tmp_path, each):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    pixels = np.random.default_rng(0).integers(0, 1000, (3, 20, 30)).astype(np.uint16)
    tifffile.imwrite(img / "s.tif", pixels, photometric="minisblack")
    tifffile.imwrite(img / "one.tif", pixels[0])
    np.save(mask / "one.npy", pixels[0] > 500)
    if each == "stack":
        np.save(mask / "s.npy", pixels > 500)
    else:
        for number in range(3):
            np.save(mask / f"s_{number + 1:03}.npy", pixels[number] > 500)
    samples = read_folder(img, mask, Reading(page="each"), keep=False)
    assert [sample.name for sample in samples] == ["one.tif", "s_0001.tif", "s_0002.tif", "s_0003.tif"]
    for sample, plane in zip(samples[1:], pixels, strict=True):
        image, labels = sample.load()
        np.testing.assert_array_equal(image[0], plane)
        np.testing.assert_array_equal(labels, plane > 500)
    for path in [*mask.glob("s*.npy")][:1]:
        np.save(path, pixels[:2] > 500) if each == "stack" else path.unlink()
    with pytest.raises(InputError, match=r"s\.(tif|npy).*3" if each == "files" else r"s\.npy: 2 pages"):
        read_folder(img, mask, Reading(page="each"))


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "mask").mkdir()
    assert "no such folder" in find_pairs(tmp_path / "img", tmp_path / "mask")[1][0]
    (tmp_path / "img").mkdir()
    assert "no images" in find_pairs(tmp_path / "img", tmp_path / "mask")[1][0]
    (tmp_path / "img" / "day1").mkdir()
    (tmp_path / "img" / "day1" / "a.TIF").touch()
    (fault,) = find_pairs(tmp_path / "img", tmp_path / "mask")[1]
    assert f"{Path('day1/a.TIF')} and others in sub-folders are not read" in fault


def test_a_lossy_mask_is_named_whatever_its_capitals(tmp_path):
    for name, ending in (("img", "tif"), ("mask", "BMP")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"a.{ending}").touch()
    assert "there is a.BMP" in find_pairs(tmp_path / "img", tmp_path / "mask")[1][0]


def test_masks_without_any_foreground_are_refused(tmp_path):
    img, mask = dataset(tmp_path, 2)
    for path in mask.iterdir():
        np.save(path, np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="every mask is empty"):
        read_folder(img, mask)


def test_nan_is_refused(tmp_path):
    img, mask = dataset(tmp_path, 1)
    tifffile.imwrite(img / "0.tif", np.full((20, 30), np.nan, np.float32))
    with pytest.raises(InputError, match=r"0\.tif: holds NaN"):
        read_folder(img, mask)


def test_on_demand_reads_what_memory_holds(tmp_path):
    img, mask = dataset(tmp_path)
    kept, lazy = (read_folder(img, mask, keep=keep) for keep in (True, False))
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
    assert pixel_bytes(find_pairs(img, mask).pairs) == pytest.approx(4 * 20 * 30 * 3, rel=0.01)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16), "compression": "zlib"}])
@pytest.mark.parametrize("pixel_size", [None, 0.15, 0.05])
@pytest.mark.parametrize("kind", ["npy", "png", "tif"])
def test_a_window_is_the_same_from_memory_and_from_disk(tmp_path, layout, pixel_size, kind):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    pixels = np.random.default_rng(0).integers(0, 60000, (61, 75)).astype(np.uint16)
    labels = (pixels > 30000).astype(np.uint8) * 255
    tifffile.imwrite(img / "a.tif", pixels, **layout)
    if kind == "npy":
        np.save(mask / "a.npy", labels)
    elif kind == "png":
        cv2.imwrite(str(mask / "a.png"), labels)
    else:
        tifffile.imwrite(mask / "a.tif", labels, **layout)
    reading = Reading(pixel_size=pixel_size, file_pixel_size=0.1)
    (kept,), (disk,) = (read_folder(img, mask, reading, keep) for keep in (True, False))
    expected = {None: (1, 61, 75), 0.15: (1, 41, 50), 0.05: (1, 122, 150)}[pixel_size]
    assert kept.shape == disk.shape == expected
    assert kept.pixel_size == pytest.approx((pixel_size or 0.1,) * 2, rel=0.01)
    for whole, part in zip(kept.load(), disk.load(), strict=True):
        np.testing.assert_array_equal(whole, part)
    for corner in ((0, 0), (7, 11), (expected[1] - 5, expected[2] - 9)):
        ours, theirs = kept.window(*corner, 16), disk.window(*corner, 16)
        assert ours[0].shape == (1, min(16, expected[1] - corner[0]), min(16, expected[2] - corner[1]))
        for whole, part in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(whole, part)


def write_masks(tmp_path, *masks):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    for number, values in enumerate(masks):
        tifffile.imwrite(img / f"{number}.tif", np.zeros((20, 30), np.uint8))
        np.save(mask / f"{number}.npy", values)
    return img, mask


def test_a_mask_of_many_objects_settles_what_those_of_few_mean(tmp_path):
    many = np.arange(600).reshape(20, 30) // 20
    few = np.minimum(many, 2)
    one = np.minimum(many, 1)
    img, mask = write_masks(tmp_path, few, one)
    with pytest.raises(InputError, match=r"0\.npy: values 0, 1, 2.*task\.masks=instances") as error:
        read_folder(img, mask)
    assert "1.npy" not in str(error.value)
    assert all(s.instances() is not None for s in read_folder(img, mask, Reading(masks="instances")))
    np.save(mask / "1.npy", many)
    for sample, expected in zip(read_folder(img, mask, keep=False), (few, many), strict=True):
        assert sample.has_instances
        ids = sample.instances()
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(sample.load()[1], np.minimum(expected, 1))


@pytest.mark.parametrize("white", [255, 65535])
def test_a_black_and_white_mask_among_object_ids_is_not_one_object(tmp_path, white):
    many = np.arange(600).reshape(20, 30) // 20
    two = np.zeros((20, 30), np.uint16)
    two[2:6, 2:6] = two[10:16, 20:26] = white
    samples = read_folder(*write_masks(tmp_path, many, two))
    assert [sample.instances() is None for sample in samples] == [False, True]
    assert describe_masks(samples, ["vesicle"]).startswith(f"masks: instance ids in 1 files, 0/{white} in 1 files; ")


def test_object_ids_at_another_scale_and_beside_what_is_ignored(tmp_path):
    ids = np.repeat(np.repeat(np.arange(150).reshape(10, 15), 2, 0), 2, 1)
    ids[:2] = 255
    reading = Reading(masks="instances", ignore=255, pixel_size=0.2, file_pixel_size=0.1)
    (sample,) = read_folder(*write_masks(tmp_path, ids), reading)
    found = sample.instances()
    assert found.shape == sample.load()[1].shape == (10, 15)
    np.testing.assert_array_equal(found[1:], np.arange(150).reshape(10, 15)[1:])
    assert not found[0].any()
    assert sample.class_pixels.tolist() == [0, 135]


def test_binary_masks_hold_no_objects(tmp_path):
    (sample,) = read_folder(*write_masks(tmp_path, np.eye(20, 30, dtype=bool)))
    assert sample.instances() is None


def test_what_is_ignored_is_said_where_nothing_else_is_left(tmp_path):
    with pytest.raises(InputError, match=r"every mask is empty.*task\.ignore=255 hides"):
        read_folder(*write_masks(tmp_path, np.full((20, 30), 255)), Reading(ignore=255))


def test_a_page_and_a_file_of_its_name_are_a_fault(tmp_path):
    img, mask = tmp_path / "img", tmp_path / "mask"
    for folder in (img, mask):
        folder.mkdir()
        tifffile.imwrite(folder / "s.tif", np.eye(8, dtype=np.uint8)[None].repeat(3, axis=0), photometric="minisblack")
        tifffile.imwrite(folder / "s_0003.tif", np.eye(8, dtype=np.uint8))
    faults = find_pairs(img, mask, "each").faults
    assert any(re.search(r"s\.tif: page 3 .* s_0003\.tif; rename", fault) for fault in faults), faults


def test_a_faint_soft_mask_is_empty_beside_one_that_reaches_the_threshold(tmp_path):
    bright = np.arange(600, dtype=np.uint8).reshape(20, 30)
    img, mask = write_masks(tmp_path, np.minimum(bright, 90), bright)
    faint, other = read_folder(img, mask, Reading(mask_threshold=128))
    assert not faint.labels.any()
    np.testing.assert_array_equal(other.labels, bright >= 128)
    np.save(mask / "1.npy", np.minimum(bright, 80))
    with pytest.raises(InputError, match=r"(?s)0\.npy: values.*none reaches.*1\.npy"):
        read_folder(img, mask, Reading(mask_threshold=128))


@pytest.mark.parametrize("ignore", [None, 0])
def test_object_ids_that_int32_does_not_hold(tmp_path, ignore):
    ids = (np.arange(600, dtype=np.uint64) // 20).reshape(20, 30)
    huge = np.where(ids > 1, ids + np.uint64(2**33), ids)
    (sample,) = read_folder(*write_masks(tmp_path, huge), Reading(masks="instances", ignore=ignore))
    found = sample.instances()
    assert found.dtype == np.int32
    expected = np.where(ids < (1 if ignore is None else 2), 0, ids)
    assert len(np.unique(found)) == len(np.unique(expected))
    np.testing.assert_array_equal(found == 0, expected == 0)
    for number in np.unique(expected):
        assert len(np.unique(found[expected == number])) == 1


def rename_masks(mask, pattern, suffix=".npy"):
    for path in sorted(mask.iterdir()):
        path.rename(mask / (pattern.format(path.stem) + suffix))


def test_names_that_differ_by_one_rule_are_paired_and_the_rule_is_said(tmp_path):
    img, mask = dataset(tmp_path)
    expected = {path.stem: np.load(path) for path in mask.iterdir()}
    rename_masks(mask, "{}_cp_masks")
    cv2.imwrite(str(mask / "0_outlines.png"), np.zeros((20, 30), np.uint8))
    said = []
    samples = read_folder(img, mask, log=said.append)
    for sample in samples:
        np.testing.assert_array_equal(sample.labels, expected[sample.source.image.stem])
    assert len(said) == 1
    assert "'*' has mask '*_cp_masks' (0.tif and 0_cp_masks.npy; 3 images)" in said[0]
    (mask / "2_cp_masks.npy").rename(mask / "3_cp_masks.npy")
    faults = find_pairs(img, mask).faults
    assert len(faults) == 2
    assert "2.tif: no mask" in faults[0]
    assert "3_cp_masks.npy: no image" in faults[1]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("{}_1stHO {}_2ndHO", ["2 naming rules", "0.tif with 0_1stHO.npy or 0_2ndHO.npy"]),
        ("field{}7", ["no mask matches an image", "0.tif, 1.tif, ...", "field07.npy, field17.npy, ..."]),
    ],
)
def test_names_without_one_rule_are_one_fault(tmp_path, extra, words):
    img, mask = dataset(tmp_path, 4)
    for path in sorted(mask.iterdir()):
        for pattern in extra.split():
            np.save(mask / f"{pattern.format(path.stem)}.npy", np.load(path))
        path.unlink()
    pairs, faults, _ = find_pairs(img, mask)
    assert pairs == []
    assert len(faults) == 1
    for word in words:
        assert word in faults[0]


def test_a_rule_that_names_neither_masks_nor_images_is_shown_and_not_followed(tmp_path):
    img, mask = dataset(tmp_path)
    for path in [*img.iterdir()]:
        path.rename(img / f"day1_{path.name}")
    rename_masks(mask, "day2_{}")
    pairs, faults, _ = find_pairs(img, mask)
    assert pairs == []
    assert len(faults) == 1
    assert "'day1*'" in faults[0]
    assert "'day2*'" in faults[0]


def test_two_candidates_for_one_mask_are_refused(tmp_path):
    img, mask = dataset(tmp_path)
    rename_masks(mask, "{}_mask")
    cv2.imwrite(str(mask / "1.png"), np.zeros((20, 30), np.uint8))
    pairs, faults, _ = find_pairs(img, mask)
    assert pairs == []
    assert "two files may be the mask of 1.tif: 1.png and, by its name, 1_mask.npy" in faults[0]
    assert "one folder" in find_pairs(img, img).faults[0]


def test_microscopes_own_files_are_counted_and_named_beside_their_masks(tmp_path):
    img, mask = dataset(tmp_path)
    (img / "0.tif").rename(img / "0.czi")
    (img / "9.nd2").write_bytes(b"x")
    pairs, faults, notes = find_pairs(img, mask)
    assert [pair.image.name for pair in pairs] == ["1.tif", "2.tif"]
    assert len(faults) == 1
    assert "0.npy: no image" in faults[0]
    assert "0.czi" in faults[0]
    assert "Bio-Formats" in faults[0]
    assert "2 files in a vendor's microscope format skipped (1 .czi, 1 .nd2)" in notes[0]
    for path in img.glob("*.tif"):
        path.unlink()
    assert "(1 .czi, 1 .nd2)" in find_pairs(img, mask).faults[0]


def test_annotation_that_is_no_mask_yet_is_named_with_the_command(tmp_path):
    img, mask = dataset(tmp_path)
    for path in [*mask.iterdir()]:
        np.save(mask / f"{path.stem}_seg.npy", {"masks": np.load(path)}, allow_pickle=True)
        path.unlink()
    pairs, faults, _ = find_pairs(img, mask)
    assert pairs == []
    assert len(faults) == 1
    assert "3 files of Cellpose" in faults[0]
    assert f"segexp masks --input {mask} --images {img} --output {mask}" in faults[0]
    np.save(mask / "0.npy", np.eye(20, 30, dtype=bool))
    pairs, faults, _ = find_pairs(img, mask)
    assert len(pairs) == len(faults) == 1
    assert "2 images have no mask" in faults[0]
    for path in mask.iterdir():
        path.unlink()
    (tmp_path / "annotations.json").write_text('{"images": [], "annotations": []}')
    (fault,) = find_pairs(img, mask).faults
    assert f"COCO (JSON) in {tmp_path}" in fault
    assert f"--input {tmp_path / 'annotations.json'}" in fault
    mask.rmdir()
    assert "segexp masks" in find_pairs(img, mask).faults[0]


@pytest.mark.parametrize("page", ["max", "mean", "first", 2])
def test_a_mask_in_every_plane_goes_with_the_planes_that_are_read(tmp_path, page):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    planes = np.random.default_rng(0).integers(0, 1000, (3, 20, 30)).astype(np.uint16)
    drawn = (planes > 700).astype(np.uint8) * 255
    tifffile.imwrite(img / "a.tif", planes, photometric="minisblack")
    tifffile.imwrite(mask / "a.tif", drawn, photometric="minisblack")
    expected = {"max": drawn.max(0), "mean": drawn.max(0), "first": drawn[0], 2: drawn[1]}[page] > 0
    for keep in (True, False):
        (sample,) = read_folder(img, mask, Reading(page=page), keep)
        np.testing.assert_array_equal(sample.load()[1], expected)
    tifffile.imwrite(mask / "a.tif", drawn[0])
    np.testing.assert_array_equal(read_folder(img, mask, Reading(page=page))[0].labels, drawn[0] > 0)
    tifffile.imwrite(mask / "a.tif", drawn[:2], photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif: 2 pages, but a\.tif has 3"):
        read_folder(img, mask, Reading(page=page))


def test_a_projection_of_masks_with_unknown_pixels_is_refused(tmp_path):
    img, mask = tmp_path / "img", tmp_path / "mask"
    img.mkdir()
    mask.mkdir()
    tifffile.imwrite(img / "a.tif", np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
    np.save(mask / "a.npy", np.ones((3, 20, 30), np.uint8))
    with pytest.raises(InputError, match=r"data\.page=max and task\.ignore=255"):
        read_folder(img, mask, Reading(page="max", ignore=255))


def test_the_digest_is_that_of_the_pixels_however_they_are_read(tmp_path, monkeypatch):
    img, mask = dataset(tmp_path, 2, (40, 50))
    pairs = find_pairs(img, mask)[0]
    reading = Reading()
    (whole, other), _ = read_samples(pairs, reading, keep=True)
    monkeypatch.setattr(survey, "BAND", 7 * 50)
    banded = survey_sample(pairs[0], reading, "standard")
    assert banded.digest == whole.digest != other.digest
    stored = np.load(pairs[0].mask)
    stored[0, :2] = stored[0, 1::-1] if stored[0, 0] != stored[0, 1] else 1 - stored[0, :2]  # as much foreground
    np.save(pairs[0].mask, stored)
    (changed, same), _ = read_samples(pairs, reading, keep=True)
    assert changed.digest != whole.digest
    assert same.digest == other.digest


def test_what_predict_wrote_beside_the_images_is_no_image(tmp_path):
    img, mask = dataset(tmp_path)
    with (img / RECORD).open("a") as file:
        for name in ("0_mask.png", "0_prob.tif"):
            shutil.copy(img / "0.tif", img / name)
            file.write(json.dumps({"path": name, "sha256": "0", "image": "0.tif"}) + "\n")
    pairs, faults, notes = find_pairs(img, mask)
    assert [pair.image.name for pair in pairs] == ["0.tif", "1.tif", "2.tif"]
    assert faults == []
    assert notes == [f"{img}: not taken as images: 2 files that segexp predict wrote"]
    assert [path.name for path in image_files(img)] == ["0.tif", "1.tif", "2.tif"]
