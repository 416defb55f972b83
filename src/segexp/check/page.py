"""A report as one self-contained HTML page with pictures of suspicious images; every name in it is escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from segexp.check.report import CheckReport, Finding
from segexp.check.scan import Entry, read_labels, read_planes
from segexp.check.text import grouped, headers, listed, mentioned, rows, summary_line
from segexp.data.reading import Reading
from segexp.errors import InputError, printable
from segexp.io.channels import to_channels
from segexp.io.labels import IGNORE
from segexp.viz.overlay import TRUTH, outline, to_display

_SIDE = 256
_A_WARNING = 8  # pictures of one warning
_A_SPLIT = 4  # pictures of a split as it is


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: JPEG in base64 (empty if the file cannot be read), its size, caption and description."""

    data: str
    width: int
    height: int
    caption: str
    alt: str


def render(report: CheckReport, entries: Sequence[Entry], reading: Reading) -> str:
    """The HTML of the page; reads the few images that it shows again."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {"shown": printable, "mentioned": mentioned}
    by_file = {name: e for e in entries for name in (e.source.image_name, e.source.mask_name)}
    return environment.get_template("page.html").render(
        report=report,
        summary_line=summary_line(report),
        headers=headers(report.splits),
        table=rows(report.splits) if any(split.images or split.masks for split in report.splits.values()) else [],
        groups=[(title, *listed(group)) for title, group in grouped(report.faults)],
        warnings=[(warning, _warning_pictures(warning, by_file, reading)) for warning in report.warnings],
        sample=[_thumbnail(entry, entry.source.image.name, reading) for entry in _sample(entries)],
    )


def _warning_pictures(warning: Finding, by_file: dict[str, Entry], reading: Reading) -> list[Thumbnail]:
    pictures: list[Thumbnail] = []
    for mention in warning.files:
        for file in (mention.file, *mention.others[:1]):
            if file in by_file and len(pictures) < _A_WARNING:
                note = f" ({mention.note})" if mention.note and file == mention.file else ""
                pictures.append(_thumbnail(by_file[file], f"{_short(file)}{note}", reading))
    return pictures


def _short(file: str) -> str:
    """The last three parts of a path: split, folder and name."""
    return "/".join(Path(file).parts[-3:])


def _sample(entries: Sequence[Entry]) -> list[Entry]:
    chosen = []
    for split in dict.fromkeys(entry.split for entry in entries):
        good = [entry for entry in entries if entry.split == split and entry.image is not None]
        chosen += good[:: max(1, -(-len(good) // _A_SPLIT))]
    return chosen


def _thumbnail(entry: Entry, caption: str, reading: Reading) -> Thumbnail:
    """An image, stretched, with outlines of its mask."""
    try:
        planes = read_planes(entry.source, reading).pixels
        mask = None if entry.mask is None else read_labels(entry.source, reading).labels
    except (InputError, OSError):  # changed since it was checked
        return Thumbnail("", 0, 0, f"{caption}: can no longer be read", "")
    visible = np.moveaxis(planes[:3] if len(planes) in (3, 4) else planes[:1], 0, 2)
    pixels = np.moveaxis(to_channels(visible, 3, entry.source.image), 0, 2).astype(np.float32)
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    picture = to_display(np.moveaxis(small, 2, 0))
    if mask is not None and mask.shape == pixels.shape[:2]:
        foreground = ((mask > 0) & (mask != IGNORE)).astype(np.float32)
        picture = outline(picture, cv2.resize(foreground, size, interpolation=cv2.INTER_AREA) >= 0.5, TRUTH)
    sharp = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], sharp)  # 4:4:4, else thin outlines lose their colour
    data = base64.b64encode(encoded.tobytes()).decode()
    outlined = ", its mask outlined in green" if mask is not None else ""
    return Thumbnail(data, size[0], size[1], caption, f"{entry.source.image.name}{outlined}")
