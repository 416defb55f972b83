"""`segexp synthesize`: generated images with exact masks, as a data set."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.places import folder_to_write
from segexp.errors import InputError


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
    folder_to_write(output)
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
