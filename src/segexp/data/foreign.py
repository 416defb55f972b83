"""Files in formats that segexp does not read, and how to convert them.

Vendors' microscope formats are skipped wherever folders are read; `describe_vendor_files` says how many and of which
kind. `annotation_kind` recognises annotations of other programs, which a command converts to masks.
"""

import json
import re
import shlex
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from segexp.data.naming import IMAGE_WORDS, MASK_WORDS, find_rules
from segexp.errors import InputError
from segexp.io.images import IMAGE_SUFFIXES
from segexp.io.ownership import predictions_in

VENDOR_SUFFIXES = {
    ".czi": "Zeiss",
    ".zvi": "Zeiss",
    ".nd2": "Nikon",
    ".nd": "MetaMorph",
    ".stk": "MetaMorph",
    ".lif": "Leica",
    ".lof": "Leica",
    ".xlif": "Leica",
    ".scn": "Leica",
    ".vsi": "Olympus",
    ".oib": "Olympus",
    ".oif": "Olympus",
    ".oir": "Olympus",
    ".poir": "Olympus",
    ".lsm": "Zeiss",
    ".ims": "Imaris",
    ".dv": "DeltaVision",
    ".r3d": "DeltaVision",
    ".sld": "SlideBook",
    ".sldy": "SlideBook",
    ".svs": "Aperio",
    ".ndpi": "Hamamatsu",
    ".mrxs": "3DHISTECH",
    ".dm3": "Gatan",
    ".dm4": "Gatan",
    ".mrc": "MRC",
    ".ser": "FEI",
    ".ics": "ICS",
    ".ipl": "IPLab",
    ".flex": "Opera",
    ".mvd2": "Volocity",
    ".lei": "Leica",
}
"""Vendors' microscope formats that Bio-Formats opens, by suffix, with the vendor."""

VENDOR_ADVICE = "convert with Fiji: File > Import > Bio-Formats, then File > Save As > Tiff"

KINDS = {
    "cellpose": "Cellpose (_seg.npy)",
    "roi": "ImageJ ROIs",
    "geojson": "QuPath (GeoJSON)",
    "labelme": "LabelMe (JSON)",
    "coco": "COCO (JSON)",
}
"""Kinds of annotation that `segexp masks` converts to masks."""

ANNOTATION_SUFFIXES = (".npy", ".roi", ".zip", ".geojson", ".json")

_LARGEST_JSON = 1 << 29


def is_vendor_file(path: Path) -> bool:
    """Whether a file or folder has the suffix of a vendor's microscope format."""
    return path.suffix.lower() in VENDOR_SUFFIXES and not path.name.startswith(".")


def vendor_files(folder: Path) -> list[Path]:
    """Files and folders in a vendor's microscope format, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_vendor_file(path))


def describe_vendor_files(files: Iterable[Path]) -> str:
    """A message about files in vendors' microscope formats: how many of which kind are skipped, how to convert them.

    ``3 files in a vendor's microscope format skipped (1 .czi, 2 .nd2); convert with Fiji: ...``; empty for none.
    For every command that looks for images in a folder: predict, check, training, evaluate.
    """
    counts = Counter(path.suffix.lower() for path in files)
    if not counts:
        return ""
    total = sum(counts.values())
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    files_ = f"{total} file{'s' if total > 1 else ''}"
    return f"{files_} in a vendor's microscope format skipped ({kinds}); {VENDOR_ADVICE}"


def annotation_kind(path: Path, strict: bool = False) -> str | None:
    """Which of `KINDS` a file is, by its suffix and content; None for any other file. No code in it is run.

    Raises:
        InputError: with `strict`, if a file cannot be opened, or an archive or JSON is damaged, of another encoding
            or too large.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return "cellpose" if path.stem.endswith("_seg") and _holds_objects(path) else None
        if suffix == ".roi":
            return "roi"
        if suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return "roi" if roi_names(archive) else None
        if suffix == ".geojson":
            return "geojson"
        if suffix == ".json":
            if path.stat().st_size > _LARGEST_JSON:
                raise ValueError(f"larger than {_LARGEST_JSON >> 20} MiB")
            return json_kind(json.loads(path.read_bytes()))
    except OSError as error:
        if strict:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError) as error:
        if strict:
            expected = "a whole archive" if suffix == ".zip" else "whole JSON in UTF-8"
            raise InputError(f"{path}: cannot be read ({error}); expected {expected}") from None
    return None


