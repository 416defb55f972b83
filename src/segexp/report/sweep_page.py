"""The page of a sweep: its jobs in a sortable table, and what each parameter does to the score."""

import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segexp.errors import InputError, printable
from segexp.evaluation.aggregate import REPEATS, best_group, group, repeated, varied
from segexp.io.records import read_csv
from segexp.report.charts import decimal
from segexp.report.learning_chart import learning_chart, read_curve
from segexp.report.page import fill
from segexp.report.sweep_charts import effect_chart, parallel_chart

FIXED = ("job", "status", "score", "better", "seconds", "folder", "message")
"""Columns of ``summary.csv`` that are not parameters."""


def render_sweep(folder: Path) -> str:
    """The page of the sweep in `folder`, from its ``summary.csv``, as HTML."""
    jobs = read_jobs(folder)
    parameters = varied([job["values"] for job in jobs])
    done, others = finished(jobs), [job for job in jobs if not is_done(job)]
    lower = less_is_better(jobs)
    done.sort(key=lambda job: job["score"] if lower else -job["score"])
    charts = []
    columns = {name: [job["values"].get(name, "") for job in done] for name in parameters}
    scores = [job["score"] for job in done]
    if len(done) > 1 and parameters:
        effects = [name for name in parameters if name not in REPEATS] or parameters
        charts = [effect_chart(name, columns[name], scores, "score", lower) for name in effects]
    curve = read_curve(folder)
    return fill(
        "sweep.html",
        title=f"Sweep · {folder.resolve().name}",
        sentence=sentence(jobs, parameters),
        jobs=done + sorted(others, key=lambda job: job["score"] is None),
        parameters=parameters,
        parallel=parallel_chart([job["job"] for job in done], columns, scores, "score", lower) if charts else None,
        effects=charts,
        repeats=repeats(done),
        curve=None if curve is None else learning_chart(curve),
        lower=lower,
    )


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``summary.csv``: job, status, score (None without one), seconds, message, values, link.

    Raises:
        InputError: if it is not a table of a sweep.
    """
    path = folder / "summary.csv"
    rows = [{printable(key): printable(cell) for key, cell in row.items()} for row in read_csv(path)]
    whole = rows and {"job", "status", "score"} <= rows[0].keys()
    if not whole or not all(re.fullmatch("[0-9]{1,18}", row["job"]) for row in rows):
        raise InputError(f"{path}: expected a table with the columns job, status and score, written by a sweep")
    jobs = []
    for row in rows:
        place = row.get("folder") or ""
        parts = Path(place).parts  # a name may have several: data.root=data/mine
        inside = bool(parts) and not Path(place).is_absolute() and ".." not in parts
        linked = inside and (folder / place / "report.html").is_file()
        jobs.append(
            {
                "job": row["job"],
                "status": row["status"],
                "score": _number(row["score"]),
                "lower": row.get("better") == "lower",
                "seconds": _number(row.get("seconds")),
                "message": row.get("message") or "",
                "values": {name: value or "" for name, value in row.items() if name and name not in FIXED},
                "link": f"{quote(place)}/report.html" if linked else "",
            }
        )
    return jobs


def is_done(job: dict[str, Any]) -> bool:
    """Whether a job has a score that compares: that of a pruned job is of a part of its training."""
    return job["status"] == "done" and job["score"] is not None


def finished(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs that are done."""
    return [job for job in jobs if is_done(job)]


def less_is_better(jobs: list[dict[str, Any]]) -> bool:
    """Whether the score is one of which less is better."""
    return any(job.get("lower") for job in jobs)


def sentence(jobs: list[dict[str, Any]], parameters: list[str]) -> str:
    """How many jobs, how they ended, and which of those that are done is best."""
    done = finished(jobs)
    text = f"{len(jobs)} job{'s' * (len(jobs) != 1)} over {', '.join(parameters) or 'no varying parameter'}"
    failed = sum(job["score"] is None for job in jobs)
    unfinished = len(jobs) - len(done) - failed
    text += f", {failed} without a score" if failed else ""
    text += f", {unfinished} pruned or not finished" if unfinished else ""
    if not done:
        return f"{text}; none {'is finished' if unfinished else 'has a score'}."
    lower = less_is_better(jobs)
    best = (min if lower else max)(done, key=lambda job: job["score"])
    values = ", ".join(f"{name}={best['values'].get(name, '')}" for name in parameters)
    text += f"; the best, job {best['job']}, scores {best['score']:.3f}{' with ' + values if values else ''}."
    groups = group([job["values"] for job in done], [job["score"] for job in done], lower)
    if len(groups) > 1 and repeated(groups):
        first = best_group(groups, lower)
        text += f" Best on average is {first.name} with {first.mean:.3f} over {first.units}."
    return text


def repeats(jobs: list[dict[str, Any]]) -> list[list[str]]:
    """Jobs that differ in fold and seed alone, taken together, the best mean first; empty if none do.

    Settings, what they were repeated over, mean, standard deviation and 95 % interval of the mean.
    """
    groups = group([job["values"] for job in jobs], [job["score"] for job in jobs], less_is_better(jobs))
    if not repeated(groups):
        return []
    return [
        [
            each.name,
            each.units,
            decimal(each.mean),
            "" if each.spread is None else decimal(each.spread),
            "" if each.interval is None else " to ".join(map(decimal, each.interval)),
        ]
        for each in groups
    ]


def _number(text: str | None) -> float | None:
    if not text or not re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]{1,4})?", text) or text.count(".") > 1:
        return None
    value = float(text) if text.strip("+-.") else math.nan
    return value if math.isfinite(value) else None
