"""Augmentation of whole batches on the device the model runs on: Kornia operations and their composition."""

from segexp.augment.clahe import RandomCLAHE, clahe
from segexp.augment.intensity import (
    RandomBlur,
    RandomBrightnessContrast,
    RandomExtremeScale,
    RandomGamma,
    RandomIllumination,
    RandomSquare,
    Standardize,
)
from segexp.augment.noise import RandomPhotonNoise
from segexp.augment.pipeline import Augmentation
from segexp.augment.warp import RandomFlip, RandomWarp

__all__ = [
    "Augmentation",
    "RandomBlur",
    "RandomBrightnessContrast",
    "RandomCLAHE",
    "RandomExtremeScale",
    "RandomFlip",
    "RandomGamma",
    "RandomIllumination",
    "RandomPhotonNoise",
    "RandomSquare",
    "RandomWarp",
    "Standardize",
    "clahe",
]
