"""Settings composed outside of a run, for the commands that look at what a run would do."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from segexp.config import RunConfig, conf_dir, read
from segexp.errors import InputError


@contextmanager
def sources(config_dir: str | None = None) -> Iterator[None]:
    """Within it ``hydra.compose`` finds ``conf/`` and, before it, a folder of one's own, as ``--config-dir`` has it.

    What Hydra refuses is raised as `InputError`.
    """
    if config_dir is not None and not os.path.isdir(config_dir):
        raise InputError(f"--config-dir {config_dir}: no such folder")
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            if config_dir is not None:
                path = create_config_search_path(str(conf_dir()))
                first = f"file://{os.path.abspath(config_dir)}"
                path.prepend(provider="command-line", path=first, anchor=SearchPathQuery(provider="schema"))
                GlobalHydra.instance().clear()
                Hydra.create_main_hydra2(task_name="segexp", config_search_path=path)
            yield
    except HydraException as error:
        raise InputError(*str(error).splitlines()) from None


def composed(overrides: Sequence[str], config_dir: str | None = None) -> RunConfig:
    """The checked settings that overrides ask for; no folder is made."""
    with sources(config_dir):
        return read(compose("config", [*overrides, "output_dir=none"]))
