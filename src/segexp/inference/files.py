"""Predict image files into a folder, one after the other, resuming a stopped prediction.

Reading, compressing and measuring run in threads beside the network: the next file is opened and the previous one
finished while one is being predicted. Files are written atomically.
"""

import os
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from segexp.data.foreign import describe_vendor_files, vendor_files
from segexp.device import out_of_memory
from segexp.errors import InputError
from segexp.inference.job import Finish, Job, Result, predict_job
from segexp.inference.manifest import TABLES, Manifest
from segexp.inference.outputs import Outputs, csv_bytes
from segexp.inference.predictor import Predictor
from segexp.inference.sliding_window import Progress, Tiling
from segexp.io.images import IMAGE_SUFFIXES
from segexp.io.ownership import OwnedFolder, predictions_in
from segexp.io.records import read_table
from segexp.io.tiff_writer import hidden_files
from segexp.measurements import Row

MOST_FOLDERS = 1000
"""Largest number of sub-folders that are searched for images, to report those that are not taken."""


class ImageList(NamedTuple):
    """The images of a prediction.

    Attributes:
        files: to predict.
        remarks: sentences on what was not taken.
    """

    files: list[Path]
    remarks: list[str]


def find_images(sources: Iterable[Path], output: OwnedFolder, own_names: bool = True) -> ImageList:
    """Files, the image files of folders sorted by name, and what patterns such as ``in/*.tif`` match.

    Files that a prediction wrote, according to the records of `output` and of the images' folders, and images in
    sub-folders are not taken; `ImageList.remarks` counts them.

    Raises:
        InputError: if there is no image, or, with `own_names`, if two would write the same result.
    """
    files: list[Path] = []
    remarks: list[str] = []
    for source in sources:
        if source.is_file():
            files.append(source)
        elif source.is_dir():
            inside, remark = _in_folder(source, output)
            files += inside
            remarks += remark
        elif any(letter in str(source) for letter in "*?["):
            files += _matches(source)
        else:
            raise InputError(f"{source}: no such file or folder")
    files = list({path.absolute(): path for path in files}.values())
    files, written = _without_predictions(files, output)
    if written:
        one = len(written) == 1
        listed = ", ".join(path.name for path in written[:3]) + (", ..." if len(written) > 3 else "")
        what = "file written by segexp predict is" if one else "files that segexp predict wrote are"
        remarks.append(f"{len(written)} {what} not taken as {'an image' if one else 'images'}: {listed}")
    if not files:
        expected = f"no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        raise InputError(expected, *remarks)
    if own_names:
        _require_own_names(files)
    return ImageList(files, remarks)


def _matches(pattern: Path) -> list[Path]:
    """The files that a pattern matches, sorted, less hidden ones; names of folders that exist are not patterns."""
    folder = next((place for place in pattern.parents if place.is_dir()), Path(pattern.anchor))
    found = folder.glob(str(pattern.relative_to(folder)))
    return sorted(p for p in found if p.is_file() and not any(part[0] == "." for part in p.relative_to(folder).parts))


def _in_folder(folder: Path, output: OwnedFolder) -> tuple[list[Path], list[str]]:
    """The image files of a folder, and remarks on those in sub-folders; hidden files and predictions are ignored."""
    inside: list[Path] = []
    below: Counter[str] = Counter()
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        folders[:] = [name for name in folders if name[0] != "."]
        images = [Path(place, name) for name in names if name[0] != "." and _is_image(name)]
        if number == 0:
            inside = sorted(images)
        if number > 0:
            below.update(path.suffix for path in _without_predictions(images, output)[0])
        if number == MOST_FOLDERS:
            break
    vendor = describe_vendor_files(vendor_files(folder))
    remarks = [f"{folder}: {vendor}"] if vendor else []
    if not below:
        return inside, remarks
    what = "image in its sub-folders is" if below.total() == 1 else "images in its sub-folders are"
    patterns = " ".join(f"--input {shlex.quote(str(folder / '**' / f'*{ending}'))}" for ending in sorted(below))
    return inside, [*remarks, f"{folder}: {below.total()} {what} not taken; this takes them too: {patterns}"]


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _without_predictions(files: list[Path], output: OwnedFolder) -> tuple[list[Path], list[Path]]:
    """Images, and files that a prediction wrote into the folders of the images."""
    records = {output.folder.resolve(): {str(e["path"]) for e in output.entries if "path" in e and "image" in e}}
    images: list[Path] = []
    written: list[Path] = []
    for path in files:
        folder = path.parent.resolve()
        if folder not in records:
            records[folder] = predictions_in(folder)
        (written if path.name in records[folder] else images).append(path)
    return images, written


