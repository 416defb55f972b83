"""Pretrained models that come with the package, by name: ``segexp predict --model cytoskeleton``.

They were trained on generated images alone (docs/zero-annotation.md). `segexp.export.ship` makes the files. Each has a
card in ``cards.yaml``: what it is for and not for, the command that made it, its scores on real images, and which
generated images show it at work.
"""

from pathlib import Path
from typing import Any

NAMES = ("vesicle", "vesicle_electron", "vesicle_giant", "cytoskeleton")


def located(path: str | Path) -> Path:
    """The file of a pretrained model if `path` is one of `NAMES` and no such file exists, else `path` itself."""
    path = Path(path)
    return shipped(str(path)) if str(path) in NAMES and not path.is_file() else path


def shipped(name: str) -> Path:
    """The file of the pretrained model `name`, one of `NAMES`, whatever else has that name."""
    return Path(__file__).parent / f"{name}.pth"


def cards() -> dict[str, dict[str, Any]]:
    """The card of each model, by name: ``for``, ``not_for``, ``recipe``, ``made``, ``scores``, ``pictures``."""
    import yaml

    content = yaml.safe_load((Path(__file__).parent / "cards.yaml").read_text(encoding="utf-8"))
    return {name: content[name] for name in NAMES}


def score_line(row: dict[str, Any]) -> str:
    """A score in words: ``Dice 0.91 (0.89 to 0.92) on nuclei, 36 images``."""
    low, high = row["interval"]
    return f"{row['score']} {row['value']:.2f} ({low:.2f} to {high:.2f}) on {row['set']}, {row['images']} images"
