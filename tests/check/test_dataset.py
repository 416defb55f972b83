"""Whole checks of small data sets: what is counted, what is called odd, and what is not."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from segexp.check.dataset import CheckSettings, check
from segexp.check.report import as_json
from segexp.check.scan import find_folders
from segexp.check.settings import dataset
from segexp.check.text import mentioned
from segexp.data.reading import Reading
from segexp.errors import InputError


def scene(seed, size=96):
    """Blurred discs on noise, uint16, and their mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(8):
        cv2.circle(mask, tuple(int(v) for v in rng.integers(8, size - 8, 2)), int(rng.integers(4, 8)), 1, -1)
    image = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5) * 2000 + rng.normal(400, 40, mask.shape)
    return np.clip(image, 0, 65535).astype(np.uint16), mask


def write(folder, part, name, image, mask=None, suffix=".tif"):
    for kind in ("img", "mask"):
        (folder / part / kind).mkdir(parents=True, exist_ok=True)
    if suffix == ".tif":
        tifffile.imwrite(folder / part / "img" / f"{name}.tif", image)
    else:
        cv2.imencode(suffix, image)[1].tofile(folder / part / "img" / f"{name}{suffix}")
    if mask is not None:
        np.save(folder / part / "mask" / f"{name}.npy", mask)


@pytest.fixture
def data(tmp_path):
    for index in range(8):
        write(tmp_path, "train" if index < 6 else "val", f"cell_{index}", *scene(index))
    return tmp_path


def run(folder, classes=("a",), **reading):
    wanted = CheckSettings(Reading(classes=len(classes), **reading), classes)
    report, _ = check(str(folder), find_folders(folder), wanted)
    return report


def kinds(report):
    return {warning.kind: warning for warning in report.warnings}


def test_a_sound_data_set_has_no_faults_and_no_warnings(data):
    report = run(data)
    assert report.ok
    assert report.warnings == ()
    train = report.splits["train"]
    assert (train.images, train.masks, train.empty_masks) == (6, 6, 0)
    assert train.sizes == {"96x96": 6}
    assert train.dtypes == {"uint16": 6}
    shares = [scene(index)[1].mean() for index in range(6)]
    assert train.foreground.low == pytest.approx(min(shares))
    assert train.foreground.high == pytest.approx(max(shares))
    assert train.class_shares[0] == pytest.approx(np.mean(shares))
    assert train.objects == sum(cv2.connectedComponents(scene(i)[1])[0] - 1 for i in range(6))
    assert [s.override for s in report.suggestions] == ["task=vesicle"]


def test_every_fault_of_every_file_is_reported(data):
    (data / "train" / "img" / "cell_0.tif").write_bytes(b"")
    np.save(data / "train" / "mask" / "cell_0.npy", np.full((96, 96), 7))
    np.save(data / "train" / "mask" / "cell_1.npy", np.zeros((96, 95), bool))
    (data / "val" / "mask" / "cell_6.npy").unlink()
    found = {(fault.kind, fault.file.rpartition("/")[2]) for fault in run(data).faults}
    assert found == {("image", "cell_0.tif"), ("mask", "cell_0.npy"), ("shape", "cell_1.npy"), ("pair", "cell_6.tif")}


def test_a_copy_in_validation_is_leakage_whatever_the_format(data):
    image, mask = scene(0)
    write(data, "val", "other", image, mask, ".png")
    warning = kinds(run(data))["leakage"]
    assert "1 validation image" in warning.message
    (mention,) = warning.files
    assert mention.file.endswith("other.png")
    assert mention.others[0].endswith("cell_0.tif")
    assert len(mention.others) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[::-1],
        lambda image: np.rot90(image),
        lambda image: np.rot90(image, 3)[:, ::-1],
        lambda image: image // 2 + 100,
        lambda image: (image // 16).clip(0, 255).astype(np.uint8),
        lambda image: cv2.resize(image, (150, 150)),
        lambda image: np.roll(image, 1, axis=0),
    ],
)
def test_a_changed_copy_in_validation_is_leakage(data, change):
    image, _ = scene(3)
    changed = np.ascontiguousarray(change(image))
    write(data, "val", "other", changed, np.ones(changed.shape, bool))
    warning = kinds(run(data))["leakage"]
    (mention,) = warning.files
    assert mention.file.endswith("other.tif")
    assert mention.others[0].endswith("cell_3.tif")


