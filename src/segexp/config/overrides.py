"""Overrides that expand to others: resuming a run or a sweep, repeats with several seeds, all folds."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep
from omegaconf import OmegaConf

from segexp.config.typed import GROUPS, READ, as_typed, flags_first, is_flag, literal, parsed, quote
from segexp.errors import InputError
from segexp.io.records import read_json, read_yaml

__all__ = [
    "command_line",
    "one_job",
    "quote",
    "stored_overrides",
    "with_folds",
    "with_resume",
    "with_seeds",
    "with_sweep",
]


MODE = "hydra.mode=MULTIRUN"
"""Spellings of the flag ``-m`` that Hydra accepts."""


def command_line(arguments: Sequence[str]) -> list[str]:
    """Rewrite the arguments of ``segexp train`` as Hydra expects them: flags in front, each one word, then overrides.

    A line is printed for each setting that a resumed run takes over in another form than it was typed.
    """
    words = flags_first(arguments)
    if MODE in words:  # the flag in other words; where a file says so, `segexp.config.ahead` finds it
        words = multirun([word for word in words if word != MODE])
    words = flags_first(with_folds(with_seeds(words)))
    sweep = "--multirun" in words or any(word.startswith("sweep.resume=") for word in words)
    return flags_first(with_sweep(with_resume(as_typed(words, sweep))))


def stored_overrides(hydra: Any) -> list[str]:
    """The overrides of a run or a job as they were typed, from its Hydra settings: interpolations are not resolved.

    An interpolation may refer to a secret, or to something that does not exist here.
    """
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return list(words)


def with_resume(arguments: list[str]) -> list[str]:
    """Replace ``resume=D`` by the settings that the run in D was started with, followed by those given now.

    Relative paths among the stored settings are resolved from the folder where the run was started; each is printed.

    Raises:
        InputError: if D is not a run that can be resumed, or its stored overrides are not what a run was started with.
    """
    given = [argument for argument in arguments if argument.startswith("resume=") and argument != "resume=null"]
    if not given:
        return arguments
    folder = Path(literal(given[-1])).expanduser()
    stored = folder / ".hydra" / "overrides.yaml"
    if not (folder / "last.pth").is_file() or not stored.is_file():
        raise InputError(f"resume={folder}: expected a run folder with last.pth and .hydra/overrides.yaml in it")
    try:
        overrides = read_yaml(stored) or []
    except InputError as error:
        raise InputError(f"{error}; expected the overrides of a run") from None
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise InputError(f"{stored}: expected a list of overrides")
    overrides = [item for item in overrides if _is_harmless(item, stored, arguments)]
    flags = [argument for argument in arguments if is_flag(argument)]
    others = [a for a in arguments if a not in given and not is_flag(a) and not a.startswith(_PLACES)]
    _require_sources(folder, arguments)
    place = str(folder.absolute())
    placed = _from_where_it_started(folder, overrides, {word.partition("=")[0] for word in others})
    return [*flags, *placed, f"resume={quote(place)}", f"output_dir={quote(place)}", *others]


def _from_where_it_started(folder: Path, overrides: list[str], replaced: set[str]) -> list[str]:
    """Stored overrides with relative input paths made absolute, if the run was started in another folder."""
    try:
        start = read_json(folder / "run.json")["cwd"]
    except (OSError, ValueError, KeyError, TypeError):
        return overrides
    if not isinstance(start, str) or not os.path.isabs(start) or start == os.getcwd():
        return overrides
    placed = []
    for item in overrides:
        key, _, value = item.partition("=")
        if key not in READ or value in ("", "null"):
            placed.append(item)
            continue
        there = os.path.join(start, literal(item))
        if os.path.isabs(os.path.expanduser(literal(item))) or not os.path.exists(there):
            placed.append(item)
            continue
        if key not in replaced:
            print(f"{key}: {there}, as where the run was started")
        placed.append(f"{key}={quote(there)}")
    return placed


def _require_sources(folder: Path, arguments: Sequence[str]) -> None:
    """`InputError` if a resumed run used a folder of options that is not given again.

    The folder is not taken from the run folder itself: that may come from somebody else, and a folder of settings may
    name code to run. Folders that ``hydra.searchpath`` named on the command line count too.
    """
    try:
        stored = read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]
        sources, name = stored["runtime"]["config_sources"], stored["job"]["config_name"]
        paths = {source["provider"]: source["path"] for source in sources}
        searched = [
            f"{source['schema']}://{source['path']}"
            for source in sources
            if source["provider"] == "hydra.searchpath in command-line"
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return
    needed = []
    if "command-line" in paths and not any(word.startswith("--config-dir=") for word in arguments):
        needed += ["--config-dir", str(paths["command-line"])]
    if searched and not any(word.startswith("hydra.searchpath=") for word in arguments):
        needed += [f"hydra.searchpath=[{','.join(searched)}]"]
    if name not in (None, "config") and not any(word.startswith("--config-name=") for word in arguments):
        needed += ["--config-name", str(name)]
    if needed:
        command = shlex.join(["segexp", "train", *needed, f"resume={folder}"])
        raise InputError(
            f"resume={folder}: this run was started with {shlex.join(needed)}; if you trust the files there, type",
            f"  {command}",
        )


def one_job(arguments: Sequence[str]) -> list[str]:
    """The command line of a sweep's first job, for flags that only show settings.

    A group swept as ``glob(*)`` keeps its default: Hydra alone knows its options.
    """
    words = []
    for word in arguments:
        override = None if is_flag(word) else parsed(word)
        if override is not None and override.is_sweep_override() and not override.is_hydra_override():
            value = override.value()
            if isinstance(value, Glob):
                continue
            first = value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
            words.append(f"{override.get_key_element()}={first}")
        elif word != "--multirun":
            words.append(word)
    return words


_SETTING = re.compile(r"[+~]{0,2}(?P<key>[A-Za-z_]\w*(?P<rest>([./]\w+)*))(=(?P<value>.*))?", re.DOTALL)
_OPTION = re.compile(r"'?{0}'?|\[{0}(, ?{0})*\]".format(r"\w[\w-]*(/\w[\w-]*)*"))


_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
"""The start of a value that OmegaConf would look up: ``${`` behind an even number of backslashes."""
_ON_OR_OFF = re.compile(r"'?(true|false|null)?'?", re.IGNORECASE)
_LONGEST = 10_000  # characters of a stored override

SET_ANEW = ("hydra", "allow_targets", "output_dir", "overwrite", "resume", "sweep")
"""Settings that a resumed run does not take from its folder."""


def _is_harmless(item: str, stored: Path, given: Sequence[str] = ()) -> bool:
    """Whether a stored override may be passed to Hydra again; False for those that a resumed run sets itself.

    A run folder may come from somebody else. Hydra imports and calls what its own section names, reads that section
    from any file that an option's name leads to, and accepts flags that name folders of further files. Only plain
    settings and options of segexp's own groups are therefore accepted; anything else is an `InputError`. A value that
    would be looked up, for example in the environment, and an address that the run would report to have to be given
    again, in `given`. docs/security.md lists what is taken from a stored run.
    """
    match = _SETTING.fullmatch(item)
    refused = InputError(
        f"{stored}: {item!r} is not a setting that a run stores; this folder was created or changed by hand"
    )
    if match is None or len(item) > _LONGEST:
        raise refused
    first, value = re.split(r"[./]", match["key"])[0], match["value"] or ""
    if first in SET_ANEW:
        return False
    read = parsed(item) if value.startswith("{") else None
    settings = read is not None and isinstance(read.value(), dict)  # trainer={epochs: 3}, which names no option
    group = first in GROUPS and "." not in match["rest"] and not settings
    if ("/" in match["rest"] and not group) or (group and not _OPTION.fullmatch(value)):
        raise refused
    looked_up = _REFERENCE.search(item) is not None
    address = first == "logger" and not group and not _ON_OR_OFF.fullmatch(value)
    if (looked_up or address) and any(word.lstrip("+").startswith(f"{match['key']}=") for word in given):
        return False
    if looked_up:
        raise InputError(
            f"{stored}: {item!r} contains an interpolation, and this folder may come from somebody else; to allow it, "
            f"give {match['key']}=... beside resume="
        )
    if address:
        raise InputError(
            f"{stored}: {item!r} would send the records of the run to that address, and this folder may come "
            "from somebody else; "
            f"give {match['key']}=ADDRESS, or {match['key']}=null, beside resume="
        )
    return True


def with_seeds(arguments: list[str]) -> list[str]:
    """Replace ``trainer.seeds=3`` by a sweep over as many seeds, ``-m seed=0,1,2``, beginning with the given seed.

    Each job has ``trainer.seeds=1``, whatever a file of settings says. An invalid number is left for the check of the
    settings to report.

    Raises:
        InputError: if the seed to start from is a sweep itself.
    """
    given = [argument for argument in arguments if argument.startswith("trainer.seeds=")]
    text = given[-1].partition("=")[2] if given else "1"
    if not (text.isascii() and text.isdigit()) or int(text) < 2:
        return arguments
    first = next((argument.partition("=")[2] for argument in reversed(arguments) if argument.startswith("seed=")), "0")
    if not first.isdigit():
        raise InputError(f"trainer.seeds={text} seed={first}: expected one seed to start from")
    others = [argument for argument in arguments if argument not in given and not argument.startswith("seed=")]
    seeds = ",".join(str(int(first) + k) for k in range(int(text)))
    return [*multirun(others), "trainer.seeds=1", f"seed={seeds}"]


def with_folds(arguments: list[str]) -> list[str]:
    """Replace ``data.fold=range(5)`` by a sweep over all five, ``-m data.fold=1/5,2/5,3/5,4/5,5/5``.

    Raises:
        InputError: if there are fewer than two folds.
    """
    matches = [re.fullmatch(r"data\.fold=range\((\d+)\)", argument) for argument in arguments]
    if not any(matches):
        return arguments
    changed = []
    for argument, match in zip(arguments, matches, strict=True):
        if match is None:
            changed.append(argument)
            continue
        count = int(match[1])
        if not 2 <= count <= 1000:
            raise InputError(f"{argument}: expected 2 or more folds, such as data.fold=range(5)")
        changed.append("data.fold=" + ",".join(f"{fold}/{count}" for fold in range(1, count + 1)))
    return multirun(changed)


def with_sweep(arguments: list[str]) -> list[str]:
    """If ``sweep.resume=D`` is given, make D the folder of the sweep.

    A folder that does not exist starts a new sweep if ``output_dir`` or ``hydra.sweep.dir`` names it too, so that the
    same command can be submitted to a queue repeatedly.

    Raises:
        InputError: if D holds no sweep.
    """
    given = [
        argument for argument in arguments if argument.startswith("sweep.resume=") and argument != "sweep.resume=null"
    ]
    if not given:
        return arguments
    text = literal(given[-1])
    folder = Path(text).expanduser()
    places = [literal(argument) for argument in arguments if argument.startswith(_PLACES)]
    if not any(folder.glob("*/job.json")) and text not in places and not (folder / "multirun.yaml").is_file():
        raise InputError(
            f"sweep.resume={folder}: expected the folder of a sweep, which holds multirun.yaml and a folder a job"
        )
    others = [argument for argument in arguments if argument not in given and not argument.startswith(_PLACES)]
    place = quote(str(folder))
    return multirun([*others, f"sweep.resume={place}", f"hydra.sweep.dir={place}"])


_PLACES = ("output_dir=", "hydra.sweep.dir=", "hydra.run.dir=")


def multirun(arguments: list[str]) -> list[str]:
    """Put the flag of a sweep in front of the arguments: Hydra expects the overrides to be contiguous."""
    return arguments if {"-m", "--multirun"} & set(arguments) else ["-m", *arguments]
