"""Compose settings outside of a run, for commands that inspect what a run would do."""

import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from segexp.config import RunConfig, conf_dir, read
from segexp.config.typed import GROUPS, parsed, quote
from segexp.errors import InputError
from segexp.io.records import read_yaml

MOST_FILES = 1000
"""Largest number of YAML files in a ``--config-dir`` that are checked before Hydra reads them."""


def lab_folders(arguments: Sequence[str]) -> list[str]:
    """The folders given with ``--config-dir=`` on a command line."""
    return [word.partition("=")[2] for word in arguments if word.startswith("--config-dir=")]


def searched_folders(words: Sequence[str]) -> list[str]:
    """The folders that ``hydra.searchpath=[...]`` names on a command line; those inside packages are left out."""
    overrides = [parsed(word) for word in words if word.lstrip("+").startswith("hydra.searchpath=")]
    listed = overrides[-1].value() if overrides and overrides[-1] is not None else None
    entries = [str(entry).removeprefix("file://") for entry in (listed if isinstance(listed, list) else ())]
    return [entry for entry in entries if "://" not in entry]


def add_folder(folder: str, flag: str) -> None:
    """Append the parent of a folder of options, given by `flag`, to ``sys.path``, so that its modules can be imported.

    Nothing is imported here: a ``_target_`` may name such a module only if ``allow_targets`` lists it.

    Raises:
        InputError: if there is no such folder, or it holds the stored settings of a run.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{flag} {folder}: no such folder")
    if (Path(folder) / "overrides.yaml").is_file() and (Path(folder) / "hydra.yaml").is_file():
        run = Path(folder).resolve().parent
        raise InputError(
            f"{flag} {folder}: these are the stored settings of a run, not a folder of options. To resume "
            f"the run, type resume={quote(str(run))}; to repeat it elsewhere, type the overrides in "
            f"{Path(folder) / 'overrides.yaml'} again with another output_dir"
        )
    beside = str(Path(folder).resolve().parent)
    if beside not in sys.path:
        sys.path.append(beside)


def add_lab(config_dir: str) -> None:
    """Check the folder of options that ``--config-dir`` names, and add it.

    A folder of ``hydra.searchpath`` is only added: it may be a whole project, with YAML files for other programs.

    Raises:
        InputError: as `add_folder`, and if a YAML file in the folder is damaged or holds more than values: Hydra
            answers with a traceback.
    """
    add_folder(config_dir, "--config-dir")
    for path in islice(Path(config_dir).rglob("*.yaml"), MOST_FILES):
        content = read_yaml(path)
        if content is not None and not isinstance(content, dict):
            raise InputError(f"{path}: holds no settings; expected lines such as name: nucleus")


class DamagedOption(InputError):
    """A file of options is not YAML; the message names it."""


def _damaged(error: YAMLError) -> DamagedOption:
    """The error for a YAML error that Hydra met while composing; it names the file."""
    mark = getattr(error, "problem_mark", None)
    file = getattr(mark, "name", None) or getattr(error, "name", None) or "a file of options"
    where = "" if mark is None else f", line {mark.line + 1}"
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return DamagedOption(f"{file}{where}: not YAML ({what}); expected lines such as name: nucleus")


class UnknownWord(InputError):
    """A setting or an option that does not exist, or no task; the message says what to type in its place."""


def _unknown_word(message: str) -> UnknownWord | None:
    """Hydra's message about a word of the command line in segexp's words; None for any other. Hydra is initialised."""
    if message.startswith("You must specify 'task'"):
        tasks = " or ".join(f"task={name}" for name in _options("task"))
        return UnknownWord(f"task: missing; expected {tasks}, such as: segexp train task=vesicle data.root=DATA")
    found = re.search(r"Could not find '(\w+)/([^']+)'", message)
    if found and found[1] in GROUPS:
        group, name = found.groups()
        options = _options(group)
        near = difflib.get_close_matches(name, options, n=1)
        hint = f"did you mean {group}={near[0]}? Expected" if near else "expected"
        return UnknownWord(f"{group}={name}: no such option; {hint} one of {', '.join(options)}")
    found = re.match(r"Could not override '([\w.]+)'", message)
    if found is None:
        return None
    key = found[1]
    section, _, rest = key.partition(".")
    if rest and section in OPEN:
        return UnknownWord(
            f"{key}: the chosen {section} has no such setting; segexp train --help lists those of the usual one, and "
            f"+{key}=VALUE adds one that its class takes"
        )
    keys = [name for name in _keys(compose("config", ["task=vesicle", "output_dir=none"])) if not name.startswith(OPEN)]
    leaf = [name for name in keys if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = leaf if len(leaf) == 1 else difflib.get_close_matches(key, [*keys, *sorted(GROUPS)], n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return UnknownWord(f"{key}: no such setting{hint} segexp train --help lists all")


OPEN = ("model", "augment", "loss", "optimizer", "scheduler", "logger", "callbacks")
"""Sections whose settings are the arguments of a class that the chosen option names."""


def _options(group: str) -> list[str]:
    """The options of a group that can be chosen; ``base`` is what tasks are made from."""
    return [name for name in GlobalHydra.instance().config_loader().get_group_options(group) if name != "base"]


def _keys(config: DictConfig, before: str = "") -> list[str]:
    """Every setting, with dots."""
    names = []
    for name in map(str, config):
        key = f"{before}{name}"
        child = None if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name) else config[name]
        names += _keys(child, f"{key}.") if isinstance(child, DictConfig) else [key]
    return names


@contextmanager
def sources(config_dir: str | None = None) -> Iterator[None]:
    """Let ``hydra.compose`` find ``conf/`` within the block and, first, `config_dir`, as ``--config-dir`` does.

    Raises:
        DamagedOption: if a file that Hydra reads is not YAML.
        UnknownWord: if a setting or option does not exist, or no task is given.
        InputError: if Hydra refuses anything else.
    """
    if config_dir is not None:
        add_lab(config_dir)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            if config_dir is not None:
                path = create_config_search_path(str(conf_dir()))
                first = f"file://{os.path.abspath(config_dir)}"
                path.prepend(provider="command-line", path=first, anchor=SearchPathQuery(provider="schema"))
                GlobalHydra.instance().clear()
                Hydra.create_main_hydra2(task_name="segexp", config_search_path=path)
            try:
                yield
            except HydraException as error:
                explained = _unknown_word(str(error))
                if explained is not None:
                    raise explained from None
                raise
    except HydraException as error:
        raise InputError(*str(error).splitlines()) from None
    except YAMLError as error:
        raise _damaged(error) from None


def compose_config(overrides: Sequence[str], config_dir: str | None = None) -> RunConfig:
    """The checked settings that result from the overrides; no folder is created.

    Raises:
        InputError: if Hydra or the schema refuses them.
    """
    for folder in searched_folders(overrides):
        add_folder(folder, "hydra.searchpath")
    with sources(config_dir):
        return read(compose("config", [*overrides, "output_dir=none"]))
