"""What a Hydra multirun leaves behind: ``summary.csv`` in the sweep folder, a row a job, written as jobs end."""

import csv
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from segexp.report import write_report
from segexp.sweep import FAILURE, PRUNED

NOT_SETTINGS = ("job", "status", "score", "seconds", "folder", "message")
"""Columns of ``summary.csv`` that are no overrides."""


def seed_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each setting that ran with several seeds: the mean score and its standard deviation over them."""
    groups: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {}
    varied = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in (*NOT_SETTINGS, "seed")]
    varied = [key for key in varied if len({row.get(key) for row in rows}) > 1]
    for row in rows:
        if isinstance(row["score"], float) and not math.isnan(row["score"]) and "seed" in row:
            groups.setdefault(tuple((key, row.get(key)) for key in varied), []).append(row)
    lines = []
    for setting, members in groups.items():
        if len(members) > 1:
            scores = [row["score"] for row in members]
            what = " ".join(f"{key}={value}" for key, value in setting)
            seeds = ", ".join(str(row["seed"]) for row in members)
            lines.append(
                f"{what + ': ' if what else ''}{statistics.mean(scores):.4f} ± {statistics.stdev(scores):.4f} "
                f"(mean and standard deviation over seeds {seeds})"
            )
    return lines


class SweepSummary(Callback):
    """Collects the jobs of a multirun; the exit code is 1 where one failed. A single run passes it by."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.folder: Path | None = None

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Add the job's row and write the table anew, so that a killed sweep leaves what it has."""
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        # unresolved: a folder called ${x} is a name and not a reference
        runtime = OmegaConf.to_container(config.hydra.runtime, resolve=False)
        folder = Path(runtime["output_dir"])  # type: ignore[index,call-overload]
        self.folder = folder.parent
        row: dict[str, Any] = {"job": config.hydra.job.num, "status": "done", "score": "", "seconds": ""}
        failure, summary = folder / FAILURE, folder / "summary.json"
        if failure.exists():
            row["status"] = "failed"
            row["message"] = failure.read_text(encoding="utf-8").strip().splitlines()[-1]
        elif (folder / PRUNED).exists():
            row["status"], row["score"] = "pruned", job_return.return_value
            row["message"] = (folder / PRUNED).read_text(encoding="utf-8").strip()
        elif summary.exists():
            row["seconds"] = json.loads(summary.read_text(encoding="utf-8"))["seconds"]
            row["score"] = job_return.return_value
        row["folder"] = folder.name
        for override in config.hydra.overrides.task:
            key, _, value = override.partition("=")
            row[key.lstrip("+")] = value
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Write ``summary.csv``: job, status, score, seconds, the overrides one a column, folder, message."""
        assert self.folder is not None
        last = ["folder", "message"]
        columns = [key for key in dict.fromkeys(key for row in self.rows for key in row) if key not in last] + last
        with (self.folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the jobs, best first, and end with exit code 1 where one failed."""
        if not self.rows or self.folder is None:
            return

        def rank(row: dict[str, Any]) -> float:
            return -row["score"] if isinstance(row["score"], float) and not math.isnan(row["score"]) else math.inf

        varied = [
            key
            for key in dict.fromkeys(key for row in self.rows for key in row)
            if key not in ("job", "status", "score", "seconds", "folder", "message")
            and len({row.get(key) for row in self.rows}) > 1
        ]
        table = Table(box=None, header_style="bold")
        for name in ("job", "score", "seconds", *varied, "status"):
            table.add_column(name, justify="left" if name == "status" else "right")
        for row in sorted(self.rows, key=rank):
            score = f"{row['score']:.4f}" if rank(row) < math.inf else ""
            status = row["status"] + (f": {row['message']}" if "message" in row else "")
            table.add_row(
                str(row["job"]), score, str(row["seconds"]), *(str(row.get(key, "")) for key in varied), status
            )
        console = Console(highlight=False)
        console.print(table)
        for line in seed_lines(self.rows):
            console.print(line, markup=False)
        console.print(f"{self.folder}/summary.csv", markup=False)
        try:
            console.print(str(write_report(self.folder)), markup=False)
        except Exception as error:  # the jobs are done, whatever becomes of their page
            console.print(f"warning: no report.html ({type(error).__name__}: {error})", markup=False)
        failed = sum(row["status"] == "failed" for row in self.rows)
        if failed:
            console.print(f"{failed} of {len(self.rows)} jobs failed", markup=False)
            sys.exit(1)
