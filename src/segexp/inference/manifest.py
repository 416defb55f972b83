"""What a folder of predictions was made by: a line of JSON an image in ``predictions.jsonl``, added when it is whole.

So a prediction that was stopped goes on where it stopped, and one by another model or with other settings is not taken
for this one.
"""

import glob
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segexp.errors import InputError
from segexp.inference.outputs import Outputs
from segexp.inference.predictor import Predictor
from segexp.inference.tiles import Tiling

NAME = "predictions.jsonl"
ENDINGS = ("_mask", "_prob", "_labels", "_overlay", "_measurements", "_rois")
"""What the names of outputs add to the stem of their image."""


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Manifest:
    """The records of one output folder.

    Args:
        folder: where the outputs are.
        settings: all that decides them besides the image: hashes of the models, threshold, what is saved. Plain values.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder, dict(settings)
        self._records: dict[str, dict[str, Any]] = {}
        path = folder / NAME
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                record = json.loads(line)
                self._records[record["image"]] = record
            except (ValueError, TypeError, KeyError):
                continue  # the line that was being written when the machine stopped: that image is done again

    def finished(self, image: Path) -> dict[str, Any] | None:
        """The record of an image whose outputs are all there, made of the same file with the same settings."""
        record = self._records.get(str(image.absolute()))
        if record is None or record.get("settings") != self.settings or record.get("file") != _identity(image):
            return None
        there = all((self.folder / name).is_file() for name in record["outputs"])
        return record if there and record["outputs"] else None

    def check_strangers(self, images: Sequence[Path]) -> None:
        """`InputError` where an output beside its image would replace a file that no prediction wrote.

        In a folder of its own everything is a prediction's; beside images ``a_mask.png`` may be somebody's drawing.
        """
        if self.folder.resolve() not in {image.parent.resolve() for image in images}:
            return
        new = [image for image in images if str(image.absolute()) not in self._records]
        for image in new:
            for path in sorted(self.folder.glob(f"{glob.escape(image.stem)}[_.]*")):
                if path.stem.removeprefix(image.stem) in ENDINGS or path.name == f"{image.stem}.geojson":
                    raise InputError(f"{path}: is there and no prediction; choose another folder for the output")
        for image in new:  # from now on what is there is ours, also where writing is stopped half-way
            self.add(image, [])

    def forget(self) -> None:
        """Take no image as finished."""
        for record in self._records.values():
            record["settings"] = None

    def add(self, image: Path, outputs: Sequence[str], **facts: Any) -> dict[str, Any]:
        """Note that all of `outputs` (file names) of an image are written, with further plain `facts`."""
        record = {"image": str(image.absolute()), "file": _identity(image), "outputs": list(outputs), **facts}
        record["settings"] = self.settings
        self._records[record["image"]] = record
        with (self.folder / NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return record


def open_manifest(
    folder: Path,
    predictor: Predictor,
    models: Sequence[Path],
    outputs: Outputs,
    tiling: Tiling,
    forget: bool = False,
) -> Manifest:
    """The manifest of a prediction; with `forget`, one that knows no image as finished."""
    settings = {
        "models": [file_hash(path) for path in models],
        "threshold": predictor.threshold,
        "min_size": predictor.min_size,
        "tta": predictor.tta,
        "precision": predictor.precision,
        "tiling": asdict(tiling) | {"batch": 0},  # the batch changes nothing in the result
        "outputs": asdict(outputs) | {"save": sorted(outputs.save)},
    }
    manifest = Manifest(folder, settings)
    if forget:
        manifest.forget()
    return manifest


def _identity(image: Path) -> list[int]:
    facts = image.stat()
    return [facts.st_size, facts.st_mtime_ns]
