"""How a run's settings differ from the defaults of its task."""

import dataclasses
import re
from contextlib import nullcontext
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from segexp.config import conf_dir, read
from segexp.config.compose import sources
from segexp.config.schema import RunConfig

_REFERENCE = re.compile(r"\$\{[\w.]+\}$")
"""A value that refers to another setting."""


def differences(cfg: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Setting -> (default, value here), for each that differs; None if one side has no such setting.

    The defaults are those of ``task=NAME`` alone; a task without an option file is compared with ``vesicle``.
    """
    started = GlobalHydra.instance().is_initialized()  # within a run, which Hydra started with the folders typed for it
    if started:
        known = cfg.task.name in GlobalHydra.instance().config_loader().get_group_options("task")
    else:
        known = (conf_dir() / "task" / f"{cfg.task.name}.yaml").is_file()
    overrides = [f"task={cfg.task.name if known else 'vesicle'}", "output_dir=none"]
    with nullcontext() if started else sources():
        default = compose("config", overrides)
    allowed = list(default.allow_targets)
    default.allow_targets = cfg.allow_targets  # the task may name a class of its own module
    defaults = dataclasses.asdict(read(default)) | {"allow_targets": allowed}
    before, here = _flat(defaults), _flat(dataclasses.asdict(cfg))
    written = _flat(OmegaConf.to_container(default))
    follows = {
        name: value[2:-1] for name, value in written.items() if isinstance(value, str) and _REFERENCE.match(value)
    }
    names = [name for name in {**here, **before} if before.get(name) != here.get(name)]
    # optimizer.lr, say, follows trainer.lr unless it was given a value of its own
    names = [name for name in names if name not in follows or here.get(name) != here.get(follows[name])]
    return {name: (before.get(name), here.get(name)) for name in names}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names; entries of a list of groups by their number."""
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else str(key), part) for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        parts = [(f"{name}.{index}", part) for index, part in enumerate(value)]
    else:
        return {name: value}
    return {key: leaf for path, part in parts for key, leaf in _flat(part, path).items()}
