"""From images without annotation to ranges of the generator: a random search, then an evolution strategy.

1. Many single images are drawn from the widest ranges that any style allows, and from the styles as they are. The ones
   that look most like the user's (`look`) tell, by the parameters that they were drawn with, where each row lies:
   rejection sampling, as in approximate Bayesian computation (Tavare et al., Genetics 145, 1997).
2. Rows that this narrowed are moved further by CMA-ES (Hansen, arXiv:1604.00772), with the distance between the user's
   images and a set of generated ones, on the same scenes for every candidate.
3. Of both results the one that is nearer on scenes neither has seen is kept.
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
from segexp.calibration.look import distance, groups_of, look
from segexp.synthesis.ranges import Range

NEAR = 0.025
"""Share of the drawn images that count as near to one of the user's; at least `LEAST`."""
LEAST = 8
KEPT = (0.1, 0.9)
"""Of the parameters of near images, the middle part that becomes a range."""
SCENES = 12
"""Generated images that a candidate of CMA-ES is judged by."""
UNSEEN = 1_000_000
"""Numbers of the scenes that results are judged by."""

Progress = Callable[[float, str], None]
"""Told the share that is done, and what is being done."""


@dataclass
class Calibration:
    """What came of it.

    Attributes:
        ranges: for `segexp.synthesis.generate`, ``style`` included.
        before, after: distances by group of unseen images, with the generator's own ranges and with these.
        found_by: ``random search`` or ``CMA-ES``.
        evaluations: candidates that CMA-ES tried.
    """

    ranges: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    found_by: str
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
        images: parts of the user's images; 4 to 50 of them, 128 px a side or more.
        draws: images of the random search.
        generations: most of CMA-ES.
        seconds: after which no further generation begins; the random search always ends.
        seed: of scenes and searches.
        progress: told how far it is.
    """
    started = time.monotonic()
    size, theirs = images[0].shape[0], np.array([look(image, task) for image in images])
    workshop = _Workshop(task, size, seed)
    drawn = workshop.search(draws, lambda share: progress(0.4 * share, "random search"))
    numbers = np.array([one.look for one in drawn])
    scale = np.maximum(numbers.std(0), 1e-3)
    near = _near(drawn, numbers, theirs, scale, task)
    rows, style = workshop.wide, _styles(near)
    held = {name: _middle(rows[name], [one.parameters[name] for one in near]) for name in rows}
    first = {"style": style} | {name: _limits(rows[name], *held[name]) for name in rows}

    def judge(ranges: dict[str, Any], scenes: range) -> dict[str, float]:
        return distance(theirs, workshop.looks(ranges, scenes), scale, task)

    fitted = _Evolution(rows, held, style, lambda ranges: judge(ranges, range(SCENES))["all"])
    history = fitted.run(generations, started + seconds, seed, lambda share: progress(0.4 + 0.5 * share, "CMA-ES"))
    trial = range(UNSEEN, UNSEEN + 2 * SCENES)
    results = {"random search": first, "CMA-ES": fitted.best()} if history else {"random search": first}
    found_by = min(results, key=lambda name: judge(results[name], trial)["all"])
    final = range(trial.stop, trial.stop + 2 * SCENES)
    progress(0.95, "comparing")
    result = Calibration(
        results[found_by],
        judge({}, final),
        judge(results[found_by], final),
        found_by,
        len(history) and fitted.evaluations,
        history,
    )
    progress(1.0, "done")
    return result


@dataclass
class _Drawn:
    look: NDArray
    style: str
    parameters: dict[str, float]


class _Workshop:
    """Draws images and looks at them, on as many threads as torch may use."""

    def __init__(self, task: str, size: int, seed: int):
        self.task, self.size, self.seed = task, size, seed
        table, self.styles = synthesis.tables(task)
        self.wide = {name: _widest(name, row, task) for name, row in table.items() if row.spacing != "integer"}

    def one(self, number: int, ranges: dict[str, Any]) -> _Drawn:
        (scene,) = synthesis.generate_scenes(self.task, 1, self.size, self.seed, first=number, **ranges)
        return _Drawn(look(scene.image, self.task), scene.style, scene.parameters)

    def looks(self, ranges: dict[str, Any], numbers: Sequence[int]) -> NDArray:
        with self._threads() as pool:
            return np.array([one.look for one in pool.map(lambda number: self.one(number, ranges), numbers)])

    def search(self, draws: int, progress: Callable[[float], None]) -> list[_Drawn]:
        """Every style in turn, as it is and with the widest ranges."""
        names = list(self.styles)
        wide = {name: (row.low, row.high) for name, row in self.wide.items()}
        choices = [{"style": name} | extra for extra in ({}, wide) for name in names]
        found = []
        with self._threads() as pool:
            for one in pool.map(lambda k: self.one(k, choices[k % len(choices)]), range(draws)):
                found.append(one)
                progress(len(found) / draws)
        return found

    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max(1, torch.get_num_threads()))


def _widest(name: str, row: Range, task: str) -> Range:
    """A row from the lowest to the highest that the table or any style has."""
    limits = [style.limits[name] for style in synthesis.tables(task)[1].values() if name in style.limits]
    pairs = [limit if isinstance(limit, tuple) else (limit, limit) for limit in limits] + [(row.low, row.high)]
    positive = [value for pair in pairs for value in pair if value > 0 or row.spacing != "log"]
    return Range(min(positive), max(positive), row.unit, row.meaning, row.spacing)


def _near(drawn: list[_Drawn], numbers: NDArray, theirs: NDArray, scale: NDArray, task: str) -> list[_Drawn]:
    """The drawn images nearest to each of the user's, one after another."""
    count = max(LEAST, round(NEAR * len(drawn)))
    parts = groups_of(task).values()
    found = []
    for one in theirs:
        gap = np.abs(numbers - one) / scale
        order = np.argsort(np.mean([gap[:, part].mean(1) for part in parts], axis=0), kind="stable")
        found += [drawn[place] for place in order[:count]]
    return found


