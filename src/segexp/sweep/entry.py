"""How a job enters its sweep: the folder it belongs in, and whether it is passed by, gone on with or begun."""

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from segexp.search.command import is_search
from segexp.sweep import FAILURE, PRUNED
from segexp.sweep.identity import identify
from segexp.sweep.ledger import DONE, FAILED, GIVEN_UP, PROGRESS, Record, claim, read_job


class Entry(NamedTuple):
    """A job's record; whether it is run now, and goes on from ``last.pth`` then; a word on what is not taken over."""

    record: Record
    runs: bool
    resumes: bool
    words: str = ""


def enter(cfg: DictConfig, hydra: Any, sweep: Path, wanted: Path, taken: Container[Path] = ()) -> Entry:
    """Find a job's place in its sweep.

    Args:
        cfg: its composed configuration.
        hydra: Hydra's own settings of the job.
        sweep: folder of the sweep.
        wanted: the job's folder as Hydra would have it; a sweep that goes on may have begun the job in another one.
        taken: folders of other jobs.
    """
    identity, keep, folder, words = identify(cfg), bool(cfg.sweep.resume), wanted, ""
    if keep:
        folder, words = claim(wanted, sweep, identity, taken)
    # Ray starts a job whose process is lost again; what an earlier sweep noted was cleared when this one began
    retried = str(hydra.launcher.get("_target_")).endswith("RayLauncher")
    known, again = read_job(folder), keep or retried or restarted(hydra)
    # a job that its cluster starts again goes on in newer code, too: nobody asked for results that compare
    if known is None or not (identity == known.identity if keep else identity.settings == known.identity.settings):
        number = int(folder.name) if folder.name.isdecimal() else int(hydra.job.num)
        typed = [item for item in hydra.overrides.task if not item.startswith("sweep.")]
        return Entry(Record(folder, number, typed, identity), True, False, words)
    known.identity = identity
    passed = (again and known.status in (DONE, GIVEN_UP)) or (keep and known.status == FAILED and not cfg.sweep.retry)
    return Entry(known, not passed, again and not passed and (folder / "last.pth").is_file())


def restarted(hydra: Any) -> bool:
    """Whether jobs may find their own earlier state: a search or a cluster starts them again in the same folders."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 or is_search(hydra)


def settle(record: Record, score: float) -> None:
    """Note that a job is done."""
    summary = json.loads((record.folder / "summary.json").read_text(encoding="utf-8"))
    (record.folder / FAILURE).unlink(missing_ok=True)
    (record.folder / PRUNED).unlink(missing_ok=True)
    (record.folder / PROGRESS).unlink(missing_ok=True)
    record.save(status=DONE, score=score, seconds=summary["seconds"], message="")
