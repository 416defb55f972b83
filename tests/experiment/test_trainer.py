"""What a run that goes on takes from its folder."""

import io

import pytest
from rich.console import Console

from segexp.config.compose import compose_config
from segexp.distributed import ALONE, Ranks
from segexp.experiment import trainer
from segexp.experiment.network import schedule_of
from segexp.experiment.run import assemble, with_measured_batch
from segexp.training.loggers.run_log import RunLog
from segexp.training.loop import fit
from segexp.training.state import TrainState
from segexp.training.stop import StopRequest

TINY = [
    "task=vesicle",
    "data.synthetic.train=2",
    "data.synthetic.val=1",
    "data.synthetic.size=48",
    "model.widths=[4,8]",
    "task.crop=32",
    "trainer.batch_size=2",
    "trainer.precision=fp32",
    "trainer.num_workers=0",
    "output_dir=x",
]


@pytest.fixture
def assembled(tmp_path):
    """Assembles a run in a folder, with more settings; gives settings, run, log and what the log printed."""
    logs = []

    def make(*overrides):
        cfg, said = compose_config([*TINY, *overrides]), io.StringIO()
        log = RunLog(tmp_path, cfg.task.monitor, Console(file=said, width=1000))
        logs.append(log.__enter__())
        return cfg, assemble(cfg, tmp_path, ALONE, StopRequest(), log, resume=False), log, said

    yield make
    for log in logs:
        log.__exit__(None, None, None)


def state_with(best):
    return TrainState(epoch=1, step=1, stale=2, best=best)


def test_a_run_that_goes_on_by_another_score_chooses_its_best_anew(assembled):
    _, before, *_ = assembled()
    before.state = state_with({"epoch": 1, "dice": 0.9})
    before.save(improved=True)
    cfg, training, log, said = assembled("task.monitor=cldice", "trainer.steps=2")
    training.restore()
    assert (training.state.best, training.state.stale) == ({}, 0)
    assert "task.monitor=cldice: was not monitored before" in said.getvalue()
    training.begin(())
    fit(training, log, schedule_of(cfg, training))
    assert training.state.best["cldice"] >= 0
    assert training._read_best()["metrics"] == training.state.best


def test_a_batch_size_that_was_measured_is_kept_when_the_run_is_resumed(assembled, tmp_path):
    cfg, training, *_ = assembled("trainer.batch_size=auto")
    training.save(improved=False)
    measured = training.source.plan.batch_size
    assert with_measured_batch(cfg, tmp_path, 1).trainer.batch_size == measured
    assert with_measured_batch(cfg, tmp_path, 1000).trainer.batch_size == "auto"  # so many processes cannot share it


def test_all_processes_forget_a_best_model_that_is_lost(assembled, monkeypatch):
    """Process 0, which alone looks into the folder, has found nothing; here is process 1."""
    _, training, *_ = assembled()
    training.state = state_with({"epoch": 1, "dice": 0.9})
    training.save(improved=True)
    training.ranks = Ranks(1, 2)
    monkeypatch.setattr(trainer, "share", lambda ranks, value: ({}, 0) if isinstance(value, tuple) else {})
    training.restore()
    assert (training.state.best, training.state.stale) == ({}, 0)
