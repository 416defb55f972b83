"""`segexp synthesize`: generated images with exact masks, as a data set."""

import io
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexp.cli.output_paths import locked_folder
from segexp.errors import InputError
from segexp.io.ownership import OwnedFolder

if TYPE_CHECKING:
    from segexp.synthesis import Scene

PARTS = ("train", "val")


def synthesize(
    task: Annotated[str, typer.Argument(help="vesicle or cytoskeleton.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write; must not contain a data set.", show_default=False)],
    train: Annotated[int, typer.Option(min=0, help="Training images.")] = 200,
    val: Annotated[int, typer.Option(min=0, help="Validation images.")] = 50,
    size: Annotated[int, typer.Option(min=32, max=16384, help="Height and width of an image, in pixels.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    ranges: Annotated[
        Path | None,
        typer.Option(help="YAML file of parameter ranges, written by segexp calibrate.", show_default=False),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(help="Style of the images, such as giant or stress (docs/synthesis.md); may be repeated."),
    ] = None,
    psf: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="<nm> <NA> <nm>",
            help="Wavelength, numerical aperture and pixel size, such as 520 1.4 65: sets the sharpness.",
        ),
    ] = None,
    mask_width: Annotated[float | None, typer.Option(help="Width of the masks of filaments, in pixels.")] = None,
    mask_share: Annotated[
        float | None,
        typer.Option(
            help="Mask the pixels where the object alone exceeds this share of its peak intensity, 0.05 to 0.95."
        ),
    ] = None,
    unfocused: Annotated[int, typer.Option(min=0, max=255, help="Mask value of objects out of focus.")] = 0,
    faint: Annotated[int, typer.Option(min=0, max=255, help="Mask value of objects too faint to be seen.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set that segexp synthesize wrote there.")
    ] = False,
    truth: Annotated[
        bool, typer.Option("--truth", help="Also write instance labels, tables of objects, centrelines, parameters.")
    ] = False,
) -> None:
    """Write generated images with exact masks: OUTPUT/train/img/*.tif, OUTPUT/train/mask/*.npy, OUTPUT/val/...

    With --truth also OUTPUT/train/truth/: *_labels.tif, *_objects.csv, *_scene.json, filaments' *_centrelines.geojson.

    Example: segexp synthesize vesicle --output data --train 200 --val 50 --size 512 --seed 0
    """
    from segexp import synthesis
    from segexp.config.overrides import quote
    from segexp.data.ranges_file import read_ranges

    if task not in synthesis.TASKS:
        raise InputError(f"task {task!r}: expected one of {', '.join(synthesis.TASKS)}")
    limits: dict[str, Any] = {} if ranges is None else read_ranges(ranges, task)
    if style:
        limits["style"] = style
    try:
        foreground = synthesis.Foreground(mask_width, mask_share, faint, unfocused)
        if psf is not None:
            limits["psf"] = synthesis.psf_sigma(*psf)
        synthesis.generate(task, 0, size, seed, foreground=foreground, **limits)  # draws nothing, checks all
    except ValueError as error:
        raise InputError(str(error)) from None

    def prepare(folder: OwnedFolder) -> OwnedFolder:
        _require_room(folder, overwrite)
        return folder

    with locked_folder(output, prepare) as folder:
        for name in folder.names() if overwrite else ():
            if name.startswith(tuple(f"{part}/" for part in PARTS)):
                folder.remove(name)
        first = 0
        for part, count in (("train", train), ("val", val)):
            scenes = synthesis.generate_scenes(task, count, size, seed, first, foreground=foreground, **limits)
            names = [f"{task}_{index:05}" for index in range(first, first + count)]
            _write_part(folder, part, names, scenes, truth)
            first += count
    ignored = " task.ignore=255" if 255 in (unfocused, faint) else ""
    root = str(output) if re.fullmatch(r"[\w./-]+", str(output), re.ASCII) else quote(str(output))
    command = f"segexp train task={task} {shlex.quote(f'data.root={root}')}{ignored}"
    print(f"{train} + {val} images of {size}x{size} in {output}; train with: {command}")


def _require_room(folder: OwnedFolder, overwrite: bool) -> None:
    """`InputError` if the folder holds a data set, unless segexp wrote it and `overwrite` is set."""
    if not any((folder.folder / part).exists() for part in PARTS):
        return
    if not overwrite:
        raise InputError(
            f"{folder.folder}: already contains train/ or val/; choose another folder, or replace a set that segexp "
            "synthesize wrote there with --overwrite"
        )
    there = [path for part in PARTS for path in sorted((folder.folder / part).rglob("*")) if not path.is_dir()]
    folder.require_free(path.relative_to(folder.folder).as_posix() for path in there)


def _write_part(folder: OwnedFolder, part: str, names: list[str], scenes: Iterable["Scene"], truth: bool) -> None:
    """Write images and masks of scenes under their names; with `truth` also everything else known about them."""
    import numpy as np
    import tifffile

    for kind in ("img", "mask", *(["truth"] if truth else [])):
        (folder.folder / part / kind).mkdir(parents=True, exist_ok=True)
    for name, scene in zip(names, scenes, strict=True):
        image, mask = io.BytesIO(), io.BytesIO()  # NumPy's own errors on a full disk do not say what they are
        tifffile.imwrite(image, scene.image)
        np.save(mask, scene.mask)
        folder.write(f"{part}/img/{name}.tif", image.getvalue())
        folder.write(f"{part}/mask/{name}.npy", mask.getvalue())
        if truth:
            _write_truth(scene, folder, f"{part}/truth/{name}")


def _write_truth(scene: "Scene", folder: OwnedFolder, stem: str) -> None:
    """Write the ground truth of an image as files beginning with `stem`: labels, objects, centrelines, parameters."""
    import json

    import tifffile

    from segexp.measurements.table import write_rows
    from segexp.synthesis import record

    few = len(scene.objects) < 65536
    labels = io.BytesIO()
    tifffile.imwrite(labels, scene.labels.astype("uint16" if few else "int32"), compression="zlib")
    folder.write(f"{stem}_labels.tif", labels.getvalue())
    rows = record.object_rows(scene)
    folder.write(f"{stem}_objects.csv", write_rows(rows, record.columns(scene)))
    facts = {"style": scene.style, "objects": len(rows), "out_of_focus": len(scene.unfocused)}
    text = json.dumps(facts | {"parameters": scene.parameters}, indent=1)
    folder.write(f"{stem}_scene.json", text + "\n")
    if record.has_centrelines(scene):
        folder.write(f"{stem}_centrelines.geojson", json.dumps(record.centrelines(scene)))
