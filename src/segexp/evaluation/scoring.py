"""Which scores an evaluation computes, what it may choose, and its unit of length."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segexp.data.dataset import Sample
from segexp.errors import InputError


class Tolerance(NamedTuple):
    """Tolerance of outlines and centrelines: a number of pixels, or of micrometres."""

    value: float
    unit: str = "px"

    def of(self, spacing: float) -> float:
        """In the unit of `spacing`, a pixel's side: 1 if that is not known."""
        return self.value * spacing if self.unit == "px" else self.value


TWO_PIXELS = Tolerance(2.0)


@dataclass(frozen=True)
class Scoring:
    """Settings of an evaluation.

    Attributes:
        families: of `segexp.metrics.registry.FAMILIES`.
        monitor: the score by which the threshold is chosen.
        tolerance: of centrelines and outlines.
        threshold: probability from which a pixel is foreground; None: chosen on the images.
        min_size: pixels below which a predicted object is dropped; None: chosen on the images.
        split: if the truth separates touching objects, predicted ones are split as by `segexp predict`, at this depth
            in pixels (`segexp.measurements.vesicles.split_touching`).
    """

    families: tuple[str, ...] = ("probability",)
    monitor: str = "dice"
    tolerance: Tolerance = TWO_PIXELS
    threshold: float | None = 0.5
    min_size: int | None = 0
    split: float = 0.0


def present_classes(samples: Sequence[Sample]) -> list[int]:
    """Numbers, from 1, of the classes that any of the images holds a pixel of."""
    counts = np.sum([sample.class_pixels[1:] for sample in samples], axis=0)
    return [int(index) + 1 for index in np.flatnonzero(counts)]


def monitor_for(samples: Sequence[Sample], requested: str) -> str:
    """The score to judge by: the `requested` one, or specificity if no image holds any foreground to be found."""
    return requested if present_classes(samples) else "specificity"


def read_tolerance(text: str) -> Tolerance:
    """``2`` or ``2px``: pixels; ``0.2um`` or ``0.2µm``: micrometres.

    Raises:
        InputError: for all else.
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(px|um|µm|μm)?\s*", text)
    if parts is None:
        raise InputError(f"tolerance {text}: expected pixels, such as 2, or micrometres, such as 0.2um")
    return Tolerance(float(parts[1]), "px" if parts[2] in (None, "px") else "µm")


def pixel_sides(samples: Sequence[Sample], given: float | None, tolerance: Tolerance) -> list[float] | None:
    """A pixel's side in µm for each sample: `given`, or what the files say; None if that is not known of all.

    Of pixels that are not square the side of a square of their area.

    Raises:
        InputError: if a tolerance in micrometres needs a size that is not known.
    """
    if given is not None:
        return [given] * len(samples)
    unknown = [sample.name for sample in samples if sample.pixel_size is None]
    if not unknown:
        return [math.sqrt(sample.pixel_size[0] * sample.pixel_size[1]) for sample in samples if sample.pixel_size]
    if tolerance.unit == "µm":
        raise InputError(
            f"tolerance {tolerance.value:g} µm: {unknown[0]} does not state its pixel size "
            f"({len(unknown)} of {len(samples)} images); give the pixel size, or the tolerance in pixels"
        )
    return None
