"""Base of the sections of the settings, which report all values out of range at once."""

import math

from segexp.errors import InputError


def require(problems: list[str], fine: bool, message: str) -> None:
    """Add `message` to `problems` unless `fine`."""
    if not fine:
        problems.append(message)


def require_positive(problems: list[str], name: str, micrometres: float | None) -> None:
    """Add a problem unless a pixel size is a positive number, or None."""
    fine = micrometres is None or 0 < micrometres < math.inf
    require(problems, fine, f"{name}={micrometres}: expected micrometres a pixel, such as 0.1, or null")


class Checked:
    """Base of the sections: `problems` lists the values out of range, and creating one with any raises `InputError`."""

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise InputError(*problems)

    def problems(self) -> list[str]:
        return []
