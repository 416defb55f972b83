"""`segexp preview`: the augmentation of a run as one picture."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import file_to_write, write_file
from segexp.cli.overrides import ConfigDir, overrides_of


def preview(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("preview.png"),
    samples: Annotated[int, typer.Option(min=1, help="Number of samples, a row each.")] = 4,
    config_dir: ConfigDir = None,
) -> None:
    """Draw the augmentation of a run as one picture: a row for each sample, a column for each operation.

    Takes the overrides of a run.

    Example: segexp preview task=cytoskeleton data.root=DIR --output preview.png
    """
    from segexp.train import preview_run
    from segexp.viz.overlay import encode_png

    file_to_write(output, (".png",))
    write_file(output, encode_png(preview_run(overrides_of(context.args), samples, config_dir)))
    print(output)
