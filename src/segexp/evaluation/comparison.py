"""Whether one run is better than another: paired by image, and with the variation over seeds if it was measured.

Images are paired if name and truth are the same. Runs that differ only in their seed and fold are one candidate: the
folds of a seed together validate every image once, and the score of an image is its mean over seeds. The difference of
two candidates is "better" or "worse" if the paired permutation test over images gives p < 0.05, the 95 % interval of
the difference excludes 0 and, if both were repeated with several seeds, the difference is more than twice its standard
error over seeds. Any other difference is "within noise".
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

    Returns:
        `baseline` and `other`, their folders; `monitor`; `images`, the number of pairs; `unpaired`, a line for each
        reason why other images are left out; `notes`; `scores` {score: {baseline, other, difference, interval, p,
        verdict, seed_error}}, of which the first two are means over the paired images and seed_error is the standard
        error of the difference over seeds or None.

    Raises:
        InputError: if the two have no image in common.
    """
    paired, unpaired = _pair(baseline, other)
    notes = []
    if not paired:
        raise InputError(f"{other.name} and {baseline.name}: no image in common; {'; '.join(unpaired)}")
    pixels = [{name: text for run in each.runs for name, text in run.pixels.items()} for each in (baseline, other)]
    changed = sum(pixels[0][name] != pixels[1][name] for name in paired)
    if changed:
        notes.append(f"{changed} of {len(paired)} images have the same truth but different pixels (colour and grey?)")
    if smallest_p(len(paired)) >= 0.05:
        notes.append(f"{len(paired)} images are too few to distinguish a difference from noise: at least 6 are needed")
    if min(len(each.repeats) for each in (baseline, other)) < 2:
        notes.append("one seed each: the difference may come from the seed; repeat with trainer.seeds=3")
    scores = {}
    for name, score in everything().items():
        if not score.better or not all(name in run.rows[0] for each in (baseline, other) for run in each.runs):
            continue
        ours, theirs = other.values(name), baseline.values(name)
        first, second = (np.array([values[image] for image in paired]) for values in (ours, theirs))
        if np.isnan(first - second).all():
            continue
        scores[name] = _difference(first, second, score.better, _seed_error(baseline, other, name))
    return {
        "baseline": [baseline.title] if baseline.title else [str(run.folder) for run in baseline.runs],
        "other": [other.title] if other.title else [str(run.folder) for run in other.runs],
        "monitor": next((name for name in (other.monitor, "dice") if name in scores), "specificity"),
        "images": len(paired),
        "unpaired": unpaired,
        "notes": notes,
        "scores": scores,
    }


def _difference(first: NDArray, second: NDArray, better: str, seed_error: float | None) -> dict[str, Any]:
    both = ~np.isnan(first - second)
    difference = paired_difference(first, second)
    clear = (
        difference.p < 0.05
        and difference.interval is not None
        and not difference.interval[0] <= 0 <= difference.interval[1]
    )
    if seed_error is not None and abs(difference.mean) <= 2 * seed_error:
        clear = False
    good = (difference.mean > 0) == (better == "higher")
    return {
        "baseline": float(second[both].mean()),
        "other": float(first[both].mean()),
        "difference": difference.mean,
        "interval": difference.interval,
        "p": difference.p,
        "seed_error": seed_error,
        "verdict": NOISE if not clear else "better" if good else "worse",
    }


def _seed_error(baseline: Candidate, other: Candidate, score: str) -> float | None:
    spreads = [(each.spread(score), len(each.repeats)) for each in (baseline, other)]
    if any(spread is None for spread, _ in spreads):
        return None
    return math.sqrt(sum(float(spread or 0) ** 2 / count for spread, count in spreads))


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
        unpaired.append(f"same name but a different mask: {_listed([name for name in everywhere if name not in same])}")
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
