"""Compare many settings with the best of them, corrected for the number of comparisons."""

import math
from collections.abc import Sequence
from typing import Any

from segexp.evaluation.comparison import NOISE, Candidate, compare, known_mean
from segexp.metrics.registry import find


def rank(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Compare every candidate's monitored score with that of the best, image by image.

    The best has the best mean among the candidates with the most images. Its lead is slightly optimistic, since it is
    the best of many; the p values of the others are corrected for their number (Holm 1979), and a verdict requires a
    corrected p below 0.05 in addition to the conditions of `compare`.

    Returns:
        `monitor`; `best`, its place; `rows`, a dict a candidate in the order of their means: `name`, `runs`, `images`,
        `mean`, `spread` over seeds or None, and for all but the best `difference`, `interval`, `p`, `p_corrected`,
        `verdict`; `comparisons`, what `compare` gives for each row but the best's; `notes`.
    """
    monitor = candidates[0].monitor
    tables = [candidate.values(monitor) for candidate in candidates]
    means = [known_mean(table.values()) for table in tables]
    most = max(map(len, tables))
    sign = -1 if find(monitor).lower else 1
    merits = [-math.inf if math.isnan(mean) else sign * mean for mean in means]
    best = max((k for k, table in enumerate(tables) if len(table) == most), key=lambda k: merits[k])
    order = sorted(range(len(candidates)), key=lambda k: (k != best, -merits[k]))
    comparisons = {k: compare(candidates[best], candidates[k]) for k in order if k != best}
    corrected = dict(
        zip(comparisons, holm([_monitored(each, monitor)["p"] for each in comparisons.values()]), strict=True)
    )
    rows = []
    for k in order:
        row = {"name": candidates[k].name, "runs": len(candidates[k].runs), "images": len(tables[k]), "mean": means[k]}
        row["spread"] = candidates[k].spread(monitor)
        if k != best:
            score = _monitored(comparisons[k], monitor)
            row |= {name: score[name] for name in ("difference", "interval", "p")}
            row["p_corrected"] = corrected[k]
            row["verdict"] = score["verdict"] if corrected[k] < 0.05 else NOISE
        rows.append(row)
    notes = dict.fromkeys(line for each in comparisons.values() for line in (*each["unpaired"], *each["notes"]))
    return {
        "monitor": monitor,
        "best": best,
        "rows": rows,
        "comparisons": list(comparisons.values()),
        "notes": list(notes),
    }


def _monitored(comparison: dict[str, Any], monitor: str) -> dict[str, Any]:
    """The monitored score of a comparison; all None if no image of both has it."""
    unknown = {"difference": float("nan"), "interval": None, "p": 1.0, "verdict": NOISE}
    scores: dict[str, Any] = comparison["scores"].get(monitor, unknown)
    return scores


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down rule, in their order."""
    adjusted, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = highest
    return adjusted
