"""The tasks' lists of operations in stock Kornia: what this package's own are timed against.

Each list is what ``operations`` of a ``conf/augment/*.yaml`` would hold. Probabilities and ranges are those of
conf/augment. Where Kornia lacks an operation the nearest one stands for it: a square is a gamma of 2, a multiplication
is its contrast. Its CLAHE keeps 8x8 tiles, since its ``grid_size`` takes no list. Kornia samples affine map and elastic
deformation one after the other. Images lie in [0, 1].
"""

from typing import Any

import kornia.augmentation as K

from segexp.config import build


def _geometry(degrees: float, scale: list[float], shear: list[float] | None, p: float) -> list[dict[str, Any]]:
    affine = {"degrees": degrees, "scale": scale, "shear": shear, "padding_mode": "reflection", "p": p}
    return [
        {"_target_": "kornia.augmentation.RandomHorizontalFlip", "p": 0.5},
        {"_target_": "kornia.augmentation.RandomVerticalFlip", "p": 0.5},
        {"_target_": "kornia.augmentation.RandomRotation90", "times": [1, 1], "p": 0.5},
        {"_target_": "kornia.augmentation.RandomAffine", **affine},
    ]


KORNIA: dict[str, list[dict[str, Any]]] = {
    "cytoskeleton": [
        *_geometry(20.0, [0.85, 1.15], [-5.0, 5.0], 0.3),
        {"_target_": "kornia.augmentation.RandomElasticTransform", "padding_mode": "reflection", "p": 0.3},
        {"_target_": "kornia.augmentation.RandomClahe", "clip_limit": [1.0, 4.0], "p": 0.3},
        {"_target_": "kornia.augmentation.RandomGamma", "gamma": [0.7, 1.5], "p": 0.3},
        {"_target_": "kornia.augmentation.RandomBrightness", "brightness": [0.9, 1.1], "p": 0.5},
        {"_target_": "kornia.augmentation.RandomContrast", "contrast": [0.75, 1.33], "p": 0.5},
    ],
    "vesicle": [
        *_geometry(45.0, [0.8, 1.25], None, 0.2),
        {"_target_": "kornia.augmentation.RandomGamma", "gamma": [2.0, 2.0], "p": 0.1},
        {
            "_target_": "kornia.augmentation.RandomContrast",
            "contrast": [1.0, 65000.0],
            "clip_output": False,
            "p": 0.3,
        },
    ],
}


def stock_kornia(task: str) -> K.AugmentationSequential:
    """The task's list in Kornia's own container, for images and masks (floats) alike."""
    return K.AugmentationSequential(*build(KORNIA[task]), data_keys=["input", "mask"])