def test_copies_within_a_split(data):
    image, mask = scene(0)
    write(data, "train", "again", image, mask)
    write(data, "train", "darker", image // 3, mask)
    found = kinds(run(data))
    assert {m.file.rpartition("/")[2] for m in found["duplicate"].files} == {"again.tif"}
    assert any("darker.tif" in mentioned(m) for m in found["near-duplicate"].files)
    assert "leakage" not in found


def test_no_number_of_frames_alike_within_a_split_hides_leakage(data, monkeypatch):
    """Twelve frames of one scene have 66 pairs, each more alike than the copy in validation is to its original."""
    image, mask = scene(20)
    for index in range(12):
        write(data, "train", f"frame_{index}", image + np.uint16(index), mask)
    noise = np.random.default_rng(0).normal(0, 120, image.shape)
    copy = np.clip(scene(3)[0][::-1] + noise, 0, 65535).astype(np.uint16)
    write(data, "val", "other", copy, np.ones(copy.shape, bool))
    monkeypatch.setattr("segexp.check.near_duplicates._LOOKED_AT", 20)
    monkeypatch.setattr("segexp.check.near_duplicates._ROWS", 4)
    monkeypatch.setattr("segexp.check.near_duplicates._CANDIDATES", 10)
    found = kinds(run(data))
    (mention,) = found["leakage"].files
    assert mention.file.endswith("other.tif")
    assert mention.others[0].endswith("cell_3.tif")
    assert "near-duplicate" in found


def test_images_that_share_only_their_illumination_are_not_alike(tmp_path):
    rows, columns = np.mgrid[0:96, 0:96]
    light = 30000 * np.exp(-((rows - 48) ** 2 + (columns - 48) ** 2) / 3000)
    for index in range(12):
        image, mask = scene(index)
        write(tmp_path, "train" if index < 8 else "val", str(index), (light + image).astype(np.uint16), mask)
    assert set(kinds(run(tmp_path))) <= {"split-brightness"}


def test_one_mask_under_two_names(data):
    np.save(data / "train" / "mask" / "cell_1.npy", scene(2)[1])
    warning = kinds(run(data))["same-mask"]
    assert "cell_1.npy = " in mentioned(warning.files[0])
    assert "cell_2.npy (equal masks)" in mentioned(warning.files[0])


def test_empty_and_inverted_masks(data):
    np.save(data / "train" / "mask" / "cell_1.npy", np.zeros((96, 96), bool))
    np.save(data / "val" / "mask" / "cell_7.npy", np.ones((96, 96), bool))
    found = kinds(run(data))
    assert "1 mask of 8" in found["empty-mask"].message
    assert mentioned(found["inverted-mask"].files[0]).endswith("cell_7.npy (100 % foreground)")


def test_inverted_masks_suggest_no_task(tmp_path):
    rows, columns = np.mgrid[:96, :96]
    spots = (rows % 12 < 3) & (columns % 12 < 3)  # what lies between them is thin and long
    for index in range(6):
        image = (spots * np.uint16(1000) + np.random.default_rng(index).integers(0, 300, spots.shape)).astype(np.uint16)
        write(tmp_path, "train" if index < 5 else "val", str(index), image, ~spots)
    found = run(tmp_path)
    assert not [s.override for s in found.suggestions if s.override.startswith("task=")]
    assert kinds(found)["inverted-mask"].advice.endswith("invert them (in Fiji: Edit > Invert)")


def test_a_split_whose_masks_are_all_empty_is_a_fault(data):
    for path in (data / "train" / "mask").iterdir():
        np.save(path, np.zeros((96, 96), bool))
    (fault,) = run(data).faults
    assert fault.kind == "split"
    assert "every mask is empty" in fault.message


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("constant", np.full((96, 96), 9, np.uint16)),
        ("two-valued", np.where(np.eye(96), 255, 0).astype(np.uint16)),
        ("saturated", np.where(np.random.default_rng(0).random((96, 96)) < 0.2, 4095, scene(0)[0]).astype(np.uint16)),
        ("8-bit-range", np.random.default_rng(0).integers(0, 200, (96, 96)).astype(np.uint16)),
    ],
)
def test_odd_images(data, kind, image):
    write(data, "train", "odd", image, scene(0)[1])
    found = kinds(run(data))
    assert found[kind].files[0].file.endswith("odd.tif")
    assert "1 image " in found[kind].message


