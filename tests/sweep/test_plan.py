"""Time and disk of a sweep: the arithmetic by hand, the jobs as Hydra would run them, one measurement of real steps."""

import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.config import conf_dir
from segexp.errors import InputError
from segexp.models import UNet
from segexp.sweep import plan
from segexp.sweep.plan import Cost, job_seconds, measure, plan_sweep, wall_seconds
from tests.experiment.test_start import model_file
from tests.test_cli import run as cli
from tests.test_scripts import TINY, write_dataset
from tests.test_train import settings

COST = Cost(start=3.0, step=0.5, epoch_steps=10, validation=2.0, finish=5.0, disk=1_000_000)


@pytest.mark.parametrize(
    ("steps", "limit", "every", "expected"),
    [
        (40, None, 1, 3 + 20 + 4 * 2 + 5),
        (40, None, 2, 3 + 20 + 2 * 2 + 5),
        (40, None, 3, 3 + 20 + 2 * 2 + 5),  # after the third epoch and at the end
        (45, None, 1, 3 + 22.5 + 5 * 2 + 5),  # the fifth epoch is cut short
        (40, None, None, 3 + 20 + 2 * 2 + 5),  # 20 s of training pay for one validation of 2 s, and the last
        (40, 30.0, 1, 30.0),
        (40, 300.0, 1, 36.0),
        (None, 60.0, 1, 60.0),
        (None, 1.0, 1, 3 + 0.5 + 2 + 5),  # no limit makes a job shorter than its parts
    ],
)
def test_a_job(steps, limit, every, expected):
    assert job_seconds(COST, steps, limit, every) == expected


def test_jobs_side_by_side():
    assert wall_seconds([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert wall_seconds([1.0, 1.0, 1.0, 3.0], 2) == 4.0
    assert wall_seconds([2.0] * 5, 1) == 10.0
    assert wall_seconds([2.0] * 3, 8) == 2.0


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=20), st.integers(1, 6))
def test_no_schedule_is_shorter_than_the_work_or_longer_than_in_a_row(jobs, at_once):
    wall = wall_seconds(jobs, at_once)
    assert max(max(jobs), sum(jobs) / at_once) <= wall * (1 + 1e-9)
    assert wall <= sum(jobs) / at_once + max(jobs) + 1e-6


@pytest.fixture
def measured(monkeypatch):
    """Instead of measuring: a step costs a second a crop; what was measured is kept."""
    asked = []

    def fake(cfg, steps, overrides=()):
        asked.append((cfg.trainer.batch_size, cfg.model["widths"]))
        return Cost(0.0, float(cfg.trainer.batch_size), 10, 1.0, 0.0, 1000 * len(cfg.model["widths"]))

    monkeypatch.setattr(plan, "measure", fake)
    monkeypatch.setattr(plan, "import_seconds", lambda: 0.0)
    return asked


def test_kinds_of_jobs_are_measured_once_and_add_up(measured):
    words = ["-m", "task=vesicle", "trainer.lr=1e-3,3e-4", "trainer.batch_size=2,4", "trainer.epochs=1,2", "seed=0,1"]
    plan = plan_sweep([*words, "model.widths=[4,8]"])
    assert [batch for batch, _ in measured] == [2, 4]
    assert plan.jobs == 16
    assert [kind.overrides for kind in plan.kinds] == [("trainer.batch_size=2",), ("trainer.batch_size=4",)]
    # 10 or 20 steps of 2 or 4 s, a validation a second each epoch
    assert plan.seconds == 4 * (21 + 42 + 41 + 82)
    assert plan.disk == 16 * 2000
    words = ["task=vesicle", "trainer.epochs=1", "trainer.batch_size=2", "trainer.seeds=3"]
    assert (plan_sweep(words).seconds, plan_sweep(words, at_once=2).seconds) == (63, 42)


