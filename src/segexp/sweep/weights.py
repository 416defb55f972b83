"""The model file that ``model.weights`` names."""

from collections.abc import Callable
from pathlib import Path

from segexp.config import RunConfig
from segexp.config.folders import existing
from segexp.config.targets import WEIGHTS
from segexp.errors import InputError
from segexp.sweep.selection import find_model


def start_file(cfg: RunConfig, log: Callable[[str], None] = print) -> Path | None:
    """The model file that ``model.weights`` names: a file, or that of a run, a sweep or a ready model; None: not set.

    Raises:
        InputError: if it names nothing that can be read.
    """
    typed = cfg.model.get(WEIGHTS)
    if typed is None:
        return None
    try:
        return find_model(existing(typed), log)
    except InputError as error:
        raise InputError(f"model.weights={typed}: {error}") from None
