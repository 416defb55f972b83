"""The page of one run: gathers what its records hold, section by section, and fills the template."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from segexp.metrics.registry import find, shown
from segexp.report import evaluation_section as section
from segexp.report import metric_labels
from segexp.report.charts import Chart, Series, decimal, line_chart, number
from segexp.report.commands import commands
from segexp.report.page import fill
from segexp.report.records import Records, Row, read_evaluation, read_records, score_names
from segexp.report.summary_text import evaluation_sentence, next_step, sentence
from segexp.viz.thumbnails import Picture


def render_run(folder: Path) -> str:
    """The page of the run in `folder`, as HTML."""
    records = read_records(folder)
    facts, summary = records.facts, records.summary
    shared_values = shared(records)
    monitor, gallery = shared_values["monitor"], shared_values["gallery"]
    worst = (gallery[0]["name"], gallery[0]["scores"][monitor]) if gallery and monitor in gallery[0]["scores"] else None
    return fill(
        "run.html",
        **shared_values,
        title=f"{summary['task']} · {folder.resolve().name}",
        sentence=sentence(summary, facts, interval(records.evaluation)),
        next_step=next_step(summary, worst, len(records.warnings), monitor),
        warnings=records.warnings,
        curves=curves(records.curves, monitor),
        changed=facts.get("changed", {}),
        commands=commands(records, measure=not shared_values["robustness"]),
        environment=environment(facts, records),
    )


def render_evaluation(folder: Path) -> str:
    """The page of what ``segexp evaluate`` left in `folder`, as HTML: the part on scores and images."""
    records = read_evaluation(folder)
    point = records.evaluation
    count = len(point.get("images", []))
    facts = {"model file": point.get("model"), "images scored": count, "made": point.get("created")}
    return fill(
        "run.html",
        **shared(records),
        title=f"Evaluation · {folder.resolve().name}",
        sentence=evaluation_sentence(point, interval(point)),
        next_step="",
        warnings=[],
        curves=[],
        changed=None,
        commands=[],
        environment=[(name, str(value)) for name, value in facts.items() if value],
    )


def shared(records: Records) -> dict[str, Any]:
    """What the page of a run and that of an evaluation have in common."""
    evaluation = records.evaluation
    monitor = _monitor(records)
    gallery = gather(records, monitor)
    scores = section.score_groups(evaluation, records.summary.get("best", {}))
    return {
        "scores": scores,
        "key_scores": section.key_rows(scores),
        "parts": {kind: section.parts_table(evaluation, kind) for kind in ("classes", "groups")},
        "operating_point": section.operating_point(evaluation),
        "quality": section.quality_charts(evaluation),
        "robustness": section.robustness_charts(evaluation),
        "gallery": gallery,
        "monitor": monitor,
        "sorts": sortable(gallery),
    }


def _monitor(records: Records) -> str:
    """The score that images are sorted by at first: the one the best model was chosen by, if rows have it."""
    available = score_names(records.scores)
    monitor = records.evaluation.get("monitor") or records.facts.get("monitor", "dice")
    return monitor if monitor in available else next(iter(available), "dice")


def interval(evaluation: dict[str, Any]) -> tuple[float, float] | None:
    """Of the mean Dice, at 95 %."""
    ends = evaluation.get("scores", {}).get("dice", {}).get("interval")
    return (ends[0], ends[1]) if ends else None


def sortable(gallery: Sequence[dict[str, Any]]) -> list[str]:
    """Scores that images can be sorted by: those of which one end is better."""
    columns = dict.fromkeys(key for item in gallery for key in item["scores"])
    return [name for name in columns if find(name).better]


def curves(rows: Sequence[Row], monitor: str = "dice") -> list[Chart]:
    """Loss, scores and learning rate over the time of the run; the monitored score if the usual ones lack it."""
    if len(rows) < 2:
        return []
    last = float(rows[-1]["seconds"])
    unit, size = ("minutes", 60.0) if last < 3 * 3600 else ("hours", 3600.0)
    if last < 120:
        unit, size = "seconds", 1.0

    def series(name: str, column: str) -> Series:
        points = [(float(row["seconds"]) / size, float(row[column])) for row in rows if column in row]
        return Series(name, [x for x, _ in points], [y for _, y in points])

    charts = []
    train, bce = series("training loss", "train_loss"), series("validation cross-entropy", "bce")
    text = f"The training loss went from {number(train.y[0])} to {number(train.y[-1])}."
    charts.append(line_chart("Loss", text, [line for line in (train, bce) if line.y], unit, "loss", from_zero=True))
    scores = [series(metric_labels.label(column), column) for column in shown("curve")]
    scores = [line for line in scores if line.y]
    if scores:
        first, final, best = (decimal(value) for value in (scores[0].y[0], scores[0].y[-1], max(scores[0].y)))
        text = f"{scores[0].name} went from {first} to {final}, at best {best}."
        if len(scores[0].y) == 1:
            text = f"{scores[0].name} is {final} at the only validation."
        charts.append(line_chart("Validation scores", text, scores, unit, "score", unit_y=True, from_zero=True))
    monitored = series(metric_labels.label(monitor), monitor)
    if monitored.y and monitor not in (*shown("curve"), "bce"):
        best = decimal(min(monitored.y) if find(monitor).lower else max(monitored.y))
        text = f"The best model is chosen by {monitored.name}: {best} at best."
        charts.append(line_chart("Monitored score", text, [monitored], unit, monitored.name))
    rate = series("learning rate", "lr")
    text = f"The learning rate went from {number(rate.y[0])} to {number(rate.y[-1])}."
    charts.append(line_chart("Learning rate", text, [rate], unit, "learning rate", from_zero=True))
    return charts


def gather(records: Records, monitor: str) -> list[dict[str, Any]]:
    """The images, worst first: name, scores (means over the classes that have one), picture."""
    rows: dict[str, list[Row]] = {}
    for row in records.scores:
        rows.setdefault(str(row["image"]), []).append(row)
    pictures: dict[str, Picture] = {picture["name"]: picture for picture in records.pictures}
    available = score_names(records.scores)
    images: list[dict[str, Any]] = []
    for name in dict.fromkeys([*rows, *pictures]):
        own = rows.get(name, [])
        values = {key: [float(row[key]) for row in own if key in row] for key in available}
        finite = {key: [value for value in numbers if isfinite(value)] for key, numbers in values.items()}
        scores = {key: fmean(numbers) for key, numbers in finite.items() if numbers}
        images.append({"name": name, "scores": scores, "picture": pictures.get(name)})
    sign = -1 if metric_labels.lower(monitor) else 1
    images.sort(key=lambda image: (monitor not in image["scores"], sign * image["scores"].get(monitor, 0)))
    return images


def environment(facts: dict[str, Any], records: Records) -> list[tuple[str, str]]:
    """What the result came from, besides the settings."""
    data = facts.get("data", {})
    source = data.get("source", "")
    folders = source if isinstance(source, dict) else {"images": source}
    pairs = {
        "run folder": str(records.folder.resolve()),
        "model file": records.summary.get("model"),
        "started": facts.get("started"),
        "device": facts.get("device"),
        "precision": facts.get("precision"),
        "processor threads": facts.get("threads"),
        "seed": facts.get("seed"),
        "segexp commit": facts.get("git_commit"),
        "platform": facts.get("platform"),
        **{name.replace("_", " "): path for name, path in folders.items()},
        "training images": data.get("train"),
        "validation images": data.get("val"),
        "data fingerprint": data.get("fingerprint"),
        **facts.get("versions", {}),
    }
    return [(name, str(value)) for name, value in pairs.items() if value not in (None, "")]
