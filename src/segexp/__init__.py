"""U-Nets for filaments and vesicles: train, evaluate, predict.

The names below are the public ones for notebooks. They are imported when first used, so that predicting with a finished
model loads neither Hydra nor Kornia.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segexp.config import load_augment
    from segexp.errors import InputError
    from segexp.inference.predictor import load_model
    from segexp.io.images import read_image, read_mask

# Torch's threads spin while they wait, unless told otherwise before torch is imported. Beside any other busy process
# that costs up to a factor of five; sleeping instead costs nothing measurable (LOG.md, 2026-11-24).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["InputError", "load_augment", "load_model", "read_image", "read_mask"]

_HOMES = {
    "InputError": "segexp.errors",
    "load_augment": "segexp.config",
    "load_model": "segexp.inference.predictor",
    "read_image": "segexp.io.images",
    "read_mask": "segexp.io.images",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'segexp' has no attribute {name!r}")
