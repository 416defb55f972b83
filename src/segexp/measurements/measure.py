"""One function from a mask and its image to labels, rows and a summary, with the settings stored for the task."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.measurements.table import Row, with_micrometres

KINDS = ("objects", "filaments")


@dataclass(frozen=True)
class Settings:
    """How a mask is measured; a model file stores the settings of the task that it was trained for.

    Attributes:
        kind: ``objects`` (one row per vesicle) or ``filaments`` (one row per segment of the skeleton).
        split: px by which the distance to the background must fall between touching objects (and by more than 3 %) for
            them to be split; 0: no split.
        spur: side branches that stick out of a filament by less than this many px are removed.
        gap, ring: the local background is the pixels more than `gap` and at most `gap` + `ring` px from an object.

    Raises:
        InputError: if `kind` is neither ``objects`` nor ``filaments``.
    """

    kind: str = "objects"
    split: float = 0.5
    spur: float = 3.0
    gap: float = 2.0
    ring: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"measure.kind={self.kind!r}: expected one of {', '.join(KINDS)}")

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Settings":
        """Return the settings in a model file's facts; without them, filaments for the cytoskeleton, else objects."""
        stored = facts.get("measure") or {"kind": "filaments" if facts.get("task") == "cytoskeleton" else "objects"}
        return cls(**stored)

    def scaled(self, factor: float) -> "Settings":
        """Return the same settings for an image with `factor` times as many pixels along each side."""
        lengths = {name: factor * getattr(self, name) for name in ("split", "spur", "gap", "ring")}
        return self if factor == 1 else replace(self, **lengths)


@dataclass(frozen=True)
class Measurement:
    """The measurements of one class in one image.

    Attributes:
        labels: int32 (H, W): k + 1 on the pixels of row k of `objects`; 0 is background.
        objects: one row per vesicle, or per segment of a filament.
        summary: one row for the image.
        lines: for filaments, the centreline of each row, (N, 2) y and x in px; None for vesicles.
    """

    labels: NDArray[np.int32]
    objects: list[Row]
    summary: Row
    lines: list[NDArray[np.float64]] | None = None


def measure(
    mask: NDArray,
    image: NDArray,
    settings: Settings | None = None,
    pixel_size: float | None = None,
) -> Measurement:
    """Measure one class of one image.

    Args:
        mask: (H, W), foreground where above zero.
        image: (H, W) or (H, W, colours) of any real dtype; intensities have its units, colours are averaged.
        settings: see `Settings`; the default measures vesicles.
        pixel_size: side of a pixel in micrometres; adds the columns in micrometres.

    Raises:
        InputError: if the shapes differ, or the pixel size is not above 0.
    """
    settings = settings or Settings()
    mask = np.asarray(mask) > 0
    grey = image.mean(axis=2, dtype=np.float64) if image.ndim == 3 else image
    if mask.shape != grey.shape:
        raise InputError(
            f"mask of shape {mask.shape}, image of shape {image.shape}: expected the same height and width"
        )
    if pixel_size is not None and not 0 < pixel_size < np.inf:
        raise InputError(f"pixel size {pixel_size}: expected micrometres, more than 0")
    # imported here because scikit-image takes a third of a second to import, and predicting masks does not need it
    if settings.kind == "objects":
        from segexp.measurements.vesicles import measure_vesicles, split_touching, summarize_vesicles

        labels = split_touching(mask, settings.split)
        rows = measure_vesicles(labels, grey, settings.gap, settings.ring)
        summary = summarize_vesicles(rows, mask.shape)
        lines = None
    else:
        from segexp.measurements.filaments import measure_filaments, summarize_filaments, trace

        network = trace(mask, settings.spur)
        labels = network.labels
        rows = measure_filaments(network, grey, settings.gap, settings.ring)
        summary = summarize_filaments(rows, network)
        lines = [segment.path for segment in network.segments]
    rows = [with_micrometres(row, pixel_size) for row in rows]
    return Measurement(labels, rows, with_micrometres(summary, pixel_size), lines)


def columns(settings: Settings, pixel_size: float | None = None) -> list[str]:
    """Return the names of an object's measurements, for tables without objects."""
    example = np.pad(np.ones((1, 9)), 3)
    return list(measure(example, example, settings, pixel_size).objects[0])
