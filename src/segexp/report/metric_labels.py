"""Labels of scores and families on the page; the scores themselves are in `segexp.metrics.registry`."""

from segexp.metrics.registry import find

FAMILIES = {
    "overlap": "Area",
    "probability": "Probabilities",
    "filament": "Filaments",
    "surface": "Outlines",
    "object": "Objects",
    "own": "Your own",
}
"""Headings, by the family of a score."""

COUNTS = ("tp", "fp", "fn", "tn")
"""Pixel counts of ``scores.csv``: no scores."""


def label(name: str, unit: str = "") -> str:
    """The label of a score, with the unit if it is a length."""
    entry = find(name)
    return f"{entry.label} ({unit})" if entry.unit == "length" and unit else entry.label


def lower(name: str) -> bool:
    """Whether lower values of a score are better."""
    return find(name).lower
