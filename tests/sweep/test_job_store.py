"""Which folder a job gets when a sweep goes on, with shifted numbers, other data, other code."""

import json
import os
import time

import pytest

from segexp.config.fingerprint import settings_fingerprint, settings_of
from segexp.errors import InputError
from segexp.sweep.job_store import (
    DONE,
    FILE,
    RUNNING,
    Identity,
    ProgressWriter,
    Record,
    claim,
    data_fingerprint,
    read_job,
    read_jobs,
    read_progress,
)
from segexp.training.state import TrainState

ONE, TWO, THREE = (Identity(name, "data", "code") for name in ("1", "2", "3"))


def keep(sweep, name, identity, status=DONE, **more):
    folder = sweep / name
    folder.mkdir(parents=True, exist_ok=True)
    number = int(name) if name.isdecimal() else 0
    Record(folder, number, ["task=vesicle", f"lr={identity.settings}"], identity).save(status=status, **more)
    return folder


def test_a_record_is_read_as_it_was_written(tmp_path):
    keep(tmp_path, "0", ONE, score=0.5, seconds=3.0)
    record = read_job(tmp_path / "0")
    assert (record.status, record.score, record.seconds, record.identity) == (DONE, 0.5, 3.0, ONE)
    record.save(score=float("nan"))
    assert json.loads((tmp_path / "0" / FILE).read_text())["score"] is None
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == [".segexp.jsonl", FILE]


def test_a_record_replaces_no_file_of_another_program(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / FILE).write_text("mine")
    with pytest.raises(InputError, match=r"job\.json exists and was not written by segexp"):
        keep(tmp_path, "0", ONE)
    assert (tmp_path / "0" / FILE).read_text() == "mine"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "identity": {}}'])
def test_other_files_are_no_records(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read_job(tmp_path) is None


def test_jobs_keep_their_folders_when_an_axis_shifts_the_numbers(tmp_path):
    keep(tmp_path, "0", ONE)
    keep(tmp_path, "1", TWO, RUNNING)
    taken = set()
    for number, identity, expected in [(0, ONE, "0"), (1, THREE, "2"), (2, TWO, "1")]:
        folder, words = claim(tmp_path / str(number), tmp_path, identity, taken)
        taken.add(folder)
        assert (folder.name, words) == (expected, "")


def test_a_folder_with_anything_in_it_is_nobodys(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "notes.txt").write_text("mine")
    assert claim(tmp_path / "0", tmp_path, ONE)[0].name == "1"
    assert claim(tmp_path / "1", tmp_path, TWO)[0].name == "2"  # that was reserved, if not yet written


@pytest.mark.parametrize(
    ("identity", "what"),
    [(Identity("1", "other", "code"), "data"), (Identity("1", "other", "other"), "data and code")],
)
def test_other_data_or_code_are_run_anew_elsewhere_and_said(tmp_path, identity, what):
    old = keep(tmp_path, "0", ONE, score=0.5)
    folder, words = claim(tmp_path / "0", tmp_path, identity)
    assert folder.name == "1"
    assert words == f"{old} was made with other {what}"
    time.sleep(0.01)
    keep(tmp_path, "1", identity, RUNNING)
    assert [record.folder.name for record in read_jobs(tmp_path)] == ["1"]  # the old result is no longer shown
    assert read_job(old).score == 0.5  # and still there


def test_folders_with_names(tmp_path):
    keep(tmp_path, "lr=1", ONE)
    assert claim(tmp_path / "lr=1", tmp_path, TWO)[0].name == "lr=1~2"
    assert claim(tmp_path / "lr=1", tmp_path, THREE)[0].name == "lr=1~3"
    assert claim(tmp_path / "lr=1", tmp_path, ONE)[0].name == "lr=1"


def test_the_same_job_twice_has_two_folders(tmp_path):
    keep(tmp_path, "0", ONE)
    keep(tmp_path, "1", ONE)
    assert len(read_jobs(tmp_path)) == 2
    assert claim(tmp_path / "0", tmp_path, ONE, {tmp_path / "0"})[0].name == "1"
    assert claim(tmp_path / "0", tmp_path, ONE, {tmp_path / "0", tmp_path / "1"})[0].name == "2"


def test_where_a_job_runs_does_not_change_what_it_is():
    same = settings_fingerprint({"a": {"x": 1, "y": 2}, "output_dir": "p", "sweep": {"resume": "p"}, "resume": None})
    assert same == settings_fingerprint({"output_dir": "q", "a": {"y": 2, "x": 1}})
    assert same != settings_fingerprint({"a": {"x": 1, "y": 3}})
    assert settings_of(
        ["task=vesicle", "+model.x=[1,2]", "output_dir=o", "hydra/launcher=pool", "sweep.retry=true"]
    ) == {
        "task": "vesicle",
        "model.x": "[1,2]",
    }


def test_data_are_known_by_name_size_and_time(tmp_path):
    (tmp_path / "img").mkdir()
    file = tmp_path / "img" / "a.tif"
    file.write_bytes(b"12")
    folders = {"train_img_dir": tmp_path / "img"}
    first = data_fingerprint(folders)
    assert first == data_fingerprint(folders)
    os.utime(file, (1, 1))
    second = data_fingerprint(folders)
    file.write_bytes(b"123")
    os.utime(file, (1, 1))
    third = data_fingerprint(folders)
    (tmp_path / "img" / "b.tif").touch()
    assert len({first, second, third, data_fingerprint(folders), data_fingerprint(None)}) == 5


def test_progress_is_written_at_epochs_and_once_a_second(tmp_path):
    teller = ProgressWriter(tmp_path, "dice")
    assert read_progress(tmp_path) == {}
    teller(TrainState(epoch=1, step=4, elapsed=2.0), 0.25)
    teller(TrainState(epoch=1, step=5, elapsed=2.0), 0.3)
    known = read_progress(tmp_path)
    assert known.pop("job") == teller.job
    assert known == {"epoch": 1, "step": 4, "progress": 0.25, "elapsed": 2.0, "score": None}
    teller(TrainState(epoch=2, step=8, elapsed=4.0, best={"dice": 0.5}), 0.5)
    assert read_progress(tmp_path)["score"] == 0.5
