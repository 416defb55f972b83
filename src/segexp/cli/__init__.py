"""The command `segexp`: one subcommand a job, one file a subcommand, each a few lines around the library.

A command imports what it runs only when it runs, so that ``segexp --help`` is quick.
"""

import errno
import sys
from typing import Annotated

import typer

from segexp import __version__
from segexp.cli.calibrate import calibrate
from segexp.cli.check import check
from segexp.cli.compare import compare
from segexp.cli.doctor import doctor
from segexp.cli.evaluate import evaluate
from segexp.cli.export import export
from segexp.cli.init import init
from segexp.cli.learning_curve import learning_curve
from segexp.cli.masks import masks
from segexp.cli.models import models
from segexp.cli.predict import predict
from segexp.cli.preview import preview
from segexp.cli.report import report
from segexp.cli.suggest import suggest
from segexp.cli.sweep_plan import sweep_plan
from segexp.cli.synthesize import synthesize
from segexp.errors import InputError
from segexp.terminal import streams

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
"""Error numbers of a full disk or of missing permission: conditions of the machine, not bugs of segexp."""

HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="U-Nets for filaments and vesicles in microscopy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"segexp {__version__}")
        raise typer.Exit


@app.callback()
def _segexp(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """U-Nets for filaments and vesicles in microscopy."""


@app.command(
    context_settings={**HYDRA, "help_option_names": []},
    help=(
        "Train a model with Hydra overrides: segexp train task=vesicle data.root=DIR (segexp train --help "
        "lists all settings)."
    ),
)
def train(context: typer.Context) -> None:
    """Listed for the help; `main` hands everything after ``train`` to Hydra."""


app.command(context_settings=HYDRA)(check)
app.command(context_settings=HYDRA)(preview)
app.command()(init)
app.command()(masks)
app.command()(models)
app.command()(predict)
app.command()(evaluate)
app.command()(suggest)
app.command()(report)
app.command()(compare)
app.command(context_settings=HYDRA, name="sweep-plan")(sweep_plan)
app.command(context_settings=HYDRA, name="learning-curve")(learning_curve)
app.command()(synthesize)
app.command()(calibrate)
app.add_typer(export, name="export")
app.command()(doctor)


def main() -> None:
    """Entry point: input that cannot be used ends with a one-line message and exit code 1."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["train"]:  # Hydra owns every flag after it, --help among them
        from segexp.train import main as train_main

        sys.argv[0] = "segexp train"
        train_main(arguments[1:])
        return
    with streams():
        run()


def run() -> None:
    """Run any command but ``train``."""
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        sys.exit(
            f"error: {error.filename or 'output'}: {error.strerror}; choose a place with write permission and "
            "free space"
        )
