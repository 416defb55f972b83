"""Turn a run into a model file for the package: weights in half precision, and the facts that matter to others.

    python -m segexp.export.ship runs/cytoskeleton/... src/segexp/pretrained/cytoskeleton.pth

Matrices become float16; biases, norms and their running statistics stay float32. The file is read like any other model.
With the second path alone, a shipped file gets the ranges of many generated images, by which it tells those that are
unlike them (`segexp.inference.misfit`); its weights stay as they are:

    python -m segexp.export.ship src/segexp/pretrained/cytoskeleton.pth
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segexp import checkpoint, synthesis
from segexp.inference.misfit import KEY, MOST, describe_pixels, ranges_of
from segexp.inference.predictor import load_model

KEPT = (
    "task", "versions", "data", "model", "normalization", "classes", "threshold", "min_size", "temperature",
    "pixel_size", "reading", "measure", "metrics", "appearance",
)  # fmt: skip


def ship(run: Path, target: Path) -> None:
    """Write the best model of a run's folder to `target`."""
    (source,) = run.glob("best_*_model.pth")
    content = checkpoint.load(source)
    weights = {
        name: tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        for name, tensor in content["weights"].items()
    }
    checkpoint.save(target, {name: content[name] for name in KEPT if name in content} | {"weights": weights})


def add_ranges(target: Path, images: int = 2 * MOST, size: int = 384, seed: int = 20_261_127) -> None:
    """Add the appearance of generated images of the model's task, and its predictions for them, to the file."""
    content = checkpoint.load(target)
    predictor = load_model(target, "cpu", "fp32")
    style = content["data"]["generated"].get("style")
    chosen: dict[str, Any] = {"style": style} if style else {}
    pictures, masks = synthesis.generate(content["task"], images, size, seed, **chosen)
    found = [predictor.labels(predictor.probabilities(picture[None])) for picture in pictures]
    shares = [float(np.count_nonzero(each)) / each.size for each in [*masks, *found]]
    ranges = ranges_of([describe_pixels(picture[None]) for picture in pictures], shares)
    checkpoint.save(target, content | {KEY: ranges})


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 2:
        add_ranges(Path(sys.argv[1]))
    else:
        ship(Path(sys.argv[1]), Path(sys.argv[2]))
