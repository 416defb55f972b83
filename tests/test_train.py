"""Whole runs in this process, on data that the scripts' tests do not cover."""

import csv
import json
import sys

import numpy as np
import pytest
import tifffile
import torch

import segexp
from segexp import checkpoint
from segexp.config.compose import compose_config
from segexp.errors import InputError
from segexp.evaluation.comparison import candidates, read_run
from segexp.evaluation.run import evaluate_folder
from segexp.experiment.build import read_data
from segexp.experiment.run import run
from segexp.train import main
from tests.io.test_run_folder import contents

TINY = ["model.widths=[4,8]", "trainer.epochs=1", "trainer.batch_size=2", "task.crop=32", "output_dir=x"]


def settings(*overrides):
    return compose_config([*TINY, *overrides])


def write_dataset(folder, make, count=2):
    for part in ("train", "val"):
        for kind in ("img", "mask"):
            (folder / part / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = make(np.random.default_rng(index))
            tifffile.imwrite(folder / part / "img" / f"{index}.tif", image)
            np.save(folder / part / "mask" / f"{index}.npy", mask)
    return folder


def test_two_classes_in_colour_and_mixed_sizes(tmp_path):
    def make(rng):
        shape = tuple(rng.integers(30, 70, 2))
        return rng.integers(0, 255, (*shape, 3)).astype(np.uint8), rng.integers(0, 3, shape)

    data = write_dataset(tmp_path / "data", make)
    cfg = settings("task=vesicle", f"data.root={data}", "task.classes=[a,b]", "data.channels=3")
    score = run(cfg, tmp_path / "run")
    assert 0 <= score <= 1
    lines = (tmp_path / "run" / "val" / "scores.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("image,class,group,dice,iou")
    model = segexp.load_model(tmp_path / "run" / "best_vesicle_model.pth", "cpu")
    assert model.predict(np.zeros((40, 33, 3), np.uint8)).shape == (2, 40, 33)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_the_result_does_not_depend_on_the_cache(tmp_path, cache):
    def make(rng):
        image = rng.integers(0, 4000, (64, 64)).astype(np.uint16)
        return image, image > 2000

    data = write_dataset(tmp_path / "data", make)
    losses = []
    for name, kept in (("a", cache), ("b", "auto")):
        cfg = settings("task=cytoskeleton", f"data.root={data}", f"data.cache={kept}", "trainer.num_workers=1")
        run(cfg, tmp_path / name)
        losses.append((tmp_path / name / "metrics.csv").read_text().splitlines()[1].split(",")[4])
    assert losses[0] == losses[1]
    best = json.loads((tmp_path / "a" / "summary.json").read_text())["best"]
    assert "cldice" in best


def test_scores_are_given_by_group(tmp_path):
    data = write_dataset(
        tmp_path / "data", lambda rng: ((image := rng.integers(0, 4000, (40, 40))) * 1.0, image > 2000)
    )
    for part in ("img", "mask"):
        for path in (data / "val" / part).iterdir():
            path.rename(path.with_name(f"dish{path.stem}_a{path.suffix}"))
        for path in (data / "train" / part).iterdir():
            path.rename(path.with_name(f"dish9_{path.name}"))
    run(settings("task=vesicle", f"data.root={data}", "data.group='(dish.)_'"), tmp_path / "run")
    with (tmp_path / "run" / "val" / "scores.csv").open() as file:
        assert [(row["image"], row["group"]) for row in csv.DictReader(file)] == [
            ("dish0_a.tif", "dish0"),
            ("dish1_a.tif", "dish1"),
        ]
    model = tmp_path / "run" / "best_vesicle_model.pth"
    record = evaluate_folder(segexp.load_model(model, "cpu"), model, data, tmp_path / "scores", group="(dish.)_")
    assert list(record["scores"]["dice"]["groups"]) == ["dish0", "dish1"]
    with pytest.raises(InputError, match="matches no group in 2 of 2 names"):
        evaluate_folder(segexp.load_model(model, "cpu"), model, data, tmp_path / "scores", group="(well.)_")


def test_repeatable_kernels_only(tmp_path):
    tiny = ["data.synthetic.train=2", "data.synthetic.val=1", "data.synthetic.size=48", "trainer.deterministic=true"]
    try:
        run(settings("task=cytoskeleton", *tiny), tmp_path / "a")
        assert torch.are_deterministic_algorithms_enabled()
        run(settings("task=cytoskeleton", *tiny), tmp_path / "b")
    finally:
        torch.use_deterministic_algorithms(False)
    one, other = (checkpoint.load(tmp_path / name / "last.pth")["learner"]["weights"] for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_data_set_with_faults_trains_nothing_and_lists_them_all(tmp_path):
    data = write_dataset(tmp_path / "data", lambda rng: (np.zeros((40, 40), np.uint8), np.ones((40, 40), bool)))
    (data / "train" / "img" / "0.tif").write_bytes(b"II*")
    (data / "val" / "mask" / "1.npy").unlink()
    with pytest.raises(InputError, match="2 faults") as error:
        run(settings("task=vesicle", f"data.root={data}"), tmp_path / "run")
    assert str(data / "train" / "img" / "0.tif") in str(error.value)
    assert str(data / "val" / "img" / "1.tif") in str(error.value)
    assert not (tmp_path / "run" / "last.pth").exists()


def test_a_model_that_finds_nothing_says_so(tmp_path, capsys):
    data = write_dataset(
        tmp_path / "data", lambda rng: (rng.integers(0, 9, (40, 40)).astype(np.uint8), np.eye(40, dtype=bool))
    )
    run(settings("task=vesicle", f"data.root={data}", "trainer.lr=1e-9", "task.threshold=0.9"), tmp_path / "run")
    assert "finds no foreground" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_does_not_fail_the_run(tmp_path, capsys, monkeypatch):
    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segexp.experiment.run.write_report", full)
    tiny = ["data.synthetic.train=2", "data.synthetic.val=1", "data.synthetic.size=48"]
    assert run(settings("task=vesicle", *tiny), tmp_path / "run") >= 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("warning: report.html was not written (OSError")
    assert (tmp_path / "run" / "val" / "pictures.json").is_file()


def test_main_returns_the_score_and_a_folder_holds_one_run(tmp_path, monkeypatch):
    tiny = ["data.synthetic.train=2", "data.synthetic.val=1", "data.synthetic.size=48", *TINY[:-1]]
    monkeypatch.chdir(tmp_path)

    def train(*overrides):
        monkeypatch.setattr(sys, "argv", ["train.py"])
        return main([*overrides, *tiny, "output_dir=run"])

    score = train("task=vesicle")
    assert score == json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["dice"]
    before = {name: text for name, text in contents(tmp_path / "run").items() if not name.startswith(".segexp")}
    whole = contents(tmp_path)
    for refused, words in (
        ("task=vesicle", "holds a finished run of task vesicle"),
        ("task=cytoskeleton", "resume=.*; choose another output_dir.*overwrite=true"),
        ("task=vesicle trainer.lr=-1 overwrite=true", "trainer.lr=-1"),
        ("task=vesicle data.root=absent overwrite=true", "absent"),
    ):
        with pytest.raises(SystemExit, match=words):
            train(*refused.split())
        assert contents(tmp_path) == whole
    train("task=cytoskeleton", "overwrite=true")
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2
    assert not (tmp_path / "run" / "best_vesicle_model.pth").exists()
    kept = contents(tmp_path / "run" / "earlier_1")
    assert {name: kept.get(name) for name in before} == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the notes"), "allocate 9 GiB."),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"), "enforce"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_memory_that_runs_out_ends_a_run_with_a_line_that_says_what_to_try(tmp_path, monkeypatch, error, said):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(sys.modules["segexp.train"], "run", fail)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        main(["task=vesicle", f"output_dir={tmp_path / 'run'}"])
    (line,) = str(ended.value.code).splitlines()
    assert line.startswith("error: out of memory")
    assert all(word in line for word in (said, "task.crop", "model.widths", "trainer.precision"))


def test_another_error_of_pytorch_keeps_its_traceback(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **named):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(sys.modules["segexp.train"], "run", fail)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["task=vesicle", f"output_dir={tmp_path / 'run'}"])


def test_seeds_are_repeats_in_folders_of_their_own(tmp_path, monkeypatch, capsys):
    def make(rng):
        image = rng.integers(0, 4000, (48, 48)).astype(np.uint16)
        return image, image > 2000

    data = write_dataset(tmp_path / "data", make)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    words = ["task=vesicle", f"data.root={data}", *TINY[:-1], "hydra/launcher=basic", "trainer.seeds=2"]
    main([*words, f"output_dir={tmp_path / 'runs'}"])
    runs = [read_run(tmp_path / "runs" / str(index)) for index in range(2)]
    (candidate,) = candidates(runs)
    assert [run.seed for run in runs] == [0, 1]
    assert f"{candidate.means('dice').mean():.4f} ± {candidate.spread('dice'):.4f}" in capsys.readouterr().out


def test_a_run_on_some_of_the_training_images_keeps_its_validation_images(tmp_path):
    def make(rng):
        image = rng.integers(0, 4000, (48, 48)).astype(np.uint16)
        return image, image > 2000

    data = write_dataset(tmp_path / "data", make, count=6)
    for kind in ("img", "mask"):
        for path in (data / "val" / kind).iterdir():
            path.unlink()
        (data / "val" / kind).rmdir()
    words = ["task=vesicle", f"data.root={data}", "data.val_fraction=0.4", "data.split_seed=0"]
    drawn, validated = set(), set()
    for seed in range(6):
        lines = []
        cfg = settings(*words, "data.images=3", f"seed={seed}")
        train, val = read_data(cfg.data, cfg.task, cfg.seed, 1, lines.append)
        drawn.add(tuple(sample.name for sample in train))
        validated.add(tuple(sample.name for sample in val))
        assert f"images: 3 of 4 training images, drawn by seed={seed} (data.images)" in lines
    assert len(drawn) > 1
    assert len(validated) == 1
    assert {len(names) for names in (*drawn, *validated)} == {2, 3}
    run(settings(*words, "data.images=2"), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (facts["train"], len(facts["drawn"]), facts["val"]) == (2, 2, 2)
    assert not set(facts["drawn"]) & {*validated.pop()}
    with pytest.raises(InputError, match=r"data.images=5: there are 4 training images"):
        run(settings(*words, "data.images=5"), tmp_path / "other")
    with pytest.raises(InputError, match=r"data.images=2: selects among your own training images \(data.root=DIR\)"):
        settings("task=vesicle", "data.images=2")
