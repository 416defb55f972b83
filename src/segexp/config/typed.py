"""Rewrite a command line so that Hydra reads it as it was meant: flags in front, paths unchanged.

Hydra's grammar rejects accents, ``#`` and ``&``, takes ``a,b`` for a sweep and ``1e5`` for a number. Paths and names
are therefore quoted before Hydra sees them.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segexp.config import MOVED
from segexp.errors import InputError

GROUPS = {"task", "data", "model", "augment", "loss", "optimizer", "scheduler", "trainer", "logger", "callbacks"}
GROUPS |= {"experiment", "debug"}
"""Settings whose value names an option: a file of ``conf/``."""

RENAMED = {
    "vesicle_generated": "vesicle_quick",
    "cytoskeleton_generated": "cytoskeleton_quick",
    "vesicle_synthetic": "vesicle_pretrained",
    "cytoskeleton_synthetic": "cytoskeleton_pretrained",
}
"""Earlier names of experiments; the error about one names its successor."""

READ = (
    "data.root",
    "data.train_img_dir",
    "data.train_mask_dir",
    "data.val_img_dir",
    "data.val_mask_dir",
    "data.unlabelled",
    "data.split",
    "data.synthetic.ranges",
    "model.weights",
)
"""Settings that hold the path of something that is read. A sweep may go over several."""

PLACES = ("output_dir", "hydra.run.dir", "hydra.sweep.dir", "resume", "sweep.resume")
"""Settings that hold the path of one folder, never of several."""

NAMES = ("task.name", "data.group", "hydra.sweep.subdir", "hydra.job.name")
"""Settings that hold a text in which a digit is a character."""

LISTS = ("task.classes",)
"""Settings that hold several such texts."""

_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_REFERENCE = re.compile(
    r"\$\{\s*(?:(?:task|data|trainer|model|augment|loss|optimizer|scheduler|seed|hydra)[.:\[}]|(?:now|oc\.\w+):)"
)
"""An interpolation of another setting, or of a value such as the time; ``${x}`` is a plain name."""
_PART = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,]*?)\s*(?:,|$)""", re.DOTALL)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Move Hydra's flags in front of the overrides, each as one word (``--config-dir=lab``).

    An unknown flag ends the process with an error message, as it does in Hydra.
    """
    followers = [*arguments[1:], ""]
    words = [
        "--info=all" if word in ("-i", "--info") and follower not in _INFO else word
        for word, follower in zip(arguments, followers, strict=False)
    ]
    parsed = vars(get_args_parser().parse_intermixed_args(words))
    overrides = parsed.pop("overrides")
    flags = []
    for name, value in parsed.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag] if value is True else [f"{flag}={value}"] if value else []
    return [*flags, *overrides]


def is_flag(argument: str) -> bool:
    """Whether a word is a flag and not an override."""
    return argument.startswith("-")


def as_typed(arguments: Sequence[str], sweep: bool = False) -> list[str]:
    """Overrides with paths and names quoted where Hydra would take them for something else; flags pass.

    ``~`` at the beginning of a path becomes the home folder, unless a folder called ``~`` is there. A path that exists
    is one path, whatever stands in its name. ``+experiment=NAME`` becomes ``experiment=NAME``.

    Args:
        arguments: flags and overrides.
        sweep: whether commas may stand between values.

    Raises:
        InputError: if a word is not an override, a path is empty, or an experiment was renamed.
    """
    return [argument if is_flag(argument) else _as_typed(argument, sweep) for argument in arguments]


def _as_typed(word: str, sweep: bool) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        if word.startswith("~"):  # takes a setting away
            return word
        raise InputError(
            f"{word}: expected SETTING=VALUE, such as data.root=DIR; put quotes around a value with spaces: "
            "'data.root=My data'"
        )
    name = key.lstrip("+")
    if name == "experiment" and value in RENAMED:
        raise InputError(f"{word}: this experiment is now called {RENAMED[value]}; type experiment={RENAMED[value]}")
    if name in MOVED:
        raise InputError(f"{word}: {name} is called {MOVED[name]} now")
    if word == "task=base":
        raise InputError(
            f"{word}: holds only what all tasks share; expected a task with a name and classes, such as task=vesicle"
        )
    if name in GROUPS and re.fullmatch(r"[\w./,-]+", value):
        return f"{name}={value}"
    if name in (*READ, *PLACES):
        return f"{key}={_path(name, value, sweep and name in READ)}"
    if name in NAMES and value != "null":
        return f"{key}={_texts(value, sweep)}"
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(_text(part) for part in _parts(value[1:-1]))}]"
    return word if parsed(word) is not None or _is_function(value) else f"{key}={_texts(value, sweep)}"


def _path(name: str, value: str, several: bool) -> str:
    """The value of a setting that holds a path, quoted for Hydra."""
    if not value.strip():
        raise InputError(f"{name}=: no value after =; expected a path, or leave {name} out")
    if os.path.exists(value):
        return _quoted(value)
    if value == "null" and name not in ("output_dir", "hydra.run.dir", "hydra.sweep.dir"):
        return value
    if several and _is_function(value) and not value.startswith("choice("):
        return value
    if name in READ:
        parts = _parts(value.removeprefix("choice(").removesuffix(")") if value.startswith("choice(") else value)
        if several and len(parts) > 1:
            return ",".join(_text(part, path=True) for part in parts)
        if len(parts) > 1 and all(os.path.exists(os.path.expanduser(_unquoted(part) or part)) for part in parts):
            raise InputError(
                f"{name}={value}: no such path; for a run with each of these {len(parts)}, add the flag -m"
            )
    return _text(value, path=True, written=name in PLACES)


def _texts(value: str, sweep: bool) -> str:
    """Quote a text, or in a sweep several separated by commas; ``[a, b]`` keeps its brackets where it means a list."""
    if _is_function(value):
        return value
    if value.startswith("[") and value.endswith("]"):
        listed = f"[{','.join(part if parsed(f'k=[{part}]') else _text(part) for part in _parts(value[1:-1]))}]"
        if parsed(f"k={listed}") is not None:
            return listed
    return ",".join(_text(part) for part in _parts(value)) if sweep else _text(value)


def _text(value: str, path: bool = False, written: bool = False) -> str:
    """Quote one text, which may already be in quotes, for Hydra; in a path ``~`` is the home folder."""
    inside = _unquoted(value)
    text = value if inside is None else inside
    if path and not text.strip():
        raise InputError(f"{value}: an empty path; expected a file or folder")
    if path and text.startswith("~"):
        kept = os.path.lexists(Path(text).parts[0]) if written else os.path.exists(text)
        text = text if kept else os.path.expanduser(text)
    if path and text == "???":  # a mark of OmegaConf for a value that is missing
        text = "./???"
    if inside is not None or _REFERENCE.search(text):
        # references stay, such as output_dir=runs/${task.name}
        return str(QuotedString(text, Quote.single).with_quotes())
    return _quoted(text)


def _quoted(text: str) -> str:
    """The text, in quotes if Hydra would not read it unchanged without them."""
    override = parsed(f"k={text}")
    unquoted = override is not None and type(override.value()) is str and override.value() == text and "${" not in text
    return text if unquoted and text else quote(text)


def _unquoted(value: str) -> str | None:
    """The text of a quoted value; None for any other value."""
    if value[:1] not in ("'", '"') or len(value) < 2 or value[-1] != value[0]:
        return None
    override = parsed(f"k={value}")
    inside = override._value if override is not None else None
    return inside.text if isinstance(inside, QuotedString) else None


def _parts(value: str) -> list[str]:
    """Split a value at commas outside of quotes; a value with an empty part is not split."""
    parts, at = [], 0
    while at <= len(value):
        match = _PART.match(value, at)
        assert match is not None
        parts.append(match[1])
        at = match.end()
        if at == len(value) and not match[0].endswith(","):
            break
        if at == len(value):
            parts.append("")
            break
    return parts if all(parts) else [value]


def _is_function(value: str) -> bool:
    """Whether a value is one of the functions of Hydra's grammar, such as ``range(1,5)``."""
    name, bracket, _ = value.partition("(")
    return bool(bracket) and value.endswith(")") and name in OverridesParser.create().functions.functions


