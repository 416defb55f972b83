"""`segexp suggest`: which images, and which regions of large ones, to annotate next."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segexp.cli.output_paths import locked_folder
from segexp.cli.reading import (
    AllowTargets,
    ChannelOption,
    PageOption,
    PixelSizeOption,
    in_options,
    model_files,
    open_predictor,
    options_in_messages,
    read_as,
    say_unscaled,
)
from segexp.errors import InputError, printable

if TYPE_CHECKING:
    from segexp.inference.files import ImageList
    from segexp.inference.predictor import Predictor
    from segexp.measurements import Row
    from segexp.suggestion.candidates import Candidate


def suggest(
    model: Annotated[
        list[Path],
        typer.Option(
            help=(
                "A best_<task>_model.pth, a run folder, a sweep, or one of segexp models. --model A --model B is an "
                "ensemble."
            )
        ),
    ],
    input: Annotated[
        list[Path],
        typer.Option(help="Image files without annotation, folders, or patterns such as 'in/*.tif'."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results; created if missing.", show_default=False)],
    more: Annotated[list[Path] | None, typer.Argument(help="More input files.", show_default=False)] = None,
    annotated: Annotated[
        Path | None,
        typer.Option(help="Data set, or folder with img/, of the images annotated so far.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of suggestions.")] = 10,
    region: Annotated[int, typer.Option(min=64, help="Side of a region of a large image, in pixels.")] = 512,
    pixel_size: PixelSizeOption = None,
    channel: ChannelOption = None,
    page: PageOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    allow_targets: AllowTargets = None,
) -> None:
    """Rank images by how much a model would learn from their annotation: writes suggestions.csv, .html and crops/.

    The rank combines how much predictions differ between the eight flips and rotations of an image (with several
    models: between the models) with how unlike the image is to annotated images and to better-ranked suggestions.

    Example: segexp suggest --model runs/first --input IMAGES --annotated DATA --output next
    """
    import numpy as np

    from segexp.inference.files import find_images
    from segexp.io.ownership import OwnedFolder, digest
    from segexp.suggestion.candidates import annotated_files, describe_annotated, without_copies
    from segexp.suggestion.ranking import rank
    from segexp.suggestion.results import PAGE, TABLE, require_room, write

    model = model_files(model)
    predictor = open_predictor(model, device, allow_targets, tta=len(model) == 1)
    read_as(predictor, channel, page)

    def prepare(folder: OwnedFolder) -> tuple["ImageList", OwnedFolder]:
        require_room(folder)
        return find_images([*input, *(more or [])], folder, own_names=False), folder

    with locked_folder(output, prepare) as (images, folder):
        for remark in images.remarks:
            print(remark)
        known, names, files = np.empty((0, 0)), list[str](), images.files
        if annotated is not None:
            done = annotated_files(annotated)
            files = without_copies(files, done)
            if len(files) < len(images.files):
                print(f"{len(images.files) - len(files)} of {len(images.files)} images annotated already: left out")
            if not files:
                raise InputError(f"all images of --input are annotated in {annotated}; expected some that are not")
            with options_in_messages():
                known, names = describe_annotated(predictor, done, pixel_size)
        candidates, faults = _scan_all(predictor, files, region, pixel_size)
        if not candidates:
            raise InputError("no image could be ranked, so there is nothing to suggest")
        features = np.stack([each.features for each in candidates])
        known = known.reshape(-1, features.shape[1])
        chosen = rank(np.array([each.disagreement for each in candidates]), features, known, count)
        models = [digest(path) for path in model]
        rows = write(folder, predictor, candidates, chosen, names, pixel_size, models=models)
    _print_ranking(rows, len(candidates), count)
    print(output / TABLE)
    print(output / PAGE)
    unscaled = dict.fromkeys(each.path for each in candidates if each.unscaled)
    say_unscaled(predictor.facts, [path.name for path in unscaled], len(files))
    if faults:
        raise typer.Exit(1)


def _scan_all(
    predictor: "Predictor", files: list[Path], region: int, pixel_size: float | None
) -> tuple[list["Candidate"], int]:
    """The candidates of all files, and how many files could not be read; each of these is printed as an error."""
    from segexp.cli.progress import PredictionProgress
    from segexp.suggestion.candidates import scan

    candidates: list[Candidate] = []
    faults = 0
    with PredictionProgress(len(files), "looking") as bar:
        predictor.log = bar.log
        for number, path in enumerate(files):
            try:
                progress = lambda share, n=number: bar.progress(n + share)  # noqa: E731
                candidates += scan(predictor, path, region, progress, pixel_size)
            except (InputError, OSError) as error:
                faults += 1
                print(f"error: {in_options(str(error))}", file=sys.stderr, flush=True)
            bar.progress(number + 1)
    return candidates, faults


def _print_ranking(rows: list["Row"], candidates: int, count: int) -> None:
    """Print the suggestions, best first, and why there are fewer than `count`."""
    for row in rows:
        where = printable(" ".join(filter(None, [Path(str(row["file"])).name, str(row["region"])])), multiline=False)
        print(f"{row['rank']:>2} {where}: {row['why']}")
    if len(rows) == candidates < count:
        print(f"{len(rows)} of {count}: there are no more candidates")
    elif len(rows) < count:
        print(f"{len(rows)} of {count}: the rest duplicate these or annotated images, or the model is certain of them")
