"""The parameters of the generator: tables of named ranges with units, and how a value is drawn from each.

A table lists all parameters that a generator can vary. A style narrows some of its rows (dark cells, bright field,
...), and the caller can narrow them further. One uniform random number is drawn per row, whatever the row's limits, so
narrowing one row does not change the values of the others. A calibration needs this to compare two settings on the
same scenes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Limits = float | tuple[float, float]


@dataclass(frozen=True)
class Range:
    """One row: a value in [low, high], in `unit`, drawn uniformly in value, in its logarithm or over the integers.

    With the spacing "chance" the value is 1 (yes) with the probability (low + high) / 2, otherwise 0.
    """

    low: float
    high: float
    unit: str
    meaning: str
    spacing: Literal["linear", "log", "integer", "chance"] = "linear"

    def at(self, share: float) -> float:
        """Return the value at a share in [0, 1) of the range."""
        if self.spacing == "log" and self.low < self.high:
            return float(self.low * (self.high / self.low) ** share)
        if self.spacing == "chance":
            return float(share < (self.low + self.high) / 2.0)
        if self.spacing == "integer":
            return float(np.floor(self.low + (self.high - self.low + 1) * share))
        return float(self.low + (self.high - self.low) * share)

    def narrowed(self, name: str, limits: Limits) -> "Range":
        """Return this row with other limits: one number (always that value) or a pair (low, high).

        Raises:
            ValueError: if `limits` is neither a number nor a pair, or is out of range.
        """
        low, high = limits if isinstance(limits, tuple | list) and len(limits) == 2 else (limits, limits)
        if not isinstance(low, int | float) or not isinstance(high, int | float) or not -np.inf < low <= high < np.inf:
            raise ValueError(
                f"{name} must be one number or (low, high) with low <= high, in {self.unit}; got {limits!r}"
            )
        if self.spacing == "log" and low <= 0 and low < high:
            raise ValueError(f"{name} must be above 0 (its logarithm is drawn uniformly); got {limits!r}")
        if self.spacing == "chance" and not 0 <= low <= high <= 1:
            raise ValueError(f"{name} must be a probability from 0 to 1; got {limits!r}")
        if low < 0 <= self.low:
            raise ValueError(f"{name} must not be negative; got {limits!r}")
        return Range(low, high, self.unit, self.meaning, self.spacing)


Table = Mapping[str, Range]


@dataclass(frozen=True)
class Style:
    """A style of images: how often it is drawn (weights are relative) and the limits of the rows that it narrows."""

    weight: float
    limits: Mapping[str, Limits] = field(default_factory=dict)


def narrow(table: Table, limits: Mapping[str, Limits]) -> dict[str, Range]:
    """Return the table with some rows narrowed.

    Raises:
        ValueError: if a name is not a row; the message lists the rows.
    """
    unknown = sorted(set(limits) - set(table))
    if unknown:
        raise ValueError(f"unknown range {', '.join(unknown)}; accepted: {', '.join(sorted(table))}")
    return {name: row.narrowed(name, limits[name]) if name in limits else row for name, row in table.items()}


def draw(table: Table, rng: np.random.Generator) -> dict[str, float]:
    """Draw one value for every row, in the order of the table."""
    shares = rng.random(len(table))
    return {name: row.at(share) for (name, row), share in zip(table.items(), shares, strict=True)}
