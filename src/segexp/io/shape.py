"""The expected shape of a record that is read back, and a message for the part that does not fit it.

A shape is a type, a `Number`, a `Text`, a tuple of shapes of which one fits, a list ``[shape]``, a list of so many
``[shape, shape]``, an object ``{"key":
shape, "key?": shape}`` whose keys with a question mark may be absent (further keys may be there), or ``{str: shape}``
for any keys.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = Any


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, with `whole` a whole one. True and False are not numbers."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    nan: bool = False

    def fits(self, value: Any) -> bool:
        """Whether it is such a number; NaN is one if `nan`."""
        kinds = int if self.whole else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and (self.low <= value <= self.high or (self.nan and value != value))
        )

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return kind if self.low == -math.inf else f"{kind} of {self.low:g} or more"
        return f"{kind} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Text:
    """Text that `fine` accepts; `words` say what is expected."""

    fine: Callable[[str], bool]
    words: str

    def fits(self, value: Any) -> bool:
        """Whether it is such text."""
        return isinstance(value, str) and self.fine(value)

    def __str__(self) -> str:
        return self.words


WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def misfit(value: Any, shape: Shape, where: str = "") -> str:
    """The first part of `value` that does not fit, in words: "dice is 'x'; expected a number"; empty if none."""
    if isinstance(shape, Number | Text):
        return "" if shape.fits(value) else _describe(where, value, shape)
    if isinstance(shape, tuple):
        faults = [misfit(value, each, where) for each in shape]
        inner = [fault for fault, each in zip(faults, shape, strict=True) if _kind(value, each)]
        return "" if not all(faults) else (inner or [_describe(where, value, shape)])[0]
    if not _kind(value, shape):
        return _describe(where, value, shape)
    if isinstance(shape, list) and len(shape) > 1 and len(shape) != len(value):
        return f"{where or 'it'} has {len(value)} entries; expected {len(shape)}"
    if isinstance(shape, list) and len(shape) > 1:
        pairs = enumerate(zip(value, shape, strict=True))
        parts = ((item, each, f"{where}[{index}]") for index, (item, each) in pairs)
    elif isinstance(shape, list):
        parts = ((item, shape[0], f"{where}[{index}]") for index, item in enumerate(value))
    elif isinstance(shape, dict) and str in shape:
        parts = ((item, shape[str], _inside(where, key)) for key, item in value.items())
        if not all(isinstance(key, str) for key in value):
            return f"{where or 'it'} has a key that is not text"
    elif isinstance(shape, dict):
        missing = [key for key in shape if not key.endswith("?") and key not in value]
        if missing:
            return f"{_inside(where, missing[0])} is missing"
        present = [(key, key.removesuffix("?")) for key in shape if key.removesuffix("?") in value]
        parts = ((value[name], shape[key], _inside(where, name)) for key, name in present)
    else:
        return ""
    return next((fault for part in parts if (fault := misfit(*part))), "")


def _kind(value: Any, shape: Shape) -> bool:
    if isinstance(shape, Number | Text):
        return shape.fits(value)
    if shape is None:
        return value is None
    kind = type(shape) if isinstance(shape, list | dict) else shape
    if not isinstance(kind, type):
        return False
    return isinstance(value, kind) and (kind in (bool, object) or not isinstance(value, bool))


def _inside(where: str, key: Any) -> str:
    name = ascii(key)[1:-1][:50]
    return f"{where}.{name}" if where else name


def _describe(where: str, value: Any, shape: Shape) -> str:
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        text = type(value).__name__
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{where or 'it'} is {text}; expected {_in_words(shape)}"


def _in_words(shape: Shape) -> str:
    if isinstance(shape, tuple):
        return " or ".join(dict.fromkeys(map(_in_words, shape)))
    if shape is None:
        return "null"
    if isinstance(shape, list | dict):
        return WORDS[type(shape)]
    return WORDS.get(shape, str(shape)) if isinstance(shape, type) else str(shape)
