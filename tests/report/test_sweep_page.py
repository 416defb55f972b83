"""The page of a sweep from its summary.csv."""

import pytest

from segexp.errors import InputError
from segexp.evaluation.aggregate import varied
from segexp.report import write_report
from segexp.report.sweep_page import read_jobs, repeats, sentence
from tests.report.folders import write_sweep


def test_it_holds_the_jobs_the_lines_and_the_effects(tmp_path):
    page = write_report(write_sweep(tmp_path / "s")).read_text()
    assert page.count("<tr data-job=") == 4
    assert page.index('data-job="1"') < page.index('data-job="0"')  # best first
    assert page.count('href="0/report.html"') == 1
    assert 'href="1/report.html"' not in page  # that job has no page
    assert "Effect of trainer.lr" in page
    assert "Effect of trainer.batch_size" in page
    assert "<b>wrong" not in page
    assert "&lt;b&gt;wrong" in page


def test_jobs_and_what_varies(tmp_path):
    jobs = read_jobs(write_sweep(tmp_path / "s"))
    assert [job["score"] for job in jobs] == [0.81, 0.9, 0.7, None]
    assert varied([job["values"] for job in jobs]) == ["trainer.lr", "trainer.batch_size"]
    assert sentence(jobs, ["trainer.lr"]) == (
        "4 jobs over trainer.lr, 1 without a score; the best, job 1, scores 0.900 with trainer.lr=0.01."
    )


def test_a_sweep_without_scores_has_no_charts(tmp_path):
    rows = [[0, "failed", "nan", "", "1", "2", "0", "no"], [1, "failed", "", "", "2", "2", "../../etc", "no"]]
    page = write_report(write_sweep(tmp_path / "s", rows)).read_text()
    assert "none has a score" in page
    assert "<svg" not in page
    assert "etc/report" not in page


def test_jobs_that_were_pruned_are_in_the_table_alone(tmp_path):
    rows = [
        [0, "done", 0.6, 1, "1", "2", "0", ""],
        [1, "done", 0.7, 1, "2", "2", "1", ""],
        [2, "pruned", 0.95, 1, "1", "2", "2", "after epoch 1"],
        [3, "failed", "", 1, "1", "2", "3", ""],
    ]
    folder = write_sweep(tmp_path / "s", rows)
    assert sentence(read_jobs(folder), ["trainer.lr"]) == (
        "4 jobs over trainer.lr, 1 without a score, 1 pruned or not finished; the best, job 1, scores 0.700 with "
        "trainer.lr=2."
    )
    page = write_report(folder).read_text()
    assert "Best on average: 2 (0.700); the means of its values differ by 0.100." in page
    assert page.count('class="job job-') == 2
    assert [page.index(f'data-job="{number}"') for number in (1, 0, 2, 3)] == sorted(
        page.index(f'data-job="{number}"') for number in range(4)
    )
    only = write_report(write_sweep(tmp_path / "t", [rows[2]])).read_text()
    assert "1 job over no varying parameter, 1 pruned or not finished; none is finished." in only
    assert 'class="best"' not in only


def test_a_distance_is_best_where_it_is_least(tmp_path):
    folder = write_sweep(tmp_path / "s", [[job, "done", 5 + job, 1, f"{job}", "2", "0", ""] for job in range(2)])
    table = (folder / "summary.csv").read_text().replace("message", "better").replace(",0,\n", ",0,lower\n")
    (folder / "summary.csv").write_text(table.replace(",0,\r\n", ",0,lower\r\n"))
    assert "Best on average: 0 (5.000)" in write_report(folder).read_text()


def test_a_page_in_a_folder_with_a_slash_in_its_name_is_linked(tmp_path):
    folder = write_sweep(tmp_path / "s", [[0, "done", 0.5, 1, "1", "2", "root=data/a b", ""]])
    (folder / "root=data" / "a b").mkdir(parents=True)
    (folder / "root=data" / "a b" / "report.html").touch()
    (tmp_path / "report.html").touch()
    assert read_jobs(folder)[0]["link"] == "root%3Ddata/a%20b/report.html"
    for outside in ("..", "0/../..", str(tmp_path), ""):
        other = write_sweep(tmp_path / f"t{len(outside)}", [[0, "done", 0.5, 1, "1", "2", outside, ""]])
        assert read_jobs(other)[0]["link"] == ""


def test_one_job(tmp_path):
    page = write_report(write_sweep(tmp_path / "s", [[0, "done", 0.5, 1, "1", "2", "0", ""]])).read_text()
    assert "1 job over no varying parameter; the best, job 0, scores 0.500." in page


def test_seeds_are_taken_together():
    jobs = [
        {"score": score, "values": {"seed": seed, "trainer.lr": rate}}
        for score, seed, rate in [(0.6, "0", "1"), (0.8, "1", "1"), (0.9, "0", "2")]
    ]
    assert repeats(jobs) == [
        ["trainer.lr=2", "1 job", "0.900", "", ""],
        ["trainer.lr=1", "2 seeds", "0.700", "0.141", "-0.571 to 1.971"],
    ]
    assert [row[0] for row in repeats(jobs[:2])] == ["all jobs"]
    assert repeats(jobs[1:]) == []


def test_the_best_on_average_is_said_where_jobs_are_repeats():
    jobs = [
        {"job": str(k), "status": "done", "score": score, "values": {"seed": seed, "lr": rate}}
        for k, (score, seed, rate) in enumerate([(0.9, "0", "1"), (0.1, "1", "1"), (0.6, "0", "2"), (0.7, "1", "2")])
    ]
    assert sentence(jobs, ["seed", "lr"]) == (
        "4 jobs over seed, lr; the best, job 0, scores 0.900 with seed=0, lr=1. "
        "Best on average is lr=2 with 0.650 over 2 seeds."
    )


def test_folds_are_on_the_page(tmp_path):
    rows = [[job, "done", 0.6 + 0.1 * job, 1, f"{job + 1}/2", "2", f"{job}", ""] for job in range(2)]
    folder = write_sweep(tmp_path / "s", rows)
    table = (folder / "summary.csv").read_text().replace("trainer.lr", "data.fold")
    (folder / "summary.csv").write_text(table)
    page = write_report(folder).read_text()
    assert "Folds and seeds taken together" in page
    assert "<td>2 folds</td><td>0.650</td><td>0.071</td><td>0.015 to 1.285</td>" in page


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", 'job,status,score\n"x\'><b>",done,1\n'])
def test_other_tables_are_refused(tmp_path, text):
    (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(InputError, match=r"summary\.csv"):
        write_report(tmp_path)
