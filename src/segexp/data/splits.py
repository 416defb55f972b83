"""Divide the images of one folder into training and validation, if there is no ``val/``.

Images of one group (slices of a stack, fields of a dish) stay on one side, because similar neighbours would inflate
every score. The division depends on the seed and the names alone: neither the order of the files nor the machine
changes it, and adding a file moves few others. It is written to ``split.json`` and read from there when a run is
resumed or compared.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segexp.errors import InputError
from segexp.io.records import read_json

FILE = "split.json"
FORMAT = 1


@dataclass(frozen=True)
class Split:
    """Names (file stems) of either side, sorted, and the settings that determined them."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def group_names(names: Iterable[str], pattern: str | None) -> dict[str, list[str]]:
    """Names by group: the first group of `pattern` matched in each name; without a pattern every name is a group.

    Raises `InputError` listing the names that do not match, and if the pattern has no parentheses.
    """
    names = sorted(set(names))
    if pattern is None:
        return {name: [name] for name in names}
    expression = compile_group(pattern)
    groups: dict[str, list[str]] = {}
    unmatched = []
    for name in names:
        match = expression.search(name)
        if match is None or match[1] is None:
            unmatched.append(name)
        else:
            groups.setdefault(match[1], []).append(name)
    if unmatched:
        listed = ", ".join(unmatched[:5]) + (", ..." if len(unmatched) > 5 else "")
        raise InputError(f"data.group={pattern}: matches no group in {len(unmatched)} of {len(names)} names: {listed}")
    return groups


def compile_group(pattern: str) -> re.Pattern[str]:
    """Compile the expression of ``data.group``, which needs parentheses around the group.

    Raises:
        InputError: if it is not a regular expression or has no parentheses.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"data.group={pattern}: not a regular expression ({error})") from None
    if expression.groups < 1:
        raise InputError(
            f"data.group={pattern}: expected parentheses around the part that names the group, such as (.+)_z"
        )
    return expression


def split_fraction(names: Iterable[str], fraction: float, group: str | None, seed: int) -> Split:
    """Hold about `fraction` of the names back for validation, whole groups of them, at least one on either side.

    Raises:
        InputError: if there are fewer than two groups.
    """
    groups = group_names(names, group)
    _enough(groups, 2, f"data.val_fraction={fraction:g}")
    total = sum(map(len, groups.values()))
    target = fraction * total
    chosen: list[str] = []
    size_val = 0
    order = _shuffled(groups, seed)
    for name in order:
        size = len(groups[name])
        if abs(size_val + size - target) < abs(size_val - target) and len(chosen) < len(groups) - 1:
            chosen.append(name)
            size_val += size
    chosen = chosen or [min(order, key=lambda name: len(groups[name]))]
    return _split(groups, chosen, {"val_fraction": fraction, "group": group, "seed": seed})


def split_fold(names: Iterable[str], fold: int, folds: int, group: str | None, seed: int) -> Split:
    """Fold `fold` (from 1) of `folds`, as equal as groups allow: every name is validated in exactly one fold.

    Raises:
        InputError: if there are fewer groups than folds.
    """
    groups = group_names(names, group)
    _enough(groups, folds, f"data.fold={fold}/{folds}")
    parts: list[list[str]] = [[] for _ in range(folds)]
    sizes = [0] * folds
    for name in sorted(_shuffled(groups, seed), key=lambda name: -len(groups[name])):  # the largest first
        smallest = sizes.index(min(sizes))
        parts[smallest].append(name)
        sizes[smallest] += len(groups[name])
    return _split(groups, parts[fold - 1], {"fold": f"{fold}/{folds}", "group": group, "seed": seed})


def parse_fold(text: str) -> tuple[int, int]:
    """``2/5`` to (2, 5).

    Raises:
        InputError: if it is not of this form.
    """
    match = re.fullmatch(r"\s*(\d{1,4})\s*/\s*(\d{1,4})\s*", text)
    fold, folds = (int(match[1]), int(match[2])) if match else (0, 0)
    if not folds >= 2 or not 1 <= fold <= folds:
        raise InputError(f"data.fold={text}: expected a fold of several, such as 2/5 (the second of five)")
    return fold, folds


def draw(names: Iterable[str], count: int, group: str | None, seed: int) -> list[str]:
    """Draw `count` of the names, sorted, by `seed`; a larger count includes the names of a smaller one.

    Groups are used up one after the other, as if they were annotated in turn; without a pattern every name is a group.

    Raises:
        InputError: if there are fewer names.
    """
    groups = group_names(names, group)
    order = [name for key in _shuffled(groups, f"images {seed}") for name in groups[key]]
    if count > len(order):
        raise InputError(
            f"data.images={count}: there are {len(order)} training images; expected 1 to {len(order)}, or null for all"
        )
    return sorted(order[:count])


def split_text(split: Split) -> str:
    """The content of ``split.json``."""
    content = {"format": FORMAT, **split.facts, "train": split.train, "val": split.val}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_split(path: Path, names: Iterable[str]) -> Split:
    """Read a ``split.json``, or that of a run folder, for the images `names`; each must be on one side of it.

    Raises:
        InputError: if the file is damaged or does not fit the images.
    """
    path = path / FILE if path.is_dir() else path
    try:
        content = read_json(path, {"train": [str], "val": [str]})
    except InputError as error:
        raise InputError(f"{error}; expected a {FILE} (lists train and val), or a run folder with one") from None
    train, val = content["train"], content["val"]
    facts = {key: value for key, value in content.items() if key in ("val_fraction", "fold", "group", "seed")}
    names = set(names)
    both = set(train) & set(val)
    faults = [
        _listed("on both sides", both),
        _listed("not among the images", (set(train) | set(val)) - names),
        _listed("on neither side", names - set(train) - set(val)),
    ]
    if any(faults) or not train or not val:
        wrong = "; ".join(fault for fault in faults if fault) or "one side is empty"
        raise InputError(f"{path}: does not fit these images: {wrong}")
    return Split(tuple(sorted(train)), tuple(sorted(val)), facts)


def describe(split: Split) -> str:
    """One line on how the images were divided."""
    how = ", ".join(f"data.{key}={value}" for key, value in split.facts.items() if key != "seed" and value is not None)
    return f"split: {how or 'as given'}; {len(split.train)} training files, {len(split.val)} validation files ({FILE})"


def _shuffled(groups: Iterable[str], seed: int | str) -> list[str]:
    return sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode(errors="surrogatepass")).digest())


def _enough(groups: dict[str, list[str]], needed: int, setting: str) -> None:
    if len(groups) < needed:
        raise InputError(f"{setting}: {len(groups)} group{'s' if len(groups) != 1 else ''} of images; needs {needed}")


def _split(groups: dict[str, list[str]], chosen: Sequence[str], facts: dict[str, Any]) -> Split:
    val = sorted(name for group in chosen for name in groups[group])
    train = sorted(name for group, names in groups.items() if group not in set(chosen) for name in names)
    return Split(tuple(train), tuple(val), facts)


def _listed(what: str, names: set[str]) -> str:
    listed = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what} ({listed})" if names else ""
