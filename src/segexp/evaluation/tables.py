"""Scores as tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segexp.errors import printable
from segexp.evaluation.comparison import Candidate
from segexp.metrics.registry import find
from segexp.terminal import print_table


def print_scores(record: dict[str, Any]) -> None:
    """Mean, 95 % interval and pooled value of each score of an ``evaluation.json``."""
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold")
    table.add_column("score")
    for name in ("mean", "95 % interval", "pooled"):
        table.add_column(name, justify="right")
    for entry in record["scores"].values():
        words = f"{entry['words']} ({entry['unit']})" if entry["unit"] else entry["words"]
        table.add_row(words, number(entry["mean"]), interval(entry["interval"]), number(entry["pooled"]))
    print_table(console, table)
    point = record["operating_point"]
    console.print(
        f"{len(record['images'])} images; threshold {point['threshold']:.3g}, smallest object {point['min_size']} px, "
        f"temperature {point['temperature']:.3g}",
        markup=False,
    )


def print_robustness(curves: dict[str, Any], monitor: str) -> None:
    """A row a perturbation: what was tried, the score's curve, the range it holds over, and its mean."""
    console = Console(highlight=False)
    worst = max if find(monitor).lower else min
    table = Table(box=None, header_style="bold")
    for name in ("change", "tried", "holds (within 0.02)", "worst", "mean " + monitor):
        table.add_column(name, justify="left" if name == "change" else "right")
    for entry in curves.values():
        tried, limits = entry["parameter"], entry["range"]
        table.add_row(
            f"{entry['words']}, {entry['unit']}",
            f"{tried[0]:g} to {tried[-1]:g}",
            f"{limits[0]:g} to {limits[1]:g}",
            number(worst(entry["score"])),
            number(entry["number"]),
        )
    print_table(console, table)


def print_seeds(candidate: Candidate) -> None:
    """Mean and standard deviation over the seeds of one candidate's monitored score and Dice; nothing for one run."""
    if len(candidate.repeats) < 2:
        return
    console = Console(highlight=False, soft_wrap=True)
    seeds = ", ".join(str(runs[0].seed) for runs in candidate.repeats)
    monitor = candidate.monitor
    cells = [
        f"{find(name).label} {candidate.means(name).mean():.4f} ± {candidate.spread(name):.4f}"
        for name in dict.fromkeys([monitor, "dice"])
    ]
    console.print(f"{candidate.name}: seeds {seeds}: {', '.join(cells)} (mean and standard deviation)", markup=False)


def print_ranking(result: dict[str, Any], console: Console | None = None) -> None:
    """A row a setting, the best first, with what its difference from the best is worth."""
    console = console or Console(highlight=False, soft_wrap=True)
    rows, words = result["rows"], find(result["monitor"]).label
    sizes = {(row["runs"], row["images"]) for row in rows}
    table = Table(box=None, header_style="bold")
    for name in (words, "difference", "95 % interval", "p (Holm)", ""):
        table.add_column(name, justify="right")
    table.add_column("setting", overflow="fold")
    for row in rows:
        mean = number(row["mean"]) + ("" if row["spread"] is None else f" ± {row['spread']:.4f}")
        cells = ["", "", ""]
        if "verdict" in row:
            cells = [f"{row['difference']:+.4f}", interval(row["interval"], "+.4f"), f"{row['p_corrected']:.2g}"]
        size = f" ({row['runs']} runs, {row['images']} images)" if len(sizes) > 1 else ""
        table.add_row(mean, *cells, row.get("verdict", "best"), escape(printable(row["name"]) + size))
    print_table(console, table)
    repeated = any(row["spread"] is not None for row in rows)
    line = "mean over images" + (" ± standard deviation over seeds" if repeated else "")
    if len(sizes) == 1:
        line += f"; {rows[0]['runs']} runs and {rows[0]['images']} images each"
    console.print(line, markup=False)
    for line in result["notes"]:
        console.print(printable(line), markup=False)
    worse = [row["name"] for row in rows if row.get("verdict") == "worse"]
    level = [row["name"] for row in rows if row.get("verdict") not in (None, "worse")]
    for names, text in ((worse, "significantly worse than the best"), (level, "cannot be told from the best")):
        if names:
            console.print(f"{text}: {printable('; '.join(names))}", markup=False)


def print_comparison(result: dict[str, Any]) -> None:
    """The answer in words, what did not pair, and a row a score."""
    console = Console(highlight=False, soft_wrap=True)
    monitored = result["scores"][result["monitor"]]
    console.print(
        f"{printable(', '.join(result['other']))} against {printable(', '.join(result['baseline']))} "
        f"on {result['images']} images: "
        f"{find(result['monitor']).label} {monitored['difference']:+.4f} "
        f"({interval(monitored['interval'], '+.4f')}, p = {monitored['p']:.2g}): {monitored['verdict']}",
        markup=False,
    )
    for line in (*(f"not compared: {line}" for line in result["unpaired"]), *result["notes"]):
        console.print(printable(line), markup=False)
    table = Table(box=None, header_style="bold")
    table.add_column("score")
    for name in ("baseline", "other", "difference", "95 % interval", "p", ""):
        table.add_column(name, justify="right")
    for name, entry in result["scores"].items():
        table.add_row(
            find(name).label,
            number(entry["baseline"]),
            number(entry["other"]),
            f"{entry['difference']:+.4f}",
            interval(entry["interval"], "+.4f"),
            f"{entry['p']:.2g}",
            entry["verdict"],
        )
    print_table(console, table)


def number(value: float | None) -> str:
    """Four decimals below 10, fewer above; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def interval(ends: Sequence[float] | None, form: str | None = None) -> str:
    """``low to high``, or a dash; `form` in place of the usual number of decimals."""
    return " to ".join(number(end) if form is None else format(end, form) for end in ends) if ends else "-"
