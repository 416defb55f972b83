"""`segexp compare`: whether runs differ by more than chance."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from segexp.cli.output_paths import file_to_write, write_file
from segexp.errors import InputError, printable


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="The folder of a sweep; or several folders of runs or of segexp evaluate, the baseline first."
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="JSON file for the complete comparison.")] = None,
) -> None:
    """Compare runs on the same images: differences with 95 % intervals, a paired test, and the answer in words.

    Runs that differ only in their seed and fold are pooled; in a sweep every setting is compared with the best.

    Example: segexp compare runs/a runs/b
    """
    from segexp.evaluation import comparison
    from segexp.evaluation.io import to_json
    from segexp.evaluation.ranking import rank
    from segexp.evaluation.tables import print_comparison, print_ranking, print_seeds
    from segexp.sweep.selection import is_sweep, left_out, settings

    if output is not None:
        file_to_write(output, (".json",))
    if any(is_sweep(folder) for folder in runs):
        if len(runs) > 1:
            raise InputError(
                "expected a single sweep, or run folders; to compare jobs of several sweeps, name the folders of "
                "the jobs"
            )
        candidates_found = [
            comparison.Candidate([comparison.read_run(record.folder) for record in records], group.name)
            for group, records in settings(runs[0])
        ]
        others = left_out(runs[0])
        if others:
            print(printable(others))
        if len(candidates_found) < 2:
            raise InputError(f"{runs[0]}: only one setting is finished; comparing needs two or more")
        ranking = rank(candidates_found)
        print_ranking(ranking)
        if output is not None:
            write_file(output, _text(to_json(ranking)))
        return
    if len(runs) < 2:
        raise InputError("only one run given; expected two or more, or a sweep")
    candidates_found = comparison.candidates([comparison.read_run(folder) for folder in runs])
    for candidate in candidates_found:
        print_seeds(candidate)
    if len(candidates_found) < 2:
        raise InputError(
            "all these runs are of one setting and differ only in their seed or fold; comparing needs two settings"
        )
    results = [comparison.compare(candidates_found[0], other) for other in candidates_found[1:]]
    for result in results:
        print_comparison(result)
    if output is not None:
        write_file(output, _text({"comparisons": to_json(results)}))


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
