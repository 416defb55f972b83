"""The learning curve of a sweep over ``data.images``: runs, expected score and its interval, from its JSON record."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segexp.io.records import read_json
from segexp.io.shape import Number
from segexp.report.charts import COLOURS, MUTED, Chart, decimal, drawing, number, plain_log_axis

FILE = "learning_curve.json"
_IMAGES, _SCORE = Number(1, 1e9, whole=True), Number(-1e3, 1e3)
SHAPE = {
    "score": str,
    "images": _IMAGES,
    "runs": [{"images": _IMAGES, "repeat": str, "score": _SCORE}],
    "curve": [{"images": _IMAGES, "score": _SCORE, "low": _SCORE, "high": _SCORE}],
    "words": [str],
}
"""Shape of ``learning_curve.json``; see `segexp.io.shape`."""


def read_curve(folder: Path) -> dict[str, Any] | None:
    """The record in the folder of a sweep; None if there is none.

    Raises:
        InputError: if it is damaged.
    """
    return read_json(folder / FILE, SHAPE) if (folder / FILE).is_file() else None


def learning_chart(content: Mapping[str, Any]) -> Chart:
    """The chart for the page."""
    title, words = "Learning curve", ". ".join(line[:1].upper() + line[1:] for line in content["words"])

    def draw(axes: Axes) -> None:
        _draw(axes, content, [COLOURS[0], COLOURS[1], MUTED])

    rows = [
        [number(point["images"]), *(decimal(point[name]) for name in ("score", "low", "high"))]
        for point in content["curve"]
    ]
    columns = ["images", f"expected {content['score']}", "5 %", "95 %"]
    return Chart(title, f"{words}.", drawing(draw, f"{title}. {words}.", (6.6, 3.8)), columns, rows)


def png(content: Mapping[str, Any]) -> bytes:
    """The same as a picture for slides and papers: 1400 x 900 pixels, on white."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7, 4.5), dpi=200, layout="constrained")
        _draw(figure.add_subplot(), content, ["#0b6e8a", "#c2571a", "#666666"])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, content: Mapping[str, Any], colours: Sequence[str]) -> None:
    curve, runs = content["curve"], content["runs"]
    images = [point["images"] for point in curve]
    low, high = ([point[name] for point in curve] for name in ("low", "high"))
    axes.fill_between(images, low, high, color=colours[0], alpha=0.2, linewidth=0, label="90 % of runs")
    axes.plot(images, [point["score"] for point in curve], color=colours[0], linewidth=2, label="expected")
    tried, scores = ([run[name] for run in runs] for name in ("images", "score"))
    axes.plot(tried, scores, "o", color=colours[1], markersize=5, label="run")
    axes.axvline(content["images"], color=colours[2], linewidth=1.2, linestyle="--", label="images there are")
    plain_log_axis(axes, sorted({*tried} | {2 * content["images"], 4 * content["images"]}))
    least, most = min(scores), max(*high, *scores)
    axes.set_ylim(min(least, max(min(low), least - 0.2)) - 0.02, min(1.0, most + 0.02))
    axes.set_xlabel("annotated training images")
    axes.set_ylabel(content["score"])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
