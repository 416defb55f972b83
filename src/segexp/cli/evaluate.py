"""`segexp evaluate`: every score of a model on annotated images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexp.cli.output_paths import locked_folder
from segexp.cli.reading import (
    AllowTargets,
    ChannelOption,
    PageOption,
    PixelSizeOption,
    open_predictor,
    options_in_messages,
    read_as,
    say_unscaled,
)
from segexp.errors import InputError

if TYPE_CHECKING:
    from segexp.inference.predictor import Predictor


def evaluate(
    model: Annotated[
        Path,
        typer.Option(
            help="A best_<task>_model.pth, a run folder, or a ready model's name, such as vesicle (segexp models).",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(help="A data set, whose val/ is scored, or a folder with img/ and mask/.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results; created if missing.", show_default=False)],
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also score the images after brightness, noise, blur and other changes; takes longer.",
        ),
    ] = False,
    images: Annotated[
        int | None, typer.Option(min=1, help="Number of images to score, spread evenly; default: all.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help=(
                "Families of scores, separated by commas, such as probability,filament,surface,object; default: the "
                "model's."
            )
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is foreground; default: the model's.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(help="Tolerance of outlines and centrelines: pixels, such as 2, or 0.2um; default: the model's."),
    ] = None,
    pixel_size: PixelSizeOption = None,
    channel: ChannelOption = None,
    page: PageOption = None,
    group: Annotated[
        str | None,
        typer.Option(
            help=(
                "Regular expression with a group, such as '(day[0-9]+)_': images in whose names it finds the same text "
                "also get scores of their own."
            )
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if an image is unlike the training images.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    allow_targets: AllowTargets = None,
) -> None:
    """Score a model on annotated images: writes scores.csv (a row for each image and class), scores.json, report.html.

    Example: segexp evaluate --model runs/first/best_vesicle_model.pth --data DATA --output scores
    """
    from segexp.data.dataset import Sample
    from segexp.evaluation.run import FILES, chosen_families, chosen_samples, evaluate_folder
    from segexp.evaluation.scoring import read_tolerance
    from segexp.evaluation.tables import print_robustness, print_scores
    from segexp.io.ownership import OwnedFolder
    from segexp.report import write_report

    model = _single_model(model)
    predictor = open_predictor(model, device, allow_targets)
    if threshold is not None:
        if not 0 < threshold < 1:
            raise InputError(f"--threshold {threshold}: expected more than 0 and less than 1")
        predictor.threshold = threshold
    read_as(predictor, channel, page)
    reach = None if tolerance is None else read_tolerance(tolerance)
    families = None if scores is None else tuple(name for name in scores.split(",") if name)
    _import_own_scores(predictor, families, tuple(allow_targets or ()))

    def prepare(folder: OwnedFolder) -> list[Sample]:
        folder.require_free(FILES)
        chosen_families(predictor, families)
        return chosen_samples(predictor, data, images, group, pixel_size)

    with options_in_messages(), locked_folder(output, prepare) as samples:
        say_unscaled(predictor.facts, [each.name for each in samples if each.pixel_size is None], len(samples))
        record = evaluate_folder(
            predictor,
            model,
            data,
            output,
            families,
            reach,
            pixel_size,
            images,
            robustness,
            sys.stdout.isatty(),
            group,
            samples,
        )
        page_file = write_report(output)
    print_scores(record)
    if robustness:
        print_robustness(record["robustness"], record["monitor"])
    print(output / "scores.json")
    print(page_file)
    if _warn_of_misfits(predictor, record["images"], len(samples), strict) and strict:
        raise typer.Exit(1)


def _single_model(path: Path) -> Path:
    """The model file of a file, a run or a ready model's name; `InputError` for a sweep, which has many."""
    from segexp.checkpoint import model_file
    from segexp.sweep.selection import is_sweep

    if is_sweep(path):
        raise InputError(f"--model {path}: a sweep; expected a single model, such as the run {path / '0'}")
    return model_file(path)


def _import_own_scores(predictor: "Predictor", asked: tuple[str, ...] | None, allowed: tuple[str, ...]) -> None:
    """Import the modules of user-defined scores: those in `asked`, or those that the model file names, if allowed.

    A score that is asked for but not allowed is an error; one that only the model file names is skipped later.
    """
    from segexp.config.targets import own_scores
    from segexp.models.external import is_allowed

    names = predictor.facts.get("scores", ()) if asked is None else asked
    own = [name for name in names if "." in name and (asked is not None or is_allowed(name, allowed))]
    own_scores(own, allowed, "--allow-targets {}")


def _warn_of_misfits(predictor: "Predictor", images: list[dict[str, Any]], count: int, strict: bool) -> bool:
    """Print a warning for each image that is unlike the training images; returns whether there is any."""
    from segexp.cli.reading import say_misfits

    unlike = {str(image["name"]): image["misfit"] for image in images if image.get("misfit")}
    for name, text in unlike.items():
        print(f"warning: {name}: {text}")
    say_misfits(predictor.facts, list(unlike), count, strict)
    return bool(unlike)
