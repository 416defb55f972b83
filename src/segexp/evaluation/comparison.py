"""Whether one run is better than another: paired by image, and with the variation over seeds if it was measured.

Images are paired if name and truth are the same. Runs that differ only in their seed and fold are one candidate: the
folds of a seed together validate every image once, and the score of an image is its mean over seeds. The difference of
two candidates is "better" or "worse" if the paired permutation test over images gives p < 0.05, the 95 % interval of
the difference excludes 0 and, if both were repeated with several seeds, so does its 95 % interval over seeds (Welch's
t). Any other difference is "within noise". Images of one group (``data.group``) are not independent of each other:
where there are groups, test and interval are over groups.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.evaluation.images import image_values
from segexp.evaluation.io import read_evaluation, read_rows
from segexp.evaluation.scores import Row
from segexp.io.records import read_yaml
from segexp.metrics.interval import paired_difference, smallest_p
from segexp.metrics.registry import everything

NOISE = "within noise"


@dataclass
class EvaluatedRun:
    """An evaluated run: folder, rows of ``scores.csv``, ``evaluation.json``, its seed and fold, the other settings."""

    folder: Path
    rows: list[Row]
    record: dict[str, Any]
    seed: int | None = None
    fold: str | None = None
    settings: str = ""

    @property
    def truths(self) -> dict[str, str]:
        """Fingerprint of each image's truth."""
        return {image["name"]: image["truth"] for image in self.record["images"]}

    @property
    def pixels(self) -> dict[str, str]:
        """Fingerprint of each image's pixels."""
        return {image["name"]: image["pixels"] for image in self.record["images"]}


@dataclass
class Candidate:
    """Runs that differ only in their seed and fold; `title` replaces their folders if they have a name."""

    runs: list[EvaluatedRun] = field(default_factory=list)
    title: str = ""

    @property
    def name(self) -> str:
        """The title, or the folders."""
        return self.title or ", ".join(str(run.folder) for run in self.runs)

    @property
    def repeats(self) -> list[list[EvaluatedRun]]:
        """The runs by seed, the folds of one seed together; without folds each run is separate."""
        by_repeat: dict[Any, list[EvaluatedRun]] = {}
        for index, run in enumerate(self.runs):
            by_repeat.setdefault(f"run {index}" if run.fold is None else run.seed, []).append(run)
        return list(by_repeat.values())

    def values(self, score: str) -> dict[str, float]:
        """The score of each image that all seeds have with the same truth, mean over the seeds."""
        tables = [_values(runs, score) for runs in self.repeats]
        common = [key for key in tables[0] if all(key in table for table in tables)]
        return {key[0]: float(np.mean([table[key] for table in tables])) for key in common}

    def means(self, score: str) -> NDArray[np.float64]:
        """The mean of the score over images, for each seed."""
        return np.array([known_mean(_values(runs, score).values()) for runs in self.repeats])

    @property
    def monitor(self) -> str:
        """The score that the best models were chosen by; of folds, some without foreground, that of the others."""
        monitors = [str(run.record["monitor"]) for run in self.runs]
        return next((name for name in monitors if name != "specificity"), monitors[0])

    def spread(self, score: str) -> float | None:
        """Standard deviation of that mean over the seeds; None for one."""
        means = self.means(score)
        return float(means.std(ddof=1)) if len(means) > 1 else None


def known_mean(values: Iterable[float]) -> float:
    """The mean of those that are numbers; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _values(runs: Sequence[EvaluatedRun], score: str) -> dict[tuple[str, str], float]:
    """(name, truth) of an image -> its score, of runs that validated different images."""
    return {
        key: value
        for run in runs
        for key, value in zip(run.truths.items(), image_values(run.rows, score).tolist(), strict=True)
    }


def read_run(folder: str | Path) -> EvaluatedRun:
    """Read a run folder, or the output of ``segexp evaluate``.

    Raises:
        InputError: if there are no scores in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a run's, or what segexp evaluate wrote")
    for table, details in (("val/scores.csv", "val/evaluation.json"), ("scores.csv", "scores.json")):
        if (folder / table).is_file() and (folder / details).is_file():
            break
    else:
        raise InputError(
            f"{folder}: holds neither val/scores.csv and val/evaluation.json nor scores.csv and scores.json"
        )
    try:
        rows = read_rows(folder / table)
        record = read_evaluation(folder / details)
        names = list(dict.fromkeys(row["image"] for row in rows))
        if names != [image["name"] for image in record["images"]] or not names:
            raise ValueError(f"{table} and {details} are of different images")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: {error}; score it again with segexp evaluate") from None
    return EvaluatedRun(folder, rows, record, *_repeat_and_settings(folder))


