"""Whole runs on the files people have: no val/, scribbles, objects, stacks, channels, another microscope."""

import json
import re
import shlex
from collections import Counter

import cv2
import numpy as np
import pytest
import tifffile

import segexp
from segexp import checkpoint
from segexp.check import preflight
from segexp.check.settings import check_command
from segexp.config.compose import compose_config
from segexp.data import dataset
from segexp.data.reading import Reading, reading_of_model
from segexp.errors import InputError
from segexp.experiment.build import read_data
from segexp.experiment.run import run
from segexp.io.images import ImageFile
from tests.test_cli import run as cli

TINY = ["task=vesicle", "model.widths=[4,8]", "trainer.epochs=1", "trainer.batch_size=2", "task.crop=32"]


def settings(*overrides):
    return compose_config([*TINY, *overrides])


def field(seed, size=64):
    """A noisy image of bright squares and the mask of them."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size), np.uint8)
    for _ in range(6):
        top, left = rng.integers(0, size - 10, 2)
        mask[top : top + 8, left : left + 8] = 1
    return (rng.normal(100, 20, mask.shape) + 200 * mask).clip(0, 4000).astype(np.uint16), mask


def write(folder, count, suffix=".npy", change=lambda mask, n: mask, img="img", mask="mask", **more):
    (folder / img).mkdir(parents=True, exist_ok=True)
    (folder / mask).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels, labels = field(number)
        name = f"s{number // 3}_z{number % 3}"
        tifffile.imwrite(folder / img / f"{name}.tif", pixels, **more)
        labels = change(labels, number)
        if suffix == ".npy":
            np.save(folder / mask / f"{name}.npy", labels)
        else:
            cv2.imwrite(str(folder / mask / f"{name}{suffix}"), labels)
    return folder


def lines(cfg, folder=None, resume=False, checks=True):
    """The images of a run, and what is said of them; a split is kept in `folder`, and taken from there when resumed."""
    said = []
    samples = read_data(
        cfg.data,
        cfg.task,
        cfg.seed,
        cfg.trainer.num_workers,
        said.append,
        stored_split=folder / "split.json" if resume else None,
        keep_split=(folder / "split.json").write_text if folder else lambda text: None,
        check=(lambda: check_command(cfg)) if checks else None,
    )
    return samples, said


def test_a_folder_without_val_asks_for_a_split_and_takes_one(tmp_path):
    data = write(tmp_path / "data", 9, ".png", lambda mask, n: mask * 255)
    with pytest.raises(InputError, match=r"val.img: no such folder.*data\.val_fraction=0\.2.*data\.fold=1/5"):
        lines(settings(f"data.root={data}"))
    run_folder = tmp_path / "run"
    cfg = settings(f"data.root={data}", "data.val_fraction=0.3", "data.group='^(s\\d)'")
    run(cfg, run_folder)
    split = json.loads((run_folder / "split.json").read_text())
    assert len(split["val"]) == 3
    assert len({name[:2] for name in split["val"]}) == 1
    with (run_folder / "val" / "scores.csv").open() as file:
        assert [line.split(".")[0] for line in file][1:] == split["val"]
    log = (run_folder / "train.log").read_text()
    assert "masks: 0/255 in 9 files; read as background and vesicle" in log
    assert "split: data.val_fraction=0.3, data.group=^(s\\d); 6 training files, 3 validation files" in log


def test_a_split_is_kept_when_resumed_and_can_be_borrowed(tmp_path):
    data = write(tmp_path / "data" / "train", 6).parent
    (tmp_path / "run").mkdir()
    split = {"train": [f"s{n}_z{m}" for n in (0, 1) for m in (0, 1)], "val": ["s0_z2", "s1_z2"]}
    (tmp_path / "run" / "split.json").write_text(json.dumps(split))
    given = f"data.root={data}", "data.fold=1/2"
    (_, val), _ = lines(settings(*given), tmp_path / "run", resume=True)
    assert [sample.source.image.stem for sample in val] == split["val"]
    other = tmp_path / "other"
    other.mkdir()
    (_, val), _ = lines(settings(given[0], f"data.split={tmp_path / 'run'}"), other)
    assert [sample.source.image.stem for sample in val] == split["val"]
    assert json.loads((other / "split.json").read_text())["val"] == split["val"]
    (_, val), _ = lines(settings(*given), tmp_path / "run")
    assert len(val) == 3, "a new run in an old folder divides anew"
    (data / "val" / "img").mkdir(parents=True)
    with pytest.raises(InputError, match=r"val.img: exists, but"):
        lines(settings(*given))


def test_folds_validate_every_image_once(tmp_path):
    data = write(tmp_path / "data", 9)
    validated = []
    for fold in (1, 2, 3):
        (train, val), _ = lines(settings(f"data.root={data}", f"data.fold={fold}/3", "data.group='(s\\d)'"))
        validated += [sample.name for sample in val]
        assert not {sample.name[:2] for sample in train} & {sample.name[:2] for sample in val}
    assert len(validated) == len(set(validated)) == 9


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.val_fraction=0.2", "data.fold=1/5"], "cannot be combined"),
        (["data.val_fraction=1"], "more than 0 and less than 1"),
        (["data.fold=6/5"], "the second of five"),
        (["data.fold=5"], "the second of five"),
        (["data.group='a'"], "parentheses"),
        (["data.fold=1/5", "data.root=a", "data.val_img_dir=b"], "data.val_img_dir"),
        (["data.fold=1/5", "data.train_img_dir=a"], "missing: data.train_mask_dir"),
        (["data.page=last"], "first, max, mean"),
        (["data.page=0"], "a number from 1"),
        (["data.channel=0"], "from 1"),
        (["data.channel=red"], "from 1"),
        (["data.pixel_size=0"], "micrometres a pixel"),
        (["task.pixel_size=-1"], "micrometres a pixel"),
        (["task.masks=ids"], "auto, binary, classes, instances"),
        (["task.masks=instances", "task.classes=[a,b]"], "needs a single class"),
    ],
)
def test_wrong_settings(overrides, words):
    with pytest.raises(InputError, match=words):
        settings(*overrides)


def test_training_on_scribbles_learns_what_full_masks_teach(tmp_path):
    """A tenth of the pixels annotated, the rest 255: the loss sees no others, and the scores count no others."""

    def scribble(mask, number):
        known = np.random.default_rng(number).random(mask.shape) < 0.1
        return np.where(known, mask, 255).astype(np.uint8)

    data = write(tmp_path / "data", 6, ".png", scribble)
    with pytest.raises(InputError, match=r"values 0, 1, 255.*task\.ignore=255"):
        lines(settings(f"data.root={data}", "data.val_fraction=0.3"))
    cfg = settings(
        f"data.root={data}", "data.val_fraction=0.3", "task.ignore=255", "augment=none", "trainer.epochs=15",
        "trainer.lr=0.01", "trainer.validate_every=15", "task.normalization=standard",
    )  # fmt: skip
    run(cfg, tmp_path / "run")
    assert "255 is not annotated (89.5 %" in (tmp_path / "run" / "train.log").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    pixels, truth = field(99)
    found = segexp.load_model(tmp_path / "run" / "best_vesicle_model.pth", "cpu").predict(pixels) > 0.5
    dice = 2 * (found & (truth > 0)).sum() / (found.sum() + truth.sum())
    assert dice > 0.9, "on an image of which every pixel is known"
    assert summary["dice"] > 0.9


def test_a_task_with_a_scale_brings_images_to_it_and_keeps_it_in_the_model(tmp_path):
    data = write(tmp_path / "data", 4, imagej=True, resolution=(5, 5), metadata={"unit": "um"})  # 0.2 um
    pixels, mask = field(9)
    cv2.imwrite(str(data / "img" / "plain.png"), pixels)
    np.save(data / "mask" / "plain.npy", mask)
    given = f"data.root={data}", "data.val_fraction=0.3"
    (train, val), said = lines(settings(*given, "task.pixel_size=0.4"))
    shapes = {sample.name: sample.shape for sample in [*train, *val]}
    assert shapes.pop("plain.png") == (1, 64, 64)
    assert set(shapes.values()) == {(1, 32, 32)}
    (warning,) = [line for line in said if "do not state their pixel size" in line]
    assert "plain.png" in warning
    assert "data.pixel_size" in warning
    (train, val), said = lines(settings(*given, "task.pixel_size=0.4", "data.pixel_size=0.1"))
    assert {sample.shape for sample in [*train, *val]} == {(1, 16, 16)}
    assert not [line for line in said if "pixel size" in line]
    run(settings(*given, "task.pixel_size=0.4", "data.page=first"), tmp_path / "run")
    content = checkpoint.load(tmp_path / "run" / "best_vesicle_model.pth")
    assert content["pixel_size"] == 0.4
    assert content["reading"] == {
        "page": "first",
        "channel": None,
        "masks": "auto",
        "ignore": None,
        "mask_threshold": None,
    }
    expected = Reading(1, 1, "first", pixel_size=0.4)
    assert reading_of_model(content, 1, 1) == expected
    assert reading_of_model({"normalization": "log"}, 3, 2) == Reading(3, 2)
    for damage in ({"pixel_size": "x"}, {"pixel_size": -1}, {"reading": {"page": [1]}}, {"reading": {"channel": "a"}}):
        with pytest.raises(InputError, match="the model file says"):
            reading_of_model(content | damage, 1, 1)


def test_stacks_channels_and_objects(tmp_path):
    folder = tmp_path / "data"
    (folder / "img").mkdir(parents=True)
    (folder / "mask").mkdir()
    for number in range(3):
        planes = [field(3 * number + page) for page in range(3)]
        pixels = np.stack([np.stack([image, image // 2]) for image, _ in planes])
        tifffile.imwrite(folder / "img" / f"{number}.tif", pixels, imagej=True, metadata={"axes": "ZCYX"})
        ids = [cv2.connectedComponents(mask)[1].astype(np.uint16) * 100 for _, mask in planes]
        tifffile.imwrite(folder / "mask" / f"{number}.tif", np.stack(ids), photometric="minisblack")
    given = f"data.root={folder}", "data.val_fraction=0.3", "data.page=each", "task.masks=instances"
    with pytest.raises(InputError, match=r"2 channels.*data\.channel=1"):
        lines(settings(*given))
    (train, val), said = lines(settings(*given, "data.channel=2"))
    assert (len(train), len(val)) == (6, 3), "pages of a stack stay on one side"
    assert "masks: instance ids in 9 files; every id is read as vesicle" in said
    np.testing.assert_array_equal(train[0].load()[0][0] * 2 // 2, train[0].load()[0][0])
    assert train[0].instances().max() >= 100
    run(settings(*given, "data.channels=2", "data.cache=disk", "trainer.num_workers=0"), tmp_path / "run")
    model = segexp.load_model(tmp_path / "run" / "best_vesicle_model.pth", "cpu")
    assert model.model.settings["in_channels"] == 2


def test_a_training_checks_its_data_once_and_tells_the_command_that_tells_all(tmp_path, monkeypatch, capsys):
    counted, keep = [], preflight.check_files
    monkeypatch.setattr(preflight, "check_files", lambda *given, **more: counted.append(1) or keep(*given, **more))
    data = write(tmp_path / "my data", 9, change=lambda mask, n: mask * (n != 4))
    write(data, 10, change=lambda mask, n: mask * (n != 4))  # the tenth, s3_z0, is a new field
    (data / "img" / "s9_z9.tif").write_bytes((data / "img" / "s0_z0.tif").read_bytes())
    (data / "mask" / "s9_z9.npy").write_bytes((data / "mask" / "s0_z0.npy").read_bytes())
    cfg = settings(f"data.root='{data}'", "data.fold=1/2", "seed=3")
    _, said = lines(cfg)
    (leak,) = [line for line in said if line.startswith("warning") and "also in the training images" in line]
    assert "s0_z0.tif" in leak or "s9_z9.tif" in leak
    assert [line for line in said if "without any foreground" in line and "s1_z1.npy" in line]
    assert [line for line in said if line.startswith("checking 11 images")]
    _, again = lines(cfg)
    assert [line for line in said if not line.startswith("checking")] == again
    assert len(counted) == 1
    _, unchecked = lines(cfg, checks=False)
    assert not [line for line in unchecked if "warning" in line]
    (see,) = [line for line in said if line.startswith("see: ")]
    words = shlex.split(see.removeprefix("see: "))
    assert cli(monkeypatch, *words[1:]) == 0
    out = capsys.readouterr().out
    assert "also in the training images" in out
    assert "without any foreground" in out


@pytest.mark.parametrize("split", [(), ("data.val_fraction=0.3",)])
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_start_pairs_each_folder_once_and_reads_each_file_once(tmp_path, monkeypatch, split, cache):
    data = tmp_path / "data"
    write(data if split else data / "train", 6)
    if not split:
        write(data / "val", 3)
    paired, read = [], Counter()
    pair, read_image = dataset._pair, ImageFile.read

    def pairing(images, masks, page):
        paired.append(images.parent.name)
        return pair(images, masks, page)

    def reading(self, *window):
        read[self.path] += 1
        return read_image(self, *window)

    monkeypatch.setattr(dataset, "_pair", pairing)
    monkeypatch.setattr(ImageFile, "read", reading)
    cfg = settings(f"data.root={data}", f"data.cache={cache}", *split)
    (train, val), first = lines(cfg)
    assert paired == (["data"] if split else ["train", "val"])
    assert len(read) == 18 - 6 * len(split)
    assert set(read.values()) == {1}
    assert len(train) + len(val) == 9 - 3 * len(split)
    digests = [sample.digest for sample in [*train, *val]]
    (train, val), again = lines(cfg)  # the check is remembered, and the files are read for training alone
    assert set(read.values()) == {2}
    assert [sample.digest for sample in [*train, *val]] == digests
    assert [line for line in first if not line.startswith("checking")] == again


@pytest.mark.parametrize("split", [(), ("data.val_fraction=0.3",)])
def test_every_fault_is_told_before_a_training(tmp_path, split):
    data = tmp_path / "data"
    part = data if split else data / "train"
    write(part, 6)
    if not split:
        write(data / "val", 3)
    masks, images = part / "mask", part / "img"
    np.save(masks / "s0_z0.npy", np.zeros((3, 3), bool))
    np.save(masks / "s0_z1.npy", np.full((64, 64), 0.5))
    (images / "s0_z2.tif").write_bytes((images / "s0_z2.tif").read_bytes()[:-1])
    np.save(masks / "extra.npy", np.zeros((64, 64), bool))
    with pytest.raises(InputError, match="4 faults in the data; nothing was trained") as error:
        lines(settings(f"data.root={data}", *split))
    said = str(error.value).splitlines()[1:]
    for name, words in (
        ("s0_z0.npy", "expected a mask of the image's height and width"),
        ("s0_z1.npy", "task.masks=probabilities"),
        ("s0_z2.tif", "truncated|damaged|cannot be read"),
        ("extra.npy", "no image of that name"),
    ):
        assert [line for line in said if f"{name}: " in line and re.search(words, line)], said
