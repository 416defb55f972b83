"""`segexp compare`: whether runs differ by more than chance."""

from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.places import file_to_write
from segexp.errors import InputError


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or folders written by segexp evaluate; the first is the baseline."),
    ],
    output: Annotated[Path | None, typer.Option(help="A .json file for the whole comparison.")] = None,
) -> None:
    """Compare runs on the same images: differences with 95 % intervals, a paired test, and the answer in words.

    Runs that differ only in their seed are taken together. Example: segexp compare runs/a runs/b
    """
    from segexp.evaluation import comparison
    from segexp.evaluation.record import plain
    from segexp.evaluation.tables import print_comparison, print_seeds
    from segexp.results import write_json

    if len(runs) < 2:
        raise InputError("one run: wanted two or more to compare")
    if output is not None:
        file_to_write(output, (".json",))
    found = comparison.candidates([comparison.read_run(folder) for folder in runs])
    for candidate in found:
        print_seeds(candidate)
    results = [comparison.compare(found[0], other) for other in found[1:]]
    for result in results:
        print_comparison(result)
    if output is not None:
        write_json(output, {"comparisons": plain(results)})
