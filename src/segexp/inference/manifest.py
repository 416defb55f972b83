"""The images and settings from which the files of an output folder were predicted: a part of the folder's record.

`segexp.io.ownership` records every file that is written. A prediction adds a line for each image: its absolute path,
size, time and SHA-256, the settings, and the hashes of the files made from it. An image is finished if a line says so,
the image has the same content, and the files exist with the recorded hashes: names alone are never trusted.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segexp.errors import InputError
from segexp.inference.outputs import Outputs, names_of
from segexp.inference.predictor import Predictor
from segexp.inference.sliding_window import Tiling
from segexp.io.ownership import OwnedFolder, digest

TABLES = ("measurements.csv", "images.csv")
"""The tables of all images of a folder."""


class Manifest:
    """The record of the predictions in one output folder.

    Args:
        folder: the output folder's record.
        settings: everything besides the image that determines a result, as plain values: hashes of the models,
            threshold, how files are read.
        outputs: what is written for each image.
        forget: treat no image as finished.
    """

    def __init__(
        self, folder: OwnedFolder, settings: Mapping[str, Any], outputs: Outputs | None = None, forget: bool = False
    ):
        self.folder, self.settings, self.forget = folder, dict(settings), forget
        self.outputs = outputs or Outputs()
        self._lines: dict[str, list[dict[str, Any]]] = {}
        self._contents: dict[Path, tuple[list[int], str]] = {}
        for entry in folder.entries:
            if _sound(entry):
                self._lines.setdefault(Path(entry["image"]).stem, []).append(entry)

    def finished(self, image: Path) -> dict[str, Any] | None:
        """The line of an image whose files all exist and were made from the same content with the same settings."""
        if self.forget:
            return None
        for line in reversed(self._lines.get(image.stem, [])):
            if line["settings"] == self._line_settings and self._same(line, image) and self._whole(line):
                return line
        return None

    @property
    def _line_settings(self) -> dict[str, Any]:
        return {**self.settings, "save": sorted(self.outputs.save), "prob_dtype": self.outputs.prob_dtype}

    def _whole(self, line: dict[str, Any]) -> bool:
        return bool(line["outputs"]) and all(self.folder.owns(*output) for output in line["outputs"].items())

    def _same(self, line: dict[str, Any], image: Path) -> bool:
        """Whether a line belongs to an image of this content, in whichever folder it was."""
        return line["input"]["sha256"] == self._content(image)

    def _content(self, image: Path) -> str:
        try:
            stamp = _stamp(image)
            known = self._contents.get(image)
            if known is None or known[0] != stamp:
                self._contents[image] = known = stamp, digest(image)
        except OSError:
            return ""  # equal to none; reading it will say what is wrong
        return known[1]

    def require_room(self, images: Sequence[Path]) -> None:
        """Make sure before anything is predicted that every file may be written.

        Raises:
            InputError: names existing files that are not segexp's own, or another image of the same name from which
                they were made, or measurements that cannot be joined in one table with these.
        """
        todo = [image for image in images if self.finished(image) is None]
        self._require_same_images(todo)
        names = [name for image in todo for name in names_of(image.stem, self.outputs.save)]
        if "overlay" in self.outputs.save:
            names += self._numbered_overlays({image.stem for image in todo})
        if "measurements" in self.outputs.save:
            others = self._others(images)
            self._require_one_table(others)
            names += [*TABLES, *(f"{stem}_measurements.csv" for stem in others)]
        self.folder.require_free(names)

    def _numbered_overlays(self, stems: set[str]) -> list[str]:
        overlays = []
        for path in self.folder.folder.iterdir() if self.folder.folder.is_dir() else ():
            parts = re.fullmatch(r"(.+)_overlay_\d{4,}\.png", path.name, re.DOTALL)
            if parts is not None and parts[1] in stems:
                overlays.append(path.name)
        return overlays

    def _require_same_images(self, images: Iterable[Path]) -> None:
        """`InputError` if files to be replaced were made from another image of the same name."""
        taken = []
        for image in images:
            for line in self._lines.get(image.stem, []):
                there = next((name for name in line["outputs"] if self.folder.owns(*_pair(line, name))), None)
                if there and Path(line["image"]) != image.absolute() and not self._same(line, image):
                    taken.append((there, line["image"], image))
                    break
        if taken:
            name, other, image = taken[0]
            more = f" The same is true of {len(taken) - 1} more." if len(taken) > 1 else ""
            raise InputError(
                f"--output {self.folder.folder}: {name} there was made from {other}, and {image} has the same name."
                f"{more} Choose another --output for these images"
            )

    def _others(self, images: Iterable[Path]) -> dict[str, dict[str, Any]]:
        """The newest line with measurements of every image that is not among `images`, by the image's stem."""
        here = {image.stem for image in images}
        others = {}
        for stem, lines in self._lines.items():
            table = f"{stem}_measurements.csv"
            measured = [line for line in lines if table in line["outputs"]]
            if measured and stem not in here and (self.folder.folder / table).exists():
                owned = [line for line in measured if self.folder.owns(*_pair(line, table))]
                others[stem] = (owned or measured)[-1]
        return others

    def _require_one_table(self, others: Mapping[str, dict[str, Any]]) -> None:
        for line in others.values():
            kept = {key: value for key, value in line["settings"].items() if key not in ("save", "prob_dtype")}
            unlike = sorted(key for key in kept | self.settings if kept.get(key) != self.settings.get(key))
            if unlike:
                raise InputError(
                    f"--output {self.folder.folder}: holds measurements of {line['image']} with other settings "
                    f"({', '.join(unlike)}), which cannot be joined in one table with these. Choose another "
                    "--output, or "
                    "predict all images again at once"
                )

    def measured(self, images: Sequence[Path], failed: Iterable[Path] = ()) -> list[dict[str, Any]]:
        """The lines of all images of the folder that were measured with the current settings, in the order of names.

        Images in `failed` are left out, even if they were measured earlier.
        """
        left_out = {image.stem for image in failed}
        newest = {image.stem: self._newest(image.stem) for image in images if image.stem not in left_out}
        own = {stem: line for stem, line in newest.items() if line is not None}
        return [line for _, line in sorted((self._others(images) | own).items())]

    def _newest(self, stem: str) -> dict[str, Any] | None:
        table = f"{stem}_measurements.csv"
        fitting = [line for line in self._lines.get(stem, []) if line["settings"] == self._line_settings]
        whole = [line for line in fitting if table in line["outputs"] and self.folder.owns(*_pair(line, table))]
        return whole[-1] if whole else None

    def add(self, image: Path, content: dict[str, Any], files: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
        """Record the finished files of an image and rename them to their final names.

        Args:
            image: the image.
            content: its `content_of` before it was read.
            files: the files under their hidden names, by their final names.
            facts: plain values to keep.

        Raises:
            InputError: if the image has changed since, or an existing file is not segexp's own.
        """
        if _stamp(image) != [content["size"], content["mtime_ns"]]:
            raise InputError(f"{image}: was changed while it was being predicted; predict it again")
        line = {"image": str(image.absolute()), "input": content, "settings": self._line_settings, **facts}
        earlier = {name for known in self._lines.get(image.stem, []) for name in known["outputs"]}
        self.folder.adopt_all(files, line, image=line["image"])
        self._lines.setdefault(image.stem, []).append(self.folder.entries[-1])
        for name in (earlier & self._replaced(image.stem)) - set(files):
            self.folder.remove(name)  # a mask with another ending, or a page that the stack no longer has

    def _replaced(self, stem: str) -> set[str]:
        """Names of files that the current outputs replace."""
        pages = self._numbered_overlays({stem}) if "overlay" in self.outputs.save else []
        return {*names_of(stem, self.outputs.save), *pages}

    def outdated(self, images: Iterable[Path]) -> list[str]:
        """Names of files of the images that remain from earlier predictions with other settings."""
        outdated_files = []
        for image in images:
            lines = self._lines.get(image.stem, [])
            newest: dict[str, dict[str, Any]] = {name: line for line in lines for name in line["outputs"]}
            for name, line in newest.items():
                kept = {key: value for key, value in line["settings"].items() if key not in ("save", "prob_dtype")}
                if kept != self.settings and self.folder.owns(*_pair(line, name)):
                    outdated_files.append(name)
        return outdated_files


def content_of(image: Path) -> dict[str, Any]:
    """Size, time and SHA-256 of an image file."""
    facts = image.stat()
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "sha256": digest(image)}


