"""What an evaluation computes and what it may choose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scoring:
    """Settings of an evaluation.

    Attributes:
        families: of `segexp.evaluation.scores.FAMILIES`.
        monitor: the score that matters most: the threshold is chosen by it.
        tolerance: of centrelines and outlines, in pixels, or in µm where `pixel_size` is given.
        threshold: probability from which a pixel is foreground; None: chosen on the images.
        min_size: pixels below which a predicted object is dropped; None: chosen on the images.
        pixel_size: µm, or None where it is not known.
    """

    families: tuple[str, ...] = ("probability",)
    monitor: str = "dice"
    tolerance: float = 2.0
    threshold: float | None = 0.5
    min_size: int | None = 0
    pixel_size: float | None = None
