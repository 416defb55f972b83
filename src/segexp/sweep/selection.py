"""Read a finished sweep: its jobs by setting, and the models of the best setting.

Neither Hydra nor the data are needed. Used by ``segexp compare SWEEP`` and ``segexp predict --model SWEEP``.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from segexp.checkpoint import model_file
from segexp.config.fingerprint import settings_of
from segexp.errors import InputError
from segexp.evaluation.aggregate import Group, best_group, group
from segexp.sweep.folder import jobs
from segexp.sweep.job_store import DONE, FILE, Record, less_is_better, read_jobs


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds the folders of a sweep's jobs; one job's own folder does not."""
    return folder.is_dir() and not (folder / FILE).is_file() and any((job / FILE).is_file() for job in jobs(folder))


def settings(sweep: Path) -> list[tuple[Group, list[Record]]]:
    """The settings of a sweep, best mean first, each with its finished jobs.

    Raises:
        InputError: if no job is finished.
    """
    done = [record for record in read_jobs(sweep) if _is_scored(record)]
    if not done:
        raise InputError(f"{sweep}: no job of this sweep is finished")
    scores = [record.score or 0.0 for record in done]
    groups = group([settings_of(record.overrides) for record in done], scores, less_is_better(done))
    return [(each, [done[index] for index in each.indices]) for each in groups]


def _is_scored(record: Record) -> bool:
    return record.status == DONE and record.score is not None


def left_out(sweep: Path) -> str:
    """A line on the jobs that `settings` leaves out: ``3 of 12 jobs are left out: 2 failed, 1 pruned``; else empty."""
    records = read_jobs(sweep)
    others = [record for record in records if not _is_scored(record)]
    if not others:
        return ""
    counts = Counter("without a score" if record.status == DONE else record.status for record in others)
    are = "is" if len(others) == 1 else "are"
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{sweep}: {len(others)} of {len(records)} jobs {are} left out: {words}"


def best_setting(sweep: Path) -> tuple[Group, list[Record], int]:
    """The setting of a sweep with the best mean, its finished jobs, and the number of settings.

    Raises:
        InputError: if no job of the sweep is finished.
    """
    groups = settings(sweep)
    best = best_group([each for each, _ in groups], less_is_better(groups[0][1]))
    return best, next(records for each, records in groups if each is best), len(groups)


def best_models(sweep: Path, log: Callable[[str], None] = print) -> list[Path]:
    """The models of all folds and seeds of the setting with the best mean, which is logged."""
    best, chosen, count = best_setting(sweep)
    _say_left_out(sweep, log)
    log(
        f"{sweep}: best of {count} settings is {best.name}, {best.mean:.4f} over {best.units}: "
        f"jobs {', '.join(str(record.number) for record in chosen)}"
    )
    return [model_file(record.folder) for record in chosen]


def find_model(path: Path, log: Callable[[str], None] = print) -> Path:
    """One model file: as `model_file`, and of a sweep the best job of the setting with the best mean."""
    if not is_sweep(path):
        return model_file(path)
    best, records, count = best_setting(path)
    _say_left_out(path, log)
    best_of = min if less_is_better(records) else max
    chosen = best_of(records, key=lambda record: record.score or 0.0)
    log(f"{path}: best of {count} settings is {best.name}, and of its jobs {chosen.number}, {chosen.score:.4f}")
    return model_file(chosen.folder)


def _say_left_out(sweep: Path, log: Callable[[str], None]) -> None:
    line = left_out(sweep)
    if line:
        log(line)
