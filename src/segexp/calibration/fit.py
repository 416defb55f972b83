"""Fit the ranges of the generator to images without annotation: a random search, then an evolution strategy.

1. Random search: images are generated with every style, each with its own ranges and with the widest ranges of any
   style. The same number is then generated with parameters near those of the images most similar to the user's
   (`_near`). This is rejection sampling, as in approximate Bayesian computation (Tavare et al., Genetics 145, 1997).
2. Regression: a regression from image features to parameters, fitted on the generated images, predicts the parameters
   of the user's images. Its leave-one-out error shows which parameters can be identified from an image
   (`segexp.calibration.regression`).
3. CMA-ES (Hansen, arXiv:1604.00772) adjusts these parameters further. It minimises the distance between the user's
   images and a set of generated ones, with the same scenes for every candidate.
4. Of the three results, the one with the smallest distance on new scenes is kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray

from segexp import synthesis
from segexp.calibration.features import describe, distance, groups_of
from segexp.calibration.regression import regress
from segexp.synthesis.ranges import Range

NEAR = 0.025
"""Share of the generated images that count as near to an image of the user; at least `LEAST` images."""
LEAST = 8
TOLD = 0.25
"""Least share of a parameter's variance that the features must explain for the parameter to count as identified."""
MOVED = 12
"""Largest number of parameters that CMA-ES fits."""
KEPT = (0.1, 0.9)
"""Quantiles of the near images' parameters that become the limits of a range."""
SCENES = 12
"""Number of generated images on which a candidate of CMA-ES is scored."""
UNSEEN = 1_000_000
"""Number of the first scene on which results are compared; no search uses scenes from here on."""

Progress = Callable[[float, str], None]
"""Called with the finished share of the work, in [0, 1], and the name of the current step."""


@dataclass
class Calibration:
    """The result of a calibration.

    Attributes:
        ranges: keyword arguments for `segexp.synthesis.generate`, including ``style``.
        before, after: distances by feature group, on new scenes, with the generator's own ranges and with `ranges`.
        method: what gave `ranges`: ``random search``, ``regression`` or ``CMA-ES``.
        identified: parameters that can be identified from an image, most certain first; the ranges of the others come
            from the random search.
        evaluations: number of candidates that CMA-ES tried.
        history: the distance of the best candidate of each generation.
    """

    ranges: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    method: str
    identified: list[str]
    evaluations: int = 0
    history: list[float] = field(default_factory=list)


