"""Settings that decide how a command runs: `trainer.seeds`, `trainer.devices`, ``hydra.mode`` and the launcher.

They take effect wherever they are set. The command line is therefore composed once in advance: its run, or the first
job of a sweep, and that job again with each further option of a swept group, since each of those files may set them. A
group swept as ``glob(*)`` has its default here; a job that asks for another number is refused when it is composed.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob, IntervalSweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segexp.config.compose import DamagedOption, UnknownWord, lab_folders, sources
from segexp.config.overrides import multirun, one_job, with_seeds
from segexp.config.typed import GROUPS, flags_first, is_flag, parsed
from segexp.errors import InputError

MOST = 50
"""Largest number of options of swept groups that are composed in advance."""


def with_counts(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The command line plus settings in files that concern the whole command, and ``trainer.devices``: "4" or "auto".

    A file's ``trainer.seeds`` becomes a sweep over seeds, its ``hydra.mode: MULTIRUN`` the flag ``--multirun``.

    Args:
        arguments: as `segexp.config.overrides.command_line` gives them.

    Raises:
        InputError: if the jobs of a sweep ask for different numbers, a file that the sweep chooses sets a launcher or
            a sweeper, a file is not YAML, or a setting or option does not exist.
    """
    configs = glimpses(arguments)
    devices = _same("trainer.devices", configs)
    seeds = _same("trainer.seeds", configs)
    words = list(arguments)
    resumed = any(word.startswith("resume=") for word in words)  # one job of a sweep that a file's mode made
    modes = [OmegaConf.select(config, "hydra.mode") for config in configs.values()]
    if RunMode.MULTIRUN in modes and not resumed:
        words = multirun(words)
    _require_same_launcher(words, configs)
    if seeds not in ("", "1"):
        first = OmegaConf.select(next(iter(configs.values())), "seed")
        typed = any(word.startswith("seed=") for word in words)
        words = with_seeds([*words, *([] if typed else [f"seed={first}"]), f"trainer.seeds={seeds}"])
    return flags_first(words), devices


def glimpses(arguments: Sequence[str]) -> dict[str, DictConfig]:
    """Unchecked settings of the first job and, of a sweep, with each other option of a swept group, by that option.

    Hydra's own section is among them.

    Jobs that Hydra refuses are left out: it reports the error itself when it composes the job.
    """
    folders = lab_folders(arguments)
    name = next((word.partition("=")[2] for word in arguments if word.startswith("--config-name=")), "config")
    if any(word.startswith("--config-path=") for word in arguments):
        return {}
    first = [word for word in one_job(arguments) if not is_flag(word)]
    found = {}
    for label, words in {"": first, **_options(arguments, first)}.items():
        try:
            with sources(folders[0] if folders else None):
                found[label] = compose(name, words, return_hydra_config=True)
        except DamagedOption:  # Hydra answers with a traceback
            raise
        except UnknownWord:  # Hydra does not say what was meant
            if len(first) < sum(not is_flag(word) for word in arguments):  # a glob is left out, which may set the task
                continue
            raise
        except (InputError, OmegaConfBaseException):
            continue
    return found


def _options(arguments: Sequence[str], first: list[str]) -> dict[str, list[str]]:
    """For each option of a swept group but the first, the first job with that option."""
    jobs: dict[str, list[str]] = {}
    for word in arguments:
        override = None if is_flag(word) else parsed(word)
        if override is None or not override.is_sweep_override():
            continue
        if isinstance(override.value(), IntervalSweep | Glob):
            continue
        name = override.get_key_element()
        swept = name.lstrip("+") in (*GROUPS, "trainer.seeds", "trainer.devices")
        for value in [*override.sweep_string_iterator()][1:] if swept else ():
            job = f"{name}={value}"
            if len(jobs) < MOST:
                jobs[job] = [job if other.startswith(f"{name}=") else other for other in first]
    return jobs


def _same(name: str, configs: dict[str, DictConfig]) -> str:
    """The value of a setting that must be the same for all jobs; empty if it cannot be read: `read` reports that."""
    values: dict[str, str] = {}
    for label, config in configs.items():
        value: Any = ""
        try:
            value = OmegaConf.select(config, name)
        except OmegaConfBaseException:
            continue
        values[label] = str(value)
    different = {label: value for label, value in values.items() if value != next(iter(values.values()))}
    if different:
        label, value = next(iter(different.items()))
        raise InputError(
            f"{name}: {next(iter(values.values()))} in the first job of this sweep and {value} with {label}; expected "
            f"one number for all jobs, such as {name}=1 on the command line"
        )
    return next(iter(values.values()), "")


def _require_same_launcher(arguments: Sequence[str], configs: dict[str, DictConfig]) -> None:
    """Refuse a launcher or a sweeper that a file of a swept group sets.

    Hydra chooses both for the whole command, before it composes the jobs, and so without the files that are swept.
    """
    swept = [word for word in arguments if not is_flag(word) and _is_swept_group(word)]
    if not swept or not configs:
        return
    folders = lab_folders(arguments)
    kept = [word for word in one_job([word for word in arguments if word not in swept]) if not is_flag(word)]
    name = next((word.partition("=")[2] for word in arguments if word.startswith("--config-name=")), "config")
    try:
        with sources(folders[0] if folders else None):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            whole = hydra.compose_config(name, kept, RunMode.MULTIRUN, from_shell=False)
    except (InputError, OmegaConfBaseException):
        return
    for label, config in configs.items():
        ignored = [word for part in ("launcher", "sweeper") for word in _differences(part, whole, config)]
        if ignored:
            options = label or " ".join(one_job(swept))
            raise InputError(
                f"{options}: sets {', '.join(ignored)}, which Hydra ignores in a file that is swept itself; expected "
                f"it on the command line, for all jobs: {shlex.join(ignored)}"
            )


def _is_swept_group(word: str) -> bool:
    override = parsed(word)
    return override is not None and override.is_sweep_override() and word.partition("=")[0].lstrip("+") in GROUPS


def _differences(part: str, whole: DictConfig, job: DictConfig) -> list[str]:
    """Overrides that give the command the job's launcher or sweeper, `part`; empty if they are the same."""
    group = f"hydra/{part}"
    chosen = [str(config.hydra.runtime.choices.get(group)) for config in (whole, job)]
    if chosen[0] != chosen[1]:
        return [f"{group}={chosen[1]}"]
    ours, theirs = (OmegaConf.to_container(config.hydra[part], resolve=False) for config in (whole, job))
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    different = {str(key): value for key, value in theirs.items() if ours.get(key) != value}
    ranges = different.pop("params", None) or {}  # of a sweeper: what it varies
    settings = {f"hydra.{part}.{key}": value for key, value in different.items()} | ranges
    return [f"{key!s}={value}" for key, value in settings.items()]
