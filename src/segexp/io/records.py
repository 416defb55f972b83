"""Read back small records of segexp: JSON, CSV and YAML that may be damaged, or come from somebody else.

A file that cannot be read raises `InputError` with its name. Its size is limited before it is read, and the number of
values that it expands to before they are used.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segexp.errors import InputError
from segexp.io.shape import Shape, misfit

Row = dict[str, str | int | float]
"""A row of a table, by the names of its columns."""
LARGEST = {"JSON": 2**28, "YAML": 2**20, "CSV": 2**30}
"""Largest files in bytes: pictures of a thousand images, settings of any realistic length, ten million rows."""
MOST_PARTS = 10**6  # values that a YAML file may unfold to: a name in it can stand for a whole branch
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def read_json(path: Path, shape: Shape = None) -> Any:
    """The content of a JSON file that fits `shape` (see `segexp.io.shape`; None: anything).

    Raises:
        InputError: if it is not JSON or does not fit.
    """
    try:
        content = json.loads(_text(path, "JSON"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({_first_line(error)})") from None
    fault = misfit(content, shape) if shape is not None else ""
    if fault:
        raise InputError(f"{path}: {fault}; damaged, or not written by segexp")
    return content


def read_yaml(path: Path) -> Any:
    """The values of a YAML file.

    Raises:
        InputError: if it is not YAML, or expands to too many values.
    """
    try:
        content = yaml.safe_load(_text(path, "YAML"))
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError, LookupError) as error:
        raise InputError(f"{path}: not YAML ({_first_line(error)})") from None
    for number, _ in enumerate(_parts(content)):
        if number > MOST_PARTS:
            raise InputError(f"{path}: expands to more than {MOST_PARTS} values; expected a file of settings")
    return content


def texts(content: Any) -> Iterator[str]:
    """All text in nested dicts and lists, keys too."""
    for part in _parts(content):
        if isinstance(part, str):
            yield part


def _parts(content: Any) -> Iterator[Any]:
    waiting = [content]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set):
            waiting += part


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a heading, as text: see `read_table`."""
    return read_table(path)[1]


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file with a heading, as text; changes by `safe_cell` are undone.

    Raises:
        InputError: if a row has more cells than the heading, or fewer because it was cut short.
    """
    text = _text(path, "CSV")
    if "\0" in text:
        raise InputError(f"{path}: holds NUL bytes, as after a crash; expected CSV")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({_first_line(error)})") from None
    names = reader.fieldnames or []
    if len(set(names)) != len(names):
        raise InputError(f"{path}: two columns have the same name; expected a table that segexp wrote")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise InputError(f"{path}: row {number}: expected {len(names)} cells, as in the heading; was it cut short?")
    table = [{plain_cell(name): plain_cell(cell) for name, cell in row.items()} for row in rows]
    return list(map(plain_cell, names)), table


def safe_cell(value: Any) -> Any:
    """Prefix an apostrophe to a cell that a spreadsheet would take for a formula.

    Such text begins with ``= + - @``, a tabulator or a carriage return, and is not a number.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def plain_cell(text: str) -> str:
    """Undo `safe_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], line_end: str = "\r\n") -> str:
    """CSV with a heading; `safe_cell` is applied to every cell, and missing cells are empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([safe_cell(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)", text, re.ASCII) is not None


def number(text: str) -> float:
    """A cell as a number; NaN if it is empty.

    Raises:
        ValueError: for any other text.
    """
    return float(text) if text else math.nan


def _text(path: Path, kind: str) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST[kind]:
            raise InputError(f"{path}: {size} bytes; expected at most {LARGEST[kind]} of {kind}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {kind} in UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