def test_seeds_that_a_file_sets_are_jobs(measured, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [override /task: vesicle]\ntrainer: {seeds: 3, epochs: 1, batch_size: 2}\n"
    (tmp_path / "experiment" / "repeats.yaml").write_text(text)
    plan = plan_sweep(["experiment=repeats"], config_dir=str(tmp_path))
    assert (plan.jobs, plan.seconds) == (3, 63)
    assert plan_sweep(["experiment=repeats", "trainer.seeds=1"], config_dir=str(tmp_path)).jobs == 1


def test_a_job_is_measured_with_the_threads_of_its_place(measured, monkeypatch):
    """A container sees every processor of its host and may use fewer; the pool shares out those."""
    before = torch.get_num_threads()
    used = []
    cost = plan.measure
    monkeypatch.setattr(plan, "measure", lambda *a: used.append(torch.get_num_threads()) or cost(*a))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(plan, "cores", lambda: 4, raising=False)
    torch.set_num_threads(4)
    try:
        plan_sweep(["task=vesicle", "trainer.epochs=1", "seed=0,1"], at_once=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert used == [2]


def test_a_search_is_planned_by_its_options_and_ends(measured):
    plan = plan_sweep(
        [
            *["hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "task=vesicle", "trainer.epochs=1"],
            *["trainer.lr=tag(log,interval(1e-4,1e-2))", "trainer.batch_size=int(interval(2,8))"],
            "model.widths=[4,8],[4,8,16]",
        ]
    )
    assert sorted({int(batch) for batch, _ in measured}) == [2, 8]
    assert len(measured) == 4
    assert plan.jobs == 12
    assert {kind.jobs for kind in plan.kinds} == {3}
    assert plan.seconds == 6 * 21 + 6 * 81


def test_a_glob_is_all_options_of_its_group(measured):
    words = ["task=vesicle", "trainer.epochs=1", "trainer.batch_size=2", "model.widths=[4,8]"]
    options = sum(1 for _ in (conf_dir() / "optimizer").glob("*.yaml"))
    assert options > 1
    assert plan_sweep([*words, "optimizer=glob(*)"]).jobs == options
    assert len(measured) == options
    with pytest.raises(InputError, match=r"optimizer=glob\(z\*\): no option has such a name"):
        plan_sweep([*words, "optimizer=glob(z*)"])


def test_slurm_says_how_many_jobs_run_at_once(measured):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    words = ["task=vesicle", "trainer.epochs=1", "trainer.batch_size=2", "seed=range(6)"]
    assert plan_sweep([*words, "hydra/launcher=slurm", "hydra.launcher.array_parallelism=3"]).seconds == 2 * 21


@pytest.mark.parametrize("words", [["task=vesicel"], ["task=vesicle", "trainer.lr=-1,2"], ["task=vesicle", "+a=1"]])
def test_mistakes(words):
    with pytest.raises(InputError):
        plan_sweep(words)


def test_a_measurement_of_real_steps():
    cfg = settings(
        "task=vesicle", *TINY[2:3], "data.synthetic.val=9", "data.synthetic.size=48", "data.synthetic.train=8"
    )
    cost = measure(cfg, 3)
    assert cost.epoch_steps == 8  # two crops of each image, two a batch
    assert 0 < cost.step < 30
    assert cost.validation > 0
    assert cost.finish > 0
    assert 20_000 < cost.disk < 5_000_000


def test_jobs_that_start_from_a_model_are_measured_with_it(tmp_path):
    """Three annotated images and no val/, which only a run that compares by cross-fitting may have."""
    data = write_dataset(tmp_path / "data", count=3)
    shutil.rmtree(data / "val")
    path = model_file(tmp_path / "given.pth", UNet(widths=(4, 8)))
    words = ["experiment=finetune", "task=vesicle", f"data.root={data}", "model.widths=[4,8]", "model.shrink=1"]
    words += [f"model.weights={path}", "task.crop=32", "trainer.batch_size=2", "trainer.num_workers=0"]
    plan = plan_sweep([*words, "trainer.lr=1e-3,1e-4"], steps=1)
    assert [kind.jobs for kind in plan.kinds] == [2]


def test_the_command(tmp_path, monkeypatch, capsys):
    words = ["task=vesicle", *TINY, "trainer.lr=1e-3,1e-4", "--steps", "1", "--jobs", "2"]
    monkeypatch.chdir(tmp_path)
    cli(monkeypatch, "sweep-plan", *words)
    assert "2 jobs, 2 at a time: about 0:" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
