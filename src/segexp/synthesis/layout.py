"""The content of an image: style, parameters, cells and objects, drawn on the CPU from (seed, task, image number).

A layout consists of small arrays without pixels; `pixels` computes the pixels from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segexp.synthesis import cells as cell
from segexp.synthesis import discs, filaments, optics, truth, untraced, vesicles
from segexp.synthesis import styles as looks
from segexp.synthesis.ranges import Limits, Range, Style, draw, narrow

TASKS = ("vesicle", "cytoskeleton")

_TABLES: dict[str, dict[str, Range]] = {
    "vesicle": vesicles.VESICLES | cell.CELLS | optics.OPTICS | truth.SEEN | vesicles.CROWD | untraced.BESIDE_VESICLES,
    "cytoskeleton": filaments.FILAMENTS | cell.CELLS | optics.OPTICS | truth.SEEN | untraced.BESIDE_FILAMENTS,
}
_STYLES: dict[str, dict[str, Style]] = {"vesicle": looks.VESICLE_STYLES, "cytoskeleton": looks.FILAMENT_STYLES}
_SAMPLE: dict[str, Callable[..., Any]] = {"vesicle": vesicles.sample, "cytoskeleton": filaments.sample}
_UNTRACED: dict[str, Callable[..., filaments.Filaments]] = {
    "vesicle": untraced.beside_vesicles, "cytoskeleton": untraced.beside_filaments
}  # fmt: skip
_KNOTS = (5, 11)  # knots per side of the two random fields: background, texture of the haze


@dataclass
class Layout:
    """Everything that determines an image, as small arrays on the CPU."""

    key: int  # key of the image's noise
    style: str
    parameters: dict[str, float]
    cells: cell.Cells
    objects: Any  # Vesicles or Filaments, in focus
    blurred: Any  # Discs or Filaments, out of focus
    blobs: discs.Discs  # distractors
    untraced: filaments.Filaments  # in focus, but in no mask
    knots: tuple[np.ndarray, np.ndarray]  # of the random fields
    angles: tuple[float, float]  # of the background's slope and of the bleaching, radians
    hot: np.ndarray  # (n, 3): row, column, charge as a share of the full scale


def tables(task: str) -> tuple[dict[str, Range], dict[str, Style]]:
    """Return the parameters that `task` can vary, and its styles.

    Raises:
        ValueError: if there is no such task.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; accepted: {', '.join(TASKS)}")
    return _TABLES[task], _STYLES[task]


def layout(
    task: str, size: tuple[int, int], seed: int, index: int, styles: Sequence[str], ranges: dict[str, Limits]
) -> Layout:
    """Draw the content of image `index` of `seed`."""
    table, known = tables(task)
    # One random stream per stage: a new row in a table, or a change to the cells, does not alter what other stages draw
    sequence = np.random.SeedSequence(seed, spawn_key=(TASKS.index(task), index))
    rng, field_rng, cell_rng, object_rng = (np.random.Generator(np.random.Philox(stage)) for stage in sequence.spawn(4))
    weights = np.array([known[name].weight for name in styles])
    weights = weights if weights.any() else np.ones(len(styles))
    style = styles[int(rng.choice(len(styles), p=weights / weights.sum()))]
    p = draw(narrow(table, dict(known[style].limits) | ranges), rng)
    field = tuple(field_rng.standard_normal((k, k)).astype(np.float32) for k in _KNOTS)
    angles = (field_rng.uniform(0, 2 * np.pi), field_rng.uniform(0, 2 * np.pi))
    count = field_rng.poisson(p["hot_pixels"] * size[0] * size[1])
    hot = np.stack(
        [
            field_rng.integers(0, size[0], count),
            field_rng.integers(0, size[1], count),
            field_rng.uniform(0.02, 0.6, count),
        ],
        1,
    )
    placed = cell.sample(cell_rng, p, size)
    objects, blurred, blobs = _SAMPLE[task](object_rng, p, size, placed)
    others = _UNTRACED[task](object_rng, p, size, placed)
    key = int(sequence.generate_state(1, np.uint64)[0].astype(np.int64))
    return Layout(key, style, p, placed, objects, blurred, blobs, others, field, angles, hot)  # type: ignore[arg-type]
