"""How a job enters its sweep: its folder, and whether it is skipped, resumed or started."""

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from segexp.config.fingerprint import settings_of
from segexp.config.overrides import stored_overrides
from segexp.evaluation.io import read_evaluation
from segexp.io.ownership import OwnedFolder
from segexp.io.run_folder import JOB_FILES, RunFolder
from segexp.metrics.registry import find
from segexp.sweep import FAILURE, PRUNED
from segexp.sweep.folder import add_job, is_job
from segexp.sweep.identity import identify
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, PROGRESS, Record, claim, read_job
from segexp.sweep.search.command import is_search


class Entry(NamedTuple):
    """A job's record; whether it is run now, and resumes from ``last.pth``; a remark on an unused earlier result."""

    record: Record
    runs: bool
    resumes: bool
    words: str = ""


def enter(cfg: DictConfig, hydra: Any, sweep: Path, target: Path, taken: Container[Path] = ()) -> Entry:
    """Find a job's folder in its sweep.

    Args:
        cfg: its composed configuration.
        hydra: Hydra's own settings of the job.
        sweep: folder of the sweep.
        target: the job's folder according to Hydra; a resumed sweep may have started the job in another one.
        taken: folders of other jobs.
    """
    identity, keep, folder, words = identify(cfg), bool(cfg.sweep.resume), target, ""
    if keep:
        folder, words = claim(target, sweep, identity, taken)
    # Ray starts a job whose process is lost again; what an earlier sweep noted was cleared when this one began
    retried = str(hydra.launcher.get("_target_")).endswith("RayLauncher")
    known, again = read_job(folder) if is_job(sweep, folder) else None, keep or retried or restarted(hydra)
    if known is None:
        OwnedFolder(folder).require_free(JOB_FILES, "output_dir")
    add_job(sweep, folder)
    typed = [item for item in stored_overrides(hydra) if not item.startswith("sweep.")]
    # a job that its cluster starts again goes on in newer code, too: nobody asked for results that compare
    if known is None or not (identity == known.identity if keep else identity.settings == known.identity.settings):
        number = int(folder.name) if folder.name.isdecimal() else int(hydra.job.num)
        return Entry(Record(folder, number, typed, identity), True, False, words)
    known.identity = identity
    if settings_of(known.overrides) != settings_of(typed):
        # the same settings in other words, such as an axis added at its default value: tables group by these words
        known.overrides = typed
        if known.status in (DONE, GIVEN_UP, FAILED):
            known.save()
    passed = (again and known.status in (DONE, GIVEN_UP)) or (keep and known.status == FAILED and not cfg.sweep.retry)
    if passed and known.status == DONE and not is_whole(folder):
        return Entry(known, True, False, "its model or summary is missing or damaged")
    return Entry(known, not passed, again and not passed and (folder / "last.pth").is_file())


def is_whole(folder: Path) -> bool:
    """Whether a finished job still has its model and its summary, unchanged."""
    files = RunFolder(folder)
    models = sorted(folder.glob("best_*_model.pth"))
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    recorded = files.knows("summary.json")
    fine = all(files.owns(path.name) if recorded else path.is_file() and path.stat().st_size > 0 for path in models)
    return len(models) == 1 and fine and isinstance(summary, dict) and "best" in summary


def restarted(hydra: Any) -> bool:
    """Whether jobs may find their own earlier state: a search or a cluster starts them again in the same folders."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 or is_search(hydra)


def settle(record: Record, score: float) -> None:
    """Record that a job is done, and whether lower values of its score are better."""
    summary = json.loads((record.folder / "summary.json").read_text(encoding="utf-8"))
    files = RunFolder(record.folder)
    for name in (FAILURE, PRUNED, PROGRESS):
        files.remove(name)
    record.save(status=DONE, score=score, better=direction(record.folder), seconds=summary["seconds"], message="")


def direction(folder: Path) -> str:
    """Whether the score that a run is judged by is better ``higher`` or ``lower``."""
    return find(monitor_of(folder)).better


def monitor_of(folder: Path) -> str:
    """The name of the score that a run is judged by; ``dice`` if it has no record of that."""
    path = folder / "val" / "evaluation.json"
    return str(read_evaluation(path).get("monitor", "dice")) if path.is_file() else "dice"
