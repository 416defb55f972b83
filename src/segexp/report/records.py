"""Reads the records of a run folder; what is missing is empty, what is damaged is an `InputError` naming the file."""

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from segexp.errors import InputError
from segexp.report.names import COUNTS
from segexp.report.pictures import Picture, read_pictures

_WARNING = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning: (.*)$")

NAMES = ("image", "class", "group", "folder", "message")
"""Columns that are text, whatever stands in them."""

ROBUSTNESS = "robustness"

Row = dict[str, float | str]


class Records(NamedTuple):
    """Attributes: `curves` from ``metrics.csv``, `scores` from ``val/scores.csv`` (a row an image and class)."""

    folder: Path
    summary: dict[str, Any]
    facts: dict[str, Any]
    evaluation: dict[str, Any]
    curves: list[Row]
    scores: list[Row]
    pictures: list[Picture]
    warnings: list[str]


def read_records(folder: Path) -> Records:
    """All that a finished run left in its folder.

    Robustness is measured afterwards: it is also taken from an evaluation in the run's folder `ROBUSTNESS`.
    """
    pictures = folder / "val" / "pictures.json"
    evaluation = read_json(folder / "val" / "evaluation.json")
    if "robustness" not in evaluation:
        evaluation["robustness"] = read_json(folder / ROBUSTNESS / "scores.json").get("robustness")
    log = folder / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return Records(
        folder,
        read_json(folder / "summary.json"),
        read_json(folder / "run.json"),
        evaluation,
        read_table(folder / "metrics.csv"),
        read_table(folder / "val" / "scores.csv"),
        read_pictures(pictures) if pictures.is_file() else [],
        [match[1] for match in map(_WARNING.match, lines) if match],
    )


def read_evaluation(folder: Path) -> Records:
    """What ``segexp evaluate`` left in its output folder."""
    pictures = folder / "pictures.json"
    evaluation = read_json(folder / "scores.json")
    shown = read_pictures(pictures) if pictures.is_file() else []
    return Records(folder, {}, {}, evaluation, [], read_table(folder / "scores.csv"), shown, [])


def read_json(path: Path) -> dict[str, Any]:
    """An object; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: wanted an object")
    return content


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV file, numbers as numbers; empty cells are left out of their row."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _value(key, text) for key, text in row.items() if key and text} for row in csv.DictReader(file)]


def _value(key: str, text: Any) -> float | str:
    try:
        return str(text) if key in NAMES else float(text)  # an image may be called 007
    except (TypeError, ValueError):
        return str(text)


def score_names(rows: list[Row]) -> list[str]:
    """Columns of ``scores.csv`` that are scores, in its order."""
    names = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, float))
    return [name for name in names if name not in COUNTS]
