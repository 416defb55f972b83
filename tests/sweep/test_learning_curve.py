"""``segexp learning-curve``: the sweep it becomes, what it refuses, and what is written where the sweep ends."""

import csv
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest

from segexp.cli.learning_curve import PARTS, read_parts
from segexp.errors import InputError
from segexp.io.run_folder import CURVE_FILES
from segexp.sweep.job_store import DONE, FAILED, FILE, read_jobs
from segexp.sweep.learning_curve import runs_of, sweep_command, write_curve
from segexp.sweep.summary import conclude
from tests.sweep.test_table import job
from tests.test_cli import run as cli
from tests.test_scripts import write_dataset

TINY = ["model.widths=[4,8]", "task.crop=32", "trainer.steps=2", "trainer.batch_size=2", "trainer.num_workers=0"]


def images_only(folder, train=5, val=0):
    """A data set of empty files: the command looks at names alone."""
    for part, count in (("train", train), ("val", val)):
        for index in range(count):
            for path in (folder / part / "img" / f"{index}.png", folder / part / "mask" / f"{index}.npy"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return folder


def planned(*words, parts=PARTS, repeats=3):
    return sweep_command(["task=vesicle", *words], read_parts(parts), repeats)


def test_it_becomes_a_sweep_over_parts_and_seeds(tmp_path):
    data = f"data.root={images_only(tmp_path, 20, 2)}"
    plan = planned(data, "trainer.steps=9", "seed=5", "hydra.launcher.jobs=2")
    assert (plan.sizes, plan.images, plan.notes) == ([2, 5, 10, 20], 20, [])
    kept = ["task=vesicle", data, "trainer.steps=9", "hydra.launcher.jobs=2"]
    assert plan.overrides == [*kept, "trainer.epochs=null", "data.images=2,5,10,20", "seed=5,6,7", "trainer.seeds=1"]
    assert planned(data, "trainer.steps=9", parts="1/100,0.1,1").sizes == [1, 2, 20]


def test_the_validation_images_are_the_same_for_all_runs(tmp_path):
    data = f"data.root={images_only(tmp_path, 20)}"
    plan = planned(data, "trainer.steps=9", "seed=5")
    assert {"data.val_fraction=0.2", "data.split_seed=5"} <= {*plan.overrides}
    assert (plan.images, plan.sizes) == (16, [2, 4, 8, 16])
    assert "data.val_fraction=0.2 holds some back, the same in all runs" in plan.notes[0]
    assert "data.split_seed=5" in planned(data, "trainer.steps=9", "data.fold=1/4", "seed=5").overrides
    typed = planned(data, "trainer.steps=9", "data.fold=1/4", "data.split_seed=3").overrides
    assert [word for word in typed if "split_seed" in word] == ["data.split_seed=3"]


def test_each_run_has_the_same_budget(tmp_path):
    data = f"data.root={images_only(tmp_path, 20, 2)}"
    plan = planned(data)
    assert "trainer=quick" in plan.overrides
    assert not any(word.startswith("trainer.epochs") for word in plan.overrides)
    assert "trains each run for five minutes" in plan.notes[0]
    chosen = planned(data, "trainer=smoke").overrides
    assert {"trainer.max_time=00:05:00", "trainer.epochs=null"} <= {*chosen}
    with pytest.raises(InputError, match="fewer images would train for fewer steps; expected the same budget"):
        planned(data, "trainer.epochs=3")
    assert "trainer.epochs=null" in planned(data, "trainer.epochs=null", "trainer.steps=9").overrides


def test_fine_tuned_runs_are_all_scored_on_the_validation_images(tmp_path):
    words = [f"data.root={images_only(tmp_path, 20, 2)}", "experiment=finetune", "model.weights=vesicle"]
    plan = planned(*words)
    assert "trainer.cross_fit=0" in plan.overrides
    assert "all runs are scored on the validation images" in " ".join(plan.notes)
    assert planned(*words, "trainer.cross_fit=0").overrides.count("trainer.cross_fit=0") == 1
    with pytest.raises(InputError, match=r"expected trainer\.cross_fit=0"):
        planned(*words, "trainer.cross_fit=4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs annotated images of your own; expected data.root=DIR"),
        (["data.root=5", "trainer.lr=1e-3,1e-4"], "trainer.lr=1e-3,1e-4: expected one setting"),
        (["data.root=5", "data.images=3"], "data.images=3: expected one setting"),
        (["data.root=5", "trainer.seeds=3"], "trainer.seeds=3: expected one setting"),
        (["data.root=3"], "img: 3 training images; expected 4 or more"),
        (["data.root=5", "data.val_fraction=0.6"], "img: 2 training images; expected 4 or more"),
        (["data.root=5", "task.monitor=hd95"], "expected a score that is better if higher, such as dice"),
    ],
)
def test_mistakes(tmp_path, words, message):
    for count in (3, 5):
        images_only(tmp_path / str(count), count, 0 if "data.val_fraction=0.6" in words else 2)
    placed = [word.replace("data.root=", f"data.root={tmp_path}/") for word in words]
    with pytest.raises(InputError, match=message):
        planned(*placed)


def test_parts(tmp_path):
    assert read_parts("1/8, 0.5,1") == [Fraction(1, 8), Fraction(1, 2), Fraction(1)]
    with pytest.raises(InputError, match=r"of 5 images these parts are 2, 5; expected 3 or more different numbers"):
        planned(f"data.root={images_only(tmp_path, 5, 2)}", "trainer.steps=2", parts="1/2,1")
    for text in ("", "2", "0,1", "1/0", "a"):
        with pytest.raises(InputError, match=r"is not a share; expected more than 0, up to 1, such as 1/8,1/4,1/2,1"):
            read_parts(text)


