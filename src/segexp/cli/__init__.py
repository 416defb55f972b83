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
from segexp.cli.command import Command
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

EXAMPLE = "Example: segexp predict --model vesicle --input IMAGES --output MASKS --save mask,overlay"

app = typer.Typer(
    help="U-Nets for filaments and vesicles in microscopy.",
    epilog=f"{EXAMPLE}\n\nsegexp COMMAND --help explains a command.",
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
    short_help="Train a model, or many in a sweep.",
    help=(
        "Train a model with Hydra overrides: segexp train task=vesicle data.root=DIR (segexp train --help "
        "lists all settings)."
    ),
)
def train(context: typer.Context) -> None:
    """Listed for the help; `main` hands everything after ``train`` to Hydra."""


for _function, _short in (
    (check, "Look through a data set before training."),
    (preview, "Show what training will see."),
    (init, "Start a project of your own."),
    (masks, "Turn outlines and pictures into masks."),
    (models, "List the models that come with segexp."),
    (predict, "Segment images with a model."),
    (evaluate, "Score a model on annotated images."),
    (suggest, "Rank images by what to annotate next."),
    (report, "Write report.html into run folders."),
    (compare, "Compare runs on the same images."),
    (sweep_plan, "Estimate time and disk of a sweep."),
    (learning_curve, "Find out how many images are enough."),
    (synthesize, "Write generated images with masks."),
    (calibrate, "Fit generated images to yours."),
    (doctor, "Show versions and test this computer."),
):
    _overrides = HYDRA if _function in (check, preview, sweep_plan, learning_curve) else None
    _name = _function.__name__.replace("_", "-")
    app.command(_name, cls=Command, context_settings=_overrides, short_help=_short)(_function)
app.add_typer(export, name="export")


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
