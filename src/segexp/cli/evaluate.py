"""`segexp evaluate`: every score of a model on annotated images."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import locked_folder
from segexp.cli.reading import AllowTargets, ChannelOption, PageOption, options_in_messages, read_as, say_misfits
from segexp.errors import InputError


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
    threshold: Annotated[float | None, typer.Option(help="Foreground probability; default: the model's.")] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(help="Tolerance of outlines and centrelines: pixels, such as 2, or 0.2um; default: the model's."),
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in µm; overrides what the files state.")] = None,
    channel: ChannelOption = None,
    page: PageOption = None,
    group: Annotated[
        str | None,
        typer.Option(
            help=(
                "Regular expression; scores are also given for each group of names, by what its first "
                "parentheses match."
            )
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 where an image is unlike the training images.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    allow_targets: AllowTargets = None,
) -> None:
    """Score a model on annotated images: writes OUTPUT/scores.csv, a row an image and class, and OUTPUT/scores.json.

    Example: segexp evaluate --model runs/first/best_vesicle_model.pth --data DATA --output scores
    """
    from segexp.checkpoint import model_file
    from segexp.config.targets import own_scores
    from segexp.data.dataset import Sample
    from segexp.device import keep_freed_memory
    from segexp.evaluation.run import FILES, chosen_families, chosen_samples, evaluate_folder
    from segexp.evaluation.scoring import read_tolerance
    from segexp.evaluation.tables import print_robustness, print_scores
    from segexp.inference.predictor import load_model
    from segexp.io.cores import limit_threads
    from segexp.io.ownership import OwnedFolder
    from segexp.models.external import is_allowed
    from segexp.report import write_report
    from segexp.sweep.selection import is_sweep

    if pixel_size is not None and not 0 < pixel_size < float("inf"):
        raise InputError(f"--pixel-size {pixel_size}: expected more than 0 µm")
    if is_sweep(model):
        raise InputError(f"--model {model}: a sweep; expected a single model, such as the run {model / '0'}")
    model = model_file(model)
    limit_threads()
    predictor = load_model(model, device, allow_targets=allow_targets or ())
    if predictor.device.type == "cpu":
        keep_freed_memory()
    if threshold is not None:
        if not 0 < threshold < 1:
            raise InputError(f"--threshold {threshold}: expected more than 0 and less than 1")
        predictor.threshold = threshold
    read_as(predictor, channel, page)
    reach = None if tolerance is None else read_tolerance(tolerance)
    families = None if scores is None else tuple(name for name in scores.split(",") if name)

    asked = predictor.facts.get("scores", ()) if families is None else families
    own = [name for name in asked if "." in name and (families is not None or is_allowed(name, allow_targets or ()))]
    own_scores(own, tuple(allow_targets or ()), "--allow-targets {}")

    def prepare(folder: OwnedFolder) -> list[Sample]:
        folder.require_free(FILES)
        chosen_families(predictor, families)
        return chosen_samples(predictor, data, images, group, pixel_size)

    with options_in_messages(), locked_folder(output, prepare) as samples:
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
    unlike = {str(image["name"]): image["misfit"] for image in record["images"] if image.get("misfit")}
    for name, text in unlike.items():
        print(f"warning: {name}: {text}")
    say_misfits(predictor.facts, list(unlike), len(samples), strict)
    if strict and unlike:
        raise typer.Exit(1)