def test_splits_that_differ(data):
    for index in (6, 7):
        image, mask = scene(index)
        write(data, "val", f"cell_{index}", image * 8, np.pad(mask[:30, :30], (0, 66)))
    assert {"split-brightness", "split-foreground"} <= set(kinds(run(data)))
    write(data, "train", "byte", (scene(9)[0] // 16).astype(np.uint8), scene(9)[1])
    assert kinds(run(data))["mixed-dtype"].message == "train mixes pixel types: 6 uint16, 1 uint8"


def test_a_class_that_never_occurs(data):
    found = run(data, classes=("nucleus", "spindle"))
    assert {w.message for w in found.warnings if w.kind == "missing-class"} == {
        "no pixel of class 2 (spindle) in train",
        "no pixel of class 2 (spindle) in val",
    }


def test_filaments_are_told_from_blobs_and_rare_foreground_is_noticed(tmp_path):
    for index in range(6):
        rng = np.random.default_rng(index)
        mask = np.zeros((256, 256), np.uint8)
        cv2.polylines(mask, [rng.integers(0, 256, (3, 2)).astype(np.int32)], False, 1, 1)
        image = (mask * np.uint16(1000) + rng.integers(0, 300, mask.shape)).astype(np.uint16)
        write(tmp_path, "train" if index < 5 else "val", str(index), image, mask)
    suggested = [s.override for s in run(tmp_path).suggestions]
    assert suggested == ["task=cytoskeleton", "task.foreground=0.8"]


def test_large_objects_ask_for_a_larger_crop(tmp_path):
    for index in range(6):
        image, mask = scene(index, 64)
        large = np.kron(mask, np.ones((16, 16), np.uint8))
        write(tmp_path, "train", str(index), np.kron(image, np.ones((16, 16), np.uint16)), large)
    (crop,) = [s.override for s in run(tmp_path).suggestions if s.override.startswith("task.crop=")]
    assert int(crop.removeprefix("task.crop=")) % 32 == 0


def test_colour_and_grey_saved_as_colour(data):
    rgb = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    write(data, "train", "rgb", rgb, scene(0)[1])
    write(data, "train", "grey", np.repeat((scene(9)[0] // 16)[..., None], 3, axis=2).astype(np.uint8), scene(9)[1])
    assert [m.file.rpartition("/")[2] for m in kinds(run(data))["colour"].files] == ["rgb.tif"]
    assert "colour" not in kinds(run(data, channels=3))


def test_images_and_masks_in_one_folder_are_a_fault_that_says_where_each_belongs(data, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(data / "train" / "img", flat)
    for path in list(flat.iterdir()):
        cv2.imwrite(str(flat / f"{path.stem}_mask.png"), np.eye(64, dtype=np.uint8) * 255)
    (fault,) = run(flat).faults
    assert "images and masks lie in one folder, such as cell_0" in fault.message
    assert f"move the masks into {flat / 'mask'} and the images into {flat / 'img'}" in fault.message


def test_layouts(data, tmp_path):
    assert set(run(data / "train").splits) == {"images"}
    assert run(data / "train").splits["images"].masks == 6
    alone = run(data / "train" / "img")
    assert (alone.splits["images"].images, alone.splits["images"].masks) == (6, 0)
    (data / "other").mkdir()
    with pytest.raises(InputError, match="no data set"):
        find_folders(data / "other")
    with pytest.raises(InputError, match="no such folder"):
        find_folders(tmp_path / "absent")
    for name, other in (("img", "Images"), ("mask", "labels")):
        shutil.copytree(data / "train" / name, data / "other" / other)
    with pytest.raises(
        InputError, match=r"found .*Images and .*labels: rename them img and mask, or type data.train_i"
    ):
        find_folders(data / "other")
    with pytest.raises(InputError, match="a file"):
        find_folders(data / "train" / "img" / "cell_0.tif")


def test_the_report_is_plain_json_with_stable_keys(data):
    (data / "train" / "img" / "cell_0.tif").write_bytes(b"")
    np.save(data / "train" / "mask" / "cell_1.npy", np.zeros((96, 96), bool))
    plain = json.loads(json.dumps(as_json(run(data))))
    keys = ["format", "ok", "root", "splits", "faults", "warnings", "suggestions", "seconds", "notes"]
    assert list(plain) == keys
    assert plain["format"] == 1
    assert plain["ok"] is False
    assert set(plain["faults"][0]) == {"kind", "file", "message"}
    assert set(plain["warnings"][0]) == {"kind", "message", "advice", "files"}
    assert set(plain["warnings"][0]["files"][0]) == {"file", "note", "others"}
    assert set(plain["suggestions"][0]) == {"override", "reason"}
    assert set(plain["splits"]["train"]) == {
        *("images", "masks", "sizes", "dtypes", "channels", "intensity", "saturated", "foreground", "class_shares"),
        *("empty_masks", "ignored", "objects", "diameter", "width", "length"),
        *("pixel_size", "unknown_scale"),
    }


def test_threads_and_progress_do_not_change_the_result(data):
    ticks = []
    one, _ = check("d", find_folders(data), CheckSettings(), workers=1, tick=lambda *at: ticks.append(at))
    many, _ = check("d", find_folders(data), CheckSettings(), workers=8)
    assert as_json(one) | {"seconds": 0} == as_json(many) | {"seconds": 0}
    assert ticks == [(n, 8) for n in range(1, 9)]


def test_pixel_sizes_that_differ(data):
    for index in range(6):
        image, _ = scene(index)
        resolution = (10.0, 10.0) if index < 3 else (20.0, 20.0)  # pixels a micrometre
        path = data / "train" / "img" / f"cell_{index}.tif"
        tifffile.imwrite(path, image, imagej=True, resolution=resolution, metadata={"unit": "um"})
    report = run(data)
    assert report.splits["train"].pixel_size.low == pytest.approx(0.05)
    assert report.splits["train"].pixel_size.high == pytest.approx(0.1)
    assert report.splits["val"].unknown_scale == 2
    found = kinds(report)
    assert "0.05 to 0.1 µm" in found["mixed-scale"].message
    assert "2 images without a pixel size" in found["unknown-scale"].message


def test_a_few_ids_are_a_fault_unless_other_masks_hold_objects(data):
    np.save(data / "train" / "mask" / "cell_0.npy", scene(0)[1] * 3)
    (fault,) = run(data).faults
    assert (fault.kind, fault.file.rpartition("/")[2]) == ("mask", "cell_0.npy")
    assert "task.masks=instances" in fault.message
    np.save(data / "train" / "mask" / "cell_1.npy", np.arange(96 * 96).reshape(96, 96) // 500)
    assert run(data).ok


def test_pages_are_images_of_their_own(tmp_path):
    for kind in ("img", "mask"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    images, masks = zip(*(scene(index) for index in range(3)), strict=True)
    tifffile.imwrite(tmp_path / "train" / "img" / "stack.tif", np.stack(images), photometric="minisblack")
    tifffile.imwrite(
        tmp_path / "train" / "mask" / "stack.tif", np.stack([*masks[:2], masks[0] * 0]), photometric="minisblack"
    )
    assert "a stack of 3 pages" in run(tmp_path).faults[0].message
    report = run(tmp_path, page="each")
    assert report.splits["train"].images == 3
    assert kinds(report)["empty-mask"].files[0].file.endswith("stack.tif page 3")


def test_a_large_image_is_looked_at_in_bands_to_its_end(data, monkeypatch):
    """Facts of every n-th pixel are nearly those of all; what is broken in a later band is found."""
    whole = run(data)
    monkeypatch.setattr("segexp.check.scan.LARGE", 96 * 96 // 2)
    monkeypatch.setattr("segexp.data.survey.BAND", 1000)
    thin = run(data)
    assert thin.ok
    one, other = whole.splits["train"], thin.splits["train"]
    assert other.sizes == one.sizes
    assert other.intensity == pytest.approx(one.intensity, rel=0.25)
    for name in ("foreground", "diameter", "width"):
        assert getattr(other, name).median == pytest.approx(getattr(one, name).median, rel=0.35), name
    holes = scene(0)[0].astype(np.float32)
    holes[95, 95] = np.nan
    tifffile.imwrite(data / "train" / "img" / "cell_0.tif", holes)
    mask = scene(1)[1]
    mask[95, 95] = 7
    mask[94, 95] = 255
    np.save(data / "train" / "mask" / "cell_1.npy", mask)
    np.save(data / "train" / "mask" / "cell_2.npy", scene(2)[1][:, :95])
    faults = {fault.file.rpartition("/")[2]: fault.message for fault in run(data).faults}
    assert set(faults) == {"cell_0.tif", "cell_1.npy", "cell_2.npy"}
    assert "NaN" in faults["cell_0.tif"]
    assert "(96, 95)" in faults["cell_2.npy"]


def test_small_objects_in_large_masks_are_not_overlooked(data, monkeypatch):
    """Objects of a pixel between the rows and columns that are looked at: no mask is empty, shares are exact."""
    monkeypatch.setattr("segexp.check.scan.LARGE", 96 * 96 // 2)
    monkeypatch.setattr("segexp.data.survey.BAND", 1000)
    for index in range(8):
        mask = np.zeros((96, 96), np.uint8)
        mask[1::32, 1::32] = 1
        mask[0, :10] = 255
        np.save(data / ("train" if index < 6 else "val") / "mask" / f"cell_{index}.npy", mask)
    report = run(data, ignore=255)
    assert report.ok, report.faults
    assert report.splits["train"].empty_masks == 0
    assert report.splits["train"].foreground.median == 9 / (96 * 96 - 10)
    assert report.splits["train"].ignored == pytest.approx(10 / 96**2)
    assert not {"empty-mask", "empty-validation"} & set(kinds(report))


def test_channels_that_are_kept_are_not_called_colours(data):
    for path in sorted((data / "train" / "img").iterdir()) + sorted((data / "val" / "img").iterdir()):
        image = tifffile.imread(path)
        tifffile.imwrite(path, np.stack([image, image[::-1]]), metadata={"axes": "CYX"}, imagej=True)
    assert "colour" not in kinds(run(data, channels=2))


def test_boolean_images_are_looked_at(data):
    (data / "train" / "img" / "cell_0.tif").unlink()
    np.save(data / "train" / "img" / "cell_0.npy", scene(0)[1].astype(bool))
    report = run(data)
    assert report.ok, report.faults
    assert report.splits["train"].dtypes == {"uint16": 5, "bool": 1}
    assert kinds(report)["two-valued"].files[0].file.endswith("cell_0.npy")


def test_a_missing_training_folder_is_a_fault(data):
    (data / "train").rename(data / "Train")
    found = dataset(str(data), [])
    report, _ = check(found.root, found.splits, found.settings)
    assert {(fault.kind, fault.file) for fault in report.faults} == {
        ("folder", str(data / "train" / "img")),
        ("folder", str(data / "train" / "mask")),
    }


def test_a_folder_that_is_divided_is_looked_at_as_it_will_be(data):
    for part in ("img", "mask"):
        for path in (data / "val" / part).iterdir():
            path.rename(data / "train" / part / path.name)
        (data / "val" / part).rmdir()
    (data / "val").rmdir()
    write(data, "train", "copy", *scene(7))
    root, splits, held, wanted, *_ = dataset(str(data), ["data.val_fraction=0.3", "seed=4"])
    report, _ = check(root, splits, wanted, val_names=held)
    assert sum(split.images for split in report.splits.values()) == 9
    assert report.splits["val"].images == len(held) == 3
    both = {"cell_7", "copy"}
    assert ("leakage" in kinds(report)) == (len(both & set(held)) == 1)
    held = ("copy", "cell_0")
    assert "leakage" in kinds(check(root, splits, wanted, val_names=held)[0])
    np.save(data / "train" / "mask" / "copy.npy", np.zeros((96, 96), bool))
    np.save(data / "train" / "mask" / "cell_0.npy", np.zeros((96, 96), bool))
    report = check(root, splits, wanted, val_names=held)[0]
    assert report.ok
    assert "empty-validation" in kinds(report)


def test_images_that_ask_to_be_turned(data):
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    (data / "train" / "img" / "cell_0.tif").unlink()
    image = Image.fromarray((scene(0)[0] // 16).astype(np.uint8))
    image.save(data / "train" / "img" / "cell_0.png", exif=exif)
    report = run(data)
    warning = kinds(report)["orientation"]
    assert [file.file.rpartition("/")[2] for file in warning.files] == ["cell_0.png"]
    assert "not rotated" in warning.message
    assert report.ok


def aperture(rng):
    """A noisy scene of lines in a dark round frame with a vignette, which all images of an instrument have."""
    y, x = np.mgrid[:192, :192]
    radius = np.hypot(y - 96, x - 96)
    lines = np.zeros((192, 192), np.float32)
    for _ in range(30):
        cv2.line(lines, rng.integers(15, 177, 2).tolist(), rng.integers(15, 177, 2).tolist(), 14, 2)
    spot = 100 * np.exp(-((y - 96) ** 2 + (x - 150) ** 2) / 200)
    picture = (130 - 70 * (radius / 90) ** 2 + spot - lines + rng.normal(0, 2, radius.shape)) * (radius < 90)
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_a_shared_frame_is_no_copy_and_copies_in_it_are_found(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [aperture(rng) for _ in range(16)]

    def put(split, name, picture):
        for kind in ("img", "mask"):
            (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / split / "img" / f"{name}.tif", picture)
        np.save(tmp_path / split / "mask" / f"{name}.npy", picture > 120)

    for number, picture in enumerate(pictures):
        put("train" if number < 10 else "val", f"eye_{number}", picture)
    report, _ = check("d", find_folders(tmp_path), CheckSettings())
    assert not {"leakage", "near-duplicate"} & {warning.kind for warning in report.warnings}
    put("val", "mirrored", np.ascontiguousarray(pictures[0][:, ::-1]))
    put("val", "turned", np.rot90(pictures[1]).copy())
    put("val", "bright", np.clip(pictures[2] * 1.2, 0, 255).astype(np.uint8))
    put("val", "small", cv2.resize(pictures[3], (128, 128), interpolation=cv2.INTER_AREA))
    report, _ = check("d", find_folders(tmp_path), CheckSettings())
    (leak,) = [warning for warning in report.warnings if warning.kind == "leakage"]
    assert {Path(file.file).stem for file in leak.files} == {"mirrored", "turned", "bright", "small"}
    assert {Path(other).stem for file in leak.files for other in file.others} == {"eye_0", "eye_1", "eye_2", "eye_3"}


def test_a_typed_folder_without_validation_images_is_what_a_training_says_it_is(data):
    shutil.rmtree(data / "val")
    root, splits, held, wanted, *_ = dataset(str(data), [])
    (fault,) = check(root, splits, wanted, val_names=held)[0].faults
    assert fault.file.endswith("img")
    assert "data.val_fraction=0.2" in fault.message
    root, splits, held, wanted, *_ = dataset(str(data), ["data.val_fraction=0.3"])
    assert check(root, splits, wanted, val_names=held)[0].ok
    report, _ = check("d", find_folders(data / "train"), CheckSettings())
    assert report.ok
    assert "data.val_fraction=0.2" in report.notes[0]
