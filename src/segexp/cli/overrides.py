"""Arguments of the commands that compose the settings of a run: its overrides, and a folder of further options."""

from collections.abc import Sequence
from typing import Annotated

import typer

from segexp.errors import InputError

ConfigDir = Annotated[
    str | None,
    typer.Option(
        "--config-dir",
        "-cd",
        metavar="DIR",
        help="Folder of your own options, such as task/NAME.yaml.",
        show_default=False,
    ),
]


def overrides_of(words: Sequence[str]) -> list[str]:
    """The arguments of a command as Hydra takes them.

    Raises:
        InputError: if one is a flag, or is not an override.
    """
    from segexp.config.typed import as_typed, is_flag

    for word in words:
        if is_flag(word):
            raise InputError(f"{word}: this command has no such flag (its --help lists them)")
    return as_typed(words)
