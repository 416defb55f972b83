"""``summary.csv`` and the closing table from what jobs left in their folders."""

import csv
import io

from rich.console import Console

from segexp.sweep.job_store import DONE, FAILED, INTERRUPTED, Identity, Record
from segexp.sweep.summary import conclude, resume_command
from segexp.sweep.table import closing_line, group_lines, print_jobs, write_summary


def job(sweep, number, *overrides, status=DONE, score=None, message=""):
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    record = Record(folder, number, ["task=vesicle", *overrides], Identity(f"{number}{overrides}", "", ""))
    record.save(status=status, score=score, message=message, seconds=None if score is None else 1.5)
    return record


def sweep_of(tmp_path):
    job(tmp_path, 0, "trainer.lr=1", "data.fold=1/2", score=0.5)
    job(tmp_path, 1, "trainer.lr=1", "data.fold=2/2", score=0.7)
    job(tmp_path, 10, "trainer.lr=2", "data.fold=1/2", score=0.9)
    job(tmp_path, 2, "trainer.lr=2", "data.fold=2/2", status=FAILED, message="[red]no[/red]")
    return tmp_path


def test_a_row_a_job_by_number(tmp_path):
    write_summary(sweep_of(tmp_path))
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("job", "status", "score", "seconds"),
        "task",
        "trainer.lr",
        "data.fold",
        "folder",
        "message",
    ]
    assert [(row["job"], row["status"], row["score"]) for row in rows] == [
        ("0", "done", "0.5"),
        ("1", "done", "0.7"),
        ("2", "failed", ""),
        ("10", "done", "0.9"),
    ]
    assert rows[2]["message"] == "[red]no[/red]"
    assert rows[3]["folder"] == "10"


def test_the_table_is_best_first_and_groups_over_folds(tmp_path):
    records = write_summary(sweep_of(tmp_path))
    out = io.StringIO()
    print_jobs(records, Console(file=out, width=120, highlight=False))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["10", "1", "0", "2"]
    assert "failed: [red]no[/red]" in lines[4]
    assert lines[5:] == group_lines(records)
    assert group_lines(records) == [
        "trainer.lr=2: 0.9000 over 1 job",
        "trainer.lr=1: 0.6000 ± 0.1414 over 2 folds, 95 % interval -0.6706 to 1.8706",
    ]
    assert group_lines(records[:1]) == []


def test_a_narrow_terminal_shows_the_settings_of_each_job(tmp_path):
    job(tmp_path, 0, "trainer.lr=1", "loss.a_term_with_a_long_name.weight=2", "seed=0", score=0.5)
    job(tmp_path, 1, "trainer.lr=2", "loss.a_term_with_a_long_name.weight=3", "seed=0", score=0.4)
    out = io.StringIO()
    print_jobs(write_summary(tmp_path), Console(file=out, width=60, force_terminal=True, color_system=None))
    text = " ".join(out.getvalue().split())
    assert "job 0 score 0.5000, seconds 1.5, trainer.lr 1, loss.a_term_with_a_long_name.weight 2, status done" in text
    assert "…" not in text


def test_what_is_not_done_is_said_with_the_command(tmp_path, capsys):
    assert not conclude(sweep_of(tmp_path))
    out = capsys.readouterr().out
    assert f"1 of 4 jobs failed. Resume with the same command and: sweep.resume={tmp_path} sweep.retry=true" in out
    assert (tmp_path / "report.html").is_file()
    other = [job(tmp_path / "b", 0, status=INTERRUPTED), job(tmp_path / "b", 1, score=0.5)]
    assert closing_line(other) == "1 of 2 jobs are not finished"
    assert resume_command(tmp_path / "b", other) == f"sweep.resume={tmp_path / 'b'}"
    assert closing_line(other[1:]) == ""


def test_an_empty_sweep_has_no_table(tmp_path, capsys):
    assert conclude(tmp_path)
    assert capsys.readouterr().out == ""


def test_control_characters_of_settings_are_spelt_out_on_a_terminal(tmp_path):
    job(tmp_path, 0, "data.root=a\x1b[31mb", score=0.5)
    job(tmp_path, 1, "data.root=c\x07", score=0.4)
    out = io.StringIO()
    print_jobs(write_summary(tmp_path), Console(file=out, width=120, force_terminal=True, color_system=None))
    assert "a\\x1b[31mb" in out.getvalue()
    assert "\x1b[31m" not in out.getvalue()
