"""The section of the page on ``val/evaluation.json``: scores, intervals, calibration, sizes, threshold, robustness."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segexp.metrics.registry import find, shown
from segexp.report import metric_labels
from segexp.report.charts import Chart, Series, decimal, histogram, line_chart, number

Record = Mapping[str, Any]
KINDS = {"object_diameter": "Diameter of objects", "filament_length": "Length of filament pieces"}


def score_groups(record: Record, best: Mapping[str, float]) -> list[dict[str, Any]]:
    """The score table, a group a family: label, mean, interval, pooled and meaning of each score.

    Without a record, the means of ``summary.json`` (`best`).
    """
    entries = record.get("scores") or {name: {"mean": value} for name, value in best.items() if name != "epoch"}
    groups: dict[str, list[dict[str, str]]] = {}
    for name, entry in entries.items():
        family = metric_labels.FAMILIES.get(find(name).family, "Other")
        interval = entry.get("interval")
        groups.setdefault(family, []).append(
            {
                "name": name,
                "label": metric_labels.label(name, record.get("unit", "")),
                "mean": _cell(entry.get("mean")),
                "interval": f"{decimal(interval[0])} to {decimal(interval[1])}" if interval else "",
                "pooled": _cell(entry.get("pooled")),
                "meaning": find(name).meaning,
            }
        )
    return [{"family": family, "rows": rows} for family, rows in groups.items()]


def key_rows(groups: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The key scores at the top of the page; `groups` holds all scores."""
    return [row for group in groups for row in group["rows"] if row["name"] in shown("key")]


def parts_table(record: Record, kind: str) -> dict[str, Any] | None:
    """Mean scores of each of several ``classes`` or ``groups``: columns and rows; None if there is one or none."""
    entries = record.get("scores", {})
    columns = list(dict.fromkeys(part for entry in entries.values() for part in entry.get(kind, {})))
    if len(columns) < 2:
        return None
    rows = []
    for name, entry in entries.items():
        cells = [entry.get(kind, {}).get(part, {}) for part in columns]
        rows.append([metric_labels.label(name, record.get("unit", "")), *map(_with_interval, cells)])
    return {"columns": columns, "rows": rows}


def operating_point(record: Record) -> list[str]:
    """Sentences on the operating point of the model."""
    point = record.get("operating_point")
    if not point:
        return []
    text = f"A pixel counts as foreground from a probability of {number(point['threshold'])}"
    text += f"; objects under {number(point['min_size'])} pixels are dropped" if point["min_size"] else ""
    text += (
        (f"; probabilities are calibrated with temperature {number(point['temperature'])}")
        if point["temperature"] != 1
        else ""
    )
    notes = point.get("notes", [])
    chosen = point.get("chosen_on") == "validation" and not any(note.startswith("threshold") for note in notes)
    text += ". Chosen on the validation images." if chosen else "."
    return [text, *(f"Kept at {note}." for note in notes)]


def threshold_chart(record: Record) -> list[Chart]:
    """The score over the threshold."""
    point = record.get("operating_point", {})
    curve = point.get("curve")
    if not curve:
        return []
    label = metric_labels.label(point["criterion"])
    best = max(curve["score"])
    text = f"{label} is {decimal(best)} at best; the line marks the threshold in use, {number(point['threshold'])}."
    text += " Where the curve is flat, it hardly matters."
    series = Series(label, curve["threshold"], curve["score"])
    x = "probability threshold"
    return [line_chart("Threshold", text, [series], x, label, unit_y=True, mark=point["threshold"])]


def calibration_chart(record: Record) -> list[Chart]:
    """Observed frequency over predicted probability: on the diagonal, 0.8 means 80 %."""
    diagrams = record.get("calibration") or {}
    if not diagrams:
        return []
    series = [Series(name, bins["predicted"], bins["observed"]) for name, bins in diagrams.items()]
    error = record.get("scores", {}).get("ece", {})
    value = error.get("pooled") if error.get("pooled") is not None else error.get("mean")
    text = (
        "On the line, a probability of 0.8 is right in 80 % of the pixels. Above it, foreground is more frequent than"
    )
    text += " predicted; below it, rarer."
    text += f" On average {decimal(value)} off." if value is not None else ""
    return [
        line_chart(
            "Calibration", text, series, "predicted probability", "share that is true", unit_y=True, diagonal=True
        )
    ]


def size_charts(record: Record) -> list[Chart]:
    """Sizes of true and of predicted objects or filaments."""
    charts = []
    for kind, bins in (record.get("histograms") or {}).items():
        totals = {name: sum(bins[name]) for name in ("truth", "prediction")}
        if not any(totals.values()):
            continue
        text = f"{number(totals['truth'])} in the truth, {number(totals['prediction'])} in the prediction."
        text += " The last bar holds all larger ones."
        title = KINDS.get(kind, kind.replace("_", " "))
        counts = {"truth": bins["truth"], "prediction": bins["prediction"]}
        charts.append(histogram(title, text, bins["edges"], counts, f"{title.split()[0].lower()} ({bins['unit']})"))
    return charts


def quality_charts(record: Record) -> list[Chart]:
    """The model as it is: sizes, calibration, threshold."""
    return [*size_charts(record), *calibration_chart(record), *threshold_chart(record)]


def robustness_charts(record: Record) -> list[Chart]:
    """The score over each change of the images."""
    charts = []
    label = metric_labels.label(str(record.get("monitor", "score")))
    for name, curve in (record.get("robustness") or {}).items():
        known = [index for index, score in enumerate(curve["score"]) if score is not None]
        x, y = ([curve[key][index] for index in known] for key in ("parameter", "score"))
        if not x:
            continue
        title = curve.get("words") or name.replace("_", " ")
        title = title[0].upper() + title[1:]
        unit = curve.get("unit") or ""
        text = f"On average {decimal(curve['number'])}."
        if curve.get("range"):
            low, high = curve["range"]
            span = f"from {low:g} to {high:g}" if low < high else f"at {low:g} only"
            text = f"Within 0.02 of its best {span}{f' ({unit})' if unit else ''}. {text}"
        series = Series(label, x, y, *_band(curve.get("interval"), known))
        x_label, share = f"{title}, {unit}" if unit else title, all(0 <= value <= 1 for value in y)
        charts.append(line_chart(title, text, [series], x_label, label, log_x=_wide(x), unit_y=share))
    return charts


def _band(intervals: Sequence[Any] | None, known: Sequence[int]) -> tuple[list[float], list[float]] | tuple[None, None]:
    if not intervals or any(intervals[index] is None for index in known):
        return None, None
    return [intervals[index][0] for index in known], [intervals[index][1] for index in known]


def _wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 50


def _with_interval(entry: Mapping[str, Any]) -> str:
    text, interval = _cell(entry.get("mean")), entry.get("interval")
    return f"{text} ({decimal(interval[0])} to {decimal(interval[1])})" if interval else text


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else decimal(value)