def parsed(word: str) -> Override | None:
    """An override as Hydra reads it; None if it cannot."""
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, ValueError):
        return None


def literal(word: str) -> str:
    """The text that an override's value means, without quotes: ``a b`` for ``resume='a b'``.

    Raises:
        InputError: if it cannot be read.
    """
    name, _, value = word.partition("=")
    override = parsed(f"k={value}")
    if override is None or not isinstance(override.value(), str):
        return value
    try:
        return str(OmegaConf.create({"k": override.value()}).k)
    except OmegaConfBaseException as error:
        raise InputError(f"{name}={value}: {str(error).splitlines()[0]}") from None


def quote(value: str) -> str:
    """Quote a value so that Hydra's override grammar reads it back unchanged, whatever it contains.

    Quotes are escaped, backslashes doubled only before a quote or the end (elsewhere Hydra keeps them), ``${`` escaped.
    """
    quoted, backslashes = "", 0
    for index, character in enumerate(value):
        if character == "\\":
            backslashes += 1
            continue
        if character == "'":
            quoted += "\\" * (2 * backslashes) + "\\'"
        elif value.startswith("${", index):
            quoted += "\\" * (2 * backslashes) + "\\$"
        else:
            quoted += "\\" * backslashes + character
        backslashes = 0
    return f"'{quoted}{chr(92) * (2 * backslashes)}'"
