"""Charts of a sweep: every job as one line across its parameters, and the score by each parameter's values."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes

from segexp.report.charts import CLASS, COLOURS, INK, MUTED, PANEL, Chart, decimal, drawing


def positions(values: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each value lies on an axis from 0 to 1, and the axis' ticks.

    Numbers are spread by size, by order of magnitude where they are positive and span a factor of 20; all else evenly,
    in the order of the names.
    """
    distinct = list(dict.fromkeys(values))
    try:
        numbers = [float(value) for value in distinct]
        if not all(math.isfinite(value) for value in numbers):
            raise ValueError("not finite")
    except ValueError:
        places = {value: index / max(len(distinct) - 1, 1) for index, value in enumerate(sorted(distinct))}
    else:
        low, high = min(numbers), max(numbers)
        if low > 0 and high / low > 20:
            numbers, low, high = [math.log(value) for value in numbers], math.log(low), math.log(high)
        places = {
            value: (place - low) / (high - low) if high > low else 0.5
            for value, place in zip(distinct, numbers, strict=True)
        }
    return [places[value] for value in values], [(place, value) for value, place in places.items()]


def parallel_chart(
    jobs: Sequence[str],
    parameters: Mapping[str, Sequence[str]],
    scores: Sequence[float],
    label: str,
    lower: bool = False,
) -> Chart:
    """A line a job across one vertical axis a parameter, the score last; the best job is drawn thick.

    `parameters` holds each parameter's values, in the order of `jobs`, as typed; `lower`: the least score is the best.
    """
    names = [*parameters, label]
    columns = [positions(values) for values in parameters.values()]
    low, high = min(scores), max(scores)
    columns.append(([(score - low) / (high - low) if high > low else 0.5 for score in scores], _score_ticks(low, high)))
    best = (min if lower else max)(range(len(scores)), key=lambda index: scores[index])

    def draw(axes: Axes) -> None:
        for index in sorted(range(len(jobs)), key=lambda index: index == best):
            heights = [places[index] for places, _ in columns]
            colour, width = (COLOURS[1], 3.5) if index == best else (COLOURS[0], 1.4)
            (line,) = axes.plot(range(len(names)), heights, color=colour, linewidth=width, solid_joinstyle="round")
            line.set_gid(f"{CLASS}job job-{jobs[index]}")
        for x, (_, ticks) in enumerate(columns):
            axes.axvline(x, color=MUTED, linewidth=1)
            for place, text in ticks:
                axes.annotate(
                    text if len(text) <= 14 else text[:12] + "...",
                    (x, place),
                    (5 if x < len(names) - 1 else -5, 4),
                    textcoords="offset points",
                    ha="left" if x < len(names) - 1 else "right",
                    fontsize=9,
                    color=INK,
                    bbox={"facecolor": PANEL, "edgecolor": "none", "alpha": 0.8, "pad": 1},
                )
        axes.set_xticks(range(len(names)), [name.rpartition(".")[2] for name in names])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlim(-0.05, len(names) - 0.95)
        axes.tick_params(axis="x", length=0, labelsize=10)

    values = {name: values[best] for name, values in parameters.items()}
    chosen = ", ".join(f"{name} {value}" for name, value in values.items())
    text = f"The best job, {jobs[best]}, has {chosen} and {label} {decimal(scores[best])}."
    rows = [
        [job, *(values[index] for values in parameters.values()), decimal(scores[index])]
        for index, job in enumerate(jobs)
    ]
    size = (max(4.4, 2.0 * len(names)), 3.6)
    return Chart("All jobs", text, drawing(draw, f"All jobs. {text}", size), ["job", *names], rows)


def effect_chart(
    parameter: str, values: Sequence[str], scores: Sequence[float], label: str, lower: bool = False
) -> Chart:
    """The score of each job over one parameter's values, with the mean of each value; `lower`: the least is best."""
    places, ticks = positions(values)
    groups = {text: [s for value, s in zip(values, scores, strict=True) if value == text] for _, text in ticks}
    means = {text: fmean(group) for text, group in groups.items()}

    def draw(axes: Axes) -> None:
        axes.plot(places, scores, "o", color=COLOURS[0], alpha=0.8, markersize=6, label="job")
        ordered = sorted(ticks)
        axes.plot(
            [place for place, _ in ordered],
            [means[text] for _, text in ordered],
            color=COLOURS[1],
            marker="D",
            linestyle="--",
            label="mean",
        )
        axes.set_xticks([place for place, _ in ordered], [text for _, text in ordered])
        axes.set_xlim(-0.1, 1.1)
        axes.set_xlabel(parameter)
        axes.set_ylabel(label)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    best = (min if lower else max)(means, key=lambda text: means[text])
    spread = max(means.values()) - min(means.values())
    inside = max(max(group) - min(group) for group in groups.values())
    text = f"Best on average: {best} ({decimal(means[best])}); the means of its values differ by {decimal(spread)}"
    text += f", jobs of one value by up to {decimal(inside)}." if inside else "."
    rows = [
        [text, str(len(groups[text])), decimal(means[text]), decimal(min(groups[text])), decimal(max(groups[text]))]
        for _, text in sorted(ticks)
    ]
    columns = [parameter, "jobs", f"mean {label}", "lowest", "highest"]
    return Chart(f"Effect of {parameter}", text, drawing(draw, f"Effect of {parameter}. {text}"), columns, rows)


def _score_ticks(low: float, high: float) -> list[tuple[float, str]]:
    return [(0.0, decimal(low)), (1.0, decimal(high))] if high > low else [(0.5, decimal(low))]
