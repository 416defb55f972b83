"""`segexp check`: what is in a data set, what is wrong with it, and what looks suspicious."""

import json
from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import file_to_write, write_file
from segexp.cli.overrides import ConfigDir, overrides_of


def check(
    context: typer.Context,
    directory: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR",
            help="Holds train/ and val/, or img/ and mask/, or images; or type data.root=DIR.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write an HTML page with pictures of suspicious images.", show_default=False)
    ] = None,
    config_dir: ConfigDir = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of threads; default: one for each core.", show_default=False)
    ] = None,
) -> None:
    """Check a data set before training: lists every fault with its file, warnings, and settings that would suit it.

    Also takes the overrides of a run, such as data.channels=3 or task.classes=[a,b]. Exit code 1 if there are faults.
    With model.weights=MODEL it also says what training would take from that model.

    Example: segexp check DATA --html check.html
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from segexp.check.dataset import check as run
    from segexp.check.page import render
    from segexp.check.report import as_json as plain
    from segexp.check.settings import dataset
    from segexp.check.text import print_report

    words = list(context.args)
    if directory is not None and "=" in directory and not Path(directory).exists():
        words, directory = [directory, *words], None
    overrides = overrides_of(words)
    if html is not None:
        file_to_write(html, (".html", ".htm"), flag="--html")
    taken, lines = start_of(overrides, config_dir) if any("model.weights" in word for word in overrides) else ([], [])
    root, splits, val_names, check_settings, index = dataset(directory, [*overrides, *taken], config_dir)
    screen = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("time left"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        track = bar.add_task("", total=None)

        def tick(done: int, total: int) -> None:
            bar.update(track, completed=done, total=total)

        report, entries = run(root, splits, check_settings, workers, tick, val_names, index)
    if html is not None:
        write_file(html, render(report, entries, check_settings.reading).encode(errors="backslashreplace"))
    if as_json:
        print(json.dumps(plain(report), indent=2))
    else:
        print_report(report, Console(), more="--json lists all" if html is None else f"{html} lists all")
        for line in lines:
            print(line)
    if not report.ok:
        raise typer.Exit(1)


def start_of(overrides: list[str], config_dir: str | None) -> tuple[list[str], list[str]]:
    """What training would take from the model that ``model.weights`` names: settings as overrides, lines of text."""
    from segexp.check.settings import run_settings
    from segexp.experiment.build import build_model
    from segexp.experiment.start import as_override, log_table, read_start, take_settings, take_weights
    from segexp.sweep.weights import start_file

    cfg = run_settings(tuple(overrides), config_dir)
    path = start_file(cfg)
    if path is None:
        return [], []
    start = read_start(str(cfg.model["weights"]), path)
    cfg, taken, rows = take_settings(cfg, start, overrides)
    classes = cfg.task.classes
    network = build_model(cfg.model, cfg.data.channels, len(classes), [0.1] * len(classes), cfg.allow_targets)
    lines = [start.title()]
    log_table([*take_weights(network, start, classes), *rows], lines.append)
    return [f"{name}={as_override(value)}" for name, value in taken.items()], lines
