"""Processes beside each other: what one does harms no other, and all end when they should. No training here."""

import signal
import subprocess
import sys
import time

from segexp.io.ownership import OwnedFolder
from segexp.sweep.job_store import DONE, FAILED, INTERRUPTED, WAITING, Identity, Record
from segexp.sweep.pool import Work, cores, places, run_pool, tail
from segexp.sweep.table import update_summary
from segexp.training.stop import StopRequest

# a job's process: its input names its folder and what to do there
CHILD = """
import json, os, signal, sys, time
folder, act = os.read(0, 10_000).decode().split("|", 1)
def done():
    path = os.path.join(folder, "job.json")
    content = json.load(open(path))
    json.dump(content | {"status": "done", "score": 0.5}, open(path, "w"))
open(os.path.join(folder, "pid"), "w").write(str(os.getpid()))
print("working", flush=True)
exec(act)
"""
COMMAND = [sys.executable, "-S", "-E", "-c", CHILD]


class Notes:
    """Writes down who was started and ended."""

    def __init__(self, refresh=lambda: None):
        self.starts, self.ends, self.refresh, self.most, self.now = [], [], refresh, 0, 0

    def started(self, record):
        self.starts.append(record.number)
        self.now += 1
        self.most = max(self.most, self.now)

    def ended(self, record):
        self.ends.append(record.number)
        self.now -= 1


def works(tmp_path, *acts):
    found = []
    for number, act in enumerate(acts):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = Record(folder, number, [], Identity(str(number), "", ""))
        record.save()
        found.append(Work(record, f"{folder}|{act}".encode()))
    return found


def test_no_end_of_one_job_harms_another(tmp_path):
    jobs = works(
        tmp_path, "raise ValueError('a bug')", "sys.exit(3)", "os.kill(os.getpid(), 9)", "os._exit(0)", "done()"
    )
    notes, stop = Notes(), StopRequest()
    run_pool(jobs, COMMAND, places(2, 1, []), notes, stop)
    assert [job.record.status for job in jobs] == [FAILED] * 4 + [DONE]
    bug, left, killed, silent, good = (job.record for job in jobs)
    assert "exit code 1" in bug.message
    assert "ValueError: a bug" in tail(bug.folder)[-1]
    assert "ValueError: a bug" in (bug.folder / "failed.txt").read_text()
    assert "exit code 3" in left.message
    assert "SIGKILL; the system often does this when memory runs out" in killed.message
    assert "exit code 0" in silent.message
    assert good.score == 0.5
    assert sorted(notes.ends) == notes.starts == [0, 1, 2, 3, 4]
    assert notes.most == 2


