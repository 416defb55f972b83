"""Pretrained models that come with the package, by name: ``segexp predict --model cytoskeleton``.

They were trained on generated images alone (docs/zero-annotation.md). `segexp.export.ship` makes the files. Each has a
card in ``cards.yaml``: what it is for and not for, the command that made it, and its scores on real images.
"""

from pathlib import Path
from typing import Any

NAMES = ("vesicle", "vesicle_electron", "vesicle_giant", "cytoskeleton")


def located(path: str | Path) -> Path:
    """The file of a pretrained model if `path` is one of `NAMES` and no such file exists, else `path` itself."""
    path = Path(path)
    return Path(__file__).parent / f"{path}.pth" if str(path) in NAMES and not path.is_file() else path


def cards() -> dict[str, dict[str, Any]]:
    """The card of each model, by name: ``for``, ``not_for``, ``recipe``, ``made``, ``picture``, ``scores``."""
    import yaml

    content = yaml.safe_load((Path(__file__).parent / "cards.yaml").read_text(encoding="utf-8"))
    return {name: content[name] for name in NAMES}
