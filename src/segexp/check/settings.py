"""The folders and settings that `segexp check` checks: a folder as typed, or those that the overrides of a run name."""

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segexp.check.dataset import CheckSettings
from segexp.check.scan import Folders, find_folders
from segexp.config import RunConfig, conf_dir
from segexp.config.compose import compose_config
from segexp.config.differences import differences
from segexp.config.folders import DataConfig, existing
from segexp.config.overrides import quote
from segexp.config.schema import TaskConfig, reading_of
from segexp.data import sources
from segexp.data.dataset import Pairing
from segexp.data.splits import Split
from segexp.errors import InputError


class DataSet(NamedTuple):
    """What to check.

    Attributes:
        root: its name.
        splits: its folders.
        val_names: stems of the images in ``train`` that the settings use for validation.
        settings: how a training with these settings reads the files.
        pairings: files of the folders, where they were paired for the split.
    """

    root: str
    splits: dict[str, Folders]
    val_names: tuple[str, ...]
    settings: CheckSettings
    pairings: dict[str, Pairing] | None = None


def dataset(directory: str | None, overrides: list[str], config_dir: str | None = None) -> DataSet:
    """The data set in a folder as typed, or in the folders that the overrides of a run name.

    Args:
        directory: the folder.
        overrides: as `segexp.config.typed.as_typed` makes them.
        config_dir: a folder of further options.

    Raises:
        InputError: if neither names a data set.
    """
    cfg = run_settings(tuple(overrides), config_dir)
    if directory is not None and cfg.data.splits:
        cfg = run_settings((*overrides, f"data.root={quote(directory)}"), config_dir)
    elif directory is not None:
        splits = find_folders(Path(directory))
        if "train" in splits or "val" in splits:  # a training misses the other, and so does the check
            parts = {name: Path(directory) / name for name in ("train", "val")}
            splits = {name: splits.get(name, Folders(part / "img", part / "mask")) for name, part in parts.items()}
        return DataSet(str(Path(directory).resolve()), splits, (), check_settings(cfg.data, cfg.task))
    folders = cfg.data.folders()
    if folders is None:
        raise InputError(
            "nothing to check; expected a folder (segexp check DIR), or data.root=DIR, or the four folders"
        )
    settings = check_settings(cfg.data, cfg.task)
    index = sources.pair_folders(folders, settings.reading.page)
    split = choose_split(cfg.data, cfg.seed, index["train"])
    val_names = split.val if split else ()
    return DataSet(cfg.data.root or "data", run_folders(folders), val_names, settings, index)


@functools.cache
def run_settings(overrides: tuple[str, ...], config_dir: str | None) -> RunConfig:
    """The settings of a run with these overrides; ``task=vesicle`` if they name none."""
    task = () if any(word.startswith(("task=", "experiment=")) for word in overrides) else ("task=vesicle",)
    return compose_config([*task, *overrides], config_dir)


def choose_split(data: DataConfig, seed: int, pairing: Pairing, stored: Path | None = None) -> Split | None:
    """How a run divides the images of one folder, whose files are `pairing`; None if it does not.

    The file `stored` decides, else the settings.
    """
    if not data.splits:
        return None
    stored = stored or (existing(data.split) if data.split else None)
    seed = seed if data.split_seed is None else data.split_seed
    return sources.choose_split(pairing, stored, data.val_fraction, data.fold, data.group, seed)


def check_command(cfg: RunConfig) -> str:
    """The `segexp check` command that prints everything about a run's data."""
    names = (
        "data.",
        "task.classes",
        "task.masks",
        "task.ignore",
        "task.mask_threshold",
        "task.pixel_size",
        "task.crop",
        "seed",
    )
    changed = {key: new for key, (_, new) in differences(cfg).items() if key.startswith(names) and key != "data.root"}
    words = [f"task={cfg.task.name}"] if (conf_dir() / "task" / f"{cfg.task.name}.yaml").is_file() else []
    words += [f"{key}={_override(value)}" for key, value in changed.items()]
    return shlex.join(["segexp", "check", *([str(cfg.data.root)] if cfg.data.root else []), *words])


def _override(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_override(part) for part in value)}]"
    return "null" if value is None else quote(value) if isinstance(value, str) else str(value)


def run_folders(folders: Mapping[str, Path]) -> dict[str, Folders]:
    """The folders of a run by split."""
    return {
        part: Folders(folders[f"{part}_img_dir"], folders[f"{part}_mask_dir"])
        for part in ("train", "val")
        if f"{part}_img_dir" in folders
    }


def check_settings(data: DataConfig, task: TaskConfig) -> CheckSettings:
    """How a run reads its files."""
    return CheckSettings(reading_of(data, task), tuple(task.classes), task.crop)
