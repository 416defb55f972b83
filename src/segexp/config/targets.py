"""The one place that instantiates a ``_target_``, restricted to what a configuration may name."""

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

import torch

from segexp.errors import InputError
from segexp.metrics import registry
from segexp.metrics.registry import Score
from segexp.models import External
from segexp.models.external import TRAINABLE, check_arguments, is_allowed, network_class
from segexp.training.callbacks import Callback
from segexp.training.schedule import Scheduler

_ALLOWED = (
    "segexp.augment.",
    "segexp.losses.",
    "segexp.models.",
    "segexp.training.muon.",
    "segexp.training.schedule.",
    "segexp.training.callbacks.",
    "segexp.training.loggers.",
    "kornia.augmentation.",
    "kornia.filters.",
    "kornia.enhance.",
    "torch.nn.",
    "torch.optim.",
)

KINDS: dict[str, tuple[type, ...]] = {
    "model": (torch.nn.Module,),
    "augment": (torch.nn.Module,),
    "loss": (torch.nn.Module,),
    "optimizer": (torch.optim.Optimizer,),
    "scheduler": (Scheduler, torch.optim.lr_scheduler.LRScheduler),
    "logger": (Callback,),
    "callbacks": (Callback,),
}
"""Group of settings -> what a ``_target_`` in it has to be a class of."""

_KEYS = ("_target_", "_partial_")
WEIGHTS = "weights"
"""Setting of ``model`` that is not an argument of the network: the model file that the run starts from."""


def target_class(target: str, allowed: tuple[str, ...] = (), kinds: tuple[type, ...] = (torch.nn.Module,)) -> type:
    """The class that a ``_target_`` names, if it is one of `kinds` from a package that configurations may use.

    Functions (``torch.hub.load``, ``os.system``) and classes from elsewhere raise `InputError`: people send each other
    configuration files, which therefore must not be able to run code.
    """
    prefixes = _ALLOWED + tuple(prefix.rstrip(".") + "." for prefix in allowed)
    if not target.startswith(prefixes):
        raise InputError(
            f"_target_ {target}: expected a class under {', '.join(p.rstrip('.') for p in prefixes)} "
            "(allow_targets=[your.package] adds your own; a network of yours is named in model.network)"
        )
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(f"_target_ {target}: {_import_fault(module_name, error)}") from None
    resolved = getattr(module, name, None)
    if not (inspect.isclass(resolved) and resolved.__module__.startswith(tuple(p.split(".")[0] for p in prefixes))):
        near = difflib.get_close_matches(name, [n for n in dir(module) if n[0].isupper()], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"_target_ {target}: {module_name} has no such class{hint}")
    if not issubclass(resolved, kinds) or inspect.isabstract(resolved):
        names = " or ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
        raise InputError(f"_target_ {target}: expected a class derived from {names}")
    return resolved


def _import_fault(module_name: str, error: Exception) -> str:
    """The message for a module that could not be imported."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{module_name}.".startswith(f"{missing}."):
        return f"no module {module_name}; put it beside the folder given with --config-dir, or on PYTHONPATH"
    if isinstance(error, ImportError):
        return f"{module_name} cannot be imported ({said})"
    return f"{module_name} fails on import: {type(error).__name__}: {said}"


def own_scores(names: Sequence[str], allowed: tuple[str, ...] = (), how: str = "allow_targets=[{}]") -> None:
    """Import the scores that are named as ``package.module.name``, each a `segexp.metrics.registry.Score`.

    Only a module under one of `allowed` is imported; `how` is the advice on what to type if it is not allowed.

    Raises:
        InputError: lists all names that cannot be used.
    """
    problems = []
    for key in names:
        module_name, _, name = key.rpartition(".")
        if not module_name:
            continue
        try:
            if not is_allowed(key, allowed):
                raise InputError(f"not a module that may be imported; type {how.format(module_name)}")
            try:
                score = getattr(importlib.import_module(module_name), name, None)
            except ImportError as error:
                raise InputError(f"{module_name} cannot be imported ({error}); put its folder on PYTHONPATH") from None
            except Exception as error:  # a module may raise anything while it is imported
                raise InputError(f"{module_name} fails on import: {type(error).__name__}: {error}") from None
            if not isinstance(score, Score):
                raise InputError(f"{module_name} has no segexp.metrics.registry.Score of this name")
            registry.add(key, score)
        except ValueError as error:
            problems.append(f"score {key}: {error}")
    if problems:
        raise InputError(*problems)


def check_node(node: Any, path: str, allowed: tuple[str, ...] = ()) -> None:
    """Raise `InputError` if a node names a forbidden target or an argument that its class lacks.

    What it may name follows from the first word of `path`: see `KINDS`.
    """
    if isinstance(node, list):
        for index, item in enumerate(node):
            check_node(item, f"{path}[{index}]", allowed)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        check_node(value, f"{path}.{key}", allowed)
    if "_target_" not in node:
        if path in ("model", "augment", "optimizer", "scheduler"):
            raise InputError(f"{path}: holds no _target_")
        return
    try:
        resolved = target_class(str(node["_target_"]), allowed, _kinds(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if node.get("_partial_") not in (None, True, False):
        raise InputError(f"{path}._partial_={node['_partial_']}: expected true or false")
    if resolved is External:
        check_external(node, path, allowed)
    parameters = inspect.signature(resolved).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    own = (*_KEYS, "weight") if re.fullmatch(r"loss\.\w+", path) else _KEYS  # a term's weight is the sum's, not its own
    own = (*own, WEIGHTS) if path == "model" else own
    for key in node:
        if key not in own and key not in parameters:
            near = difflib.get_close_matches(str(key), parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{path}.{key}: {resolved.__name__} takes {', '.join(parameters) or 'nothing'}{hint}")


def _kinds(path: str) -> tuple[type, ...]:
    return KINDS.get(path.split(".")[0].split("[")[0], (torch.nn.Module,))


def check_external(node: dict[str, Any], path: str, allowed: tuple[str, ...]) -> None:
    """Raise `InputError` if another package's network is not allowed, or its class does not take the arguments."""
    for key in ("allowed", "how"):
        if key in node:
            raise InputError(f"{path}.{key}: not a setting; give allow_targets=[your.package]")
    resolved = network_class(node.get("network"), (*TRAINABLE, *allowed))
    names = [node[key] for key in ("channels_as", "classes_as") if key in node]
    check_arguments(resolved, node.get("arguments") or {}, names)


def build(node: Any, allowed: tuple[str, ...] = (), path: str = "", **more: Any) -> Any:
    """Instantiate a node and the nodes inside it; `more` are further keyword arguments of the outermost class.

    A node with ``_partial_: true`` becomes a function of the remaining arguments, which only a run has, such as an
    optimiser's parameters. `path` is the node's name, beginning with its group, which decides what classes it may name.

    Raises:
        InputError: if a target is not allowed, or its class refuses the arguments.
    """
    if isinstance(node, list):
        return [build(item, allowed, path) for item in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build(value, allowed, path) for key, value in node.items() if key not in _KEYS}
    if "_target_" not in node:
        return arguments
    resolved = target_class(str(node["_target_"]), allowed, _kinds(path))
    if resolved is External:
        more["allowed"] = (*TRAINABLE, *allowed)
    if node.get("_partial_"):
        return functools.partial(resolved, **arguments, **more)
    try:
        return resolved(**arguments, **more)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{f'{path}: ' if path else ''}{node['_target_']}: {error}") from error
