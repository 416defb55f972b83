"""`segexp synthesize`: generated images with exact masks, as a data set."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexp.cli.places import folder_to_write
from segexp.errors import InputError

if TYPE_CHECKING:
    from segexp.synthesis import Scene


def synthesize(
    task: Annotated[str, typer.Argument(help="vesicle or cytoskeleton.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write; must not hold a data set yet.", show_default=False)],
    train: Annotated[int, typer.Option(min=0, help="Training images.")] = 200,
    val: Annotated[int, typer.Option(min=0, help="Validation images.")] = 50,
    size: Annotated[int, typer.Option(min=32, max=16384, help="Pixels a side.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    ranges: Annotated[
        Path | None, typer.Option(help="What to vary: a file that segexp calibrate wrote.", show_default=False)
    ] = None,
    style: Annotated[
        list[str] | None, typer.Option(help="Look of the images, see docs/synthesis.md; may be given several times.")
    ] = None,
    psf: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Wavelength in nm, numerical aperture, pixel size in nm: sets the sharpness."),
    ] = None,
    mask_width: Annotated[float | None, typer.Option(help="Width of filaments' masks, in pixels.")] = None,
    mask_share: Annotated[
        float | None, typer.Option(help="Masks where an object alone has this share of its peak, 0.05 to 0.95.")
    ] = None,
    unfocused: Annotated[int, typer.Option(min=0, max=255, help="Mask value of objects out of focus.")] = 0,
    faint: Annotated[int, typer.Option(min=0, max=255, help="Mask value of objects too faint to be seen.")] = 0,
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
        raise InputError(f"task {task!r}: wanted one of {', '.join(synthesis.TASKS)}")
    if any((output / part).exists() for part in ("train", "val")):
        raise InputError(f"{output}: holds train/ or val/ already; choose another folder, or delete them")
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
    folder_to_write(output)
    first = 0
    for part, count in (("train", train), ("val", val)):
        scenes = synthesis.generate_scenes(task, count, size, seed, first, foreground=foreground, **limits)
        names = [f"{task}_{index:05}" for index in range(first, first + count)]
        _write_part(output / part, names, scenes, truth)
        first += count
    ignored = " task.ignore=255" if 255 in (unfocused, faint) else ""
    root = str(output) if re.fullmatch(r"[\w./-]+", str(output), re.ASCII) else quote(str(output))
    command = f"segexp train task={task} {shlex.quote(f'data.root={root}')}{ignored}"
    print(f"{train} + {val} images of {size}x{size} in {output}; train with: {command}")


def _write_part(folder: Path, names: list[str], scenes: Iterable["Scene"], truth: bool) -> None:
    """Write scenes under their names: images, masks and, where asked for, all that is known of them."""
    import numpy as np
    import tifffile

    for kind in ("img", "mask", *(["truth"] if truth else [])):
        (folder / kind).mkdir(parents=True)
    for name, scene in zip(names, scenes, strict=True):
        tifffile.imwrite(folder / "img" / f"{name}.tif", scene.image)
        np.save(folder / "mask" / f"{name}.npy", scene.mask)
        if truth:
            _write_truth(scene, folder / "truth" / name)


def _write_truth(scene: "Scene", stem: Path) -> None:
    """Write all that is known of an image beside `stem`: labels, objects, centrelines, style and parameters."""
    import json

    import tifffile

    from segexp.measurements.table import write_rows
    from segexp.synthesis import record

    few = len(scene.objects) < 65536
    tifffile.imwrite(f"{stem}_labels.tif", scene.labels.astype("uint16" if few else "int32"), compression="zlib")
    rows = record.object_rows(scene)
    Path(f"{stem}_objects.csv").write_text(write_rows(rows, record.columns(scene)), encoding="utf-8")
    facts = {"style": scene.style, "objects": len(rows), "out_of_focus": len(scene.unfocused)}
    text = json.dumps(facts | {"parameters": scene.parameters}, indent=1)
    Path(f"{stem}_scene.json").write_text(text + "\n", encoding="utf-8")
    if record.has_centrelines(scene):
        Path(f"{stem}_centrelines.geojson").write_text(json.dumps(record.centrelines(scene)), encoding="utf-8")
