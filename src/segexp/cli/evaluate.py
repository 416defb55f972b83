"""`segexp evaluate`: every score of a model on annotated images."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.places import folder_to_write
from segexp.errors import InputError


def evaluate(
    model: Annotated[Path, typer.Option(help="A best_<task>_model.pth.", show_default=False)],
    data: Annotated[
        Path, typer.Option(help="A data set (its val/ is scored), or a folder with img/ and mask/.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results; made where missing.", show_default=False)],
    robustness: Annotated[bool, typer.Option("--robustness", help="Score changed images too: takes longer.")] = False,
    images: Annotated[
        int | None, typer.Option(min=1, help="Score so many images, spread evenly; default: all.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Families of scores, such as probability,filament,surface,object; default: the model's."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Foreground probability; default: the model's.")] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(help="Of outlines and centrelines: pixels, such as 2, or 0.2um; default: the model's."),
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="µm, where the files do not say.")] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression; scores are also given by what its first parenthesis finds in the names."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
) -> None:
    """Score a model on annotated images: writes OUTPUT/scores.csv, a row an image and class, and OUTPUT/scores.json.

    Example: segexp evaluate --model runs/first/best_vesicle_model.pth --data DATA --output scores
    """
    from segexp.evaluation.run import evaluate_folder
    from segexp.evaluation.scoring import read_tolerance
    from segexp.evaluation.tables import print_robustness, print_scores
    from segexp.inference.predictor import load_model
    from segexp.report import write_report
    from segexp.weights import located

    model = located(model)
    predictor = load_model(model, device)
    if threshold is not None:
        if not 0 < threshold < 1:
            raise InputError(f"--threshold {threshold}: wanted more than 0 and less than 1")
        predictor.threshold = threshold
    folder_to_write(output)
    reach = None if tolerance is None else read_tolerance(tolerance)
    families = None if scores is None else tuple(name for name in scores.split(",") if name)
    record = evaluate_folder(
        predictor, model, data, output, families, reach, pixel_size, images, robustness, sys.stdout.isatty(), group
    )
    print_scores(record)
    if robustness:
        print_robustness(record["robustness"], record["monitor"])
    print(output / "scores.json")
    print(write_report(output))
