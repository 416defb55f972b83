"""`segexp report`: write the page of a run or of a sweep again."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import folder_to_write
from segexp.errors import InputError
from segexp.io.ownership import hold


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, sweeps or segexp evaluate.", show_default=False)],
) -> None:
    """Write report.html into run folders, from the files in them; the images are not needed.

    Example: segexp report runs/first
    """
    from segexp.report import write_report

    for folder in runs:
        if folder.is_dir():
            folder_to_write(folder, "report")
        refresh_summary(folder)
        print(write_report(folder))


def refresh_summary(folder: Path) -> None:
    """Write the ``summary.csv`` of a sweep again: one of its jobs may have been resumed by hand since.

    The file is kept, with a message, if it was changed by hand or the sweep is running.
    """
    if (folder / "summary.json").is_file():  # a run
        return
    # here: PyTorch takes a second, and the page of a run does not need it
    from segexp.sweep.job_store import read_jobs
    from segexp.sweep.selection import is_sweep
    from segexp.sweep.table import write_summary

    if not is_sweep(folder) or not read_jobs(folder):
        return
    try:
        with hold(folder):
            write_summary(folder)
    except InputError as error:
        print(f"the page shows summary.csv as it is: {error}")