def calibrate(
    task: str,
    images: Sequence[NDArray],
    *,
    draws: int = 600,
    generations: int = 40,
    seconds: float = 180.0,
    seed: int = 0,
    progress: Progress = lambda share, text: None,
) -> Calibration:
    """Fit the generator of `task` to `images`, squares (H, H) of one size in any dtype.

    Args:
        task: one of `segexp.synthesis.TASKS`.
        images: parts of the user's images, preferably 4 to 50 of them, with 128 px a side or more.
        draws: number of images that the random search generates.
        generations: largest number of generations of CMA-ES.
        seconds: time limit of CMA-ES; no generation begins after it.
        seed: seed of scenes and searches.
        progress: called after each step; see `Progress`.
    """
    size, theirs = images[0].shape[0], np.array([describe(image, task) for image in images])
    workshop = _Workshop(task, size, seed)
    rows, count = workshop.wide, max(2 * LEAST, draws // 2)
    drawn = workshop.search(range(count), workshop.choices(), lambda share: progress(0.2 * share, "random search"))
    scale = np.maximum(np.std([one.features for one in drawn], axis=0), 1e-3)
    near = _near(drawn, theirs, scale, task)
    style = _styles(near)
    rows = {name: row for name, row in rows.items() if name not in workshop.absent(style[0])}
    fixed = {name: _middle(rows[name], [one.parameters[name] for one in near]) for name in rows}
    around = [_ranges(rows, fixed, [name], 1.3) for name in style]
    drawn += workshop.search(
        range(count, 2 * count), around, lambda share: progress(0.2 + 0.2 * share, "refined search")
    )
    near = _near(drawn, theirs, scale, task)
    fixed = {name: _middle(rows[name], [one.parameters[name] for one in near]) for name in rows}
    identified = _read_off(rows, drawn, theirs, scale)

    def judge(ranges: dict[str, Any], scenes: range) -> dict[str, float]:
        return distance(theirs, workshop.features(ranges, scenes), scale, task)

    results = {"random search": _ranges(rows, fixed, style)}
    fixed |= identified
    results["regression"] = _ranges(rows, fixed, style)
    fitted = _Evolution(rows, fixed, list(identified), style, lambda ranges: judge(ranges, range(SCENES))["all"])
    history = fitted.run(generations, seconds, seed, lambda share: progress(0.4 + 0.5 * share, "CMA-ES"))
    if history:
        results["CMA-ES"] = fitted.best()
    progress(0.9, "comparing")
    trial, final = range(UNSEEN, UNSEEN + 2 * SCENES), range(UNSEEN + 2 * SCENES, UNSEEN + 4 * SCENES)
    method = min(results, key=lambda name: judge(results[name], trial)["all"])
    before, after = judge({}, final), judge(results[method], final)
    progress(1.0, "done")
    return Calibration(results[method], before, after, method, list(identified), fitted.evaluations, history)


@dataclass
class _Drawn:
    features: NDArray
    style: str
    parameters: dict[str, float]


class _Workshop:
    """Generates images and computes their features, on as many threads as torch may use."""

    def __init__(self, task: str, size: int, seed: int):
        self.task, self.size, self.seed = task, size, seed
        table, self.styles = synthesis.tables(task)
        plain = {name: row for name, row in table.items() if row.spacing in ("linear", "log")}
        self.wide = {name: _widest(name, row, task) for name, row in plain.items()}

    def one(self, number: int, ranges: dict[str, Any]) -> _Drawn:
        (scene,) = synthesis.generate_scenes(self.task, 1, self.size, self.seed, first=number, **ranges)
        return _Drawn(describe(scene.image, self.task), scene.style, scene.parameters)

    def features(self, ranges: dict[str, Any], numbers: Sequence[int]) -> NDArray:
        with self._threads() as pool:
            return np.array([one.features for one in pool.map(lambda number: self.one(number, ranges), numbers)])

    def choices(self) -> list[dict[str, Any]]:
        """Return every style with its own ranges, then every style with the widest ranges."""
        wide = {name: (row.low, row.high) for name, row in self.wide.items()}
        widened = [
            {"style": style} | {name: limits for name, limits in wide.items() if name not in self.absent(style)}
            for style in self.styles
        ]
        return [*({"style": style} for style in self.styles), *widened]

    def absent(self, style: str) -> set[str]:
        """Return the log-spaced rows that a style sets to 0, such as ``cells``; a logarithmic scale has no 0."""
        limits = self.styles[style].limits
        return {name for name, row in self.wide.items() if row.spacing == "log" and limits.get(name) == 0}

    def search(self, numbers: range, choices: list[dict[str, Any]], progress: Callable[[float], None]) -> list[_Drawn]:
        """Generate one image for each number, cycling through the choices."""
        drawn = []
        with self._threads() as pool:
            for one in pool.map(lambda k: self.one(k, choices[k % len(choices)]), numbers):
                drawn.append(one)
                progress(len(drawn) / len(numbers))
        return drawn

    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max(1, torch.get_num_threads()))


def _widest(name: str, row: Range, task: str) -> Range:
    """Return a row with the lowest and the highest limit that the table or any style has."""
    limits = [style.limits[name] for style in synthesis.tables(task)[1].values() if name in style.limits]
    pairs = [limit if isinstance(limit, tuple) else (limit, limit) for limit in limits] + [(row.low, row.high)]
    positive = [value for pair in pairs for value in pair if value > 0 or row.spacing != "log"]
    return Range(min(positive), max(positive), row.unit, row.meaning, row.spacing)


def _near(drawn: list[_Drawn], theirs: NDArray, scale: NDArray, task: str) -> list[_Drawn]:
    """Return, for each of the user's images in turn, the generated images nearest to it."""
    count, numbers = max(LEAST, round(NEAR * len(drawn))), np.array([one.features for one in drawn])
    parts = groups_of(task).values()
    nearest = []
    for one in theirs:
        gap = np.abs(numbers - one) / scale
        order = np.argsort(np.mean([gap[:, part].mean(1) for part in parts], axis=0), kind="stable")
        nearest += [drawn[index] for index in order[:count]]
    return nearest


