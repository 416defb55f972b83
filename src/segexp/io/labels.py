"""The meaning of the values in a mask: background, classes, objects, and pixels without annotation.

The rules are in ``docs/data.md``. The distinct values of a mask are first checked (`mask_values`); ambiguous masks are
refused, and the message names the setting that resolves it. Then `to_labels` translates each pixel, so that a window of
a mask becomes the same window of its labels.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

IGNORE = 255
"""Label of a pixel without annotation, which counts in no loss and no score."""

MASKS = ("auto", "binary", "classes", "instances", "probabilities")
"""What masks may hold, for ``task.masks``."""

MANY_IDS = 8
"""Number of distinct ids in one mask of a task with one class from which they are taken for object ids."""

PROBABILITY = 0.5
"""Threshold for masks of probabilities."""

FULL = (255.0, 65535.0)
"""White of 8 and of 16 bits."""

_UNEVEN, _UNEVEN_IDS = 0.015, 0.05
"""Share of uneven pixels (`uneven`) from which values are not object ids; the second where they are just 1 to N."""

_NEAR_WHITE = 8
"""How many numbers below white may be missing, as ids of objects that were removed."""

_WHITE = 0.3
"""Share of white in the foreground from which a mask whose values leave gaps below it has soft rims."""


class Values(NamedTuple):
    """How a mask is read.

    Attributes:
        kind: ``empty``, ``0/1``, ``0/255``, ``0/65535``, ``class ids``, ``instance ids``, ``probabilities`` or
            ``soft`` (with a threshold).
        largest: the largest value, apart from the ignored one.
        doubt: the error unless other masks of the set resolve the ambiguity; empty if there is none.
    """

    kind: str
    largest: float
    doubt: str = ""


def label_map(
    mask: NDArray,
    classes: int,
    path: str | Path = "mask",
    masks: str = "auto",
    ignore: int | None = None,
    threshold: float | None = None,
) -> NDArray[np.uint8]:
    """Turn mask values into labels 0 (background) to `classes` and 255 (not annotated), as uint8 (H, W).

    One class: bool, 0/1, 0/255, or ids of at least `MANY_IDS` objects. More classes: integers 0 to `classes`. Other
    content needs `masks`, one of `MASKS`; `ignore` is the value of pixels without annotation, `threshold` the value
    from which a pixel of a soft mask is foreground. Raises `InputError` with the values found if their meaning is
    ambiguous: only the annotator can decide it.
    """
    values = mask_values(mask, classes, path, masks, ignore, threshold)
    if values.doubt:
        raise InputError(values.doubt)
    return to_labels(mask, classes, masks, ignore, threshold)


def mask_values(
    mask: NDArray,
    classes: int,
    path: str | Path = "mask",
    masks: str = "auto",
    ignore: int | None = None,
    threshold: float | None = None,
) -> Values:
    """Judge a mask by the values it holds; the arguments and errors are those of `label_map`.

    A few ids in a task with one class might be objects or classes: that is returned as a doubt, because another mask of
    the set with many ids resolves it.

    Raises:
        InputError: as `label_map`, except for such a doubt.
    """
    numeric = np.issubdtype(mask.dtype, np.number) and not np.issubdtype(mask.dtype, np.complexfloating)
    if mask.dtype != bool and not numeric:
        raise InputError(f"{path}: dtype {mask.dtype}; a mask holds bool or integers")
    return judge_values(distinct(mask), classes, path, masks, ignore, threshold, lambda: uneven([mask], ignore))


def judge_values(
    values: set[float],
    classes: int,
    path: str | Path = "mask",
    masks: str = "auto",
    ignore: int | None = None,
    threshold: float | None = None,
    unevenness: Callable[[], "Unevenness"] = lambda: Unevenness(0.0, 0, 0.0, 0),
) -> Values:
    """`mask_values` for the distinct values of a mask; `unevenness` returns the result of `uneven`, only when needed.

    Raises:
        InputError: if the values cannot belong to a mask of these settings; the message lists them.
    """
    if any(not np.isfinite(value) for value in values):
        raise InputError(f"{path}: holds NaN or infinite values")
    if ignore is not None:
        values = values - {float(ignore)}
        if ignore == 0:  # as ilastik and Labkit write: 0 nobody's, 1 background, 2 and up the classes
            values = {value - 1 for value in values}
    if threshold is not None:
        return _judge_soft(values, threshold, path)
    kind = masks if masks != "auto" else "binary" if classes == 1 else "classes"
    judged = _judge(values, kind, masks == "auto", classes, path)
    if judged.kind == "instance ids" and masks == "auto" and not judged.doubt and _is_soft(values, unevenness):
        why = (
            "it seems that these are not object ids, because they vary from pixel to pixel as after JPEG compression "
            "or smooth resizing, or because white stands apart from the other values or is most of the foreground"
        )
        ignored = ", task.ignore=255 if 255 was not annotated" if 255 in values else ""
        settings = f"{_cut(values)}, task.masks=instances if every value is an object{ignored}"
        raise InputError(f"{path}: values {_listed(values)}; {why}; expected bool, 0/1 or 0/255; {settings}")
    return judged


class Unevenness(NamedTuple):
    """Measurements that distinguish object ids from shades of grey.

    Attributes:
        alone: share of the foreground pixels that differ from all foreground among their 8 neighbours: almost 0 for
            objects of one id each, large for rims that fade from 255 to 0.
        foreground: the number of pixels above 0.
        white: the share of `FULL` in the foreground: large in a mask with soft rims, small among object ids.
        touching: pairs of values that touch. Objects of one piece each are the nodes of a planar graph, so that there
            are fewer than three pairs for each value.
    """

    alone: float
    foreground: int
    white: float
    touching: int


def uneven(bands: Iterable[NDArray], ignore: int | None = None) -> Unevenness:
    """Measure how the values of a mask neighbour each other."""
    alone = foreground = white = 0
    touching: set[int] = set()
    for stored in bands:
        band = stored if ignore is None else np.where(stored == ignore, 0, stored)
        height, width = band.shape
        framed = np.pad(band, 1)
        same, other = np.zeros(band.shape, bool), np.zeros(band.shape, bool)
        for place in range(9):
            top, left = divmod(place, 3)
            if place != 4:
                beside = framed[top : top + height, left : left + width]
                equal = beside == band
                same |= equal
                other |= ~equal & (beside != 0)
        inside = band != 0
        alone += int(np.count_nonzero(inside & other & ~same))
        foreground += int(np.count_nonzero(inside))
        white += int(np.count_nonzero(np.isin(band, FULL)))
        for one, other in ((band[1:], band[:-1]), (band[:, 1:], band[:, :-1])):
            differ = (one != other) & (one != 0) & (other != 0)
            pair = np.sort(np.stack([one[differ], other[differ]]).astype(np.int64), axis=0)
            touching.update(np.unique(pair[0] * 2**32 + pair[1]).tolist())
    every = max(foreground, 1)
    return Unevenness(alone / every, foreground, white / every, len(touching))


def _is_soft(values: set[float], unevenness: Callable[[], Unevenness]) -> bool:
    """Whether many values are shades of one mask: they vary within objects, or white cannot be one of many ids."""
    largest = max(values)
    gaps = len(values - {0.0}) < largest
    share, foreground, white, touching = unevenness()
    specks = foreground < 4 * len(values)  # objects of a pixel or two each
    if largest in FULL and gaps:
        apart = largest - max(values - {largest}) > _NEAR_WHITE  # "not annotated", perhaps
        if apart or white > _WHITE or specks or touching > 3 * len(values):
            return True
    return not specks and share > (_UNEVEN_IDS if largest not in FULL and not gaps else _UNEVEN)


def _judge_soft(values: set[float], threshold: float, path: str | Path) -> Values:
    largest = max(values, default=0.0)
    if min(values, default=0.0) < 0:
        raise InputError(f"{path}: values {_listed(values)}; expected none below 0 (task.mask_threshold={threshold:g})")
    if values <= {0.0}:
        return Values("empty", 0.0)
    if largest >= threshold:
        return Values("soft", largest)
    message = f"{path}: values {_listed(values)}; none reaches task.mask_threshold={threshold:g}"
    if largest == 1 and values <= {0.0, 1.0}:  # not a faint object among soft masks: another way to say foreground
        raise InputError(f"{message}; expected masks of one kind: save this one as 0/255")
    return Values("soft", largest, doubt=f"{message} in any mask; {_cut(values)}")


def _listed(values: set[float]) -> str:
    """The values in a message: the first six, and the largest."""
    ordered = sorted(values)
    if len(ordered) <= 7:
        return ", ".join(f"{value:g}" for value in ordered)
    return ", ".join(f"{value:g}" for value in ordered[:6]) + f", ... {ordered[-1]:g}"


def _cut(values: set[float]) -> str:
    """Advice with a threshold for a soft mask: half of white, or of the largest value."""
    largest = max(values)
    white = next((top for top in (1.0, *FULL) if top / 2 < largest <= top), largest)
    half = white / 2 if white <= 1 or white != round(white) else float(np.ceil(white / 2))
    return f"task.mask_threshold={half:g} reads {half:g} and more as foreground"


def _judge(values: set[float], kind: str, guess: bool, classes: int, path: str | Path) -> Values:
    largest = max(values, default=0.0)
    start = f"{path}: values {_listed(values)}; expected"
    if kind == "probabilities":
        if values and not (min(values) >= 0 and largest <= 1):
            raise InputError(f"{start} probabilities from 0 to 1 (task.masks=probabilities)")
        return Values(kind, largest)
    if any(value < 0 or value != round(value) for value in values):
        cut = "; probabilities? task.masks=probabilities cuts them at 0.5" if guess and min(values) >= 0 else ""
        cut = f"; {_cut(values)}" if cut and largest > 1 and classes == 1 else cut
        cut = "; if a value marks pixels that are not annotated, set task.ignore to it" if min(values) < 0 else cut
        raise InputError(f"{start} {_wanted(kind, classes)}{cut}")
    if values <= {0.0}:
        return Values("empty", 0.0)
    if kind == "instances":
        return Values("instance ids", largest)
    if kind == "classes" and largest <= classes:
        return Values("0/1" if largest == 1 and classes == 1 else "class ids", largest)
    if kind == "binary" and any(values <= {0.0, white} for white in (1.0, *FULL)):
        return Values(f"0/{largest:.0f}", largest)
    if kind == "binary" and guess and len(values - {0.0}) >= MANY_IDS:
        return Values("instance ids", largest)
    message = f"{start} {_wanted(kind, classes)}{_remedies(values, kind, classes)}"
    if kind == "binary" and guess and values.isdisjoint(FULL):
        return Values("instance ids", largest, doubt=message)
    raise InputError(message)


def _wanted(kind: str, classes: int) -> str:
    if kind == "binary":
        return "bool, 0/1 or 0/255"
    return "object ids" if kind == "instances" else f"class ids 0 to {classes} (task.classes has {classes})"


def _remedies(values: set[float], kind: str, classes: int) -> str:
    """The settings that would resolve the ambiguity."""
    remedies = []
    if 255 in values:
        remedies.append("task.ignore=255 if 255 was not annotated")
    largest = max(values - {255.0}, default=0.0)
    if kind == "binary" and 1 < largest < 10:
        names = ",".join(f"class{n}" for n in range(1, int(largest) + 1))
        remedies.append(f"'task.classes=[{names}]' if they are classes")
    if kind == "binary" and max(values) >= 100:
        remedies.append(f"{_cut(values)} if its edges are soft")
    if kind == "binary" or classes == 1:
        remedies.append("task.masks=instances if every value is an object")
    elif largest > classes:
        remedies.append("object ids go with a single class: 'task.classes=[name]' task.masks=instances")
    return "; " + ", ".join(remedies) if remedies else ""


def to_labels(
    mask: NDArray, classes: int, masks: str = "auto", ignore: int | None = None, threshold: float | None = None
) -> NDArray[np.uint8]:
    """Translate mask values, already checked by `mask_values`, to labels uint8 (H, W), pixel by pixel."""
    unknown = None if ignore is None else mask == ignore
    background = 1 if ignore == 0 else 0
    if threshold is not None:
        labels = (mask >= threshold + background).astype(np.uint8)
    elif masks == "probabilities":
        labels = (mask >= PROBABILITY + background).astype(np.uint8)
    elif masks in ("binary", "instances") or (masks == "auto" and classes == 1):
        labels = (mask != background).astype(np.uint8)
    else:
        labels = mask.astype(np.uint8) - np.uint8(background)
    if unknown is not None:
        labels[unknown] = IGNORE
    return labels


def distinct(mask: NDArray) -> set[float]:
    """The distinct values; a fast path for 8-bit masks, which are nearly all masks."""
    if mask.dtype == np.uint8:
        return {float(value) for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))}
    return {float(value) for value in np.unique(mask)}