def candidates(runs: Sequence[EvaluatedRun]) -> list[Candidate]:
    """Runs grouped by settings, in the order of the first of each; a run with unknown settings is separate.

    A run with the same settings, seed and fold as another one starts a new candidate: it was trained on other data, or
    by other code.
    """
    found: list[tuple[str, Candidate]] = []
    for index, run in enumerate(runs):
        key, place = run.settings or f"run {index}", (run.seed, run.fold)
        for settings, candidate in found:
            if settings == key and place not in [(other.seed, other.fold) for other in candidate.runs]:
                candidate.runs.append(run)
                break
        else:
            found.append((key, Candidate([run])))
    return [candidate for _, candidate in found]


def compare(baseline: Candidate, other: Candidate) -> dict[str, Any]:
    """`other` minus `baseline`, score by score.

    Scores in other units or with another tolerance are left out, with a note.

    Returns:
        `baseline` and `other`, their folders; `monitor`; `images`, the number of pairs; `unpaired`, a line for each
        reason why other images are left out; `notes`; `scores` {score: {baseline, other, difference, interval, p,
        verdict, seed_error}}, of which the first two are means over the paired images and seed_error is the standard
        error of the difference over seeds or None.

    Raises:
        InputError: if the two have no image or no score in common.
    """
    paired, unpaired = _pair(baseline, other)
    if not paired:
        why = "; ".join([*unpaired[:2], *_advice(baseline, other)])
        raise InputError(f"{other.name} and {baseline.name}: no image in common; {why}")
    runs = [*baseline.runs, *other.runs]
    apart, notes = _measured_differently(runs)
    group_of = {str(row["image"]): f"group {row['group']}" for run in runs for row in run.rows if row.get("group")}
    groups = [group_of.get(name, f"image {name}") for name in paired]
    independent = len(set(groups))
    pixels = [{name: text for run in each.runs for name, text in run.pixels.items()} for each in (baseline, other)]
    changed = sum(pixels[0][name] != pixels[1][name] for name in paired)
    if changed:
        notes.append(f"{changed} of {len(paired)} images have the same truth but different pixels (colour and grey?)")
    if independent < len(paired):
        notes.append(f"interval and p are over {independent} groups of images (data.group)")
    if smallest_p(independent) >= 0.05:
        units = "images" if independent == len(paired) else "groups of images"
        notes.append(f"{independent} {units} are too few to distinguish a difference from noise: at least 6 are needed")
    if min(len(each.repeats) for each in (baseline, other)) < 2:
        notes.append("one seed each: the difference may come from the seed; repeat with trainer.seeds=3")
    scores = {}
    for name, score in everything().items():
        if not score.better or name in apart or not all(name in run.rows[0] for run in runs):
            continue
        ours, theirs = other.values(name), baseline.values(name)
        first, second = (np.array([values[image] for image in paired]) for values in (ours, theirs))
        if np.isnan(first - second).all():
            continue
        scores[name] = _difference(first, second, groups, score.better, _over_seeds(baseline, other, name))
    if not scores:
        raise InputError(f"{other.name} and {baseline.name}: no score in common; score both again with segexp evaluate")
    return {
        "baseline": [baseline.title] if baseline.title else [str(run.folder) for run in baseline.runs],
        "other": [other.title] if other.title else [str(run.folder) for run in other.runs],
        "monitor": next(name for name in (other.monitor, "dice", "specificity", *scores) if name in scores),
        "images": len(paired),
        "unpaired": unpaired,
        "notes": notes,
        "scores": scores,
    }


def _difference(
    first: NDArray, second: NDArray, groups: Sequence[str], better: str, over_seeds: tuple[float, float] | None
) -> dict[str, Any]:
    """`first` minus `second`, an image each; `groups` of the images, `over_seeds` as `_over_seeds` gives it."""
    both = ~np.isnan(first - second)
    totals = group_totals((first - second)[both], [group for group, known in zip(groups, both, strict=True) if known])
    difference = paired_difference(totals, np.zeros_like(totals))
    clear = (
        difference.p < 0.05
        and difference.interval is not None
        and not difference.interval[0] <= 0 <= difference.interval[1]
        and (over_seeds is None or abs(difference.mean) > over_seeds[1])
    )
    good = (difference.mean > 0) == (better == "higher")
    return {
        "baseline": float(second[both].mean()),
        "other": float(first[both].mean()),
        "difference": difference.mean,
        "interval": difference.interval,
        "p": difference.p,
        "seed_error": None if over_seeds is None else over_seeds[0],
        "verdict": NOISE if not clear else "better" if good else "worse",
    }


