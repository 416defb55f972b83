"""The entries of a model file besides the weights, and the limits of each: the file may come from anybody."""

import math
import re
from itertools import pairwise
from typing import Any

from segexp.data.normalization import NORMALIZATIONS
from segexp.errors import InputError
from segexp.io.labels import MASKS
from segexp.io.shape import Number, Text, misfit
from segexp.measurements.measure import KINDS
from segexp.models import MODELS

LONGEST_CLASS = 100  # characters
FEATURES = 32  # numbers that say what an image looks like: segexp.inference.misfit
LEVELS = 48  # thresholds at which the share of missed foreground is kept: segexp.inference.guarantee
LARGEST_OBJECT = 10**7  # pixels that `min_size` may ask for: a square of 3,162 on a side
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')


def is_class_name(name: str) -> bool:
    """Whether a text may be the name of a class: it becomes part of file names, pages and tables.

    1 to 100 printable characters, none of them ``/ \\ : * ? " < > |``, no space or dot at either end.
    """
    edges = name.strip(" .") == name
    return 0 < len(name) <= LONGEST_CLASS and name.isprintable() and edges and not _FORBIDDEN.search(name)


CLASS_NAME = Text(
    is_class_name,
    'a name of 1 to 100 printable characters without / \\ : * ? " < > | and without a space or dot at its ends',
)
_OPTION = Text(lambda text: len(text) <= 200 and text.isprintable(), "a short text")


def _one_of(options: Any) -> Text:
    return Text(lambda text: text in options, f"one of {', '.join(options)}")


_PIXEL_SIZE = (None, Number(1e-6, 1e6))
_CHANNEL = Number(1, 10**6, whole=True)
_NUMBERS = [Number()]
_SHARE = Number(0, 1)
_APPEARANCE = {
    "images": Number(1, 10**9, whole=True),
    "low": _NUMBERS,
    "high": _NUMBERS,
    "spread": [Number(1e-6)],
    "limit": Number(0),
    "foreground": [_SHARE, _SHARE],
}
_MISSES = {"images": Number(0, 10**9, whole=True), "missed": [_SHARE], "precision": [_SHARE]}
SHAPE = {
    "model": {"name": _one_of(MODELS), "settings": dict},
    "weights": dict,
    "normalization": _one_of(NORMALIZATIONS),
    "classes": [CLASS_NAME],
    "threshold": Number(math.ulp(0), math.nextafter(1, 0)),
    "min_size?": Number(0, LARGEST_OBJECT, whole=True),
    "temperature?": Number(0.01, 100),
    "task?": Text(lambda text: _TASK.fullmatch(text) is not None, "letters, digits, _ and -"),
    "pixel_size?": _PIXEL_SIZE,
    "reading?": (
        None,
        {
            "page?": (None, Number(1, 10**6, whole=True), _OPTION),
            "channel?": (None, _CHANNEL, [_CHANNEL]),
            "masks?": (None, _one_of(MASKS)),
            "ignore?": (None, Number(-(2**63), 2**64, whole=True)),
            "mask_threshold?": (None, Number(1e-300, 1e300)),
        },
    ),
    "measure?": (
        None,
        {
            "kind?": _one_of(KINDS),
            "split?": Number(0, 100),
            "spur?": Number(0, 100),
            "gap?": Number(0, 100),
            "ring?": Number(1e-3, 100),
        },
    ),
    "monitor?": _OPTION,
    "scores?": [_OPTION],
    "tolerance?": _OPTION,
    "metrics?": (None, {str: (None, int, float)}),
    "versions?": {str: _OPTION},
    "data?": (None, dict),
    "appearance?": (None, _APPEARANCE),
    "guarantee?": (None, [_MISSES]),
    "start?": (None, {"weights": str, "file": str, "sha256": str, "settings": dict}),
}
"""Of a ``best_<task>_model.pth``; see `segexp.io.shape`. Files of older versions lack those with a question mark."""
_MEASURE = {"kind", "split", "spur", "gap", "ring"}


def check_facts(path: Any, content: dict[str, Any]) -> None:
    """Raise `InputError` naming the file and the first field of a model file that is not as segexp writes it."""
    fault = misfit(content, SHAPE)
    classes = [] if fault else content["classes"]
    if not fault and not 1 <= len(classes) <= 254:
        fault = f"classes has {len(classes)} names; expected 1 to 254"
    if not fault and len({name.casefold() for name in classes}) < len(classes):
        fault = "classes has the same name twice; expected names that differ in more than upper and lower case"
    if not fault and set(content.get("measure") or {}) - _MEASURE:
        fault = f"measure has an unknown entry; expected {', '.join(sorted(_MEASURE))}"
    ranges = {} if fault else content.get("appearance") or {}
    if any(len(ranges[key]) != FEATURES for key in ("low", "high", "spread") if ranges):
        fault = f"appearance: expected {FEATURES} numbers for each range"
    misses = [] if fault else content.get("guarantee") or []
    if misses and len(misses) != len(classes):
        fault = f"guarantee has {len(misses)} entries; expected {len(classes)}, one a class"
    if any(len(entry[key]) != LEVELS for entry in misses for key in ("missed", "precision")):
        fault = f"guarantee: expected {LEVELS} shares of each kind"
    elif any(later < earlier for entry in misses for earlier, later in pairwise(entry["missed"])):
        fault = "guarantee has shares of missed foreground that fall with the threshold"
    told = None if fault else content["model"]["settings"].get("classes", 1)
    if not fault and told != len(classes):
        fault = f"classes has {len(classes)} names; its network distinguishes {str(told)[:50]}"
    if fault:
        raise InputError(f"{path}: {fault}; damaged, or not written by segexp")