def _styles(near: list[_Drawn]) -> list[str]:
    """Styles that a quarter of the near images have, the commonest first; rows that are no numbers follow from them."""
    counts = Counter(one.style for one in near).most_common()
    return [name for name, count in counts if count >= 0.25 * len(near)] or [counts[0][0]]


def _share(row: Range, value: float) -> float:
    """Where a value lies in its row: 0 at the low end, 1 at the high one."""
    if row.high <= row.low:
        return 0.5
    if row.spacing == "log":
        return float(np.log(max(value, row.low) / row.low) / np.log(row.high / row.low))
    return float((value - row.low) / (row.high - row.low))


def _middle(row: Range, values: list[float]) -> tuple[float, float]:
    """Centre and half width of the middle part of some values, as shares of the row."""
    low, high = np.quantile(np.clip([_share(row, value) for value in values], 0, 1), KEPT)
    return float((low + high) / 2), float(max((high - low) / 2, 0.01))


def _limits(row: Range, centre: float, half: float) -> tuple[float, float]:
    low, high = (row.at(float(np.clip(share, 0, 1))) for share in (centre - half, centre + half))
    return low, max(low, high)


class _Evolution:
    """CMA-ES over the centres of the rows that the random search narrowed, and one factor for all widths."""

    def __init__(
        self,
        rows: dict[str, Range],
        held: dict[str, tuple[float, float]],
        style: list[str],
        judge: Callable[[dict[str, Any]], float],
    ):
        self.rows, self.held, self.style, self.judge = rows, held, style, judge
        narrowed = sorted(rows, key=lambda name: held[name][1])
        self.moved = [name for name in narrowed if held[name][1] < 0.34][:20]  # of a whole row the middle 80 % is 0.4
        self.evaluations = 0
        self.mean: NDArray = np.zeros(len(self.moved) + 1)

    def ranges(self, point: NDArray) -> dict[str, Any]:
        """A point in units of the half widths, and the logarithm of the factor for them last."""
        found: dict[str, Any] = {"style": self.style}
        for name, row in self.rows.items():
            centre, half = self.held[name]
            if name in self.moved:
                centre = float(np.clip(centre + half * point[self.moved.index(name)], 0, 1))
                half = min(half * float(np.exp(point[-1])), 0.5)
            found[name] = _limits(row, centre, half)
        return found

    def run(self, generations: int, until: float, seed: int, progress: Callable[[float], None]) -> list[float]:
        """Best value of each generation; none where there is nothing to move or no time."""
        started, history = time.monotonic(), []
        bounds = np.array([[-2.5, 2.5]] * len(self.moved) + [[-3.0, 0.7]])
        search = CMA(mean=self.mean, sigma=0.5, bounds=bounds, seed=seed % 2**32)
        for generation in range(generations):
            if time.monotonic() >= until or search.should_stop():
                break
            asked = [search.ask() for _ in range(search.population_size)]
            told = [(point, self.judge(self.ranges(point))) for point in asked]
            search.tell(told)
            self.evaluations += len(told)
            history.append(min(value for _, value in told))
            self.mean = search.mean
            spent = (time.monotonic() - started) / max(until - started, 1e-9)
            progress(min(1.0, max((generation + 1) / generations, spent)))
        return history

    def best(self) -> dict[str, Any]:
        """Ranges at the mean of the last generation, which is less flattered by its scenes than the best point."""
        return self.ranges(self.mean)
