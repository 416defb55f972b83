"""`segexp masks`: convert annotations of other programs into masks."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.errors import InputError


def masks(
    input: Annotated[
        Path,
        typer.Option(
            help="The annotations: a folder, or one file (COCO stores all images in one file).", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the masks; created if missing.", show_default=False)],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images; gives sizes and names.", show_default=False)
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Labels such as cell,debris; writes class ids 1, 2 instead of object ids.", show_default=False
        ),
    ] = None,
    width: Annotated[int, typer.Option(min=1, max=255, help="Thickness of lines and points, in pixels.")] = 1,
    background: Annotated[
        str | None,
        typer.Option(
            help="Background colour of the pictures, such as 255,255,255; default: black or transparent.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Convert outlines and pictures into masks that segexp can train on: OUTPUT/<name of the image>.npy.

    Reads Cellpose's _seg.npy, ImageJ ROIs (.roi, .zip), QuPath's .geojson, LabelMe's and COCO's .json, and pictures
    whose classes are colours, transparent layers, or layers of an array (one-hot). Objects get ids 1, 2, ...: train
    with task.masks=instances. Existing masks with other content are never replaced; no code in a file is run.

    Examples:

    segexp masks --input DATA/train/mask --images DATA/train/img --output DATA/train/mask

    segexp masks --input annotations.json --images DATA/train/img --output DATA/train/mask --classes cell,debris

    segexp masks --input rois --images DATA/train/img --output DATA/train/mask --width 3
    """
    from segexp.annotations.convert import Conversion, convert
    from segexp.cli.output_paths import folder_to_write

    names = tuple(name.strip() for name in classes.split(",")) if classes else ()
    if len(set(names)) < len(names) or "" in names or len(names) > 254:
        raise InputError(f"--classes {classes}: expected up to 254 different names")
    if output.exists():
        folder_to_write(output)
    count = convert(input, images, output, Conversion(names, width, _colour(background)), print)
    print(f"{count} mask{'s' if count != 1 else ''} in {output}")


def _colour(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.strip().isdigit() for part in parts):
        raise InputError(f"--background {text}: expected red,green,blue such as 255,255,255, or one grey value")
    red, green, blue = (int(part) for part in (parts if len(parts) == 3 else 3 * parts))
    return red, green, blue
