"""The command `segexp`: one subcommand a job, each a few lines around the library."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from segexp.errors import InputError

app = typer.Typer(
    help="U-Nets for filaments and vesicles in microscopy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    help="Train a model with Hydra overrides: segexp train task=vesicle data.root=DIR (segexp train --help lists all).",
)
def train(context: typer.Context) -> None:
    """Listed for the help; `main` hands everything after ``train`` to Hydra."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def preview(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("preview.png"),
    samples: Annotated[int, typer.Option(min=1, help="Rows.")] = 4,
) -> None:
    """Show the augmentation of a run before it trains: a row a sample, a column an operation. Takes Hydra overrides.

    Example: segexp preview task=cytoskeleton data.root=DIR --output preview.png
    """
    from segexp.overlay import write_png
    from segexp.train import preview_run

    write_png(output, preview_run(context.args, samples))
    print(output)


@app.command()
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


@app.command()
def synthesize(
    task: Annotated[str, typer.Argument(help="vesicle or cytoskeleton.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write; must not hold a data set yet.", show_default=False)],
    train: Annotated[int, typer.Option(min=0, help="Training images.")] = 200,
    val: Annotated[int, typer.Option(min=0, help="Validation images.")] = 50,
    size: Annotated[int, typer.Option(min=32, max=16384, help="Pixels a side.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
) -> None:
    """Write generated images with exact masks: OUTPUT/train/img/*.tif, OUTPUT/train/mask/*.npy, OUTPUT/val/...

    Example: segexp synthesize vesicle --output data --train 200 --val 50 --size 512 --seed 0
    """
    import numpy as np
    import tifffile

    from segexp import synthesis

    if task not in synthesis.TASKS:
        raise InputError(f"task {task!r}: wanted one of {', '.join(synthesis.TASKS)}")
    if any((output / part).exists() for part in ("train", "val")):
        raise InputError(f"{output}: holds train/ or val/ already; choose another folder, or delete them")
    first = 0
    for part, count in (("train", train), ("val", val)):
        for kind in ("img", "mask"):
            (output / part / kind).mkdir(parents=True)
        for start in range(0, count, 16):
            batch = min(16, count - start)
            images, masks = synthesis.generate(task, batch, size, seed, first=first + start)
            for index, (image, mask) in enumerate(zip(images, masks, strict=True), first + start):
                tifffile.imwrite(output / part / "img" / f"{task}_{index:05}.tif", image)
                np.save(output / part / "mask" / f"{task}_{index:05}.npy", mask)
        first += count
    print(
        f"{train} + {val} images of {size}x{size} in {output}; train with: segexp train task={task} data.root={output}"
    )


def main() -> None:
    """Entry point: what the user gave and cannot be used ends in one line and exit code 1."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["train"]:  # Hydra owns every flag after it, --help among them
        from segexp.train import main as train_main

        sys.argv[0] = "segexp train"
        train_main(arguments[1:])
        return
    try:
        app()
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
