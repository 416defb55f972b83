"""What each score is called on the page, what it means to a biologist, and which end of it is bad."""

from segexp.evaluation.scores import SCORES, Score

MEANINGS = {
    "dice": "overlap of predicted and true area: 1 is perfect, 0 none",
    "iou": "shared area divided by joint area; never above Dice",
    "precision": "share of the predicted area that is true",
    "recall": "share of the true area that was found",
    "specificity": "share of the true background predicted as background",
    "bce": "cross-entropy between the probabilities and the truth",
    "brier": "mean squared distance of the probabilities from the truth",
    "ece": "mean gap between predicted probability and observed frequency",
    "average_precision": "precision averaged over all thresholds",
    "cldice": "overlap of centrelines: are the filaments followed without gaps?",
    "skeleton_precision": "share of the predicted centrelines that lie on true ones",
    "skeleton_recall": "share of the true centrelines that were followed",
    "skeleton_f1": "both of these in one",
    "length_error": "total length off, as a share of the true length",
    "betti0_error": "pieces too many or too few",
    "betti1_error": "closed loops too many or too few",
    "breaks": "true pieces that were cut",
    "merges": "true pieces that were joined",
    "surface_dice": "share of both outlines that lie within the tolerance of each other",
    "surface_distance": "mean distance between the outlines",
    "hd95": "95 % of the outlines lie closer than this",
    "object_f1": "objects found one to one (IoU of 0.5 or more)",
    "object_precision": "share of the predicted objects that are true ones",
    "object_recall": "share of the true objects that were found",
    "object_f1_75": "the same where IoU must be 0.75",
    "object_ap": "the same averaged over IoU 0.5 to 0.9",
    "panoptic_quality": "objects found, weighed by how well they fit",
    "count_error": "objects too many or too few",
    "centre_error": "distance of the centres of matched objects",
    "radius_error": "difference in radius of matched objects",
}
FAMILIES = {
    "overlap": "Area",
    "probability": "Probabilities",
    "filament": "Filaments",
    "surface": "Outlines",
    "object": "Objects",
}
"""Headings, by the family of a score."""

COUNTS = ("tp", "fp", "fn", "tn")
"""Pixel counts of ``scores.csv``: no scores."""


def score(name: str) -> Score:
    """The entry of a score; a name that this version does not know is shown as it is, higher taken for better."""
    return SCORES.get(name) or Score("", "higher", "", name.replace("_", " "))


def label(name: str, unit: str = "") -> str:
    """Its name for people, with the unit where it is a length."""
    entry = score(name)
    return f"{entry.words} ({unit})" if entry.unit == "length" and unit else entry.words


def lower(name: str) -> bool:
    """Whether less is better."""
    return score(name).better == "lower"
