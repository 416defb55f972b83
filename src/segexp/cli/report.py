"""`segexp report`: the page of a run or of a sweep, written again."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import folder_to_write


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, sweeps or segexp evaluate.", show_default=False)],
) -> None:
    """Write report.html into run folders, from what lies in them; the images are not needed.

    Example: segexp report runs/first
    """
    from segexp.report import write_report

    for folder in runs:
        if folder.is_dir():
            folder_to_write(folder, "report")
        print(write_report(folder))