def _read_off(
    rows: dict[str, Range], drawn: list[_Drawn], theirs: NDArray, scale: NDArray
) -> dict[str, tuple[float, float]]:
    """Return centre and half width, as shares, of the rows that the regression identifies, most certain first."""
    names = list(rows)
    shares = np.array([[_share(rows[name], one.parameters[name]) for name in names] for one in drawn]).clip(0, 1)
    read, error, explained = regress(np.array([one.features for one in drawn]) / scale, shares, theirs / scale)
    low, high = np.quantile(read, KEPT, axis=0)
    low, high = (low - error / 2).clip(0, 1), (high + error / 2).clip(0, 1)
    order = [k for k in np.argsort(-explained) if explained[k] >= TOLD]
    return {names[k]: (float((low[k] + high[k]) / 2), float((high[k] - low[k]) / 2)) for k in order}


def _styles(near: list[_Drawn]) -> list[str]:
    """Return the styles of at least a quarter of the nearest images each, most common first, or the most common one."""
    counts = Counter(one.style for one in near).most_common()
    return [name for name, count in counts if count >= 0.25 * len(near)] or [counts[0][0]]


def _share(row: Range, value: float) -> float:
    """Return the position of a value in its row: 0 at the low end, 1 at the high end."""
    if row.high <= row.low:
        return 0.5
    if row.spacing == "log":
        return float(np.log(max(value, row.low) / row.low) / np.log(row.high / row.low))
    return float((value - row.low) / (row.high - row.low))


def _middle(row: Range, values: list[float]) -> tuple[float, float]:
    """Return centre and half width of the interval between the quantiles `KEPT` of values, as shares of the row."""
    low, high = np.quantile(np.clip([_share(row, value) for value in values], 0, 1), KEPT)
    return float((low + high) / 2), float(max((high - low) / 2, 0.01))


def _limits(row: Range, centre: float, half: float) -> tuple[float, float]:
    low, high = (row.at(float(np.clip(share, 0, 1))) for share in (centre - half, centre + half))
    return low, max(low, high)


def _ranges(
    rows: dict[str, Range], fixed: dict[str, tuple[float, float]], style: list[str], factor: float = 1.0
) -> dict[str, Any]:
    limits = {name: _limits(row, fixed[name][0], fixed[name][1] * factor) for name, row in rows.items()}
    return {"style": style, **limits}


class _Evolution:
    """CMA-ES over the centres of the identified rows, and one factor for their widths."""

    def __init__(
        self,
        rows: dict[str, Range],
        fixed: dict[str, tuple[float, float]],
        identified: list[str],
        style: list[str],
        judge: Callable[[dict[str, Any]], float],
    ):
        self.rows, self.fixed, self.style, self.judge, self.moved = rows, fixed, style, judge, identified[:MOVED]
        self.evaluations = 0
        self.mean: NDArray = np.zeros(len(self.moved) + 1)

    def ranges(self, point: NDArray) -> dict[str, Any]:
        """Return the ranges at a point: shifts of the centres in half widths, last the log of the factor for widths."""
        fixed = dict(self.fixed)
        for name, step in zip(self.moved, point, strict=False):
            centre, half = fixed[name]
            fixed[name] = float(np.clip(centre + half * step, 0, 1)), min(half * float(np.exp(point[-1])), 0.5)
        return _ranges(self.rows, fixed, self.style)

    def run(self, generations: int, seconds: float, seed: int, progress: Callable[[float], None]) -> list[float]:
        """Return the best distance of each generation; empty if there is nothing to fit or no time."""
        started, history = time.monotonic(), []
        bounds = np.array([[-2.5, 2.5]] * len(self.moved) + [[-2.0, 0.7]])
        search = CMA(mean=self.mean, sigma=0.4, bounds=bounds, seed=seed % 2**32)
        for generation in range(generations if self.moved else 0):
            if time.monotonic() - started >= seconds or search.should_stop():
                break
            asked = [search.ask() for _ in range(search.population_size)]
            identified = [(point, self.judge(self.ranges(point))) for point in asked]
            search.tell(identified)
            self.evaluations += len(identified)
            history.append(min(value for _, value in identified))
            self.mean = search.mean
            spent = (time.monotonic() - started) / max(seconds, 1e-9)
            progress(min(1.0, max((generation + 1) / generations, spent)))
        return history

    def best(self) -> dict[str, Any]:
        """Return the ranges at the mean of the last generation, which overfits its scenes less than the best point."""
        return self.ranges(self.mean)
