"""The tasks' lists of operations in stock Kornia: what this package's own are timed against.

They are read from ``conf/augment/*_kornia.yaml``, which say what Kornia lacks and clamps. Here images lie in [0, 1]
already, so what brings them there and back is left out. Kornia samples affine map and elastic deformation one after the
other.
"""

from typing import Any

import kornia.augmentation as K

from segexp.config import build, conf_dir
from segexp.io.records import read_yaml


def operations(task: str) -> list[dict[str, Any]]:
    """The random operations of ``augment=<task>_kornia``, as nodes."""
    nodes = read_yaml(conf_dir() / "augment" / f"{task}_kornia.yaml")["operations"]
    return [node for node in nodes if node["_target_"].startswith("kornia.augmentation.Random")]


def stock_kornia(task: str) -> K.AugmentationSequential:
    """The task's list in Kornia's own container, for images and masks (floats) alike."""
    return K.AugmentationSequential(*build(operations(task)), data_keys=["input", "mask"])
