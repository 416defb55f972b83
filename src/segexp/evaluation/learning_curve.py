"""A learning curve: the score of a model by the number of training images, and the expected gain from more images.

The curve is the inverse power law ``score(n) = a - b n**-c`` with b >= 0 and c > 0, the usual one of the field:
Figueroa et al., "Predicting sample size required for classification performance" (2012), doi:10.1186/1472-6947-12-8;
Hestness et al., "Deep learning scaling is predictable, empirically" (2017), arXiv:1712.00409.

A dozen runs do not determine it, so no single best curve is chosen: `fit` weights all curves of a grid by how well they
explain the runs, and predictions average over these weights. The model has two sources of variation. That of a single
run (initial weights, order of crops) is the same at every size. That of the draw of images is largest for small parts
and zero if all images are taken. Draws are nested, so runs of one repeat share images, and all runs share the same
annotated set; a larger set would be partly new, which intervals for it take into account.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import truncnorm

from segexp.errors import InputError

FEWEST_SIZES = 3
"""Smallest number of different numbers of images for a curve."""
LITTLE = 0.005
"""Gain in the score below which more images are said to gain little."""
FARTHEST = 4
"""Range of the forecast, as a multiple of the present number of images."""
_LEVELS = (0.05, 0.5, 0.95)
_DRAWS = 4000

Floats = NDArray[np.float64]


class Run(NamedTuple):
    """A finished training: on how many images, which repeat (such as its seed), and the score."""

    images: int
    repeat: str
    score: float


class Expected(NamedTuple):
    """What a single run is expected to score: the median, and the ends of the 90 % interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """Curves drawn in proportion to how well they explain the runs; see `fit`.

    Attributes:
        runs: what was fitted.
        asymptote, gap, exponent: float (D,) of the curve ``asymptote - gap * (n / smallest)**-exponent``.
        own, drawn, decay: float (D,); the standard deviation of a run by itself, that of a draw of the smallest size,
            and the exponent by which the variance of draws falls with their size.
    """

    runs: tuple[Run, ...]
    asymptote: Floats
    gap: Floats
    exponent: Floats
    own: Floats
    drawn: Floats
    decay: Floats

    @property
    def sizes(self) -> list[int]:
        """Numbers of images that were tried, ascending; the last one is the number of all images."""
        return sorted({run.images for run in self.runs})

    def scores(self, images: int) -> list[float]:
        """Scores of the runs on so many images."""
        return [run.score for run in self.runs if run.images == images]

    def expect(self, images: float) -> Expected:
        """The score of one run on a number of images: some or all of the present ones, or these and similar ones."""
        smallest, most = self.sizes[0], self.sizes[-1]
        middle = self.asymptote - self.gap * (images / smallest) ** -self.exponent
        unlike = np.abs((images / smallest) ** -self.decay - (most / smallest) ** -self.decay)
        chance = np.random.default_rng(1).standard_normal(len(middle))  # the same at each size: a smooth band
        values = np.minimum(middle + chance * np.sqrt(self.own**2 + self.drawn**2 * unlike), 1.0)
        low, _, high = np.quantile(values, _LEVELS)
        return Expected(float(np.median(middle)), float(low), float(high))

    def enough(self) -> Expected:
        """Number of images from which doubling gains less than `LITTLE`, at least the smallest size; 90 % interval."""
        gain = self.gap * (1 - 2.0**-self.exponent)
        with np.errstate(over="ignore", divide="ignore"):
            images = self.sizes[0] * (gain / LITTLE) ** (1 / self.exponent)
        low, middle, high = np.quantile(np.maximum(images, self.sizes[0]), _LEVELS)
        return Expected(float(middle), float(low), float(high))


def fit(runs: Sequence[Run]) -> LearningCurve:
    """Weight all curves by the runs; the prior is flat in asymptote and gap, and in the logarithm of all else.

    Raises:
        InputError: if there are fewer than `FEWEST_SIZES` different sizes, or a score is not between -1 and 1.
    """
    sizes = sorted({run.images for run in runs})
    if len(sizes) < FEWEST_SIZES:
        raise InputError(
            f"a learning curve needs runs on {FEWEST_SIZES} or more different numbers of images; found {len(sizes)}"
            f" ({', '.join(map(str, sizes)) or 'none'})"
        )
    wrong = [run.score for run in runs if not -1 <= run.score <= 1]
    if wrong:
        raise InputError(f"a learning curve needs scores of at most 1, such as Dice; found {wrong[0]:g}")
    images = np.array([run.images for run in runs]) / sizes[0]
    scores = np.array([run.score for run in runs])
    asymptotes = np.linspace(scores.min() - 0.02, 1.0, 161)
    exponents = np.geomspace(0.1, 3.0, 32)
    noises = [
        (own, drawn, decay)
        for decay in (1.0, 2.0)
        for drawn in (0.0, *np.geomspace(0.005, 0.4, 8))
        for own in np.geomspace(0.001, 0.2, 12)
    ]
    terms = _terms(images, scores, [run.repeat for run in runs], exponents, noises)
    weights, gaps, precisions = _weights(terms, asymptotes)
    random = np.random.default_rng(0)
    chosen = random.choice(weights.size, _DRAWS, p=weights.ravel())
    noise, exponent, asymptote = np.unravel_index(chosen, weights.shape)
    middle, scale = gaps.ravel()[chosen], 1 / np.sqrt(precisions[noise, exponent])
    gap = truncnorm.rvs(-middle / scale, (1 - middle) / scale, middle, scale, random_state=random)
    step = asymptotes[1] - asymptotes[0]
    jitter = random.uniform(-step / 2, step / 2, _DRAWS)
    own, drawn, decay = np.array(noises)[noise].T
    return LearningCurve(
        tuple(runs), np.minimum(asymptotes[asymptote] + jitter, 1.0), gap, exponents[exponent], own, drawn, decay
    )


