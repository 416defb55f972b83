"""The augmentation recipes of the tasks made of Kornia's own operations: the baseline for this package's.

They are read from ``conf/augment/*_kornia.yaml``, which state what Kornia lacks and clamps. Here images already lie in
[0, 1], so the operations that rescale them are left out. Kornia resamples twice, for the affine map and for the elastic
deformation.
"""

from typing import Any

import kornia.augmentation as K

from segexp.config import build, conf_dir
from segexp.io.records import read_yaml


def operations(task: str) -> list[dict[str, Any]]:
    """Return the random operations of ``augment=<task>_kornia``, as configuration nodes."""
    nodes = read_yaml(conf_dir() / "augment" / f"{task}_kornia.yaml")["operations"]
    return [node for node in nodes if node["_target_"].startswith("kornia.augmentation.Random")]


def stock_kornia(task: str) -> K.AugmentationSequential:
    """Return the task's recipe in Kornia's own container, for images and masks (floats)."""
    return K.AugmentationSequential(*build(operations(task)), data_keys=["input", "mask"])
