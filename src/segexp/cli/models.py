"""`segexp models`: the models that come with the package."""

from pathlib import Path
from typing import Annotated, Any

import typer

from segexp.cli.output_paths import file_to_write, write_file
from segexp.errors import InputError


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a model, to print its full card; default: a short list of all.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write an HTML page of the cards, with pictures of what each model finds.", show_default=False
        ),
    ] = None,
) -> None:
    """List the models that come with the package: what each is for and not for, and its scores.

    Examples:

    segexp models vesicle_giant

    segexp models --html models.html
    """
    import json

    from segexp.pretrained import cards

    known = cards()
    if name is not None and name not in known:
        raise InputError(f"{name}: no model of that name comes with segexp; expected one of {', '.join(known)}")
    chosen = known if name is None else {name: known[name]}
    if html is not None:
        from segexp.report.models_page import render_models

        write_file(file_to_write(html, (".html", ".htm"), flag="--html"), render_models(chosen))
    if as_json:
        print(json.dumps(chosen, indent=2))
    elif html is not None:
        print(html)
    elif name is None:
        _list(known)
    else:
        from segexp.report.models_page import card_lines

        print("\n".join(card_lines(name, known[name])))


def _list(known: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from segexp.pretrained import score_line

    table = Table("model", "for", "scores", box=None, pad_edge=False, show_edge=False)
    for name, card in known.items():
        table.add_row(name, card["for"], "\n".join(map(score_line, card["scores"])) or "none measured")
    Console(highlight=False).print(table)
    print("\nsegexp models NAME prints a card; segexp models --html FILE.html shows all with pictures")
    print("segexp predict --model NAME --input IMAGES --output RESULTS applies one")