def _terms(
    images: Floats, scores: Floats, repeats: Sequence[str], exponents: Floats, noises: Sequence[tuple[float, ...]]
) -> dict[str, Floats]:
    """Products of ones, powers of the sizes and scores under each covariance: arrays (noises, exponents or 1)."""
    same = np.array([[first == second for second in repeats] for first in repeats])
    larger = np.maximum.outer(images, images)
    powers = images[:, None] ** -exponents
    ones = np.ones_like(scores)
    found: dict[str, list[Any]] = {name: [] for name in ("det", "11", "1y", "yy", "1x", "xy", "xx")}
    for own, drawn, decay in noises:
        shared = same * drawn**2 * (larger**-decay - images.max() ** -decay)
        root = np.linalg.cholesky(own**2 * np.eye(len(scores)) + shared)
        one, y, x = (np.linalg.solve(root, values) for values in (ones, scores, powers))
        found["det"].append([2 * np.log(np.diag(root)).sum()])
        for name, product in {"11": one @ one, "1y": one @ y, "yy": y @ y}.items():
            found[name].append([product])
        for name, products in {"1x": one @ x, "xy": y @ x, "xx": (x * x).sum(axis=0)}.items():
            found[name].append(products)
    return {name: np.array(values) for name, values in found.items()}


def _weights(terms: dict[str, Floats], asymptotes: Floats) -> tuple[Floats, Floats, Floats]:
    """Weights (noises, exponents, asymptotes), their sum 1, with the gap integrated over 0 to 1; its mean; precision.

    Given all else the gap is normal, with a precision (noises, exponents) that no asymptote changes.
    """
    t = {name: values[:, :, None] for name, values in terms.items()}
    a = asymptotes
    gaps = (a * t["1x"] - t["xy"]) / t["xx"]
    squares = a**2 * t["11"] - 2 * a * t["1y"] + t["yy"] - gaps**2 * t["xx"]
    root = np.sqrt(t["xx"])
    inside = _log_between(-gaps * root, (1 - gaps) * root)
    logs = -0.5 * (squares + t["det"] + np.log(t["xx"])) + inside
    weights = np.exp(logs - logs.max())
    return weights / weights.sum(), gaps, terms["xx"]


def _log_between(low: Floats, high: Floats) -> Floats:
    """Logarithm of the standard normal probability of low to high."""
    low, high = np.where(low > 0, -high, low), np.where(low > 0, -low, high)
    upper = log_ndtr(high)
    return upper + np.log1p(-np.exp(np.minimum(log_ndtr(low) - upper, -1e-12)))


def describe(curve: LearningCurve, score: str) -> list[str]:
    """Describe a curve in sentences; `score` is the label of the measured score."""
    most, repeats = curve.sizes[-1], len(curve.scores(curve.sizes[-1]))
    now = sum(curve.scores(most)) / repeats
    ahead = [f"{most * times} images {interval(curve.expect(most * times))}" for times in (2, FARTHEST)]
    lines = [
        f"{score} with {most} images: {now:.3f}, the mean of {repeats} run{'s' * (repeats != 1)}; expected of a run: "
        f"{interval(curve.expect(most))}",
        f"expected with {' and with '.join(ahead)}",
    ]
    enough = curve.enough()
    end = f"{round(enough.high)}" if enough.high <= 2 * FARTHEST * most else f"more than {2 * FARTHEST * most}"
    from_to = f"{round(enough.low)} to {end}"
    little = f"twice as many images gain less than {LITTLE:g}"
    if enough.high <= most:
        lines.append(f"the present images are enough: with {most} images, {little}")
    elif enough.low > FARTHEST * most:
        lines.append(f"more images help: with {FARTHEST * most}, twice as many still gain {LITTLE:g} or more")
    elif enough.high > 2 * FARTHEST * most:
        lines.append(
            f"these runs cannot tell from how many images on {little} ({from_to}); more repeats (--repeats) help"
        )
    elif enough.score <= most:
        lines.append(f"the present images are probably enough: {little} from {round(enough.score)} on ({from_to})")
    else:
        lines.append(f"past {round(enough.score)} images ({from_to}) little is gained: {little}")
    return lines


def interval(expected: Expected) -> str:
    """``0.841 (0.822 to 0.859)``."""
    return f"{expected.score:.3f} ({expected.low:.3f} to {expected.high:.3f})"


def record(curve: LearningCurve, score: str) -> dict[str, Any]:
    """The content of ``learning_curve.json``: runs, forecasts, and the curve to draw, the forecasts' sizes among it."""
    smallest, most = curve.sizes[0], curve.sizes[-1]
    far = FARTHEST * most
    drawn = sorted({*curve.sizes, 2 * most, far, *np.geomspace(smallest, far, 40).round().astype(int).tolist()})
    enough = {name: value if value < 1e9 else None for name, value in curve.enough()._asdict().items()}
    return {
        "format": 1,
        "score": score,
        "images": most,
        "interval": 0.9,
        "runs": [run._asdict() for run in curve.runs],
        "curve": [{"images": images} | curve.expect(images)._asdict() for images in drawn],
        "enough": {"gain": LITTLE, "images": enough["score"], "low": enough["low"], "high": enough["high"]},
    }
