"""Compute ``kinds.npz``, with which ``segexp predict --model auto`` classifies images (`segexp.inference.kinds`).

python -m segexp.export.kinds src/segexp/pretrained/kinds.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp import synthesis
from segexp.inference.kinds import describe, learned
from segexp.io import atomic
from segexp.pretrained import NAMES

DRAWN: dict[str, tuple[str, dict[str, Any]]] = {
    "vesicle": ("vesicle", {"style": ["cells", "field", "large", "any"]}),
    "vesicle_electron": ("vesicle", {"style": ["electron"]}),
    "vesicle_giant": ("vesicle", {"style": ["giant"]}),
    "cytoskeleton": ("cytoskeleton", {}),
}
"""Model -> the task and the styles that represent it; no styles: all."""


def write(target: Path, images: int = 300, size: int = 384, seed: int = 20_261_127) -> None:
    """Compute features of generated images of each kind and write ``kinds.npz``; takes about five minutes."""
    numbers = {}
    for name in NAMES:
        task, styles = DRAWN[name]
        drawn = synthesis.generate_scenes(task, images, size, seed, **styles)
        numbers[name] = np.stack([describe(scene.image[None]) for scene in drawn])
    facts = {key: value.astype(np.float32) for key, value in learned(numbers).items()}
    with atomic.replacing(target) as file:
        np.savez_compressed(file, **facts)  # type: ignore[arg-type]


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]))
