"""The one place that instantiates a ``_target_``, and only what a configuration may name."""

import difflib
import importlib
import inspect
from typing import Any

import torch

from segexp.errors import InputError

_ALLOWED = (
    "segexp.augment.",
    "segexp.models.",
    "kornia.augmentation.",
    "kornia.filters.",
    "kornia.enhance.",
    "torch.nn.",
)


def target_class(target: str, allowed: tuple[str, ...] = ()) -> type[torch.nn.Module]:
    """The class that a ``_target_`` names, if it is an ``nn.Module`` from a place that configurations may use.

    Functions (``torch.hub.load``, ``os.system``) and classes from elsewhere raise `InputError`: a configuration file is
    something people send each other, and must not be able to run code.
    """
    prefixes = _ALLOWED + tuple(prefix.rstrip(".") + "." for prefix in allowed)
    if not target.startswith(prefixes):
        raise InputError(
            f"_target_ {target}: expected a class under {', '.join(p.rstrip('.') for p in prefixes)} "
            "(allow_targets=[your.package] extends it for the augmentation; a model must be one of segexp.models)"
        )
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError:
        raise InputError(f"_target_ {target}: no module {module_name}") from None
    resolved = getattr(module, name, None)
    if not (
        inspect.isclass(resolved)
        and issubclass(resolved, torch.nn.Module)
        and resolved.__module__.startswith(tuple(prefix.split(".")[0] for prefix in prefixes))
    ):
        near = difflib.get_close_matches(name, [n for n in dir(module) if n[0].isupper()], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"_target_ {target}: {module_name} has no such module class{hint}")
    return resolved


def check_node(node: Any, path: str, allowed: tuple[str, ...] = ()) -> None:
    """Raise `InputError` where a node names a forbidden target or an argument that its class lacks."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            check_node(item, f"{path}[{index}]", allowed)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        check_node(value, f"{path}.{key}", allowed)
    if "_target_" not in node:
        if path in ("model", "augment"):
            raise InputError(f"{path}: holds no _target_")
        return
    try:
        resolved = target_class(str(node["_target_"]), allowed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    parameters = inspect.signature(resolved).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in node:
        if key != "_target_" and key not in parameters:
            near = difflib.get_close_matches(str(key), parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{path}.{key}: {resolved.__name__} takes {', '.join(parameters)}{hint}")


def build(node: Any, allowed: tuple[str, ...] = (), **more: Any) -> Any:
    """Instantiate a node and the nodes inside it; `more` are further keyword arguments of the outermost class."""
    if isinstance(node, list):
        return [build(item, allowed) for item in node]
    if not isinstance(node, dict):
        return node
    arguments = {key: build(value, allowed) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return arguments
    resolved = target_class(str(node["_target_"]), allowed)
    try:
        return resolved(**arguments, **more)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{node['_target_']}: {error}") from error
