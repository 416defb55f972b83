"""Warnings about common training failures, each with the setting to try."""

from collections.abc import Sequence
from typing import NamedTuple

from segexp.training.state import Scores


class ValidatedEpoch(NamedTuple):
    """A validated epoch: mean training loss, and the validation scores (`recall`, `precision`, `bce` are used)."""

    train_loss: float
    scores: Scores


def watch(history: Sequence[ValidatedEpoch], empty_share: float, foreground: float) -> dict[str, str]:
    """Warnings by name, from the validated epochs so far.

    Args:
        history: oldest first.
        empty_share: share of the training crops without a foreground pixel.
        foreground: share of foreground pixels in the training data.
    """
    warnings: dict[str, str] = {}
    if empty_share > 0.8:
        warnings["empty crops"] = (
            f"{100 * empty_share:.0f} % of the crops contain no foreground. Try task.foreground=0.9, or a larger "
            "task.crop"
        )
    if len(history) < 3:
        return warnings
    recent = [epoch.scores for epoch in history[-3:]]
    if all(scores.get("recall", 1.0) < 1e-3 for scores in recent):
        warnings["all background"] = (
            "the model predicts only background. Early in a run this is normal; if it persists, try "
            "task.foreground=0.9 "
            "or trainer.lr=0.0003, and check that the masks mark the intended structures (segexp check DIR)"
        )
    if all(_floods(scores, foreground) for scores in recent):
        warnings["all foreground"] = (
            "the model predicts only foreground. Try trainer.lr=0.0003, and check whether the masks are inverted "
            "(segexp check DIR)"
        )
    losses = [epoch.train_loss for epoch in history]
    if len(losses) >= 4 and min(losses[1:]) > 0.98 * losses[0]:
        warnings["flat loss"] = (
            f"the training loss has not moved from {losses[0]:.3f}. Try trainer.lr=0.003 or trainer.lr=0.0003, "
            "augment=none to test whether the images can be learned at all, and segexp preview to inspect them"
        )
    errors = [epoch.scores["bce"] for epoch in history if "bce" in epoch.scores]
    if len(errors) == len(history) >= 4:
        lowest = errors.index(min(errors))
        apart = all(error > 1.5 * errors[lowest] for error in errors[-2:])
        if apart and losses[-1] < losses[lowest]:
            warnings["drifting apart"] = (
                "the validation error rises while the training loss falls: the model overfits the training images. "
                "The best model is kept; more annotated images help most, then augmentation and fewer epochs "
                "(trainer.patience=10)"
            )
    return warnings


def _floods(scores: Scores, foreground: float) -> bool:
    return scores.get("recall", 0.0) > 0.999 and scores.get("precision", 1.0) < min(1.2 * foreground, 0.95)
