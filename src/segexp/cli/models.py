"""`segexp models`: the models that come with the package."""

from typing import Annotated, Any

import typer

from segexp.errors import InputError


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a model, to print its full card; default: one line for each model.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that come with the package: what each is for and not for, and its scores on real images.

    Example: segexp models vesicle_giant
    """
    import json

    from segexp.pretrained import cards

    known = cards()
    if name is not None and name not in known:
        raise InputError(f"{name}: no model of that name comes with segexp; expected one of {', '.join(known)}")
    chosen = known if name is None else {name: known[name]}
    if as_json:
        print(json.dumps(chosen, indent=2))
    elif name is None:
        _list(known)
    else:
        print("\n".join(card_lines(name, known[name])))


def _list(known: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "for", "scores", box=None, pad_edge=False, show_edge=False)
    for name, card in known.items():
        table.add_row(name, card["for"], "\n".join(map(score_line, card["scores"])) or "none measured")
    Console(highlight=False).print(table)
    print("\nsegexp models NAME prints a card; segexp predict --model NAME --input IMAGES --output RESULTS applies one")


def score_line(row: dict[str, Any]) -> str:
    """A score in words: ``Dice 0.91 (0.89 to 0.92) on nuclei, 36 images``."""
    low, high = row["interval"]
    return f"{row['score']} {row['value']:.2f} ({low:.2f} to {high:.2f}) on {row['set']}, {row['images']} images"


def card_lines(name: str, card: dict[str, Any]) -> list[str]:
    """A card as lines of text."""
    from segexp import checkpoint
    from segexp.io.ownership import digest
    from segexp.pretrained import located

    content = checkpoint.load(located(name))
    facts = [("for", card["for"]), ("not for", card["not_for"]), ("made by", card["recipe"]), ("", card["made"])]
    scores = [("scores" if not k else "", score_line(row)) for k, row in enumerate(card["scores"])]
    seen = [("", f"in view while the generator was made: {card['in_view']}")] if card.get("in_view") else []
    file = [
        ("file", f"{located(name).stat().st_size / 1e6:.1f} MB, SHA-256 {digest(located(name))[:12]}"),
        ("threshold", f"{content['threshold']:g}"),
    ]
    return [name, *(f"  {head:<10} {text}" for head, text in [*facts, *scores, *seen, *file])]
