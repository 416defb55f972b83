"""What all subcommands share: how their help is printed, and how a missing option or argument is reported."""

import re
from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A subcommand; where an option or argument is missing, the message ends with the example of the help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words behind the command in the line of its usage; overrides are among them where it takes any."""
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces, "[KEY=VALUE]..."] if ctx.allow_extra_args else pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options; ``<path>`` and ``<int>`` stand for ``<list[Path]>`` and ``<int range>``."""
        write = formatter.write_dl
        formatter.write_dl = lambda rows, *more, **named: write(
            [(_plain_type(name), text) for name, text in rows], *more, **named
        )
        super().format_options(ctx, formatter)

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


def _plain_type(name: str) -> str:
    name = re.sub(r"<list\[(\w+)\]>", lambda match: f"<{match[1].lower()}>", name)
    return re.sub(r"<(int|float) range>", r"<\1>", name)
