"""The result of a check as plain values: what `text`, `page` and ``--json`` show.

The JSON is `as_json`, described in docs/check.md; `FORMAT` grows when a key changes its meaning or goes.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Fault:
    """Something that prevents training.

    Attributes:
        kind: folder, name, pair, image, mask, shape or split.
        file: path of the file or folder at fault.
        message: what is wrong and what is expected, without the path.
    """

    kind: str
    file: str
    message: str


@dataclass(frozen=True)
class Mention:
    """A file that a finding is about.

    Attributes:
        file: its path.
        note: what is suspicious about it, in a word or two.
        others: files that it is the same as.
    """

    file: str
    note: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something suspicious that does not prevent training.

    Attributes:
        kind: a fixed word, such as ``saturated`` or ``leakage``.
        message: what was found.
        advice: what to do about it.
        files: the files concerned, the worst first.
    """

    kind: str
    message: str
    advice: str
    files: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Suggestion:
    """A setting that suits the data better than the default: an override for ``segexp train``, and why."""

    override: str
    reason: str


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of a number over the images of a split."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class SplitSummary:
    """What the readable files of one split hold; lengths are in pixels, shares from 0 to 1.

    Attributes:
        images, masks: how many could be read.
        sizes: number of images of each "HEIGHTxWIDTH", the most common first.
        dtypes: number of images of each dtype.
        channels: number of images with each number of channels.
        intensity: over all images: least minimum, median of the 1 % quantiles, of the medians, of the 99 % quantiles,
            and greatest maximum.
        saturated: share of pixels at the camera's ceiling.
        foreground: share of foreground in a mask.
        class_shares: of all annotated pixels, the share of each class 1 to K.
        empty_masks: masks without foreground.
        ignored: share of pixels that nobody annotated.
        objects: connected regions of foreground in all masks.
        diameter: of an object, as a disc of its area: 5 %, median and 95 % over the objects.
        width: mean thickness of the foreground of a mask.
        pixel_size: micrometres that the images state; None if none does.
        unknown_scale: number of images that state no pixel size.
        length: of the typical object of a mask, as a multiple of its width: area / width².
    """

    images: int
    masks: int
    sizes: dict[str, int]
    dtypes: dict[str, int]
    channels: dict[str, int]
    intensity: tuple[float, ...] | None
    saturated: Spread | None
    foreground: Spread | None
    class_shares: tuple[float, ...]
    empty_masks: int
    ignored: float
    objects: int
    diameter: Spread | None
    width: Spread | None
    length: Spread | None
    pixel_size: Spread | None
    unknown_scale: int


@dataclass(frozen=True)
class CheckReport:
    """All that a check found.

    Attributes:
        root: what was checked, as typed.
        splits: by name: train and val, or images for a folder without splits.
        seconds: how long it took.
        notes: for information: the rule by which files were paired, and files that were ignored.
    """

    root: str
    splits: dict[str, SplitSummary]
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Finding, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether training can start."""
        return not self.faults


def as_json(report: CheckReport) -> dict[str, Any]:
    """The report as values that `json` takes: ``format`` and ``ok``, then the fields of `Report`."""
    return {"format": FORMAT, "ok": report.ok} | dataclasses.asdict(report)
