"""Names of files that a data set cannot carry to another computer."""

import re
from collections.abc import Iterable
from pathlib import Path

from segexp.check.report import Fault

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def name_faults(paths: Iterable[Path]) -> list[Fault]:
    """Names that Windows reserves, and names that differ only in case: one of the two files would be lost there."""
    faults = []
    first: dict[str, Path] = {}
    for path in paths:
        if _RESERVED.fullmatch(path.name):
            message = f"Windows reserves the name {path.stem}; rename the image and its mask"
            faults.append(Fault("name", str(path), message))
        other = first.setdefault(path.stem.casefold(), path)
        if other is not path:
            message = f"differs from {other.name} only in upper and lower case; rename one of them"
            faults.append(Fault("name", str(path), message))
    return faults
