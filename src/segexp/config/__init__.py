"""Settings: where `conf/` is, whether a composed configuration is valid, and modules built from its nodes.

Hydra composes the YAML; `read` turns the result into the dataclasses of `schema` or raises one `InputError` that lists
everything that is wrong with it. Nothing below `segexp.train` sees these classes.
"""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segexp.config.schema import DataConfig, DebugConfig, RunConfig, RunKeys, TaskConfig, TrainerConfig
from segexp.config.targets import WEIGHTS, build, check_node, own_scores
from segexp.errors import InputError
from segexp.io.records import read_yaml, texts

__all__ = [
    "RunConfig",
    "build",
    "check_node",
    "conf_dir",
    "load_augment",
    "package_conf_dir",
    "read",
    "use_conf_beside",
]

T = TypeVar("T")

NODES = ("model", "augment", "loss", "optimizer", "scheduler", "logger", "callbacks")
"""Groups whose ``_target_`` names the class of a part of the run."""

MOVED = {
    "task.loss.bce": "loss.ce.weight",
    "task.loss.dice": "loss.dice.weight",
    "task.loss.cldice": "loss.cldice.weight, with loss=filament,",
    "task.loss.cldice_iterations": "loss.cldice.iterations, with loss=filament,",
    "task.loss": "loss",
    "trainer.mlflow": "logger.mlflow.uri, with logger=[tensorboard,mlflow],",
}
"""Settings of earlier versions and what they are called now."""

_RESOLVER = re.compile(r"\$\{[^{}]*:")
"""A value that OmegaConf would look up: an environment variable, the time, a file."""


CONF = "SEGEXP_CONF"
"""Environment variable with the folder of YAML files, for this process and those that it starts."""


def conf_dir() -> Path:
    """The folder of YAML files: ``conf/`` beside ``train.py`` if that script was started, else the package's."""
    return Path(os.environ[CONF]) if os.environ.get(CONF) else package_conf_dir()


def use_conf_beside(script: str | Path) -> None:
    """Use ``conf/`` beside `script` if it holds a ``config.yaml``, instead of the installed package's."""
    beside = Path(script).resolve().parent / "conf"
    if (beside / "config.yaml").is_file() and beside != package_conf_dir():
        os.environ[CONF] = str(beside)


