"""How the page calls scores and families; the scores themselves stand in `segexp.metrics.registry`."""

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
    """Its name for people, with the unit where it is a length."""
    entry = find(name)
    return f"{entry.label} ({unit})" if entry.unit == "length" and unit else entry.label


def lower(name: str) -> bool:
    """Whether less is better."""
    return find(name).lower