def roi_names(archive: zipfile.ZipFile) -> list[str]:
    """The ROIs in an archive; the hidden files that macOS puts beside each (``__MACOSX/._1.roi``) are none."""
    names = [name for name in archive.namelist() if name.lower().endswith(".roi")]
    return [name for name in names if not name.rpartition("/")[2].startswith(".")]


def json_kind(content: object) -> str | None:
    """Which of `KINDS` the content of a JSON file is."""
    if isinstance(content, list):
        content = content[0] if content else None
    if not isinstance(content, dict):
        return None
    if content.get("type") in ("FeatureCollection", "Feature", "GeometryCollection"):
        return "geojson"
    if "images" in content and "annotations" in content:
        return "coco"
    return "labelme" if "shapes" in content else None


def find_annotation(*folders: Path) -> dict[Path, str]:
    """The files of `KINDS` in the first of the folders that has any, each with its kind."""
    for folder in folders:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        named = [path for path in files if path.suffix.lower() in ANNOTATION_SUFFIXES and path.name[0] != "."]
        annotations = {path: kind for path in named if (kind := annotation_kind(path)) is not None}
        if annotations:
            return annotations
    return {}


def describe_annotation(annotations: dict[Path, str], image_dir: Path, mask_dir: Path) -> str:
    """A message about annotation files: how many of which kind, and the command that converts them to masks."""
    counts = Counter(annotations.values())
    kinds = " and ".join(f"{count} file{'s' if count > 1 else ''} of {KINDS[kind]}" for kind, count in counts.items())
    place = next(iter(annotations)).parent
    source = next(iter(annotations)) if len(annotations) == 1 and "coco" in counts else place
    words = ["segexp", "masks", "--input", str(source), "--images", str(image_dir), "--output", str(mask_dir)]
    return f"{kinds} in {place}, which are not masks; convert them with: {shlex.join(words)}"


def _holds_objects(path: Path) -> bool:
    """Whether an ``.npy`` holds pickled Python objects, by its header; nothing is unpickled."""
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY" and b"'descr': '|O'" in file.read(250)


def describe_layout(root: Path) -> str:
    """Where the images and masks of a folder lie that is no data set, with what to type; empty where neither is found.

    Folders with other names (``images`` and ``masks``, in `root` or in its ``train`` and ``val``), or images and masks
    together in `root`, told apart by their names (``cell_1.tif``, ``cell_1_mask.png``).
    """
    parts = {"train": root, "val": root / "val"}
    if (root / "train").is_dir():
        parts["train"] = root / "train"
    found = {part: (_named(folder, IMAGE_WORDS), _named(folder, MASK_WORDS)) for part, folder in parts.items()}
    if None not in found["train"]:
        kept = ["train"] if None in found["val"] else ["train", "val"]
        named = [
            f"data.{part}_{kind}_dir={shlex.quote(str(folder))}"
            for part in kept
            for kind, folder in zip(("img", "mask"), found[part], strict=True)
        ]
        split = [] if len(kept) == 2 else ["data.val_fraction=0.2"]
        images, masks = found["train"]
        return f"found {images} and {masks}: rename them img and mask, or type {' '.join(named + split)}"
    names = {path.stem: path.name for path in _files(root)}
    those = {stem for stem in names if _says_mask(stem)}
    rules = find_rules(names.keys() - those, those) if those and len(those) < len(names) else []
    if len(rules) != 1:
        return ""
    image, mask = next(iter(rules[0][1].items()))
    return (
        f"images and masks lie in one folder, such as {names[image]} and {names[mask]}: move the masks into "
        f"{root / 'mask'} and the images into {root / 'img'}, and add data.val_fraction=0.2"
    )


def _named(folder: Path, words: re.Pattern[str]) -> Path | None:
    """The one folder in `folder` that is called by one of `words`."""
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    named = [path for path in folders if words.fullmatch(path.name.lower())]
    return named[0] if len(named) == 1 else None


def _says_mask(stem: str) -> bool:
    return any(MASK_WORDS.fullmatch(word) for word in re.split(r"[^a-z]+", stem.lower()))


def _files(folder: Path) -> list[Path]:
    """Images and masks in a folder, without what segexp predict wrote there."""
    written = predictions_in(folder)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name not in written)
