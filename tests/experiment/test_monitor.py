"""The best model by any score, in the direction that is good for it; scores of a module of one's own."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from segexp.config.compose import compose_config
from segexp.errors import InputError
from segexp.experiment.results import print_summary
from segexp.metrics.registry import ALONE, SCORES
from segexp.training.schedule import Budget, Schedule
from segexp.training.state import TrainState
from tests.processes import command as segexp
from tests.processes import first_on_path

TINY = ["trainer=smoke", "model.widths=[4,8]", "task.crop=32", "trainer.num_workers=0", "trainer.validate_every=1"]
TINY += ["data.synthetic.train=2", "data.synthetic.val=2", "data.synthetic.size=48", "trainer.epochs=3"]
MODULE = """
from segexp.metrics.registry import Score

def missed(predicted, true):
    return float((true & ~predicted).sum())

missed_area = Score("missed_area", "missed area", "lower", "true pixels that were not found", missed)
not_a_score = missed
broken = Score("broken", "broken", "lower", "fails", lambda predicted, true: 1 / 0)
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    text = "defaults: [vesicle]\nname: nucleus\nscores: [object, lab_scores.missed_area]\nmonitor: missed_area\n"
    (tmp_path / "conf" / "task" / "nucleus.yaml").write_text(text)
    (tmp_path / "lab_scores.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("lab_scores.missed_area", "missed_area"):
        ALONE.pop(name, None)
        SCORES.pop(name, None)
    sys.modules.pop("lab_scores", None)


def validated(folder, name):
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(row["epoch"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def test_of_a_distance_the_smaller_improves():
    schedule = Schedule(Budget(1), 1, 0.1, monitor="hd95")
    assert schedule.improves({"hd95": 3.0}, {})
    assert schedule.improves({"hd95": 3.0}, {"hd95": 4.0})
    assert not schedule.improves({"hd95": 5.0}, {"hd95": 4.0})
    assert Schedule(Budget(1), 1, 0.1).improves({"dice": 0.5}, {"dice": 0.5})


@pytest.mark.parametrize(("monitor", "columns"), [("hd95", ["hd95", "dice"]), ("dice", ["dice"])])
def test_the_closing_table_shows_the_monitored_score(monitor, columns):
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, {"epoch": 1, "dice": 0.5, "hd95": 3.0}, TrainState(), Path("x.pth"), monitor)
    assert console.file.getvalue().splitlines()[0].split() == ["best", "epoch", *columns]


def test_wrong_monitors():
    for name, words in (
        ("dise", "did you mean dice?"),
        ("objects_truth", "expected one of dice"),
        ("hd9", "hd95?"),
    ):
        with pytest.raises(InputError, match=f"task.monitor={name}: ") as error:
            compose_config(["task=vesicle", f"task.monitor={name}"])
        assert words in str(error.value)


def test_what_a_monitor_needs_is_computed():
    assert compose_config(["task=vesicle", "task.monitor=cldice"]).task.scoring().families[-1] == "cldice"
    assert compose_config(["task=vesicle", "task.monitor=object_f1"]).task.scoring().families == (
        *compose_config(["task=vesicle"]).task.scores,
    )
    assert "filament" in compose_config(["task=vesicle", "task.monitor=length_error"]).task.scoring().families


def test_a_sweep_by_a_distance_puts_the_smallest_first(tmp_path):
    sweep = ["-m", "task=vesicle", *TINY, "task.monitor=surface_distance", "trainer.lr=1e-9,3e-3", "trainer.ema=0"]
    done = segexp("train", *sweep, f"output_dir={tmp_path / 'sweep'}")
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "sweep" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["better"] for row in rows] == ["lower", "lower"]
    for row in rows:
        folder = tmp_path / "sweep" / row["folder"]
        seen = validated(folder, "surface_distance")
        best = json.loads((folder / "summary.json").read_text())["best"]
        assert best["epoch"] == max(epoch for epoch, value in seen if value == min(value for _, value in seen))
    lines = [line.split() for line in done.stdout.splitlines()]
    first = next(index for index, line in enumerate(lines) if line[:2] == ["job", "score"]) + 1
    scores = [float(line[1]) for line in lines[first : first + 2]]
    assert scores == sorted(scores)
    page = (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    least = min(rows, key=lambda row: float(row["score"]))["job"]
    assert f"the best, job {least}," in page


def test_a_score_of_ones_own_module(lab):
    with pytest.raises(
        InputError, match=r"lab_scores.missed_area: not a module that may be imported; type allow_targets"
    ):
        compose_config(["task=nucleus"], str(lab / "conf"))
    assert "lab_scores" not in sys.modules
    cfg = compose_config(["task=nucleus", "allow_targets=[lab_scores]"], str(lab / "conf"))
    assert cfg.task.monitor == "missed_area"
    assert cfg.task.scoring().families == ("object", "lab_scores.missed_area")
    for name, words in (("not_a_score", "has no segexp.metrics.registry.Score"), ("absent", "has no segexp")):
        with pytest.raises(InputError, match=words):
            compose_config(
                ["task=nucleus", "allow_targets=[lab_scores]", f"task.scores=[lab_scores.{name}]", "task.monitor=dice"],
                str(lab / "conf"),
            )
    with pytest.raises(InputError, match=r"lab_scores.more cannot be imported"):
        compose_config(
            ["task=nucleus", "allow_targets=[lab_scores]", "task.scores=[lab_scores.more.x]", "task.monitor=dice"],
            str(lab / "conf"),
        )


def test_a_run_by_a_score_of_ones_own(lab):
    data = ("--output", lab / "data", "--train", "2", "--val", "2", "--size", "48")
    assert segexp("synthesize", "vesicle", *data).returncode == 0
    train = ["--config-dir", lab / "conf", "task=nucleus", "allow_targets=[lab_scores]", *TINY]
    done = segexp("train", *train, f"data.root={lab / 'data'}", f"output_dir={lab / 'run'}")
    assert done.returncode == 0, done.stdout + done.stderr
    other = ["task.scores=[lab_scores.broken]", "task.monitor=dice", f"output_dir={lab / 'broken'}"]
    broken = segexp("train", *train, f"data.root={lab / 'data'}", *other)
    assert broken.returncode == 1
    assert "error: score broken: its function fails: ZeroDivisionError" in broken.stderr
    assert "Traceback" not in broken.stdout + broken.stderr
    assert not (lab / "broken" / "metrics.csv").exists()  # before the training, not after it
    seen = validated(lab / "run", "missed_area")
    assert len(seen) == 3
    best = json.loads((lab / "run" / "summary.json").read_text())["best"]
    assert best["epoch"] == max(epoch for epoch, value in seen if value == min(value for _, value in seen))
    record = json.loads((lab / "run" / "val" / "evaluation.json").read_text())
    assert record["scores"]["missed_area"]["better"] == "lower"
    assert record["monitor"] == "missed_area"
    assert "missed area" in (lab / "run" / "report.html").read_text(encoding="utf-8")
    score = ["evaluate", "--model", lab / "run", "--data", lab / "data", "--output"]
    refused = segexp(*score, lab / "refused", "--scores", "lab_scores.missed_area")
    assert refused.returncode == 1
    assert "score lab_scores.missed_area: not a module" in refused.stderr
    assert "type --allow-targets lab_scores" in refused.stderr
    assert not (lab / "refused").exists()
    without = segexp(*score, lab / "without")
    assert without.returncode == 0, without.stderr
    assert "type --allow-targets lab_scores" in without.stdout
    assert "missed_area" not in (lab / "without" / "scores.csv").read_text().splitlines()[0]
    with_it = segexp(*score, lab / "with", "--allow-targets", "lab_scores", PYTHONPATH=first_on_path(lab))
    assert with_it.returncode == 0, with_it.stderr
    assert "missed_area" in (lab / "with" / "scores.csv").read_text().splitlines()[0]
