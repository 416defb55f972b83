"""What all subcommands share: how a missing option or argument is reported."""

import re
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A subcommand; where an option or argument is missing, the message ends with the example of the help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            typer.BadParameter: an option or argument does not fit, or is missing.
        """
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            example = re.search(r"Examples?:\s+(.*?)(\n\n|\Z)", self.help or "", re.DOTALL)
            if not error.message and example is not None:  # it is missing; any other fault has a message
                error.message = f"Example: {' '.join(example[1].split())}"
            raise
