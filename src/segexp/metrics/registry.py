"""The registry of all scores: column, function, label, direction, and where each is shown.

Tables, pages, settings and comparisons read `SCORES`. To add a score that segexp computes, add an entry here and let
the function of its family return its column (`segexp.evaluation.scores.score_class`). A score of your own needs no
change here: write a `Score` with a `function` in a module of your own and name it in ``task.scores``
(docs/evaluation.md).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.metrics.skeleton import cldice

FAMILIES = ("probability", "filament", "surface", "object")
"""Families of scores besides the overlap, which is always computed; `task.scores` lists some of these."""
OWN = "own"
"""Family of user-defined scores."""


@dataclass(frozen=True)
class Score:
    """A score of one class in one image.

    Attributes:
        name: its column in ``scores.csv``.
        label: its name for display.
        better: ``higher`` or ``lower``; empty for a fact that is neither, such as a count of objects.
        meaning: one line for a biologist.
        function: gives it alone, from boolean masks (H, W), predicted and true, in which pixels that nobody annotated
            are False; NaN: undefined here. None: the function of its family gives it together with others.
        family: what computes it: ``overlap``, one of `FAMILIES`, or `OWN`.
        unit: empty for a share or a count, ``length`` for pixels (or µm if the pixel size is known).
        monitor: whether the best model, patience, sweeps and pruning may use it.
        without_truth: whether it is defined for a class of which no image holds a pixel, since it uses all pixels.
        chooses_threshold: whether ``task.threshold=auto`` may use it.
        uses_tolerance: whether it depends on the tolerance of centrelines and outlines (``task.tolerance``).
        shown: where it appears besides the complete tables: ``validation`` (columns of ``metrics.csv``), ``curve``
            (of the run's page), ``summary`` (closing table, HParams), ``key`` (top of the page).

    Raises:
        ValueError: if `better` is not ``higher``, ``lower`` or empty.
    """

    name: str
    label: str
    better: str
    meaning: str = ""
    function: Callable[[NDArray, NDArray], float] | None = None
    family: str = OWN
    unit: str = ""
    monitor: bool = True
    without_truth: bool = False
    chooses_threshold: bool = False
    uses_tolerance: bool = False
    shown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower", ""):
            raise ValueError(f"score {self.name}: better={self.better!r}; expected 'higher', 'lower' or ''")

    @property
    def lower(self) -> bool:
        """Whether smaller is better."""
        return self.better == "lower"


def _overlap(name: str, label: str, better: str, meaning: str, **more: Any) -> Score:
    return Score(name, label, better, meaning, family="overlap", **more)


def _fact(name: str, label: str, family: str, unit: str = "") -> Score:
    return Score(name, label, "", family=family, unit=unit, monitor=False)


_ALL = ("validation", "curve", "summary", "key")
_ENTRIES = (
    _overlap(
        "dice",
        "Dice",
        "higher",
        "overlap of predicted and true area: 1 is perfect, 0 none",
        chooses_threshold=True,
        shown=_ALL,
    ),
    Score(  # of all images together: no column of scores.csv
        "dice_pooled",
        "pooled Dice",
        "higher",
        "Dice of the pixels of all images together",
        family="pooled",
        monitor=False,
        shown=("validation", "summary", "key"),
    ),
    _overlap(
        "iou",
        "IoU",
        "higher",
        "shared area divided by joint area; never above Dice",
        chooses_threshold=True,
        shown=("validation", "curve", "summary"),
    ),
    _overlap("precision", "precision", "higher", "share of the predicted area that is true", shown=_ALL),
    _overlap("recall", "recall", "higher", "share of the true area that was found", shown=_ALL),
    _overlap(
        "specificity",
        "specificity",
        "higher",
        "share of the true background predicted as background",
        without_truth=True,
    ),
    _overlap(
        "bce",
        "cross-entropy (nats)",
        "lower",
        "cross-entropy between the probabilities and the truth",
        without_truth=True,
    ),
    Score(
        "brier",
        "Brier score",
        "lower",
        "mean squared distance of the probabilities from the truth",
        family="probability",
        without_truth=True,
    ),
    Score(
        "ece",
        "calibration error",
        "lower",
        "mean gap between predicted probability and observed frequency",
        family="probability",
        without_truth=True,
        shown=("key",),
    ),
    Score(
        "average_precision",
        "average precision",
        "higher",
        "precision averaged over all thresholds",
        family="probability",
    ),
    Score(
        "cldice",
        "clDice",
        "higher",
        "overlap of centrelines: are the filaments followed without gaps?",
        function=cldice,
        family="filament",
        chooses_threshold=True,
        shown=_ALL,
    ),
    Score(
        "skeleton_precision",
        "centreline precision",
        "higher",
        "share of the predicted centrelines that lie on true ones",
        family="filament",
        uses_tolerance=True,
    ),
    Score(
        "skeleton_recall",
        "centreline recall",
        "higher",
        "share of the true centrelines that were followed",
        family="filament",
        uses_tolerance=True,
    ),
    Score("skeleton_f1", "centreline F1", "higher", "both of these in one", family="filament", uses_tolerance=True),
    Score(
        "length_error",
        "length error",
        "lower",
        "total length off, as a share of the true length",
        family="filament",
        shown=("key",),
    ),
    _fact("length_truth", "true length", "filament", "length"),
    _fact("length_prediction", "predicted length", "filament", "length"),
    Score("betti0_error", "pieces off (Betti-0)", "lower", "pieces too many or too few", family="filament"),
    Score("betti1_error", "holes off (Betti-1)", "lower", "closed loops too many or too few", family="filament"),
    Score("breaks", "breaks", "lower", "true pieces that were cut", family="filament"),
    Score("merges", "merges", "lower", "true pieces that were joined", family="filament"),
    Score(
        "surface_dice",
        "surface Dice",
        "higher",
        "share of both outlines that lie within the tolerance of each other",
        family="surface",
        uses_tolerance=True,
    ),
    Score(
        "surface_distance",
        "mean surface distance",
        "lower",
        "mean distance between the outlines",
        family="surface",
        unit="length",
    ),
    Score("hd95", "HD95", "lower", "95 % of the outlines are closer than this", family="surface", unit="length"),
    Score(
        "object_f1",
        "object F1",
        "higher",
        "objects found one to one (IoU of 0.5 or more)",
        family="object",
        shown=("summary", "key"),
    ),
    Score(
        "object_precision",
        "object precision",
        "higher",
        "share of the predicted objects that are true ones",
        family="object",
    ),
    Score("object_recall", "object recall", "higher", "share of the true objects that were found", family="object"),
    Score("object_f1_75", "object F1 at IoU 0.75", "higher", "the same, with an IoU of 0.75 or more", family="object"),
    Score("object_ap", "object AP, IoU 0.5 to 0.9", "higher", "the same averaged over IoU 0.5 to 0.9", family="object"),
    Score(
        "panoptic_quality",
        "panoptic quality",
        "higher",
        "objects found, weighted by their overlap",
        family="object",
    ),
    Score("count_error", "count error", "lower", "objects too many or too few", family="object", shown=("key",)),
    Score(  # of matched pairs alone, so that a model which finds a single object may be the best by it
        "centre_error",
        "centre error",
        "lower",
        "distance of the centres of matched objects",
        family="object",
        unit="length",
        monitor=False,
    ),
    Score(
        "radius_error",
        "radius error",
        "lower",
        "difference in radius of matched objects",
        family="object",
        unit="length",
        monitor=False,
    ),
    _fact("objects_truth", "true objects", "object"),
    _fact("objects_prediction", "predicted objects", "object"),
)

SCORES: dict[str, Score] = {score.name: score for score in _ENTRIES}
"""Scores that are computed, by their columns; `add` adds user-defined ones."""
ALONE: dict[str, Score] = {"cldice": SCORES["cldice"], "centreline": SCORES["cldice"]}
"""Scores with a function of their own, by what ``task.scores`` or a model file calls them (earlier versions:
``centreline``)."""
_KNOWN: dict[str, Score] = {}
"""Scores that are not computed here but occur in a record that was read."""


def shown(place: str) -> tuple[str, ...]:
    """Names of the scores that are shown in a place; see `Score.shown`."""
    return tuple(name for name, score in SCORES.items() if place in score.shown)


def monitors() -> list[str]:
    """Names of the scores that ``task.monitor`` accepts."""
    return [name for name, score in SCORES.items() if score.monitor and score.better]


def find(name: str) -> Score:
    """The entry of a score; an unknown one gets its name as label, and higher values count as better."""
    return SCORES.get(name) or _KNOWN.get(name) or Score(name, name.replace("_", " "), "higher", family="")


def everything() -> dict[str, Score]:
    """The scores that are computed, then those that records were read of."""
    return SCORES | {name: score for name, score in _KNOWN.items() if name not in SCORES}


def is_better(name: str, first: float, second: float) -> bool:
    """Whether `first` is at least as good as `second`."""
    return first <= second if find(name).lower else first >= second


def to_compute(name: str) -> tuple[str, ...]:
    """What has to be computed, besides the overlap, for a score: itself if it has a function, else its family."""
    score = SCORES[name]
    if score.family == "overlap":
        return ()
    alone = [key for key, other in ALONE.items() if other is score]
    return (alone[0],) if alone else (score.family,)


def add(key: str, score: Score) -> None:
    """Register a user-defined score, to be computed wherever `key`, such as ``mylab.scores.tip_error``, is named.

    Raises:
        ValueError: if name, label or function is missing, or another score has the name.
    """
    if not score.name.isidentifier() or not score.label or score.function is None:
        raise ValueError("expected a name of letters, digits and _, a label and a function")
    taken = SCORES.get(score.name)
    if taken is not None and ALONE.get(key) is not taken:
        raise ValueError(f"its column {score.name} is that of another score; expected another name")
    SCORES[score.name] = ALONE[key] = score


def learn(entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Take label, direction and unit of unknown scores from the ``scores`` of an ``evaluation.json``."""
    for name, entry in entries.items():
        better, label = entry.get("better", "higher"), str(entry.get("words") or name.replace("_", " "))
        if name not in SCORES and better in ("higher", "lower", ""):
            _KNOWN[name] = Score(name, label, str(better), unit="length" if entry.get("unit") else "")


def number_of(score: Score, predicted: NDArray, true: NDArray) -> float:
    """The result of a score's function for two boolean masks (H, W).

    Raises:
        InputError: if it fails, or gives no finite number nor NaN.
    """
    assert score.function is not None
    try:
        value = float(score.function(predicted, true))
    except Exception as error:  # whatever somebody's own code raises
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"score {score.name}: its function fails: {type(error).__name__}: {first}; expected one that takes two "
            "boolean masks (H, W), predicted and true, to a number"
        ) from error
    if math.isinf(value):
        raise InputError(f"score {score.name}: its function gives {value}; expected a finite number, or NaN: undefined")
    return value
