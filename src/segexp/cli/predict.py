"""`segexp predict`: masks and probabilities of image files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from segexp.errors import InputError


def predict(
    model: Annotated[Path, typer.Option(help="A best_<task>_model.pth.", show_default=False)],
    input: Annotated[list[Path], typer.Option(help="Image files, or folders of them.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the results; made where missing.", show_default=False)],
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further files, as *.tif gives.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is foreground; default: the model's.")
    ] = None,
) -> None:
    """Segment images: writes NAME_mask.png (0 and 255) and NAME_prob.tif (probabilities, float32) for each.

    Example: segexp predict --model runs/first/best_vesicle_model.pth --input images --output masks
    """
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from segexp.inference.files import find_images, predict_files
    from segexp.inference.predictor import load_model

    predictor = load_model(model, device)
    if threshold is not None:
        if not 0 < threshold < 1:
            raise InputError(f"--threshold {threshold}: wanted more than 0 and less than 1")
        predictor.threshold = threshold
    files = find_images([*input, *(more or [])], output)
    faults = 0
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("time left"), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stdout.isatty()) as bar:
        track = bar.add_task("predicting", total=len(files))
        for path, result in predict_files(predictor, files, output):
            bar.advance(track)
            if isinstance(result, str):
                faults += 1
                print(f"error: {result}", file=sys.stderr)
            else:
                print(f"{path.name}: {100 * result:.2f} % foreground")
    print(f"{len(files) - faults} of {len(files)} images in {output}")
    if faults:
        raise typer.Exit(1)
