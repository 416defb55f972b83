"""Scores as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(record: dict[str, Any], console: Console | None = None) -> None:
    """Mean, 95 % interval and pooled value of each score of an ``evaluation.json``."""
    console = console or Console(highlight=False)
    table = Table(box=None, header_style="bold")
    table.add_column("score")
    for name in ("mean", "95 % interval", "pooled"):
        table.add_column(name, justify="right")
    for entry in record["scores"].values():
        words = f"{entry['words']} ({entry['unit']})" if entry["unit"] else entry["words"]
        table.add_row(words, number(entry["mean"]), interval(entry["interval"]), number(entry["pooled"]))
    console.print(table)
    point = record["operating_point"]
    console.print(
        f"{len(record['images'])} images; threshold {point['threshold']:.3g}, smallest object {point['min_size']} px, "
        f"temperature {point['temperature']:.3g}",
        markup=False,
    )


def print_robustness(curves: dict[str, Any], monitor: str, console: Console | None = None) -> None:
    """A row a perturbation: what was tried, the score's curve, the range it holds over, and its mean."""
    console = console or Console(highlight=False)
    table = Table(box=None, header_style="bold")
    for name in ("change", "tried", "holds (within 0.02)", "worst", "mean " + monitor):
        table.add_column(name, justify="left" if name == "change" else "right")
    for entry in curves.values():
        tried, held = entry["parameter"], entry["range"]
        table.add_row(
            f"{entry['words']}, {entry['unit']}",
            f"{tried[0]:g} to {tried[-1]:g}",
            f"{held[0]:g} to {held[1]:g}",
            number(min(entry["score"])),
            number(entry["number"]),
        )
    console.print(table)


def number(value: float | None) -> str:
    """Four decimals below 10, fewer above; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def interval(ends: list[float] | None) -> str:
    """``low to high``, or a dash."""
    return f"{number(ends[0])} to {number(ends[1])}" if ends else "-"
