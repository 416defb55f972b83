"""The folders of a sweep's jobs according to ``hydra.sweep.subdir``, computed before the first job starts."""

import os
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from segexp.errors import InputError
from segexp.sweep.search.command import is_search

NUMBERED = ("hydra.job.num", "hydra.job.id")
"""Interpolations that differ between any two jobs."""

LONGEST = 255
"""Largest length of a file's name in bytes, on all common file systems."""
DIRNAME = "override_dirname"
"""Interpolation that names a folder by the job's overrides, except those that are left out."""


def compose_job(loader: ConfigLoader, sweep: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """The whole configuration of one job, with the folders of the sweep and of the job as they are now.

    Args:
        loader: Hydra's.
        sweep: the configuration of the sweep.
        overrides: of this job, including its values of the swept settings.
        number: of the job, from 0.
    """
    config = loader.load_sweep_config(sweep, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
        config.hydra.sweep.dir = _literal(str(sweep.hydra.sweep.dir))
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)  # a resolver in the subfolder's name may ask for it
        subfolder = str(config.hydra.sweep.subdir)
    finally:
        HydraConfig.instance().cfg = before
    with read_write(config.hydra):
        config.hydra.sweep.subdir = _literal(subfolder)
    return config


def _literal(text: str) -> str:
    """A folder called ``${x}`` is a name and not a reference."""
    return text.replace("${", "\\${")


def require_own_folders(config: DictConfig) -> None:
    """Make sure that no two jobs of a new sweep share a folder, and that each can be created; nothing is written.

    A resumed sweep chooses another name for the second job itself. If the names of jobs always differ, only the job
    with the longest name is composed. Jobs that Hydra refuses to compose are left for it to report.

    Args:
        config: of the sweep; Hydra is running.

    Raises:
        InputError: names ``hydra.sweep.subdir``, and two such jobs or the name that is too long.
    """
    pattern = _subdir(config)
    different = config.sweep.resume or any(name in pattern for name in NUMBERED)
    if different and DIRNAME not in pattern:
        return
    loader = GlobalHydra.instance().config_loader()
    ranges = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
    try:
        overrides = OverridesParser.create(loader).parse_overrides([*ranges, *config.hydra.overrides.task])
        if is_search(config.hydra):
            left_out = set(config.hydra.job.config.override_dirname.exclude_keys) if DIRNAME in pattern else set()
            searched = [one.get_key_element() for one in overrides if one.is_sweep_override()]
            if not different and ("${" not in pattern or left_out & set(searched)):
                raise _shared(pattern, "jobs of the search", pattern)
            return
        jobs = BasicSweeper.split_arguments(overrides, None)[0]
        numbers = [_longest(jobs, config)] if different else range(len(jobs))
        composed = [compose_job(loader, config, jobs[number], number) for number in numbers]
        folders = [str(job.hydra.sweep.subdir) for job in composed]
    except (HydraException, OmegaConfBaseException):
        return
    longest = max((part for folder in folders for part in folder.split("/")), key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > LONGEST:
        raise InputError(
            f"hydra.sweep.subdir: {longest[:40]}... is longer than the {LONGEST} bytes that a folder's name may have; "
            "name settings to leave out in hydra.job.config.override_dirname.exclude_keys, or take ${hydra.job.num}"
        )
    if not different:
        require_different(pattern, folders, jobs)


def _longest(jobs: Sequence[Sequence[str]], config: DictConfig) -> int:
    """The number of the job whose overrides, except those left out of its folder's name, are longest."""
    left_out = set(config.hydra.job.config.override_dirname.exclude_keys)

    def size(number: int) -> int:
        return sum(len(os.fsencode(word)) for word in jobs[number] if word.partition("=")[0] not in left_out)

    return max(range(len(jobs)), key=size)


def require_different(pattern: str, folders: Sequence[str], jobs: Sequence[Sequence[str]]) -> None:
    """Make sure that `folders`, one a job, differ; `jobs` are the overrides of each, `pattern` what names the folders.

    Raises:
        InputError: names two jobs that share a folder.
    """
    first: dict[str, int] = {}
    for number, folder in enumerate(folders):
        place = os.path.normpath(folder)
        if place in first:
            other = jobs[first[place]]
            differs = [word for word in jobs[number] if word not in other] or ["the same settings"]
            raise _shared(pattern, f"job {first[place]} and job {number} ({' '.join(differs)})", folder)
        first[place] = number


def _shared(pattern: str, who: str, folder: str) -> InputError:
    setting, advice = "hydra.sweep.subdir", "expected a name with ${hydra.job.num} in it, or leave it out"
    if DIRNAME in pattern:
        setting = "hydra.job.config.override_dirname.exclude_keys"
        advice = "leave out fewer settings there, and give each value once"
    return InputError(f"{setting}: with hydra.sweep.subdir={pattern} {who} would share the folder {folder}; {advice}")


def _subdir(config: DictConfig) -> str:
    """``hydra.sweep.subdir`` as it was typed, with its references."""
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    return str(sweep["subdir"])