def _require_own_names(files: Sequence[Path]) -> None:
    stems = Counter(path.stem for path in files)
    twice = [str(path) for path in files if stems[path.stem] > 1]
    if twice:
        more = f" and {len(twice) - 4} more" if len(twice) > 4 else ""
        raise InputError(
            f"{', '.join(twice[:4])}{more}: same name, so one result would replace the other. Predict them "
            "separately, each "
            "folder with an --output of its own"
        )


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output: Path,
    outputs: Outputs | None = None,
    tiling: Tiling | None = None,
    manifest: Manifest | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Result]:
    """Predict each file into `output`; yield the results, in order. A file that fails does not stop the others.

    No file is replaced that segexp did not write, or that was changed since: `Manifest.require_room` checks it first.
    The outputs are ``<stem>_mask.png`` (uint8, 0 and 255, or class ids for several classes; ``_mask.tif`` for stacks
    and for images of `TILED` pixels or more), ``<stem>_prob.tif`` ((H, W), or a page a class) and others that `outputs`
    names. With a `manifest`, finished files are skipped. `progress` is called with the number of files predicted, whose
    fraction is the share of the current file.
    """
    outputs = outputs or (Outputs() if manifest is None else manifest.outputs)
    if manifest is None:
        manifest = Manifest(OwnedFolder(output), {}, outputs, forget=True)
    output.mkdir(parents=True, exist_ok=True)
    records = [manifest.finished(path) for path in files]
    todo = deque(path for path, record in zip(files, records, strict=True) if record is None)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as finisher:

        def open_next() -> Future[Job] | None:
            return reader.submit(Job, todo.popleft(), predictor, outputs) if todo else None

        ahead = open_next()
        last: Future[Result] | None = None
        try:
            for number, (path, record) in enumerate(zip(files, records, strict=True)):
                if record is not None:
                    now: Future[Result] = finisher.submit(_known, path, record)
                else:
                    assert ahead is not None
                    job, ahead = ahead, open_next()
                    on_progress = None if progress is None else _after(progress, number)
                    finish = _start(predictor, job, path, output, outputs, tiling, on_progress)
                    now = finisher.submit(_finish, finish, manifest)
                if progress is not None:
                    progress(number + 1)
                if last is not None:
                    yield last.result()
                last = now
            if last is not None:
                yield last.result()
        finally:
            if ahead is not None and ahead.exception() is None:  # opened, and never predicted
                ahead.result().file.close()


def _start(
    predictor: Predictor,
    job: Future[Job],
    path: Path,
    output: Path,
    outputs: Outputs,
    tiling: Tiling | None,
    progress: Progress | None,
) -> Finish:
    """Predict; an error is returned, to be reported with the result."""
    try:
        return predict_job(predictor, job.result(), output, outputs, tiling, progress)
    except (InputError, OSError) as error:
        fault = Result(path, str(error))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        fault = Result(path, f"{path}: out of memory with a single tile; a smaller --tile needs less")
    return lambda: fault


def _finish(finish: Finish, manifest: Manifest) -> Result:
    result = finish()
    if result.record is None:
        return result
    try:
        with hidden_files(result.files):
            manifest.add(result.path, result.content, result.files, result.record)
    except (InputError, OSError) as error:
        return Result(result.path, str(error))
    return result


def _known(path: Path, record: dict[str, Any]) -> Result:
    said, unscaled = str(record.get("misfit", "")), record.get("unscaled") is True
    return Result(path, None, True, record["foreground"], record["pixels"], misfit=said, unscaled=unscaled)


def _after(progress: Callable[[float], None], files: int) -> Progress:
    return lambda done, total: progress(files + done / total)


def write_tables(manifest: Manifest, results: Sequence[Result]) -> list[Path]:
    """Join the measurements of all images in the output folder, from this and earlier predictions.

    Writes ``measurements.csv``, a row for each object, and ``images.csv``, a row for each image.
    """
    failed = [result.path for result in results if result.error is not None]
    lines = manifest.measured([result.path for result in results], failed)
    rows: list[Row] = []
    summaries: list[Row] = []
    columns: dict[str, None] = {}
    folder = manifest.folder
    for line in lines:
        summaries += line["summary"]
        names, own = read_table(folder.folder / f"{Path(line['image']).stem}_measurements.csv")
        rows += [dict(row) for row in own]
        columns |= dict.fromkeys(names)
    if not summaries:
        return []
    contents = (csv_bytes(rows, columns), csv_bytes(summaries))
    for name, content in zip(TABLES, contents, strict=True):
        folder.write(name, content)
    return [folder.folder / name for name in TABLES]
