"""What may vary from image to image: a table of named ranges, each with a unit, and how one value is drawn from each.

A table says everything a generator can vary; a style narrows some of its rows (dark cells, bright field, ...); the
caller narrows them further. One uniform number is drawn per row whatever its limits are, so narrowing one row leaves
the draws of all others as they were: what a calibration needs to compare two settings on the same scenes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Limits = float | tuple[float, float]


@dataclass(frozen=True)
class Range:
    """One row: values lie in [low, high], in the given unit, evenly in value, in logarithm or over the integers.

    A row of spacing "chance" is drawn as 1 (yes) with a probability of (low + high) / 2, else as 0.
    """

    low: float
    high: float
    unit: str
    meaning: str
    spacing: Literal["linear", "log", "integer", "chance"] = "linear"

    def at(self, share: float) -> float:
        """Give the value that a share in [0, 1) of the range lies below."""
        if self.spacing == "log" and self.low < self.high:
            return float(self.low * (self.high / self.low) ** share)
        if self.spacing == "chance":
            return float(share < (self.low + self.high) / 2.0)
        if self.spacing == "integer":
            return float(np.floor(self.low + (self.high - self.low + 1) * share))
        return float(self.low + (self.high - self.low) * share)

    def narrowed(self, name: str, limits: Limits) -> "Range":
        """Give this row with other limits: one number (always that value) or a pair (low, high).

        Raises:
            ValueError: if the limits are none, or out of range.
        """
        low, high = limits if isinstance(limits, tuple | list) and len(limits) == 2 else (limits, limits)
        if not isinstance(low, int | float) or not isinstance(high, int | float) or not -np.inf < low <= high < np.inf:
            raise ValueError(
                f"{name} must be one number or (low, high) with low <= high, in {self.unit}; got {limits!r}"
            )
        if self.spacing == "log" and low <= 0 and low < high:
            raise ValueError(f"{name} must be above 0 (it is drawn evenly in its logarithm); got {limits!r}")
        if self.spacing == "chance" and not 0 <= low <= high <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1; got {limits!r}")
        if low < 0 <= self.low:
            raise ValueError(f"{name} must not be negative; got {limits!r}")
        return Range(low, high, self.unit, self.meaning, self.spacing)


Table = Mapping[str, Range]


@dataclass(frozen=True)
class Style:
    """A look: how often it is drawn (weights are relative) and the rows it narrows."""

    weight: float
    limits: Mapping[str, Limits] = field(default_factory=dict)


def narrow(table: Table, limits: Mapping[str, Limits]) -> dict[str, Range]:
    """Give the table with some rows narrowed; a name that is not a row is an error that lists the rows.

    Raises:
        ValueError: if a name is not a row.
    """
    unknown = sorted(set(limits) - set(table))
    if unknown:
        raise ValueError(f"unknown range {', '.join(unknown)}; accepted: {', '.join(sorted(table))}")
    return {name: row.narrowed(name, limits[name]) if name in limits else row for name, row in table.items()}


def draw(table: Table, rng: np.random.Generator) -> dict[str, float]:
    """Draw one value from every row, in the table's order."""
    shares = rng.random(len(table))
    return {name: row.at(share) for (name, row), share in zip(table.items(), shares, strict=True)}
