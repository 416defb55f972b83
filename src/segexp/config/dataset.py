"""The folders and settings that `segexp check` looks at: a folder as typed, or what the overrides of a run name."""

import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from segexp.check.dataset import Wanted
from segexp.check.scan import Folders, find_folders
from segexp.config import RunConfig, conf_dir, read
from segexp.errors import InputError


def dataset(directory: str | None, overrides: list[str]) -> tuple[str, dict[str, Folders], Wanted]:
    """What to check: its name, its folders by split, and what a training with these overrides would make of them."""
    cfg = _settings(tuple(overrides))
    if directory is not None:
        return str(Path(directory).resolve()), find_folders(Path(directory)), wanted(cfg)
    if cfg.data.folders() is None:
        raise InputError("nothing to check; wanted a folder (segexp check DIR), or data.root=DIR, or the four folders")
    return cfg.data.root or "data", run_folders(cfg), wanted(cfg)


@functools.cache
def _settings(overrides: tuple[str, ...]) -> RunConfig:
    task = () if any(word.startswith(("task=", "experiment=")) for word in overrides) else ("task=vesicle",)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return read(compose("config", [*task, *overrides, "output_dir=none"]))
    except HydraException as error:
        raise InputError(str(error)) from None


def run_folders(cfg: RunConfig) -> dict[str, Folders]:
    """The folders of a run by split; none where its images are generated."""
    folders = cfg.data.folders() or {}
    return {
        part: Folders(folders[f"{part}_img_dir"], folders[f"{part}_mask_dir"])
        for part in ("train", "val")
        if f"{part}_img_dir" in folders
    }


def wanted(cfg: RunConfig) -> Wanted:
    """What a run makes of its files."""
    return Wanted(cfg.reading(), tuple(cfg.task.classes), cfg.task.crop)
