"""Overrides as Hydra's command line takes them: quoting any value, and going on with a stopped run."""

import re
from collections.abc import Sequence
from pathlib import Path

from segexp.errors import InputError
from segexp.io.records import read_yaml


def with_resume(arguments: list[str]) -> list[str]:
    """Replace ``resume=D`` by the settings that the run in D was started with, followed by those given now."""
    given = [argument for argument in arguments if argument.startswith("resume=") and argument != "resume=null"]
    if not given:
        return arguments
    folder = Path(given[-1].removeprefix("resume=").strip("'\"")).expanduser()
    stored = folder / ".hydra" / "overrides.yaml"
    if not (folder / "last.pth").is_file() or not stored.is_file():
        raise InputError(f"resume={folder}: wanted a run folder with last.pth and .hydra/overrides.yaml in it")
    try:
        overrides = read_yaml(stored) or []
    except InputError as error:
        raise InputError(f"{error}; wanted the overrides of a run") from None
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise InputError(f"{stored}: wanted a list of overrides")
    overrides = [item for item in overrides if _is_harmless(item, stored, arguments)]
    others = [argument for argument in arguments if argument not in given and not argument.startswith("output_dir=")]
    place = str(folder.absolute())
    return [*overrides, f"resume={quote(place)}", f"output_dir={quote(place)}", *others]


_SETTING = re.compile(r"[+~]{0,2}(?P<key>[A-Za-z_]\w*(?P<rest>([./]\w+)*))(=(?P<value>.*))?", re.DOTALL)
_GROUPS = {"task", "data", "model", "augment", "trainer", "experiment"}
_OPTION = re.compile(r"'?\w[\w-]*(/\w[\w-]*)*'?")


_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
"""The start of a value that OmegaConf would look up: ``${`` behind an even number of backslashes."""
_ON_OR_OFF = re.compile(r"'?(true|false|null)?'?", re.IGNORECASE)
_LONGEST = 10_000  # characters of a stored override


def _is_harmless(item: str, stored: Path, given: Sequence[str] = ()) -> bool:
    """Whether a stored override may be given to Hydra again; False for those that a resumed run sets anew.

    A run folder may come from somebody else. Hydra imports and calls what its own section names, reads that section
    from any file that an option's name leads to, and takes flags for folders of further files: only plain settings
    and options of segexp's own groups get through, and `InputError` tells what else the file holds. A value that would
    be looked up, in the environment say, and an address that the run would report to have to be given anew, in `given`.
    docs/security.md lists what is taken from a stored run.
    """
    match = _SETTING.fullmatch(item)
    refused = InputError(f"{stored}: {item!r} is no setting that a run stores; this folder was made or changed by hand")
    if match is None or len(item) > _LONGEST:
        raise refused
    first = re.split(r"[./]", match["key"])[0]
    if first in ("hydra", "allow_targets", "resume", "output_dir", "sweep"):
        return False
    group = first in _GROUPS and "." not in match["rest"]
    if ("/" in match["rest"] and not group) or (group and not _OPTION.fullmatch(match["value"] or "")):
        raise refused
    looked_up = _REFERENCE.search(item) is not None
    address = match["key"] == "trainer.mlflow" and not _ON_OR_OFF.fullmatch(match["value"] or "")
    if (looked_up or address) and any(word.lstrip("+").startswith(f"{match['key']}=") for word in given):
        return False
    if looked_up:
        raise InputError(
            f"{stored}: {item!r} would look up a value, and this folder may come from somebody else; if you want that, "
            f"give {match['key']}=... beside resume="
        )
    if address:
        raise InputError(
            f"{stored}: {item!r} would report the run to that address, and this folder may come from somebody else; "
            "give trainer.mlflow=ADDRESS, or trainer.mlflow=false, beside resume="
        )
    return True


def with_seeds(arguments: list[str]) -> list[str]:
    """Replace ``trainer.seeds=3`` by a sweep over as many seeds, ``-m seed=0,1,2``, from the seed given on.

    A number that is none is left for the settings' own check.
    """
    given = [argument for argument in arguments if argument.startswith("trainer.seeds=")]
    text = given[-1].partition("=")[2] if given else "1"
    if not (text.isascii() and text.isdigit()) or int(text) < 2:
        return arguments
    first = next((argument.partition("=")[2] for argument in reversed(arguments) if argument.startswith("seed=")), "0")
    if not first.isdigit():
        raise InputError(f"trainer.seeds={text} seed={first}: wanted one seed to start from")
    others = [argument for argument in arguments if argument not in given and not argument.startswith("seed=")]
    return [*multirun(others), "seed=" + ",".join(str(int(first) + k) for k in range(int(text)))]


def with_folds(arguments: list[str]) -> list[str]:
    """Replace ``data.fold=range(5)`` by a sweep over all five, ``-m data.fold=1/5,2/5,3/5,4/5,5/5``."""
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
            raise InputError(f"{argument}: wanted 2 or more folds, such as data.fold=range(5)")
        changed.append("data.fold=" + ",".join(f"{fold}/{count}" for fold in range(1, count + 1)))
    return multirun(changed)


def with_sweep(arguments: list[str]) -> list[str]:
    """Where ``sweep.resume=D`` is given, let the sweep's folder be D; `InputError` where D holds no sweep.

    A folder that does not exist is begun where ``output_dir`` or ``hydra.sweep.dir`` names it too: so one command can
    be given to a queue again and again.
    """
    given = [
        argument for argument in arguments if argument.startswith("sweep.resume=") and argument != "sweep.resume=null"
    ]
    if not given:
        return arguments
    text = given[-1].removeprefix("sweep.resume=").strip("'\"")
    folder = Path(text).expanduser()
    places = [argument.partition("=")[2].strip("'\"") for argument in arguments if argument.startswith(_PLACES)]
    if not any(folder.glob("*/job.json")) and text not in places and not (folder / "multirun.yaml").is_file():
        raise InputError(
            f"sweep.resume={folder}: wanted the folder of a sweep, which holds multirun.yaml and a folder a job"
        )
    others = [argument for argument in arguments if argument not in given and not argument.startswith(_PLACES)]
    place = quote(str(folder))
    return multirun([*others, f"sweep.resume={place}", f"hydra.sweep.dir={place}"])


_PLACES = ("output_dir=", "hydra.sweep.dir=", "hydra.run.dir=")


def multirun(arguments: list[str]) -> list[str]:
    """With the flag of a sweep, in front: Hydra wants its overrides together."""
    return arguments if {"-m", "--multirun"} & set(arguments) else ["-m", *arguments]


def quote(value: str) -> str:
    """A value that Hydra's override grammar reads back unchanged, whatever is in it.

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
