"""Overrides as Hydra's command line takes them: quoting any value, and going on with a stopped run."""

from pathlib import Path

import yaml

from segexp.errors import InputError


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
        overrides = yaml.safe_load(stored.read_text(encoding="utf-8")) or []
    except yaml.YAMLError as error:
        raise InputError(f"{stored}: not YAML ({error})") from None
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise InputError(f"{stored}: wanted a list of overrides")
    # a run folder may come from somebody else, and Hydra would run what its own section names
    own = ("hydra", "allow_targets", "resume=", "output_dir=")
    overrides = [item for item in overrides if not item.lstrip("+~").startswith(own)]
    others = [argument for argument in arguments if argument not in given and not argument.startswith("output_dir=")]
    place = str(folder.absolute())
    return [*overrides, f"resume={quote(place)}", f"output_dir={quote(place)}", *others]


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
    flag = [] if {"-m", "--multirun"} & set(others) else ["-m"]
    return [*flag, *others, "seed=" + ",".join(str(int(first) + k) for k in range(int(text)))]


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
