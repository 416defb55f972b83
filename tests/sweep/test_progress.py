"""What is shown while a sweep runs, on a terminal and elsewhere."""

import io
import json

from rich.console import Console

from segexp.sweep.job_store import DONE, FAILED, RUNNING, Identity, Record
from segexp.sweep.progress import SweepProgress


def records(tmp_path, count=3):
    found = []
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        overrides = ["task=vesicle", f"trainer.lr={number}"]
        found.append(Record(folder, number, overrides, Identity(str(number), "", "")))
    return found


def screen(height=20):
    out = io.StringIO()
    return Console(file=out, width=100, height=height, force_terminal=True, color_system=None, highlight=False), out


def test_a_line_a_job_with_epoch_score_and_time_left(tmp_path):
    jobs = records(tmp_path)
    jobs[0].save(status=DONE, score=0.75, seconds=83.0)
    console, out = screen()
    board = SweepProgress(jobs, jobs[1:], 2, console)
    board.started(jobs[1])
    jobs[1].save(status=RUNNING)
    progress = {"epoch": 3, "step": 9, "progress": 0.25, "elapsed": 20.0, "score": 0.5}
    (jobs[1].folder / "progress.json").write_text(json.dumps(progress))
    console.print(board.render())
    lines = out.getvalue().splitlines()[1:]  # behind that job 1 starts
    assert lines[0].split() == ["job", "state", "epochs", "score", "time", "settings"]
    assert lines[1].split() == ["0", "done", "0.7500", "took", "1:23", "trainer.lr=0"]
    assert lines[2].split() == ["1", "running", "3", "0.5000", "1:00", "left", "trainer.lr=1"]
    assert lines[3].split() == ["2", "waiting", "trainer.lr=2"]
    assert lines[4] == "1 running, 1 done, 1 waiting"


def test_a_small_terminal_shows_what_runs(tmp_path):
    jobs = records(tmp_path, 9)
    jobs[8].save(status=RUNNING)
    console, out = screen(height=7)
    console.print(SweepProgress(jobs, jobs, 1, console).render())
    lines = out.getvalue().splitlines()
    assert len(lines) <= 7
    assert any(line.split()[:2] == ["8", "running"] for line in lines)
    assert "... and 6 more" in lines


def test_without_a_terminal_there_are_plain_lines_and_a_failure_shows_its_last_ones(tmp_path):
    jobs = records(tmp_path)
    jobs[0].save(status=DONE, score=0.75, seconds=83.0)
    out = io.StringIO()
    with SweepProgress(jobs, jobs[1:], 1, Console(file=out, width=60, highlight=False)) as board:
        for record in jobs[1:]:
            board.started(record)
        jobs[1].save(status=FAILED, message="ValueError: [b]a bug[/b]")
        (jobs[1].folder / "failed.txt").write_text("Traceback\n  line 3\nValueError: [b]a bug[/b]\n")
        board.ended(jobs[1])
        jobs[2].save(status=DONE, score=0.5, seconds=5.0)
        board.refresh()
        board.ended(jobs[2])
    assert out.getvalue().splitlines() == [
        "job 0 (trainer.lr=0): already done, score 0.7500",
        "job 1 (trainer.lr=1): starts",
        "job 2 (trainer.lr=2): starts",
        "job 1 (trainer.lr=1): failed: ValueError: [b]a bug[/b]",
        "    Traceback",
        "      line 3",
        f"    ({tmp_path / '1' / 'job.log'})",
        "job 2 (trainer.lr=2): done in 0:05, score 0.5000",
    ]


def test_the_time_left_of_all_is_guessed_from_those_done(tmp_path):
    jobs = records(tmp_path, 4)
    board = SweepProgress(jobs, jobs, 2, screen()[0])
    board.started(jobs[0])
    board._began[id(jobs[0])] -= 60.0
    jobs[0].save(status=DONE, score=0.5)
    board.ended(jobs[0])
    assert board.sentence() == "1 done, 3 waiting; about 1:30 left"


def test_control_characters_of_settings_are_spelt_out(tmp_path):
    jobs = records(tmp_path)
    for record in jobs:
        record.overrides.append(f"data.root=a{record.number}\x1b]0;title\x07")
    console, out = screen()
    board = SweepProgress(jobs, jobs, 1, console)
    console.print(board.render())
    board.started(jobs[0])
    assert "\x1b]0;" not in out.getvalue()
    assert "a0\\x1b]0;title\\x07" in out.getvalue()
