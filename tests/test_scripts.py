"""The three scripts as people run them: real processes, real files, the older README's flags and file names."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import segexp
from segexp import synthesis
from segexp.config.compose import compose_config
from segexp.config.overrides import quote
from segexp.legacy_cli import overrides
from tests.processes import ROOT, command, first_on_path, script

TINY = [
    "model.widths=[4,8]",
    "trainer.epochs=1",
    "data.synthetic.train=2",
    "data.synthetic.val=2",
    "data.synthetic.size=48",
]


def write_dataset(folder, task="vesicle", count=2, size=48):
    images, masks = synthesis.generate(task, 2 * count, size, 0)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        part = folder / ("train" if index < count else "val")
        (part / "img").mkdir(parents=True, exist_ok=True)
        (part / "mask").mkdir(parents=True, exist_ok=True)
        cv2.imencode(".png", image)[1].tofile(part / "img" / f"{index}.png")
        mask[0, 0] = 1
        np.save(part / "mask" / f"{index}.npy", mask)
    return folder


def folder_flags(folder, underscore=False):
    flags = []
    for part in ("train", "val"):
        for kind in ("img", "mask"):
            flag = f"--{part}-{kind}-dir"
            flags += ["--" + flag[2:].replace("-", "_") if underscore else flag, str(folder / part / kind)]
    return flags


def test_train_writes_the_run_folder_and_its_first_line_says_generated(tmp_path):
    words = [sys.executable, str(ROOT / "train.py"), "task=vesicle", *TINY, "output_dir=run"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "no data given" in result.stdout.splitlines()[0]
    run = tmp_path / "run"
    for name in (".hydra/config.yaml", "run.json", "metrics.csv", "best_vesicle_model.pth", "last.pth", "train.log"):
        assert (run / name).is_file(), name
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")
    assert list(run.glob("events.out.tfevents.*"))
    assert len(list((run / "val").glob("*.png"))) == 2
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) == {"task", "seconds", "epochs", "best", "model"}
    assert {"epoch", "dice", "iou", "precision", "recall"} <= set(summary["best"])
    facts = json.loads((run / "run.json").read_text())
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["data"]["source"] == "generated"
    with (run / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["dice"]) == pytest.approx(summary["best"]["dice"], abs=1e-6)
    assert segexp.load_model(run / "best_vesicle_model.pth", "cpu").predict(np.eye(30)).shape == (30, 30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task=vesicle", "trainer.lr=fast"], "trainer.lr=fast: expected a number"),
        (["task=vesicle", "+trainer.epoch=3"], "did you mean trainer.epochs?"),
        (["task=vesicle", "trainer.epoch=3"], "trainer.epoch: no such setting; did you mean trainer.epochs?"),
        (["task=vesicle", "lr=1"], "lr: no such setting; did you mean trainer.lr?"),
        (["task=vesicle", "model.depth=3"], "+model.depth=VALUE adds one"),
        (["task=vesicel"], "task=vesicel: no such option; did you mean task=vesicle? Expected one of cytoskeleton, "),
        (["-m", "task=vesicle,vesicel"], "task=vesicel: no such option; did you mean task=vesicle?"),
        ([], "task: missing; expected task=cytoskeleton or task=vesicle, such as: segexp train task=vesicle"),
        (["task=vesicle", "data.root=nowhere"], "no such folder"),
        (["task=vesicle", "trainer.device=cuda:7"], "trainer.device=cuda:7"),
        (["resume=nowhere"], "last.pth"),
        (["task=vesicle", "trainer.num_workers=100000"], "trainer.num_workers=100000: expected"),
        (["task=vesicle", "trainer.batch_size=4.0"], "trainer.batch_size=4.0: expected a whole number or auto"),
        (["task=vesicle", "data.root="], "no value after ="),
        (["task=vesicle", "output_dir=file/run"], "output_dir=file/run: Not a directory; choose a folder"),
        (["-m", "task=vesicle", "output_dir=file/run"], "output_dir=file/run: Not a directory; choose a folder"),
    ],
)
def test_mistakes_end_with_one_message_and_no_traceback(tmp_path, arguments, words):
    (tmp_path / "file").touch()
    result = script("train.py", *arguments, cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert words in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_help_without_a_task(tmp_path):
    result = script("train.py", "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in (
        "task: base, cytoskeleton, vesicle",
        "batch_size: 4",
        "  segexp train resume=runs/first",
        "trainer.lr=1e-3,3e-4",
    ):
        assert words in result.stdout


def test_a_bug_shows_its_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.experiment.run as module\ndef broken(*_, **__): raise ZeroDivisionError('a bug')\n"
        "module.fit = broken\n"
    )
    result = script("train.py", "task=vesicle", *TINY, cwd=tmp_path, PYTHONPATH=first_on_path(tmp_path))
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: a bug" in result.stderr


def test_a_stopped_run_goes_on_in_place(tmp_path):
    """Two epochs and then two more are the four of one sitting, to the bit (the rate's end is set by steps)."""
    arguments = ["task=vesicle", *TINY, "trainer.epochs=4", "trainer.precision=fp32"]
    assert script("train.py", *arguments, "output_dir=whole", cwd=tmp_path).returncode == 0
    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.checkpoint as c, os\nkeep = c.save\n"
        "def save(path, content):\n    keep(path, content)\n"
        "    if path.name == 'last.pth' and content['state']['epoch'] == 2: os.kill(os.getpid(), 9)\nc.save = save\n"
    )
    killed = script("train.py", *arguments, "output_dir=part", cwd=tmp_path, PYTHONPATH=first_on_path(tmp_path))
    assert killed.returncode == -9
    result = script("train.py", "resume=part", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "resumed after epoch 2" in result.stdout
    whole, part = (torch.load(tmp_path / name / "last.pth")["weights"] for name in ("whole", "part"))
    assert all(torch.equal(whole[key], part[key]) for key in whole)
    with (tmp_path / "part" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_a_sweep_with_a_failing_job(tmp_path):
    words = ["hydra/launcher=basic", "task=vesicle", *TINY, "trainer.lr=1e-3,fast", "seed=0,1", "output_dir=sweep"]
    result = script("train.py", "-m", *words, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    assert [row["trainer.lr"] for row in rows] == ["0.001", "0.001", "fast", "fast"]
    assert all(float(row["score"]) >= 0 and float(row["seconds"]) > 0 for row in rows[:2])
    assert "trainer.lr=fast" in rows[2]["message"]
    assert "trainer.lr=fast" in (tmp_path / "sweep" / "3" / "failed.txt").read_text()
    assert (tmp_path / "sweep" / "1" / "best_vesicle_model.pth").is_file()
    assert "2 of 4 jobs failed" in result.stdout


def test_the_task_itself_can_be_swept_and_a_repaired_sweep_is_clean(tmp_path):
    arguments = ["train.py", "-m", "hydra/launcher=basic", "task=vesicle,cytoskeleton", *TINY, "hydra.sweep.dir=sweep"]
    failed = script(*arguments, "trainer.lr=-1", cwd=tmp_path)
    assert failed.returncode == 1
    again = script(*arguments, cwd=tmp_path)
    assert again.returncode == 1
    assert "overwrite=true" in again.stderr
    again = script(*arguments, "overwrite=true", cwd=tmp_path)
    assert again.returncode == 0, again.stdout
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        assert [(row["status"], row["task"]) for row in csv.DictReader(file)] == [
            ("done", "vesicle"),
            ("done", "cytoskeleton"),
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


HARD_NAMES = ["~", "end\\", 'a = b, c; d & e # [f] {g} (h) it\'s "i" é ${x} \\${y}']


@pytest.mark.parametrize("task", ["vesicle", "cytoskeleton"])
@pytest.mark.skipif(sys.platform == "win32", reason="no such file names on Windows")
def test_a_shim_trains_in_any_path_with_either_spelling_of_its_flags(tmp_path, task):
    """A name for each folder: everything that a shell, Hydra or OmegaConf could take for its own."""
    train, val, out = (tmp_path / name for name in HARD_NAMES)
    flags = folder_flags(write_dataset(train), underscore=True)[:4] + folder_flags(write_dataset(val))[4:]
    tiny = ["--epochs", 1, "--batch-size", 2, "--lr", 0.001, "--num_workers", 0, "model.widths=[4,8]"]
    result = script(f"train_{task}_seg.py", *flags, *tiny, "--output-dir", out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (out / f"best_{task}_model.pth").is_file()


def test_shim_defaults_are_the_older_readmes():
    given = overrides("vesicle", folder_flags(Path("d")))
    cfg = compose_config(given)
    trainer = cfg.trainer
    assert (cfg.task.name, trainer.device) == ("vesicle", "auto")
    assert given[-1] == "output_dir='checkpoints'"
    assert (trainer.epochs, trainer.batch_size, trainer.lr, trainer.num_workers) == (50, 4, 0.001, 4)
    quick = compose_config([*given, "trainer=quick"]).trainer  # what is not typed is left to the option
    assert (quick.epochs, quick.batch_size, quick.lr) == (None, 8, 0.003)
    typed = compose_config([*overrides("vesicle", [*folder_flags(Path("d")), "--lr", "0.01"]), "trainer=quick"])
    assert typed.trainer.lr == 0.01
    more = overrides("vesicle", [*folder_flags(Path("d")), "-m", "--batch_size", "8", "seed=1,2", "--device", "cuda:1"])
    assert "trainer.batch_size=8" in more
    assert f"trainer.device={quote('cuda:1')}" in more
    assert more[-2:] == ["-m", "seed=1,2"]


def test_shim_mistakes(tmp_path):
    missing = script("train_vesicle_seg.py", "--epochs", 1, cwd=tmp_path)
    assert missing.returncode == 2
    assert "--train-img-dir" in missing.stderr
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    asked = script("train_vesicle_seg.py", *folder_flags(write_dataset(tmp_path)), "--device", "cuda", cwd=tmp_path)
    assert asked.returncode == 1
    assert "no CUDA device" in asked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["n" * 230, os.fsdecode(b"c\xff")], ids=["230 letters", "bytes that are no UTF-8"])
def test_file_names_at_the_edge_are_trained_predicted_and_scored(tmp_path, name):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind in ("img", "mask"):
            (tmp_path / "data" / part / kind).mkdir(parents=True)
        for number in range(2):
            mask = np.zeros((64, 64), bool)
            mask[20:30, 20:30] = True
            cv2.imwrite(str(tmp_path / "x.png"), (rng.normal(60, 5, (64, 64)) + 100 * mask).astype(np.uint8))
            (tmp_path / "x.png").rename(tmp_path / "data" / part / "img" / f"{name}{number}.png")
            np.save(tmp_path / "x.npy", mask)
            (tmp_path / "x.npy").rename(tmp_path / "data" / part / "mask" / f"{name}{number}.npy")
    tiny = ("trainer=smoke", "model.widths=[4,8]", "task.crop=32", "trainer.num_workers=0")
    commands = [
        ["train", "task=vesicle", *tiny, "data.root=data", "output_dir=run"],
        ["predict", "--model", "run", "--input", "data/val/img", "--output", "masks", "--save", "all"],
        ["evaluate", "--model", "run", "--data", "data", "--output", "scores"],
    ]
    for words in commands:
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "run" / "val").glob("*.png"))) == 2
    assert len(list((tmp_path / "masks").glob("*_mask.png"))) == 2
    with (tmp_path / "scores" / "scores.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
