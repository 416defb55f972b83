"""A file of generator settings: the task, its styles, and ranges of its parameters, as `segexp calibrate` writes them.

    task: vesicle
    style: [cells]
    ranges:
      psf: [1.1, 1.4]
      photons: [80.0, 240.0]

Names and units are those of `segexp.synthesis.tables` (docs/synthesis.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segexp import synthesis
from segexp.errors import InputError
from segexp.io.records import read_yaml
from segexp.io.shape import Number
from segexp.synthesis.ranges import Limits

WIDEST = 20  # times the largest value of the table and its styles: a file must not ask for images that take hours


def read_ranges(path: str | Path, task: str) -> dict[str, Any]:
    """Keywords for `segexp.synthesis.generate`: limits by row, and ``style``.

    Raises:
        InputError: if the file is missing, or a row or limit in it is not one of the task's.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; segexp calibrate {task} --images DIR --output FILE.yaml writes one")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("ranges"), dict) or "task" not in content:
        raise InputError(
            f"{path}: expected task: {task} and ranges: with a row a line, as segexp calibrate writes them"
        )
    if content["task"] != task:
        raise InputError(f"{path}: ranges of another task; this is for {task}")
    if task not in synthesis.TASKS:
        raise InputError(f"task {task}: only {', '.join(synthesis.TASKS)} can be generated")
    ranges: dict[str, Any] = {
        str(name): tuple(limits) if isinstance(limits, list) else limits for name, limits in content["ranges"].items()
    }
    rows, styles = synthesis.tables(task)[0], synthesis.tables(task)[1].values()
    unknown = sorted(set(ranges) - set(rows))
    if unknown:
        raise InputError(f"{path}: unknown range {', '.join(unknown)}; accepted: {', '.join(sorted(rows))}")
    if content.get("style") is not None:
        ranges["style"] = content["style"]
    for name, limits in ranges.items():
        if name == "style":
            continue
        most = WIDEST * max(abs(rows[name].low), abs(rows[name].high), *(_largest(s.limits.get(name)) for s in styles))
        for value in limits if isinstance(limits, tuple) else (limits,):
            if not Number(-most, most).fits(value):
                raise InputError(f"{path}: {name} must be one or two numbers, at most {most:g}; got {str(limits)[:60]}")
    try:
        synthesis.generate(task, 0, 64, 0, **ranges)  # checks names, limits and styles, draws nothing
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: {error}") from None
    return ranges


def _largest(limits: Limits | None) -> float:
    return max(map(abs, limits)) if isinstance(limits, tuple) else abs(limits or 0.0)


def ranges_text(task: str, ranges: Mapping[str, Any], comments: list[str]) -> str:
    """The content of such a file, `comments` above it."""
    limits = {
        name: [float(f"{value:.6g}") for value in limit] if isinstance(limit, tuple) else float(f"{limit:.6g}")
        for name, limit in ranges.items()
        if name != "style"
    }
    style = ranges.get("style")
    rows: dict[str, Any] = {"task": task}
    if style is not None:
        rows["style"] = [style] if isinstance(style, str) else list(style)
    lines = [f"# {line}" for line in comments]
    lines += [f"{name}: {_flow(value)}" for name, value in rows.items()]
    lines += ["ranges:" if limits else "ranges: {}", *(f"  {name}: {_flow(value)}" for name, value in limits.items())]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line; PyYAML writes 1.0e-05, where Python's 1e-05 would be read as text."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
