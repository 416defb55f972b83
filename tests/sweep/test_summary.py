"""The callback of a multirun: what it refuses in every process, and how it ends."""

from contextlib import ExitStack

import pytest
from omegaconf import OmegaConf

from segexp.distributed import Ranks
from segexp.sweep import summary
from segexp.sweep.folder import add_job, begin_sweep
from segexp.sweep.summary import SweepSummary, conclude
from segexp.sweep.table import write_summary
from tests.sweep.test_table import job


def processes(monkeypatch, rank, said):
    """This process is one of two; `said` is what process 0 tells the others, and gets what is shared here."""
    monkeypatch.setattr(summary, "join", lambda: Ranks(rank, 2))

    def share(ranks, value):
        if ranks.first:
            said.append(value)
        return said[-1]

    monkeypatch.setattr(summary, "share", share)


def config(sweep):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}})


def test_a_refused_folder_ends_every_process_before_hydra_writes_to_it(monkeypatch, tmp_path, capsys):
    def refuse(self, config):
        raise SystemExit("error: the folder holds a sweep")

    said = []
    monkeypatch.setattr(SweepSummary, "_claim", refuse)
    processes(monkeypatch, 0, said)
    with pytest.raises(SystemExit, match="the folder holds a sweep"):
        SweepSummary().on_multirun_start(config(tmp_path))
    processes(monkeypatch, 1, said)
    with pytest.raises(SystemExit) as end:
        SweepSummary().on_multirun_start(config(tmp_path))
    assert end.value.code == 1  # said once
    assert said == ["error: the folder holds a sweep"]


def test_one_process_sums_up_and_all_end_with_its_exit_code(monkeypatch, tmp_path):
    job(tmp_path, 0, status="failed")
    said = []
    for rank in (0, 1):
        processes(monkeypatch, rank, said)
        with pytest.raises(SystemExit) as end:
            SweepSummary().on_multirun_end(config(tmp_path))
        assert end.value.code == 1
        (tmp_path / "summary.csv").unlink(missing_ok=rank == 1)  # process 1 writes none
    assert said == [False]


def test_a_table_that_cannot_be_written_is_an_error_at_the_end(tmp_path, capsys):
    job(tmp_path, 0, score=0.5)
    write_summary(tmp_path)
    (tmp_path / "summary.csv").write_text("mine")
    with pytest.raises(SystemExit) as end:
        SweepSummary().on_multirun_end(config(tmp_path))
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "0.5000" in out
    assert "error: summary.csv was not written: " in out
    assert (tmp_path / "summary.csv").read_text() == "mine"
    assert not (tmp_path / "report.html").exists()


def test_whatever_goes_wrong_at_the_end_is_no_success(monkeypatch, tmp_path, capsys):
    """Hydra makes a warning of any exception in a callback."""

    def broken(sweep):
        raise RuntimeError("a bug of mine")

    monkeypatch.setattr(summary, "conclude", broken)
    with pytest.raises(SystemExit) as end:
        SweepSummary().on_multirun_end(config(tmp_path))
    assert end.value.code == 1
    assert "a bug of mine" in capsys.readouterr().err


def test_a_sweep_whose_jobs_are_done_ends_well(tmp_path):
    job(tmp_path, 0, score=0.5)
    assert conclude(tmp_path)
    SweepSummary().on_multirun_end(config(tmp_path))


def test_a_sweep_with_a_job_whose_record_is_damaged_is_not_complete(tmp_path, capsys):
    with ExitStack() as stack:
        begin_sweep(tmp_path, False, False, False, stack)
        folder, other = (job(tmp_path, number, score=0.5).folder for number in range(2))
        for made in (folder, other):
            add_job(tmp_path, made)
    assert conclude(tmp_path)
    (other / "job.json").write_text("{")
    assert not conclude(tmp_path)
    (folder / "job.json").write_text("{")
    assert not conclude(tmp_path)
    assert "damaged" in capsys.readouterr().err