def group_totals(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """One number for each group: the sum of its values, in a unit in which their mean is that of all `values`."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    sums = np.bincount([numbers[group] for group in groups], values)
    return np.asarray(sums * (len(numbers) / len(values)))


def _over_seeds(baseline: Candidate, other: Candidate, score: str) -> tuple[float, float] | None:
    """Standard error of the difference over seeds, and half of its 95 % interval (Welch's t); None without seeds."""
    spreads = [(each.spread(score), len(each.repeats)) for each in (baseline, other)]
    parts = [(spread**2 / count, count) for spread, count in spreads if spread is not None]
    if len(parts) < 2:
        return None
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0, 0.0
    from scipy import stats  # here, since it takes a second to import

    freedom = variance**2 / sum(part**2 / (count - 1) for part, count in parts)
    error = math.sqrt(variance)
    return error, float(stats.t.ppf(0.975, freedom)) * error


def _measured_differently(runs: Sequence[EvaluatedRun]) -> tuple[set[str], list[str]]:
    """Scores that are in other units, or use another tolerance, in some of the runs; and a note on each reason."""
    shared = [
        score for name, score in everything().items() if score.better and all(name in run.rows[0] for run in runs)
    ]
    units = {str(run.record["unit"]) for run in runs if run.record.get("unit")}
    reaches = [run.record["tolerance"] for run in runs if run.record.get("tolerance")]
    tolerances = {f"{each['value']:g} {each['unit']}" for each in reaches}
    apart: set[str] = set()
    notes = []
    for words, found, option, scores in (
        ("lengths are in", units, "--pixel-size", [score for score in shared if score.unit == "length"]),
        ("the tolerances are", tolerances, "--tolerance", [score for score in shared if score.uses_tolerance]),
    ):
        if len(found) > 1 and scores:
            apart |= {score.name for score in scores}
            notes.append(
                f"{words} {' and '.join(sorted(found))}, so these are not compared: "
                f"{', '.join(score.label for score in scores)}; segexp evaluate {option} scores all runs alike"
            )
    return apart, notes


def _advice(baseline: Candidate, other: Candidate) -> list[str]:
    """What to type if the seeds of a candidate validated different images; empty if they did not."""
    for each in (baseline, other):
        names = [{name for run in runs for name in run.truths} for runs in each.repeats]
        if not set.intersection(*names):
            return ["each seed divides the images anew; with data.split_seed=0 all seeds validate the same images"]
    return []


def _pair(baseline: Candidate, other: Candidate) -> tuple[list[str], list[str]]:
    """Names of the images that all seeds have with the same truth, and reasons why others are left out."""
    repeats = [*baseline.repeats, *other.repeats]
    truths = [{name: text for run in runs for name, text in run.truths.items()} for runs in repeats]
    unpaired = []
    everywhere = [name for name in truths[0] if all(name in table for table in truths)]
    for runs, table in zip(repeats, truths, strict=True):
        alone = [name for name in table if name not in everywhere]
        if alone:
            unpaired.append(f"only in some runs, among them {runs[0].folder}: {_listed(alone)}")
    same = [name for name in everywhere if len({table[name] for table in truths}) == 1]
    if len(same) < len(everywhere):
        changed = _listed([name for name in everywhere if name not in same])
        unpaired.insert(0, f"same name but a different mask: {changed}")
    return same, unpaired


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _repeat_and_settings(folder: Path) -> tuple[int | None, str | None, str]:
    """Seed and fold of a run, and its other settings as text; None and empty if the folder does not hold them."""
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        return None, None, ""
    settings = read_yaml(path)
    if not isinstance(settings, dict) or not isinstance(settings.get("data", {}), dict | None):
        raise InputError(f"{path}: expected the settings of a run")
    seed, fold = settings.pop("seed", None), (settings.get("data") or {}).pop("fold", None)
    if not (seed is None or type(seed) is int) or not (fold is None or isinstance(fold, str)):
        raise InputError(f"{path}: seed={seed!r}, data.fold={fold!r}; expected the settings of a run")
    for key in ("output_dir", "overwrite", "resume", "sweep"):
        settings.pop(key, None)
    return seed, fold, json.dumps(settings, sort_keys=True, default=str)
