"""The order in which candidates are suggested: uncertain, unlike what is annotated, and unlike each other.

A greedy k-centre choice, as for core-sets (Sener and Savarese 2018, arXiv:1708.00489), in which each candidate's
distance to the nearest image that is annotated or chosen already is multiplied by how far the model's answers for it
disagree. So ten near-copies of the hardest image are not ten suggestions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FLOOR = 0.1  # of a number that hardly varies over the images


class Suggestion(NamedTuple):
    """One choice.

    Attributes:
        candidate: its index.
        score: disagreement times distance; disagreement alone if nothing is annotated or chosen yet.
        distance: to the nearest image that was annotated or chosen then, in standard deviations; NaN if none was.
        nearest: which: of the annotated its number, of the chosen their number behind those; -1 if none was.
        farther: share of the candidates that were nearer.
    """

    candidate: int
    score: float
    distance: float
    nearest: int
    farther: float


def rank(
    disagreement: NDArray[np.float64], features: NDArray[np.float64], annotated: NDArray[np.float64], count: int
) -> list[Suggestion]:
    """At most `count` of N candidates, best first; copies of annotated or chosen ones are never taken.

    Args:
        disagreement: (N,), 0 or more.
        features: (N, F) numbers that say what each looks like.
        annotated: (M, F) of the annotated images; M may be 0.
        count: how many are wanted.
    """
    scale = np.sqrt(np.concatenate([features, annotated]).var(axis=0) + _FLOOR**2)
    places, known = features / scale, annotated / scale
    distance, nearest = np.full(len(places), np.inf), np.full(len(places), -1)

    def near(point: NDArray, number: int) -> None:
        gap = np.sqrt(((places - point) ** 2).mean(axis=1))
        nearest[gap < distance] = number
        np.minimum(distance, gap, out=distance)

    for number, point in enumerate(known):
        near(point, number)
    chosen: list[Suggestion] = []
    while len(chosen) < min(count, len(places)):
        unknown = bool(np.isinf(distance).all())
        value = disagreement if unknown else disagreement * distance
        best = int(value.argmax())
        if value[best] <= 0:
            break
        far = float("nan") if unknown else float(distance[best])
        farther = float((distance < distance[best]).mean())
        chosen.append(Suggestion(best, float(value[best]), far, int(nearest[best]), farther))
        near(places[best], len(known) + len(chosen) - 1)
    return chosen
