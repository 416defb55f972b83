"""Settings that decide how a command runs before Hydra composes its jobs: `trainer.seeds` and `trainer.devices`.

They count wherever they are set. So what the command line composes is looked at first: its run, or of a sweep the first
job, and that job again with each further option of a swept group, since each of those files may set them. A group swept
as ``glob(*)`` stands at its default here; a job that asks for another number is refused when it is composed.
"""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.types import Glob, IntervalSweep
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segexp.config.compose import lab_folders, sources
from segexp.config.overrides import one_job, with_seeds
from segexp.config.typed import GROUPS, is_flag, parsed
from segexp.errors import InputError

MOST = 50
"""Options of swept groups that are looked at."""


def with_counts(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The command line with a file's ``trainer.seeds`` as a sweep over seeds, and ``trainer.devices``: "4" or "auto".

    Args:
        arguments: as `segexp.config.overrides.command_line` gives them.

    Raises:
        InputError: the jobs of a sweep ask for different numbers.
    """
    configs = glimpses(arguments)
    devices = _same("trainer.devices", configs)
    seeds = _same("trainer.seeds", configs)
    words = list(arguments)
    if seeds not in ("", "1"):
        first = OmegaConf.select(next(iter(configs.values())), "seed")
        typed = any(word.startswith("seed=") for word in words)
        words = with_seeds([*words, *([] if typed else [f"seed={first}"]), f"trainer.seeds={seeds}"])
    return words, devices


def glimpses(arguments: Sequence[str]) -> dict[str, DictConfig]:
    """Unchecked settings of the first job and, of a sweep, with each other option of a swept group, by that option.

    What Hydra refuses is left out: it says so itself when it composes the job.
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
                found[label] = compose(name, words)
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
    """A setting that all jobs share; empty where it cannot be read, which the check of the settings answers."""
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
