"""`segexp check`: what is in a data set, what is wrong with it, and what looks odd."""

import json
from pathlib import Path
from typing import Annotated

import typer


def check(
    context: typer.Context,
    directory: Annotated[
        str | None,
        typer.Argument(metavar="DIR", help="Holds train/ and val/, or img/ and mask/, or images.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of what is odd.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: the cores.", show_default=False)] = None,
) -> None:
    """Look through a data set before training: every fault with its file, what is odd, what would suit it.

    Takes the overrides of a run too, such as data.channels=3 or task.classes=[a,b]. Ends with 1 where there are faults.

    Example: segexp check DATA --html check.html
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from segexp.check.dataset import check as run
    from segexp.check.report import as_json as plain
    from segexp.check.text import print_report
    from segexp.config.dataset import dataset

    overrides = list(context.args)
    if directory is not None and "=" in directory and not Path(directory).exists():
        overrides, directory = [directory, *overrides], None
    root, splits, wanted = dataset(directory, overrides)
    left = (MofNCompleteColumn(), TextColumn("time left"), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(
        TextColumn("checking"), BarColumn(), *left, console=screen, transient=True, disable=not screen.is_terminal
    ) as bar:
        track = bar.add_task("", total=None)
        report, _ = run(root, splits, wanted, workers, lambda done, of: bar.update(track, completed=done, total=of))
    if as_json:
        print(json.dumps(plain(report), indent=2, ensure_ascii=False))
    else:
        print_report(report, Console())
    if not report.ok:
        raise typer.Exit(1)
