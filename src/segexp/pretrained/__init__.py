"""Finished models that come with the package, by name: ``segexp predict --model cytoskeleton``.

They were trained on generated images alone (docs/zero-annotation.md). `segexp.export.ship` makes the files.
"""

from pathlib import Path

NAMES = ("vesicle", "cytoskeleton")


def located(path: str | Path) -> Path:
    """The file of the shipped model where `path` is one of `NAMES` and no such file exists, else `path` as it is."""
    path = Path(path)
    return Path(__file__).parent / f"{path}.pth" if str(path) in NAMES and not path.is_file() else path