def package_conf_dir() -> Path:
    """The folder of YAML files inside the installed package, or at the root of the checkout it is imported from.

    Raises:
        FileNotFoundError: if the installation is damaged.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"no conf/config.yaml in {package} or {package.parent.parent}: the installation of segexp is incomplete"
    )


def read(cfg: DictConfig) -> RunConfig:
    """Check a composed configuration: first for missing keys, then unknown ones, then wrong types and ranges.

    Raises:
        InputError: lists all problems of the first kind that occurs.
    """
    missing = sorted(_missing(OmegaConf.to_container(cfg, resolve=False)))  # what is referred to may be missing, too
    if missing:
        raise InputError("missing: " + ", ".join(missing))
    problems: list[str] = []
    sections = {"task": TaskConfig, "data": DataConfig, "trainer": TrainerConfig, "debug": DebugConfig}
    absent = [name for name in (*sections, *NODES) if not isinstance(cfg.get(name), DictConfig)]
    if absent:
        raise InputError("missing: " + ", ".join(absent))
    unknown = _unknown_keys("", cfg, RunKeys, known=(*sections, *NODES))
    for name, schema in sections.items():
        unknown += _unknown_keys(name, cfg[name], schema)
    if unknown:
        raise InputError(*unknown)
    run = _typed("", cfg, RunKeys, problems)
    allowed = tuple(run.allow_targets) if run else ()
    try:  # before the task, which may monitor one of them
        own_scores(_names(cfg.task.get("scores")), allowed)
    except InputError as error:
        problems += str(error).splitlines()
    parts = {name: _typed(name, cfg[name], schema, problems) for name, schema in sections.items()}
    nodes = {}
    for name in NODES:
        try:
            nodes[name] = OmegaConf.to_container(cfg[name], resolve=True)
            check_node(nodes[name], name, allowed)
            if name == "loss":
                check_weights(nodes[name])
            if name in ("logger", "callbacks"):
                check_named(name, nodes[name])
            if name == "model":
                check_start(nodes[name])
        except OmegaConfBaseException as error:
            problems.append(f"{name}: {str(error).splitlines()[0]}")
        except InputError as error:
            problems += str(error).splitlines()
    if not problems and run is not None:
        return RunConfig(**parts, **nodes, seed=run.seed, allow_targets=run.allow_targets)  # type: ignore[arg-type]
    raise InputError(*problems)


def _missing(value: Any, name: str = "") -> list[str]:
    """Names of the settings without a value inside `value`, the value of the setting `name`."""
    if isinstance(value, dict):
        return [key for part in value for key in _missing(value[part], f"{name}.{part}" if name else str(part))]
    if isinstance(value, list):
        return [key for index, part in enumerate(value) for key in _missing(part, f"{name}[{index}]")]
    return [name] if value == "???" else []


def check_named(group: str, nodes: Any) -> None:
    """Raise `InputError` if an entry of ``logger`` or ``callbacks`` is not a node."""
    problems = [
        f"{group}.{name}={node}: expected an entry with a _target_, a class derived from "
        "segexp.training.callbacks.Callback"
        for name, node in nodes.items()
        if not isinstance(node, dict) or "_target_" not in node
    ]
    if problems:
        raise InputError(*problems)


def check_start(node: Any) -> None:
    """Raise `InputError` if ``model.weights`` is neither text nor null."""
    weights = node.get(WEIGHTS)
    if weights is not None and not (isinstance(weights, str) and weights.strip()):
        expected = "a model file, a run, a sweep, or the name of a ready model"
        raise InputError(f"model.weights={weights}: expected {expected}; null starts from random weights")


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, ListConfig) else []


def check_weights(terms: Any) -> None:
    """Raise `InputError` if the terms of the loss are not named, or a weight is not a number of at least 0."""
    problems, weights = [], []
    for name, term in terms.items():
        if not isinstance(term, dict) or "_target_" not in term:
            problems.append(f"loss.{name}: expected a term of the loss, with a _target_ and a weight")
            continue
        weight = term.get("weight", 1.0)
        fine = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < math.inf
        weights.append(weight if fine else 1.0)
        if not fine:
            problems.append(f"loss.{name}.weight={weight}: expected a number, 0 or more")
    if not problems and not any(weights):
        problems.append("loss: the weight of every term is 0; expected one above 0")
    if problems:
        raise InputError(*problems)


def _fields(schema: type) -> dict[str, Any]:
    hints = get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def _unknown_keys(section: str, node: Any, schema: type, known: Sequence[str] = ()) -> list[str]:
    unknown = []
    fields = _fields(schema)
    for key in (key for key in node if key not in known):
        path = f"{section}.{key}" if section else str(key)
        if path in MOVED:
            names = [old for old in MOVED if old.startswith(f"{path}.")] or [path]
            unknown += [f"{old}: is called {MOVED[old]} now" for old in names]
        elif key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {section + '.' if section else ''}{near[0]}?" if near else ""
            unknown.append(f"{path}: unknown setting; no part of segexp uses it{hint}")
        elif dataclasses.is_dataclass(fields[key]) and isinstance(node[key], DictConfig):
            unknown += _unknown_keys(path, node[key], fields[key])
    return unknown


def _typed(section: str, node: Any, schema: type[T], problems: list[str]) -> T | None:
    """Build `schema` from `node`; if that fails, append the problems to `problems` and return None."""
    before = len(problems)
    values: dict[str, Any] = {}
    holder = OmegaConf.structured(schema)
    for key, kind in _fields(schema).items():
        path = f"{section}.{key}" if section else key
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            problems.append(f"{path}: {str(error).splitlines()[0]}")
            continue
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, DictConfig):
                problems.append(f"{path}={value}: expected a group of settings")
                continue
            values[key] = _typed(path, value, kind, problems)  # type: ignore[arg-type]
            continue
        if isinstance(value, str) and (kind is str or (isinstance(kind, UnionType) and str in get_args(kind))):
            values[key] = value  # as it is: assigned to a node, a folder called ${x} would become a reference again
            continue
        try:
            holder[key] = value
        except OmegaConfBaseException:
            text = list(value) if isinstance(value, ListConfig) else "null" if value is None else value
            problems.append(f"{path}={text}: expected {_in_words(kind)}")
            continue
        typed = holder[key]
        values[key] = OmegaConf.to_container(typed) if isinstance(typed, ListConfig) else typed
    if len(problems) > before:
        return None
    try:
        return schema(**values)
    except InputError as error:
        problems += str(error).splitlines()
        return None


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    int | str: "a whole number or auto",
    bool | str: "true, false or an address",
}


def _in_words(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(kind, UnionType):
        return " or ".join(_in_words(part) for part in get_args(kind))
    return "a list such as [a, b]"


def load_augment(name_or_yaml: str | Path) -> torch.nn.Module:
    """An augmentation as a module: ``(images (B, C, H, W) float, masks (B, K, H, W)) -> (images, masks)``.

    Args:
        name_or_yaml: an option of ``conf/augment`` (``vesicle``, ``cytoskeleton``, ``none``) or the path of such a
            file.

    Raises:
        InputError: if the file is missing, is not YAML of plain values, or its operations cannot be built.
    """
    path = Path(name_or_yaml)
    if path.suffix not in (".yaml", ".yml"):
        path = conf_dir() / "augment" / f"{name_or_yaml}.yaml"
    if not path.is_file():
        options = ", ".join(sorted(p.stem for p in (conf_dir() / "augment").glob("*.yaml")))
        raise InputError(f"augment={name_or_yaml}: no such file; options are {options}, or the path of a .yaml file")
    try:
        content = read_yaml(path)
        if any(_RESOLVER.search(text) for text in texts(content)):
            raise InputError(f"{path}: contains an interpolation such as ${{oc.env:...}}; expected plain values")
        node = OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a file of settings ({str(error).splitlines()[0]})") from None
    try:
        check_node(node, "augment")
        return build(node)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
