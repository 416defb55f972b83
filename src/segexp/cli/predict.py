"""`segexp predict`: masks, probabilities and measurements of image files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexp.cli.output_paths import locked_folder
from segexp.cli.reading import (
    AllowTargets,
    ChannelOption,
    PageOption,
    PixelSizeOption,
    model_files,
    open_predictor,
    read_as,
    reading_typed,
)
from segexp.errors import InputError

if TYPE_CHECKING:
    from segexp.inference.manifest import Manifest
    from segexp.inference.outputs import Outputs
    from segexp.inference.predictor import Predictor
    from segexp.inference.sliding_window import Tiling


def predict(
    model: Annotated[
        list[Path],
        typer.Option(
            help=(
                "A best_<task>_model.pth, a run folder, a sweep (its best model), one of segexp models, or auto: the "
                "one of segexp models that fits the images. --model A --model B is an ensemble."
            )
        ),
    ],
    input: Annotated[
        list[Path], typer.Option(help="Image files, folders, or patterns such as 'in/*.tif'.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder for the results; created if missing.", show_default=False)],
    more: Annotated[list[Path] | None, typer.Argument(help="More input files.", show_default=False)] = None,
    save: Annotated[
        str,
        typer.Option(
            help=(
                "What to write, separated by commas: mask, prob, labels, overlay, measurements, rois, geojson; or all."
            )
        ),
    ] = "mask,prob",
    prob_dtype: Annotated[str, typer.Option(help="Data type of NAME_prob.tif: uint8, uint16 or float32.")] = "float32",
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is foreground; default: the model's.")
    ] = None,
    guarantee: Annotated[
        float | None,
        typer.Option(
            help=(
                "Lower the threshold so that, on average over images like the validation images, at least this "
                "share of an image's foreground is found, such as 0.9."
            ),
            show_default=False,
        ),
    ] = None,
    calibrate_on: Annotated[
        Path | None,
        typer.Option(
            help="Annotated images for --guarantee, not trained on, in place of the validation images.",
            show_default=False,
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over 8 flips and rotations; takes 8 times as long.")
    ] = False,
    pixel_size: PixelSizeOption = None,
    channel: ChannelOption = None,
    page: PageOption = None,
    tile: Annotated[
        int | None,
        typer.Option(min=64, help="Largest side of a tile in pixels; default: chosen by the width of the model."),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Tiles in a batch; default: 1, or 8 on a GPU.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier predictions.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if an image is unlike the training images.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")] = "auto",
    allow_targets: AllowTargets = None,
) -> None:
    """Segment images: writes NAME_mask.png (0 and 255) and NAME_prob.tif (probabilities) for each, or what --save says.

    Images that were already predicted by the same model and settings are skipped, so a stopped prediction can resume.

    Example: segexp predict --model runs/first/best_vesicle_model.pth --input images --output masks
    """
    from segexp.inference.files import ImageList, find_images
    from segexp.inference.manifest import Manifest, open_manifest
    from segexp.inference.outputs import SAVE, Outputs
    from segexp.io.ownership import OwnedFolder
    from segexp.measurements import Settings

    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold {threshold}: expected more than 0 and less than 1")
    model = model_files(chosen_models(model, input, more or [], output, channel, page))
    predictor = open_predictor(model, device, allow_targets, tta=tta)
    predictor.threshold = predictor.threshold if threshold is None else threshold
    read_as(predictor, channel, page)
    names = tuple(dict.fromkeys(name.strip() for name in save.split(",") if name.strip()))
    outputs = Outputs(SAVE if names == ("all",) else names, prob_dtype, Settings.of(predictor.facts), pixel_size)
    tiling = predictor.tiling(tile, None, batch)
    whole = predictor.tiling().overlap
    if tiling.overlap < whole:
        print(
            f"warning: --tile {tile}: neighbouring tiles share {tiling.overlap} px only, less than the network needs "
            f"to see; masks differ near the cuts. --tile {3 * whole} or more has no visible cuts"
        )
    promise = None
    if guarantee is not None:
        _require_guarantee(guarantee, threshold)
        other = (("--tta", tta), ("--tile", tile), ("--pixel-size", pixel_size), ("several --model", model[1:]))
        changed = [name for name, typed in other if typed]
        promise = _promise(predictor, model[0], guarantee, calibrate_on, pixel_size, tiling, changed)
    elif calibrate_on is not None:
        raise InputError("--calibrate-on: needs --guarantee; add, for example, --guarantee 0.9")

    def prepare(folder: OwnedFolder) -> tuple[ImageList, Manifest]:
        images = find_images([*input, *(more or [])], folder)
        manifest = open_manifest(folder, predictor, model, outputs, tiling, overwrite, promise)
        manifest.require_room(images.files)
        return images, manifest

    with locked_folder(output, prepare) as (images, manifest):
        for remark in images.remarks:
            print(remark)
        _run(predictor, images.files, output, outputs, tiling, manifest, strict)


def _require_guarantee(found: float, threshold: float | None) -> None:
    if not 0 < found < 1:
        raise InputError(f"--guarantee {found:g}: expected a share more than 0 and less than 1, such as 0.9")
    if threshold is not None:
        raise InputError("--guarantee chooses the threshold; leave --threshold out")


def _promise(
    predictor: "Predictor",
    model: Path,
    found: float,
    calibrate_on: Path | None,
    pixel_size: float | None,
    tiling: "Tiling",
    changed: list[str],
) -> dict[str, Any]:
    """Set the predictor's threshold for a guarantee and print it; returns the entry for the record of the prediction.

    `changed` are options by which this prediction differs from the settings that the model file was calibrated with.
    """
    from segexp.cli.progress import PredictionProgress
    from segexp.cli.reading import options_in_messages, say_unscaled
    from segexp.evaluation.run import find_samples
    from segexp.inference.guarantee import KEY, calibrate, choose

    if calibrate_on is not None:
        with options_in_messages():
            samples = find_samples(predictor, calibrate_on, pixel_size)
        say_unscaled(predictor.facts, [each.name for each in samples if each.pixel_size is None], len(samples))
        with PredictionProgress(len(samples), "calibrating") as report:
            predictor.log = report.log
            entries = calibrate(predictor, samples, tiling, report.progress)
    else:
        entries = predictor.facts.get(KEY) or []
        more = "add --calibrate-on DATA, a data set or a folder with img/ and mask/, of images that were not trained on"
        if changed:
            raise InputError(f"--guarantee with {', '.join(changed)}: the model was calibrated without this; {more}")
        if not entries:
            raise InputError(f"--guarantee: {model} was not calibrated when it was trained; {more}")
    choice = choose(entries, predictor.classes, found, predictor.threshold)
    for line in choice.lines:
        print(line)
    predictor.threshold = choice.threshold
    on = "model" if calibrate_on is None else str(calibrate_on.absolute())
    return {"found": found, "images": choice.images, "calibrated_on": on}


def chosen_models(
    models: list[Path],
    sources: list[Path],
    more: list[Path],
    output: Path,
    channel: str | None = None,
    page: str | None = None,
) -> list[Path]:
    """The models as typed; for ``auto`` the pretrained model that fits the images.

    `channel` and `page` are the options of these names; the images are read accordingly.

    Raises:
        InputError: if no model fits, or ``auto`` is combined with other models.
    """
    if Path("auto") not in models or Path("auto").exists():
        return models
    if len(models) > 1:
        raise InputError("--model auto: chooses one model by itself; it cannot be in an ensemble")
    from segexp.inference.files import find_images
    from segexp.inference.kinds import choose_for_files
    from segexp.io.ownership import OwnedFolder

    reading = reading_typed(channel, page)
    seen = "first" if reading.get("page", "each") == "each" else reading["page"]
    choice = choose_for_files(find_images([*sources, *more], OwnedFolder(output)).files, seen, reading.get("channel"))
    print(f"model: {choice.words()}")
    return [Path(choice.name)]


def _run(
    predictor: "Predictor",
    files: list[Path],
    output: Path,
    outputs: "Outputs",
    tiling: "Tiling",
    manifest: "Manifest",
    strict: bool,
) -> None:
    from segexp.cli.progress import PredictionProgress
    from segexp.cli.reading import say_misfits, say_unscaled
    from segexp.inference.files import predict_files, write_tables

    with PredictionProgress(len(files)) as report:
        predictor.log = report.log
        results = []
        for result in predict_files(predictor, files, output, outputs, tiling, manifest, report.progress):
            report.result(result)
            results.append(result)
    if "measurements" in outputs.save:
        for path in write_tables(manifest, results):
            print(path)
    outdated = manifest.outdated(files)
    if outdated:
        print(f"{len(outdated)} files in {output} were predicted with other settings, such as {outdated[0]}")
    faults = sum(result.error is not None for result in results)
    print(f"{len(files) - faults} of {len(files)} images in {output}")
    say_unscaled(predictor.facts, [result.path.name for result in results if result.unscaled], len(files))
    unlike = [result.path.name for result in results if result.misfit]
    say_misfits(predictor.facts, unlike, len(files), strict)
    if faults or (strict and unlike):
        raise typer.Exit(1)