def open_manifest(
    folder: OwnedFolder,
    predictor: Predictor,
    models: Sequence[Path],
    outputs: Outputs,
    tiling: Tiling,
    forget: bool = False,
    guarantee: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of a prediction; with `forget`, no image counts as finished.

    `guarantee`: of the threshold, if there is one: ``found``, ``images`` and ``calibrated_on``.
    """
    how = asdict(outputs)
    settings = {
        "models": [digest(path) for path in models],
        "threshold": predictor.threshold,
        "min_size": predictor.min_size,
        "tta": predictor.tta,
        "precision": predictor.precision,
        "reading": predictor.facts.get("reading"),
        "tiling": asdict(tiling) | {"batch": 0},  # the batch changes nothing in the result
        **{name: how[name] for name in how if name not in ("save", "prob_dtype")},
        **({} if guarantee is None else {"guarantee": dict(guarantee)}),
    }
    return Manifest(folder, to_json(settings), outputs, forget)


def to_json(value: Any) -> Any:
    """Values as they are read back from JSON: tuples become lists."""
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def _pair(line: Mapping[str, Any], name: str) -> tuple[str, str]:
    return name, line["outputs"][name]


def _sound(entry: Mapping[str, Any]) -> bool:
    """Whether a line of the record belongs to an image and has all entries that are used."""
    facts, outputs, rows = (entry.get(key) for key in ("input", "outputs", "summary"))
    return (
        isinstance(entry.get("image"), str)
        and "\0" not in entry["image"]
        and isinstance(entry.get("settings"), dict)
        and isinstance(facts, dict)
        and isinstance(facts.get("size"), int)
        and isinstance(facts.get("sha256"), str)
        and isinstance(outputs, dict)
        and all(isinstance(value, str) for value in outputs.values())
        and _number(entry.get("foreground"), 1)
        and isinstance(entry.get("pixels"), int)
        and isinstance(rows, list)
        and all(isinstance(row, dict) and all(isinstance(v, str | int | float) for v in row.values()) for row in rows)
    )


def _number(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= most


def _stamp(image: Path) -> list[int]:
    facts = image.stat()
    return [facts.st_size, facts.st_mtime_ns]