def sweep_of(folder):
    for number, (images, seed) in enumerate((n, s) for s in "01" for n in (5, 10, 20)):
        score = 0.9 - 0.4 * images**-0.5 + 0.002 * int(seed)
        job(folder, number, f"data.images={images}", f"seed={seed}", score=score)
    job(folder, 6, "data.images=20", "seed=2", status=FAILED)
    return folder


def test_a_sweep_over_images_ends_with_its_curve(tmp_path):
    records = read_jobs(sweep_of(tmp_path))
    found = [(run.images, run.repeat.strip()) for run in runs_of(records)]
    assert found == [(5, "0"), (10, "0"), (20, "0"), (5, "1"), (10, "1"), (20, "1")]
    words = write_curve(tmp_path, records)
    assert words[0].startswith("Dice with 20 images: 0.812, the mean of 2 runs")
    assert len(cv2.imread(str(tmp_path / "learning_curve.png"))) == 900
    content = json.loads((tmp_path / "learning_curve.json").read_text())
    assert (len(content["runs"]), content["words"]) == (6, words)
    with (tmp_path / "learning_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["images"] for row in rows] == ["5", "10", "20", "40", "80"]
    assert [row["runs"] for row in rows] == ["2", "2", "2", "0", "0"]
    assert float(rows[2]["mean"]) == pytest.approx(np.mean([r.score for r in runs_of(records) if r.images == 20]))


def test_a_job_that_took_all_images_counts_them(tmp_path):
    records = read_jobs(sweep_of(tmp_path))
    job(tmp_path, 7, "data.images=null", "seed=0", score=0.85)
    (tmp_path / "7" / "run.json").write_text(json.dumps({"data": {"train": 33}}))
    assert {run.images for run in runs_of([*records, *read_jobs(tmp_path)[-1:]])} == {5, 10, 20, 33}


def test_a_curve_that_cannot_be_fitted_leaves_none_and_the_sweep_fails(tmp_path, capsys):
    sweep_of(tmp_path)
    (tmp_path / "6" / FILE).unlink()
    assert conclude(tmp_path)
    assert all((tmp_path / name).is_file() for name in CURVE_FILES)
    job(tmp_path, 7, "data.images=5", "seed=2", score=1.7)
    capsys.readouterr()
    assert not conclude(tmp_path)
    assert "no learning curve: " in capsys.readouterr().out
    assert not any((tmp_path / name).exists() for name in CURVE_FILES)
    job(tmp_path, 8, "data.images=5", "seed=0", "trainer.lr=1", score=0.7)
    assert conclude(tmp_path)  # another sweep, which is whole


def test_no_curve_where_something_else_varies_or_a_file_is_somebody_elses(tmp_path):
    sweep_of(tmp_path)
    (tmp_path / "learning_curve.png").write_text("mine")
    with pytest.raises(InputError, match=r"learning_curve.png"):
        write_curve(tmp_path, read_jobs(tmp_path))
    assert (tmp_path / "learning_curve.png").read_text() == "mine"
    assert not (tmp_path / "learning_curve.csv").exists()
    job(tmp_path, 7, "data.images=20", "seed=2", "trainer.lr=1", score=0.5)
    with pytest.raises(InputError, match=r"the jobs differ in trainer.lr; expected data.images and seed alone to vary"):
        write_curve(tmp_path, read_jobs(tmp_path))
    job(tmp_path / "other", 0, "seed=1", score=0.5)
    assert write_curve(tmp_path / "other", read_jobs(tmp_path / "other")) == []


def test_from_the_command_to_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = write_dataset(tmp_path / "data", count=4)
    words = ["learning-curve", "task=vesicle", f"data.root={data}", *TINY, "hydra/launcher=basic"]
    words += ["logger=csv", "task.scores=[]", "--repeats", "1", "--parts", "1/4,1/2,1"]
    assert cli(monkeypatch, *words, "--dry-run") in (0, None)
    said = capsys.readouterr().out
    assert "1, 2, 4 of 4 training images, 1 run each" in said
    assert "3 jobs, 1 at a time: about " in said
    assert "segexp train -m task=vesicle" in said
    assert not (tmp_path / "runs").exists()
    words += ["sweep.resume=runs/c", "output_dir=runs/c"]
    assert cli(monkeypatch, *words) in (0, None)
    assert "Dice with 4 images: " in capsys.readouterr().out
    sweep = tmp_path / "runs" / "c"
    assert {*CURVE_FILES} <= {path.name for path in sweep.iterdir()}
    assert "How many images are enough" in (sweep / "report.html").read_text()
    assert [record.status for record in read_jobs(sweep)] == [DONE] * 3
    drawn = [json.loads((sweep / str(number) / "run.json").read_text())["data"]["drawn"] for number in range(3)]
    assert [len(names) for names in drawn] == [1, 2, 4]
    assert {*drawn[0]} < {*drawn[1]} < {*drawn[2]}
    (sweep / "learning_curve.csv").unlink()
    assert cli(monkeypatch, *words) in (0, None)
    assert capsys.readouterr().out.count("already done") == 3
    assert (sweep / "learning_curve.csv").is_file()
