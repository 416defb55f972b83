"""Charts as SVG text to put into a page: Matplotlib draws them, the page's style sheet colours them.

Each comes with its numbers as a table, which is what a screen reader and a spreadsheet take. Matplotlib writes fixed
colours; here every colour stands for a variable of the style sheet (`_VARIABLES`), so one drawing serves light and dark
pages. Lines differ by dashes and markers as well as by colour.
"""

import io
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

SIZE = (4.4, 3.0)
"""Inches, at 72 units each: about the width of a phone, so that text keeps its size there."""
_VARIABLES = {"#000001": "ink", "#000002": "line", "#000003": "muted", "#000004": "panel"} | {
    f"#0000a{n}": f"c{n}" for n in range(1, 7)
}
INK, LINE, MUTED, PANEL, *COLOURS = _VARIABLES
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
CLASS = "class "
"""An artist whose gid starts so gets the rest as its classes."""
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: readable aloud, in the page's own font
    "text.parse_math": False,  # a setting called $x$ is a name
    "svg.hashsalt": "segexp",  # the same numbers give the same file
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "path.simplify_threshold": 0.3,
}
# the first drawing on a computer takes some seconds to list its fonts, and would say so in the middle of a run
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


class Series(NamedTuple):
    """One line: points, and where known the two ends of an interval about each."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


class Chart(NamedTuple):
    """A drawing with what it says in words and in numbers."""

    title: str
    summary: str
    svg: Markup
    columns: list[str]
    rows: list[list[str]]


def number(value: float | str | None) -> str:
    """Format a value: four significant digits; empty for None; text unchanged."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else "infinite"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"


def decimal(value: float) -> str:
    """A score: three decimals, four digits if it is 10 or more."""
    return f"{value:.3f}" if abs(value) < 10 else number(value)


def line_chart(
    title: str,
    summary: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    unit_y: bool = False,
    diagonal: bool = False,
    from_zero: bool = False,
    mark: float | None = None,
) -> Chart:
    """Lines over a common axis.

    Args:
        log_x: logarithmic, for factors that span orders of magnitude.
        unit_y: the vertical axis runs from 0 to 1 at most.
        diagonal: adds the line y = x in grey, for calibration.
        from_zero: the horizontal axis starts at 0, for times.
        mark: where a vertical line stands.
    """

    def draw(axes: Axes) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="perfect")
        for index, line in enumerate(series):
            style, colour = index % len(COLOURS), COLOURS[index % len(COLOURS)]
            marker = MARKERS[style] if len(line.x) <= 30 else ""
            axes.plot(line.x, line.y, color=colour, linestyle=DASHES[style], marker=marker, label=line.name)
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linewidth=1.2, linestyle="--")
        if from_zero:
            axes.set_xlim(left=0)
        if log_x:
            _log_axis(axes)
        if unit_y:
            low = min((y for line in series for y in (*line.y, *(line.low or ())) if math.isfinite(y)), default=0.0)
            axes.set_ylim(max(0.0, math.floor(low * 10) / 10 - 0.02), 1.02)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(series) + diagonal > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=2.6, columnspacing=1.2)

    return Chart(title, summary, drawing(draw, f"{title}. {summary}"), *_table(series, x_label))


def histogram(
    title: str, summary: str, edges: Sequence[float], counts: dict[str, Sequence[float]], x_label: str
) -> Chart:
    """Outlined histograms over common bins; `edges` has one number more than each list of counts."""

    def draw(axes: Axes) -> None:
        for index, (name, heights) in enumerate(counts.items()):
            axes.stairs(heights, edges, color=COLOURS[index], linestyle=DASHES[index], linewidth=2, label=name)
            if index == 0:
                axes.stairs(heights, edges, color=COLOURS[index], fill=True, alpha=0.2)
        if edges[0] > 0 and edges[-1] / edges[0] > 50:
            _log_axis(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel("number")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    rows = [
        [f"{number(low)} to {number(high)}", *(number(heights[index]) for heights in counts.values())]
        for index, (low, high) in enumerate(itertools.pairwise(edges))
    ]
    return Chart(title, summary, drawing(draw, f"{title}. {summary}"), [x_label, *counts], rows)


def drawing(draw: Callable[[Axes], None], label: str, size: tuple[float, float] = SIZE) -> Markup:
    """Draw a chart with `draw` on empty axes; returns an SVG element with `label` for screen readers."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # only measured with Matplotlib's font, shown with the browser's
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = Figure(figsize=size, dpi=72, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _for_page(buffer.getvalue(), label)


_drawings = 0


def _for_page(svg: bytes, label: str) -> Markup:
    """Matplotlib's file as an element of a page: variables for colours, ids of its own, no fixed size."""
    global _drawings
    _drawings += 1
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)  # noqa: S314 Matplotlib wrote it just now
    for parent in root.iter():
        for child in [child for child in parent if child.tag.endswith(("metadata", "style"))]:
            parent.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label, "class": "chart"}
    for element in root.iter():
        if element.get("id", "").startswith(CLASS):
            element.set("class", element.attrib.pop("id").removeprefix(CLASS))
        if "id" in element.attrib:
            element.set("id", f"d{_drawings}-{element.attrib['id']}")
        if _LINK in element.attrib:
            element.set("href", f"#d{_drawings}-{element.attrib.pop(_LINK)[1:]}")
    text = ElementTree.tostring(root, encoding="unicode").replace("url(#", f"url(#d{_drawings}-")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return Markup(text)  # noqa: S704 the serialiser escaped every text and attribute


def _log_axis(axes: Axes) -> None:
    """A logarithmic horizontal axis with plain numbers; Matplotlib's own are mathematics, which is switched off."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def plain_log_axis(axes: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic horizontal axis with these numbers on it."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _table(series: Sequence[Series], x_label: str) -> tuple[list[str], list[list[str]]]:
    columns = [x_label]
    cells: dict[float, dict[str, str]] = {}
    for line in series:
        columns.append(line.name)
        for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            text = number(y)
            if line.low is not None and line.high is not None:
                text += f" ({number(line.low[index])} to {number(line.high[index])})"
            cells.setdefault(x, {})[line.name] = text
    return columns, [[number(x), *(row.get(name, "") for name in columns[1:])] for x, row in sorted(cells.items())]
