"""The cards of the models that come with segexp: as lines of text, and as a page with pictures.

The pictures are generated images and the model's outlines on them, made with the page: all twelve take a second or two.
Used by `segexp models`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from segexp import checkpoint, synthesis
from segexp.inference.predictor import Predictor, load_model
from segexp.io.ownership import digest
from segexp.pretrained import cards, score_line, shipped
from segexp.report.page import fill
from segexp.viz.thumbnails import Picture, make_picture

SIZE = 256
"""Side of the generated images, px."""
SEED = 2026
"""Of the generated images; the models were trained on those of seed 0."""
LIMIT = 40_000
"""Characters that a picture with its outlines may take."""


def facts(name: str, card: dict[str, Any]) -> list[tuple[str, str]]:
    """What a card says besides the scores: headings and texts, with the facts of the model file."""
    file = shipped(name)
    threshold = checkpoint.load(file)["threshold"]
    return [
        ("for", card["for"]),
        ("not for", card["not_for"]),
        ("made by", card["recipe"]),
        ("training", card["made"]),
        ("looked at", f"while the generator was made: {card['in_view']}"),
        ("file", f"{file.stat().st_size / 1e6:.1f} MB, SHA-256 {digest(file)[:12]}"),
        ("threshold", f"{threshold:g}"),
    ]


def card_lines(name: str, card: dict[str, Any]) -> list[str]:
    """A card as lines of text."""
    scores = [("scores" if not k else "", score_line(row)) for k, row in enumerate(card["scores"])]
    said = facts(name, card)
    rows = [*said[:2], *(scores or [("scores", "none measured")]), *said[2:]]
    return [name, *(f"  {head:<10} {text}" for head, text in rows)]


def render_models(names: Iterable[str]) -> str:
    """The cards of pretrained models as one HTML page with pictures."""
    models = []
    for name in names:
        card = cards()[name]
        predictor = load_model(shipped(name), "cpu")
        task = checkpoint.load(shipped(name))["task"]
        pictures = [picture(predictor, task, **one) for one in card["pictures"]]
        models.append({"name": name, "facts": facts(name, card), "scores": card["scores"], "pictures": pictures})
    return fill("models.html", title="Models that come with segexp", models=models)


def picture(predictor: Predictor, task: str, shows: str, style: str, number: int) -> Picture:
    """A generated image with the outlines of a model's prediction.

    Args:
        predictor: the model, of one channel.
        task: one of `segexp.synthesis.TASKS`.
        shows: the name of the picture.
        style: of the image, see docs/synthesis.md.
        number: which image of that style, from 0.
    """
    image = synthesis.generate(task, 1, SIZE, SEED, number, style=style)[0][0]
    probabilities = predictor.probabilities(image[None])
    nothing = np.zeros(image.shape, np.uint8)
    return make_picture(shows, image[None], nothing, predictor.labels(probabilities), predictor.classes, LIMIT)
