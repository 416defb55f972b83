import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from segexp.errors import InputError
from segexp.io import atomic
from segexp.io.run_folder import FILES, JOB_FILES, SWEEP_FILES, RunFolder, require_apart


def contents(folder):
    """Each file of a folder with its bytes, each link with its target, each empty folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = None
        else:
            found[name] = path.read_bytes()
    return found


def begin(folder, resume=False, overwrite=False, job=False):
    files = RunFolder(folder, "test", job)
    files.require(resume, overwrite)
    files.put("run.json", "{}")
    files.put(".hydra/overrides.yaml", "[]")
    files.begin(resume, overwrite)
    return files


def small_run(folder, **more):
    """What a run writes, without training."""
    with begin(folder, **more) as files:
        (folder / "train.log").write_text("begun\n")
        files.note_grown()
        files.write("last.pth", "state")
        files.write("best_vesicle_model.pth", "weights")
        with (folder / "metrics.csv").open("a") as file:
            file.write("epoch\n1\n")
        files.note_grown()
        with files.draft() as place:
            (place / "val").mkdir()
            (place / "val" / "a.png").write_text("picture")
            (place / "summary.json").write_text("{}")


def test_the_names_are_those_that_the_parts_write():
    from segexp.data import splits
    from segexp.sweep import FAILURE, LOG, PRUNED
    from segexp.sweep.job_store import FILE, PROGRESS
    from segexp.sweep.search.command import JOURNAL, RESULT
    from segexp.sweep.table import FILE as TABLE
    from segexp.training.loggers.mlflow_log import FILE as MLFLOW

    assert {splits.FILE, FAILURE, PRUNED, PROGRESS, MLFLOW} <= set(FILES)
    assert {FILE, LOG} == set(JOB_FILES)
    assert {JOURNAL, RESULT, TABLE, "multirun.yaml"} == set(SWEEP_FILES)


def test_nothing_is_touched_before_a_run_begins(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    files = RunFolder(tmp_path / "a" / "run")
    files.require(False)
    files.peek()
    files.put("run.json", "{}")
    assert contents(tmp_path) == {"notes.txt": b"mine"}
    files.begin(False)
    assert (tmp_path / "a" / "run" / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    "name",
    ["metrics.csv", "best_x_model.pth", "val/a.tif", "val/img/a.tif", ".hydra/own.yaml", "events.out.tfevents.1.a"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_reserved_name_that_is_taken_is_refused(tmp_path, name, overwrite):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"not written by segexp.*choose another output_dir, such as"):
        begin(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == before


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "val.csv").write_text("mine")
    (tmp_path / "link").symlink_to("data")
    before = contents(tmp_path)
    small_run(tmp_path)
    small_run(tmp_path, overwrite=True)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_a_run_is_not_begun_anew_without_being_asked(tmp_path):
    small_run(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=r"a finished run of task vesicle.*resume=.*run_2; or add overwrite=true.*earlier_1/"
    ):
        begin(tmp_path / "run")
    assert contents(tmp_path) == before
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(InputError, match="holds an interrupted run"):
        begin(tmp_path / "run")


def test_overwriting_moves_the_earlier_run_aside(tmp_path):
    small_run(tmp_path)
    before = {name: text for name, text in contents(tmp_path).items() if not name.startswith(".segexp")}
    for number in (1, 2):
        small_run(tmp_path, overwrite=True)
        kept = contents(tmp_path / f"earlier_{number}")
        assert {name: kept[name] for name in before} == before
    begin(tmp_path / "earlier_1", resume=True)
    with pytest.raises(InputError, match="finished run"):
        begin(tmp_path / "earlier_2")


def test_a_job_of_a_sweep_moves_its_earlier_run_aside_by_itself(tmp_path):
    small_run(tmp_path)
    RunFolder(tmp_path).write("job.json", "{}")
    small_run(tmp_path, job=True)
    assert (tmp_path / "earlier_1" / "last.pth").is_file()
    assert (tmp_path / "job.json").is_file()


def test_a_run_that_was_killed_goes_on_with_logs_that_grew(tmp_path):
    files = begin(tmp_path)
    (tmp_path / "train.log").write_text("begun\n")
    files.note_grown()
    files.write("last.pth", "state")
    with (tmp_path / "train.log").open("a") as log:
        log.write("killed after this li")
    files._stack.close()  # what is left of the lock after a kill
    with begin(tmp_path, resume=True), (tmp_path / "train.log").open("a") as log:
        log.write("ne\nended\n")
    (tmp_path / "train.log").write_text((tmp_path / "train.log").read_text() + "my own remark\n")
    with pytest.raises(InputError, match=r"train\.log would be replaced, and was changed since segexp wrote it"):
        begin(tmp_path, resume=True)


def test_a_log_that_was_put_in_the_place_of_a_killed_runs_is_refused(tmp_path):
    files = begin(tmp_path)
    (tmp_path / "train.log").write_text("begun\n")
    files.note_grown()
    files.write("last.pth", "state")
    files._stack.close()
    (tmp_path / "train.log").write_text("my own list of trains\n")
    with pytest.raises(InputError, match=r"train\.log"):
        begin(tmp_path, resume=True)


def test_a_run_killed_at_its_start_is_kept_and_begun_anew(tmp_path):
    files = begin(tmp_path)
    (tmp_path / "train.log").write_text("begun\n")
    files.note_grown()
    files._stack.close()
    small_run(tmp_path)
    assert (tmp_path / "earlier_1" / "train.log").read_text() == "begun\n"


def test_so_is_one_that_was_killed_before_its_first_log(tmp_path):
    files = RunFolder(tmp_path, "test")
    files.put("run.json", "{}")
    files.begin(resume=False)
    files._stack.close()
    RunFolder(tmp_path).require(resume=False)
    small_run(tmp_path)
    assert (tmp_path / "earlier_1" / "run.json").read_text() == "{}"


def test_a_run_of_before_the_records_can_be_resumed(tmp_path):
    (tmp_path / ".hydra").mkdir()
    for name in (".hydra/overrides.yaml", "last.pth", "metrics.csv", "notes.txt"):
        (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match=r"already contains a run\. Resume it: resume="):
        begin(tmp_path)
    small_run(tmp_path, resume=True)
    assert RunFolder(tmp_path).owns("metrics.csv")
    assert not RunFolder(tmp_path).owns("notes.txt")


def test_two_runs_at_once(tmp_path):
    with begin(tmp_path / "run") as first:
        first.write("last.pth", "state")
        before = contents(tmp_path)
        second = RunFolder(tmp_path / "run")
        with pytest.raises(InputError, match="another segexp command is writing to this folder"):
            second.peek()
        assert contents(tmp_path) == before


def test_a_lock_that_is_no_lock_is_not_emptied(tmp_path):
    (tmp_path / ".segexp.lock").write_text("mine")
    with pytest.raises(InputError, match="not a lock that segexp made"):
        RunFolder(tmp_path).peek()
    assert (tmp_path / ".segexp.lock").read_text() == "mine"


def test_results_of_another_command_are_not_moved_unasked(tmp_path):
    RunFolder(tmp_path).write("report.html", "page of an evaluation")
    with pytest.raises(InputError, match="holds results of another segexp command"):
        begin(tmp_path)


@pytest.mark.parametrize("place", ["project", "link", "project/../project"])
def test_a_run_does_not_write_into_its_data(tmp_path, place):
    (tmp_path / "project" / "val" / "img").mkdir(parents=True)
    (tmp_path / "link").symlink_to("project")
    for data in ("project/val", "project/val/img", "link/val"):
        with pytest.raises(InputError, match=r"the run writes to .*val, and data\.val_img_dir is"):
            require_apart(tmp_path / place, {"val_img_dir": tmp_path / data})
    require_apart(tmp_path / place, {"val_img_dir": tmp_path / "project" / "images"})


def test_what_the_record_says_of_a_growing_file(tmp_path):
    files = begin(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch\n")
    files.note_grown()
    last = json.loads((tmp_path / ".segexp.jsonl").read_text().splitlines()[-1])
    assert (last["path"], last["size"], last["open"]) == ("metrics.csv", 6, True)
    assert last["sha256"] == hashlib.sha256(b"epoch\n").hexdigest()


@pytest.mark.parametrize("resume", [False, True])
def test_models_that_a_kill_left_half_written_are_removed_and_nothing_else(tmp_path, resume):
    small_run(tmp_path)
    left = [atomic.partial(tmp_path / name) for name in ("last.pth", "best_vesicle_model.pth", "scratch_last.pth")]
    others = [atomic.partial(tmp_path / "mine.pth"), atomic.partial(tmp_path / "last.pth.txt")]
    others += [tmp_path / name for name in (".last.pth.partial", "last.pth.0123abcd.partial")]
    for path in others:
        path.touch()
    with begin(tmp_path, resume, overwrite=not resume):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)


def test_a_line_that_a_full_disk_cut_short_does_not_swallow_the_next(tmp_path, monkeypatch):
    with begin(tmp_path) as files:
        (tmp_path / "train.log").write_text("begun\n")
        real = Path.open

        class Full:
            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            def __getattr__(self, name):
                return getattr(self.file, name)

            def write(self, line):
                self.file.write(line[:20])
                self.file.flush()
                raise OSError(errno.ENOSPC, "no space left")

        monkeypatch.setattr(Path, "open", lambda path, *more, **named: Full(real(path, *more, **named)))
        with pytest.raises(OSError, match="no space"):
            files.note_open("train.log", 6, hashlib.sha256(b"begun\n").hexdigest())
        monkeypatch.setattr(Path, "open", real)
        (tmp_path / "a.txt").write_text("whole")
        files.note("a.txt")
    assert RunFolder(tmp_path).owns("a.txt")
