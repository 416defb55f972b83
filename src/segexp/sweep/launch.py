"""Launch the jobs of a sweep from their composed settings: which are run, where, and how progress is shown."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig, read_write
from rich.console import Console

from segexp.errors import InputError
from segexp.sweep.entry import enter
from segexp.sweep.job_store import WAITING, Record
from segexp.sweep.pool import Work, places, run_pool
from segexp.sweep.progress import SweepProgress
from segexp.sweep.summary import conclude
from segexp.sweep.table import update_summary
from segexp.training.stop import StopRequest


def check_settings(jobs: object, threads: object, gpus: object = None) -> None:
    """Exit with a message if the launcher's settings are not counts, or its GPUs are not a list of names."""
    for name, value, expected in (("jobs", jobs, "1 or more"), ("threads", threads, "1 or more, or null")):
        fine = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not fine and not (name == "threads" and value is None):
            sys.exit(f"error: hydra.launcher.{name}={value}: expected {expected}")
    listed = isinstance(gpus, (list, tuple, ListConfig))
    if gpus is not None and not (listed and all(_is_gpu(name) for name in gpus)):  # type: ignore[attr-defined]
        sys.exit(f"error: hydra.launcher.gpus={gpus}: expected a list of numbers or names, such as [0,1], or null")


def _is_gpu(name: object) -> bool:
    """Whether a value can name one GPU: its number, or a text such as ``GPU-8f2c``."""
    if isinstance(name, str):
        return bool(name.strip()) and "," not in name
    return isinstance(name, int) and not isinstance(name, bool) and name >= 0


def environments(jobs: int, threads: int | None, gpus: Sequence[str | int] | None) -> list[dict[str, str]]:
    """Environment variables for each worker process; a single job keeps all GPUs."""
    names = visible_gpus() if gpus is None else [str(name) for name in gpus]
    return places(jobs, threads, names if jobs > 1 or gpus is not None else [])


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, without touching one."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def run_jobs(
    sweep: Path,
    configs: Sequence[DictConfig],
    payload: Callable[[DictConfig], bytes],
    command: Sequence[str],
    environments: Sequence[dict[str, str]],
) -> list[Record]:
    """Run the jobs that are not done; returns the records of all, in the order of `configs`.

    Each configuration's ``hydra.sweep.subdir`` is set to the job's actual folder. A signal ends the process with 128 +
    its number, after the jobs have saved their state and the table is printed.
    """
    console = Console(highlight=False)
    records: list[Record] = []
    works: list[Work] = []
    for config in configs:
        hydra = config.hydra
        pattern, others = sweep / str(hydra.sweep.subdir), {record.folder for record in records}
        try:
            entry = enter(config, hydra, sweep, pattern, others)
        except InputError as error:
            sys.exit(f"error: {error}")
        record = entry.record
        records.append(record)
        if entry.words:
            console.print(f"job {record.number}: {entry.words}, so it is run again", markup=False, soft_wrap=True)
        if not entry.runs:
            continue
        with read_write(hydra):
            hydra.sweep.subdir = record.folder.relative_to(sweep).as_posix().replace("${", "\\${")
        record.folder.mkdir(parents=True, exist_ok=True)
        record.save(status=WAITING, message="")
        works.append(Work(record, payload(config), entry.resumes))
    again = [work.record for work in works]

    def update() -> None:
        update_summary(sweep, lambda line: console.print(line, markup=False, soft_wrap=True))

    update()
    with StopRequest().listening() as stop, SweepProgress(records, again, len(environments), console) as board:
        run_pool(works, command, environments, board, stop, update)
    if stop.number:
        conclude(sweep)
        sys.exit(128 + stop.number)
    return records
