"""Read the records of a run folder; missing files are empty, damaged ones raise an `InputError` with the name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segexp.errors import InputError, printable
from segexp.evaluation.io import SHAPE as EVALUATION
from segexp.evaluation.io import read_evaluation as read_evaluation_record
from segexp.io import records
from segexp.io.records import Row
from segexp.io.shape import Number
from segexp.report.metric_labels import COUNTS
from segexp.viz.thumbnails import Picture, read_pictures

_WARNING = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning: (.*)$")

NAMES = ("image", "class", "group", "folder", "message")
"""Columns that are text, whatever stands in them."""

ROBUSTNESS = "robustness"

_COUNT = Number(0, 1e15, whole=True)
SUMMARY = {
    "task": str,
    "seconds?": Number(0, 1e12),
    "epochs": _COUNT,
    "best?": {str: (None, Number(-1e300, 1e300, nan=True))},
    "model?": str,
}
RUN = {
    "overrides?": (None, [str]),
    "command?": [str],
    "cwd?": (None, str),
    "monitor?": str,
    "changed?": {str: [object, object]},
    "model?": {"name?": str, "settings?": {"widths?": [_COUNT]}},
    "versions?": {str: str},
    "data?": {"source?": (str, {str: str}), "train?": _COUNT, "val?": _COUNT, "fingerprint?": str},
}
"""Of ``summary.json`` and ``run.json``, as far as the page shows them; see `segexp.io.shape`."""


class Records(NamedTuple):
    """Attributes: `curves` from ``metrics.csv``, `scores` from ``val/scores.csv`` (a row an image and class).

    `flags` are those of the command that say where its options come from.
    """

    folder: Path
    summary: dict[str, Any]
    facts: dict[str, Any]
    evaluation: dict[str, Any]
    curves: list[Row]
    scores: list[Row]
    pictures: list[Picture]
    warnings: list[str]
    flags: Sequence[str] = ()


def read_records(folder: Path) -> Records:
    """Read all records of a finished run.

    Robustness is measured afterwards: it is also taken from an evaluation in the run's folder `ROBUSTNESS`.
    """
    pictures = folder / "val" / "pictures.json"
    evaluation = read_json(folder / "val" / "evaluation.json", EVALUATION)
    if "robustness" not in evaluation:
        evaluation["robustness"] = read_json(folder / ROBUSTNESS / "scores.json", EVALUATION).get("robustness")
    log = folder / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return Records(
        folder,
        read_json(folder / "summary.json", SUMMARY),
        read_json(folder / "run.json", RUN),
        evaluation,
        read_table(folder / "metrics.csv", ("seconds", "lr", "train_loss")),
        read_table(folder / "val" / "scores.csv", ("image",)),
        read_pictures(pictures) if pictures.is_file() else [],
        [printable(match[1]) for match in map(_WARNING.match, lines) if match],
        source_flags(folder / ".hydra" / "hydra.yaml"),
    )


def source_flags(stored_settings: Path) -> list[str]:
    """``--config-dir=LAB/conf`` and the like, with which a run was started, from its ``.hydra/hydra.yaml``.

    Empty if there is none, or none that can be read: the rest of the page does not need it.
    """
    try:
        stored = records.read_yaml(stored_settings)["hydra"]
        found = [(each["provider"], each["schema"], each["path"]) for each in stored["runtime"]["config_sources"]]
        name = stored["job"]["config_name"]
    except (OSError, InputError, KeyError, TypeError):
        return []
    flags = [f"--config-dir={path}" for provider, _, path in found if provider == "command-line"]
    flags += [] if name in (None, "config") else [f"--config-name={name}"]
    by_hand = "hydra.searchpath in command-line"
    searched = [f"{schema}://{path}" for provider, schema, path in found if provider == by_hand]
    flags += [f"hydra.searchpath=[{','.join(searched)}]"] if searched else []
    return [printable(flag) for flag in flags]


def read_evaluation(folder: Path) -> Records:
    """Read the output of ``segexp evaluate``."""
    pictures = folder / "pictures.json"
    evaluation = read_json(folder / "scores.json", EVALUATION)
    pictures_read = read_pictures(pictures) if pictures.is_file() else []
    return Records(folder, {}, {}, evaluation, [], read_table(folder / "scores.csv", ("image",)), pictures_read, [])


def read_json(path: Path, shape: Any) -> dict[str, Any]:
    """An object; empty if there is no file."""
    if not path.is_file():
        return {}
    content = read_evaluation_record(path) if shape is EVALUATION else records.read_json(path, shape)
    return _printable(content)


def _printable(content: Any) -> Any:
    """Nested values with control characters spelt out: they would break the page and its charts."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {_printable(key): _printable(value) for key, value in content.items()}
    return [_printable(value) for value in content] if isinstance(content, list) else content


def read_table(path: Path, needed: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV file, numbers as numbers; empty cells are left out, `needed` ones must be there.

    Raises:
        InputError: if the table is damaged.
    """
    if not path.is_file():
        return []
    rows: list[Row] = []
    for line, cells in enumerate(records.read_csv(path), 2):
        row: Row = {}
        for key, text in cells.items():
            try:
                if key and text:
                    row[key] = printable(text) if key in NAMES else float(text)  # an image may be called 007
            except ValueError:
                raise InputError(f"{path}: row {line}, {key}: {text[:50]!a}; expected a number") from None
        if not all(name in row for name in needed):
            raise InputError(f"{path}: row {line}: expected {', '.join(needed)} in each row")
        rows.append(row)
    return rows


def score_names(rows: list[Row]) -> list[str]:
    """Columns of ``scores.csv`` that are scores, in its order."""
    names = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, float))
    return [name for name in names if name not in COUNTS]
