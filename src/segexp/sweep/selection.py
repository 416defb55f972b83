"""A finished sweep as its readers see it: its jobs by setting, and the models of the best one.

Neither Hydra nor the data are needed. Used by ``segexp compare SWEEP`` and ``segexp predict --model SWEEP``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from segexp.config.fingerprint import settings_of
from segexp.errors import InputError
from segexp.evaluation.aggregate import Group, best_group, group
from segexp.pretrained import located
from segexp.sweep.job_store import DONE, FILE, Record, read_jobs


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds the folders of a sweep's jobs; one job's own folder does not."""
    return folder.is_dir() and not (folder / FILE).is_file() and any(folder.glob(f"*/{FILE}"))


def settings(sweep: Path) -> list[tuple[Group, list[Record]]]:
    """The settings of a sweep, best mean first, each with its finished jobs."""
    done = [record for record in read_jobs(sweep) if record.status == DONE and record.score is not None]
    if not done:
        raise InputError(f"{sweep}: no job of this sweep is finished")
    groups = group([settings_of(record.overrides) for record in done], [record.score or 0.0 for record in done])
    return [(each, [done[index] for index in each.indices]) for each in groups]


def find_models(paths: Sequence[Path], log: Callable[[str], None] = print) -> list[Path]:
    """Model files as they are; for a run's folder its best model; for a sweep's those of all folds and seeds of the
    setting with the best mean, which `say` is told; for the name of a shipped model its file, where no model here is
    called so.
    """
    models: list[Path] = []
    for path in paths:
        if located(path) != path and not (is_sweep(path) or any(path.glob("best_*_model.pth"))):
            models.append(located(path))
        elif is_sweep(path):
            groups = settings(path)
            best = best_group([each for each, _ in groups])
            chosen = next(records for each, records in groups if each is best)
            log(
                f"{path}: best of {len(groups)} settings is {best.name}, {best.mean:.4f} over {best.units}: "
                f"jobs {', '.join(str(record.number) for record in chosen)}"
            )
            models += [best_model(record.folder) for record in chosen]
        else:
            models.append(best_model(path) if path.is_dir() else path)
    return models


def find_model(path: Path, log: Callable[[str], None] = print) -> Path:
    """One model file: as `find_models`, and of a sweep the best job of the setting with the best mean."""
    if not is_sweep(path):
        return find_models([path], log)[0]
    groups = settings(path)
    best = best_group([each for each, _ in groups])
    records = next(records for each, records in groups if each is best)
    chosen = max(records, key=lambda record: record.score or 0.0)
    log(f"{path}: best of {len(groups)} settings is {best.name}, and of its jobs {chosen.number}, {chosen.score:.4f}")
    return best_model(chosen.folder)


def best_model(folder: Path) -> Path:
    """The ``best_<task>_model.pth`` of a run's folder."""
    files = sorted(folder.glob("best_*_model.pth"))
    if len(files) != 1:
        what = ", ".join(file.name for file in files) or "no best_<task>_model.pth"
        raise InputError(f"{folder}: holds {what}; expected a run with one, a sweep, or a model file")
    return files[0]
