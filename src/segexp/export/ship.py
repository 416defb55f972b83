"""From a run to a file that the package ships: weights in half precision, and of the facts those that matter to others.

    python -m segexp.export.ship runs/cytoskeleton/... src/segexp/pretrained/cytoskeleton.pth

Matrices become float16; biases, norms and their running statistics stay float32. The file is read like any other model.
"""

import sys
from pathlib import Path

import torch

from segexp import checkpoint

KEPT = (
    "task", "versions", "data", "model", "normalization", "classes", "threshold", "min_size", "temperature",
    "pixel_size", "reading", "measure", "metrics",
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
