"""Records read back: what is refused, in which words, and what a spreadsheet is kept from running."""

import csv
import json

import pytest

from segexp.errors import InputError
from segexp.evaluation.io import read_rows, write_scores
from segexp.io import records
from segexp.io.shape import Number, misfit
from segexp.measurements import write_rows
from segexp.report.page import fill
from segexp.report.sweep_page import read_jobs
from segexp.sweep.job_store import Identity, Record
from segexp.sweep.table import write_summary

FORMULAS = ["=1+1", "+cmd|x", "-2+3", "@SUM(1)", "\t=1", "'=1", "''@x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_looks_like_a_formula_gets_an_apostrophe_and_comes_back(text):
    assert records.safe_cell(text) == f"'{text}"
    assert records.plain_cell(records.safe_cell(text)) == text


@pytest.mark.parametrize("cell", ["-1", "+3", "-0.5e-3", "-inf", "cell.tif", "'quoted'", "", -2, 0.5, None])
def test_numbers_and_ordinary_text_stay(cell):
    assert records.safe_cell(cell) == cell
    assert not isinstance(cell, str) or records.plain_cell(cell) == cell


def test_every_table_is_written_so(tmp_path):
    name = "=HYPERLINK(1).tif"
    (line,) = write_rows([{"image": name, "area_px2": -2.0}]).splitlines()[1:]
    assert line == f"'{name},-2"
    rows = [{"image": name, "class": "=a", "group": "@b", "dice": 0.5, "x": -1.5}]
    write_scores(rows, {}, tmp_path / "scores.csv", tmp_path / "scores.json")
    assert (tmp_path / "scores.csv").read_text().splitlines()[1] == f"'{name},'=a,'@b,0.5,-1.5"
    assert read_rows(tmp_path / "scores.csv") == rows
    job = tmp_path / "0"
    job.mkdir()
    Record(job, 0, ["task.name=@x", "lr=-1"], Identity("a", "b", "c"), "done", 0.5).save()
    write_summary(tmp_path)
    with (tmp_path / "summary.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["task.name"], row["lr"]) == ("'@x", "-1")
    assert read_jobs(tmp_path)[0]["values"]["task.name"] == "@x"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n1,2\n\0\0\0", "NUL bytes"),
        (b"a,b\n1,2\n3", "row 3: expected 2 cells"),
        (b"a,b\n1,2,3\n", "row 2: expected 2 cells"),
        (b"a,a\n1,2\n", "the same name"),
        (b"a\n\xff\n", "UTF-8"),
        (b'a\n"x\n', "not CSV"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, data, words):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=rf"t\.csv: .*{words}"):
        records.read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 10**5, b"9" * 5000, b"[1]", b'{"a": "1"}', b"{}", b"null"])
def test_damaged_json_is_named(tmp_path, data):
    (tmp_path / "t.json").write_bytes(data)
    with pytest.raises(InputError, match=r"t\.json: "):
        records.read_json(tmp_path / "t.json", {"a": Number(0, 9)})


def test_yaml_that_unfolds_without_end_is_refused(tmp_path):
    layers = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9))
    for text in (f"x0: &x0 [a]\n{layers}", "x: &x [*x]"):
        (tmp_path / "t.yaml").write_text(text)
        with pytest.raises(InputError, match=r"t\.yaml: expands"):
            records.read_yaml(tmp_path / "t.yaml")


def test_what_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "t.yaml").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match=r"t\.yaml: 1073741824 bytes; expected at most"):
        records.read_yaml(tmp_path / "t.yaml")


def test_a_misfit_is_told_with_its_place():
    shape = {"a": [Number(0, 1)], "b?": (None, {str: str}), "c?": [str, int]}
    assert misfit({"a": [0.5]}, shape) == ""
    assert misfit({"a": [0.5], "b": {"x": "y"}, "c": ["x", 2], "more": 1}, shape) == ""
    assert misfit({"a": [0, 2]}, shape) == "a[1] is 2; expected a number from 0 to 1"
    assert misfit({"a": [True]}, shape) == "a[0] is True; expected a number from 0 to 1"
    assert misfit({}, shape) == "a is missing"
    assert misfit({"a": [], "b": {"x": 1}}, shape) == "b.x is 1; expected text"
    assert misfit({"a": [], "b": 1}, shape) == "b is 1; expected null or an object"
    assert misfit({"a": [], "c": ["x"]}, shape) == "c has 1 entries; expected 2"
    assert misfit({"a": json.loads("[NaN]")}, shape).startswith("a[0] is nan")


def test_a_page_spells_control_characters_out():
    page = fill(
        "sweep.html",
        title="a\x1b[2J\u202eb",
        sentence="",
        jobs=[],
        parameters=[],
        parallel=None,
        effects=[],
        repeats=[],
        curve=None,
    )
    assert "\x1b" not in page
    assert "a\\x1b[2J\\u202eb" in page
