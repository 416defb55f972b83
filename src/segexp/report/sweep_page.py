"""The page of a sweep: its jobs in a sortable table, and what each parameter does to the score."""

import csv
import math
import re
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from urllib.parse import quote

from segexp.errors import InputError
from segexp.report.charts import decimal
from segexp.report.page import fill
from segexp.report.sweep_charts import effect_chart, parallel_chart

FIXED = ("job", "status", "score", "seconds", "folder", "message")
"""Columns of ``summary.csv`` that are no parameters."""


def render_sweep(folder: Path) -> str:
    """The page of the sweep in `folder`, from its ``summary.csv``, as HTML."""
    jobs = read_jobs(folder)
    parameters = varied(jobs)
    done = [job for job in jobs if job["score"] is not None]
    done.sort(key=lambda job: -job["score"])
    charts = []
    columns = {name: [job["values"].get(name, "") for job in done] for name in parameters}
    scores = [job["score"] for job in done]
    if len(done) > 1 and parameters:
        charts = [effect_chart(name, values, scores, "score") for name, values in columns.items()]
    return fill(
        "sweep.html",
        title=f"Sweep · {folder.resolve().name}",
        sentence=sentence(jobs, parameters),
        jobs=done + [job for job in jobs if job["score"] is None],
        parameters=parameters,
        parallel=parallel_chart([job["job"] for job in done], columns, scores, "score") if charts else None,
        effects=charts,
        repeats=repeats(done, parameters),
    )


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``summary.csv``: job, status, score (None without one), seconds, message, values, link."""
    path = folder / "summary.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whole = rows and {"job", "status", "score"} <= rows[0].keys()
    if not whole or not all((row["job"] or "").isdecimal() for row in rows):
        raise InputError(f"{path}: wanted a table with the columns job, status and score, written by a sweep")
    jobs = []
    for row in rows:
        place = row.get("folder") or ""
        inside = Path(place).name == place and (folder / place / "report.html").is_file()
        jobs.append(
            {
                "job": row["job"],
                "status": row["status"],
                "score": _number(row["score"]),
                "seconds": _number(row.get("seconds")),
                "message": row.get("message") or "",
                "values": {name: value or "" for name, value in row.items() if name and name not in FIXED},
                "link": f"{quote(place)}/report.html" if place and inside else "",
            }
        )
    return jobs


def varied(jobs: list[dict[str, Any]]) -> list[str]:
    """Parameters that have more than one value."""
    names = dict.fromkeys(name for job in jobs for name in job["values"])
    return [name for name in names if len({job["values"].get(name) for job in jobs}) > 1]


def sentence(jobs: list[dict[str, Any]], parameters: list[str]) -> str:
    """How many jobs, how they ended, and which is best."""
    done = [job for job in jobs if job["score"] is not None]
    text = f"{len(jobs)} job{'s' * (len(jobs) != 1)} over {', '.join(parameters) or 'no varying parameter'}"
    failed = len(jobs) - len(done)
    text += f", {failed} without a score" if failed else ""
    if not done:
        return f"{text}; none has a score."
    best = max(done, key=lambda job: job["score"])
    values = ", ".join(f"{name}={best['values'].get(name, '')}" for name in parameters)
    return f"{text}; the best, job {best['job']}, scores {best['score']:.3f}{' with ' + values if values else ''}."


def repeats(jobs: list[dict[str, Any]], parameters: list[str]) -> list[list[str]]:
    """Jobs that differ in their seed alone, taken together: settings, number, mean and standard deviation."""
    if "seed" not in parameters:
        return []
    groups: dict[str, list[float]] = {}
    for job in jobs:
        settings = ", ".join(f"{name}={job['values'].get(name, '')}" for name in parameters if name != "seed")
        groups.setdefault(settings or "all jobs", []).append(job["score"])
    return [
        [name, str(len(scores)), decimal(fmean(scores)), decimal(stdev(scores)) if len(scores) > 1 else ""]
        for name, scores in sorted(groups.items(), key=lambda group: -fmean(group[1]))
    ]


def _number(text: str | None) -> float | None:
    if not text or not re.fullmatch(r"[-+0-9.eE]+", text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