def test_each_place_has_its_threads_and_its_gpu(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [place["OMP_NUM_THREADS"] for place in places(2, None, [])] == [str(max(1, cores() // 2))] * 2
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(3, 1, ["4", "7"])] == ["4", "7", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in places(1, 1, [])[0]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert places(2, None, [])[0]["OMP_NUM_THREADS"] == "5"
    assert places(2, 3, [])[0]["OMP_NUM_THREADS"] == "3"
    act = "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS']); time.sleep(0.3); done()"
    jobs = works(tmp_path, act, act)
    run_pool(jobs, COMMAND, places(2, 1, ["4", "7"]), Notes(), StopRequest())
    assert [tail(job.record.folder)[-1] for job in jobs] == ["4 1", "7 1"]


def test_the_table_is_written_after_each_job_and_one_that_cannot_be_ends_none(tmp_path):
    sweep = tmp_path / "s"
    sweep.mkdir()
    jobs, said, seen = works(sweep, "done()", "done()"), [], []

    def settled():
        seen.append((sweep / "summary.csv").read_text().count("done"))
        update_summary(sweep, said.append)

    update_summary(sweep, said.append)
    with (sweep / "summary.csv").open("a") as table:
        table.write("a note of mine\n")
    run_pool(jobs, COMMAND, places(1, 1, []), Notes(), StopRequest(), settled)
    assert [job.record.status for job in jobs] == [DONE, DONE]
    assert seen == [0, 0]  # once after each job
    assert len(said) == 2
    assert "warning: summary.csv was not written: " in said[0]
    assert "was changed since segexp wrote it" in said[0]
    assert (sweep / "summary.csv").read_text().endswith("a note of mine\n")


def test_a_job_whose_record_cannot_be_written_ends_no_other(tmp_path):
    spoils = "open(os.path.join(folder, 'job.json'), 'w').write('x'); open(os.path.join(folder, 'failed.txt'), 'w')"
    jobs = works(tmp_path, f"{spoils}; sys.exit(3)", "done()")
    run_pool(jobs, COMMAND, places(2, 1, []), Notes(), StopRequest())
    assert [job.record.status for job in jobs] == [FAILED, DONE]
    assert "exit code 3" in jobs[0].record.message


def test_a_job_that_cannot_be_started_ends_no_other(tmp_path):
    jobs = works(tmp_path, "time.sleep(0.5); done()", "done()", "done()")
    (tmp_path / "1" / "job.json").write_text("edited by hand")
    notes = Notes()
    run_pool(jobs, COMMAND, places(2, 1, []), notes, StopRequest())
    assert [job.record.status for job in jobs] == [DONE, FAILED, DONE]
    assert "it could not be started" in jobs[1].record.message
    assert "was changed since segexp wrote it" in jobs[1].record.message
    assert sorted(notes.starts) == sorted(notes.ends) == [0, 1, 2]


WAITS = "signal.signal(signal.SIGINT, lambda *_: sys.exit(130)); open(folder + '/ready', 'w'); time.sleep(60)"


def test_a_signal_is_passed_on_and_nothing_is_begun_after_it(tmp_path):
    # ignored where the tests themselves were started in the background of a shell
    hears = "signal.signal(signal.SIGINT, signal.default_int_handler); "
    jobs = works(tmp_path, WAITS, f"{hears}done(); time.sleep(60)", "done()")
    stop, begun = StopRequest(), time.monotonic()

    def refresh():
        if (tmp_path / "0" / "ready").exists():
            stop.number = signal.SIGINT

    run_pool(jobs, COMMAND, places(2, 1, []), Notes(refresh), stop)
    assert time.monotonic() - begun < 30
    assert [job.record.status for job in jobs] == [INTERRUPTED, DONE, WAITING]


def test_a_job_sees_the_pool_die(tmp_path):
    """Its input ends when the pool is killed: what `worker` waits for."""
    code = "while os.read(0, 1): pass\nopen(folder + '/seen', 'w')"
    program = f"""
import sys; sys.path[:] = {sys.path!r}; from pathlib import Path
from tests.sweep.test_pool import COMMAND, Notes, places, works
from segexp.sweep.pool import run_pool
from segexp.training.stop import StopRequest
run_pool(works(Path({str(tmp_path)!r}), {code!r}, {code!r}), COMMAND, places(2, 1, []), Notes(), StopRequest())
"""
    pool = subprocess.Popen([sys.executable, "-c", program])
    _wait(lambda: pool.poll() is not None or all((tmp_path / name / "pid").exists() for name in "01"))
    assert pool.poll() is None
    pool.kill()
    pool.wait()
    _wait(lambda: all((tmp_path / name / "seen").exists() for name in "01"))


def test_a_job_that_goes_on_keeps_its_log(tmp_path):
    (job,) = works(tmp_path, "done()")
    (job.record.folder / "job.log").write_text("earlier\n")
    job.resumes = True
    run_pool([job], COMMAND, places(1, 1, []), Notes(), StopRequest())
    assert tail(job.record.folder) == ["earlier", "working"]
    OwnedFolder(job.record.folder).note("job.json")  # the child above knows nothing of the folder's record
    job.resumes = False
    run_pool([job], COMMAND, places(1, 1, []), Notes(), StopRequest())
    assert "earlier" not in tail(job.record.folder)
    assert tail(job.record.folder)[-1] == "working"


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
