"""What each score is called on the page, what it means to a biologist, and which end of it is bad."""

from typing import NamedTuple


class Score(NamedTuple):
    """`lower`: less is better (errors, distances)."""

    label: str
    meaning: str
    lower: bool = False


SCORES = {
    "dice": Score("Dice", "overlap of predicted and true area: 1 is perfect, 0 none"),
    "dice_pooled": Score(
        "Dice, pooled", "the same from the pixels of all images together, so large objects count more"
    ),
    "iou": Score("IoU", "shared area divided by joint area; always below Dice"),
    "precision": Score("precision", "share of the predicted area that is true"),
    "recall": Score("recall", "share of the true area that was found"),
    "specificity": Score("specificity", "share of the background left alone"),
    "cldice": Score("clDice", "overlap of centrelines: are the filaments followed without gaps?"),
    "bce": Score("cross-entropy", "how surprised the probabilities are by the truth, in nats a pixel", lower=True),
}
"""Anything else is shown under its own name."""

COUNTS = ("tp", "fp", "fn", "tn")
"""Pixel counts of ``scores.csv``: no scores."""

_ERRORS = ("error", "distance", "hd95", "assd", "brier", "ece", "bce", "breaks", "merges", "betti")


def score(name: str) -> Score:
    """The entry of a score; one of an unknown name is lower-is-better where the name speaks of an error."""
    return SCORES.get(name) or Score(name.replace("_", " "), "", any(word in name.lower() for word in _ERRORS))
