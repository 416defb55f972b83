"""Predict image files into a folder, one after the other or going on where that was stopped.

Reading, compressing and measuring run in threads beside the network: the next file is opened and the last one finished
while one is being predicted. A file appears under its name only when it is whole.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segexp.data.images import IMAGE_SUFFIXES
from segexp.errors import InputError
from segexp.inference.job import Finish, Job, Result, predict_job
from segexp.inference.manifest import ENDINGS, Manifest
from segexp.inference.outputs import Outputs
from segexp.inference.predictor import Predictor
from segexp.inference.stream import write_whole
from segexp.inference.tiles import Progress, Tiling, out_of_memory
from segexp.io.records import read_table
from segexp.measurements import Row, write_rows


def find_images(sources: Iterable[Path], output: Path) -> list[Path]:
    """Files, the image files of folders sorted by name, and what patterns such as ``in/*.tif`` match.

    Without what an earlier prediction wrote to `output`. Raises `InputError` where there is none, or where two would
    write the same result.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_file():
            files.append(source)
        elif source.is_dir():
            inside = (p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != ".")
            own = output.resolve() == source.resolve()
            files += sorted(p for p in inside if not (own and p.stem.endswith(ENDINGS)))
        elif any(letter in str(source) for letter in "*?["):
            pattern = source.relative_to(source.anchor)
            files += sorted(p for p in Path(source.anchor).glob(str(pattern)) if p.is_file())
        else:
            raise InputError(f"{source}: no such file or folder")
    if not files:
        raise InputError(f"no images; wanted files ending in {', '.join(IMAGE_SUFFIXES)}")
    stems = Counter(path.stem for path in files)
    twice = [str(path) for path in files if stems[path.stem] > 1]
    if twice:
        raise InputError(f"{', '.join(twice)}: same name, so one result would replace the other; predict them apart")
    return files


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output: Path,
    outputs: Outputs | None = None,
    tiling: Tiling | None = None,
    manifest: Manifest | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Result]:
    """Predict each file into `output`; yield what became of it, in order. One that fails does not stop the rest.

    Written are ``<stem>_mask.png`` (uint8, 0 and 255, or class ids for several classes; ``_mask.tif`` for stacks and
    for images of `TILED` pixels or more), ``<stem>_prob.tif`` ((H, W), or a page a class) and what else `outputs`
    names. With a `manifest`, files that it knows as finished are skipped. `progress` hears how many files are
    predicted, with the share of the one at hand behind the point.
    """
    outputs = outputs or Outputs()
    output.mkdir(parents=True, exist_ok=True)
    records = [manifest.finished(path) if manifest is not None else None for path in files]
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
                    heard = None if progress is None else _after(progress, number)
                    finish = _start(predictor, job, path, output, outputs, tiling, heard)
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
    """Predict; what cannot be done is what finishing will report."""
    try:
        return predict_job(predictor, job.result(), output, outputs, tiling, progress)
    except (InputError, OSError) as error:
        fault = Result(path, str(error))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        fault = Result(path, f"{path}: out of memory with a single tile; a smaller --tile needs less")
    return lambda: fault


def _finish(finish: Finish, manifest: Manifest | None) -> Result:
    result = finish()
    if manifest is not None and result.record is not None:
        manifest.add(result.path, **result.record)
    return result


def _known(path: Path, record: dict[str, Any]) -> Result:
    return Result(path, None, True, record["foreground"], record["pixels"], record)


def _after(progress: Callable[[float], None], files: int) -> Progress:
    return lambda done, total: progress(files + done / total)


def write_tables(output: Path, results: Sequence[Result]) -> list[Path]:
    """Join the tables of all images: ``measurements.csv``, a row an object, and ``images.csv``, a row an image."""
    rows: list[Row] = []
    summaries: list[Row] = []
    columns: dict[str, None] = {}
    for result in results:
        if result.record is None:
            continue
        summaries += result.record["summary"]
        table = output / f"{result.path.stem}_measurements.csv"
        names, own = read_table(table)
        rows += [dict(row) for row in own]
        columns |= dict.fromkeys(names)
    if not summaries:
        return []
    paths = [output / "measurements.csv", output / "images.csv"]
    write_whole(paths[0], write_rows(rows, columns).encode())
    write_whole(paths[1], write_rows(summaries).encode())
    return paths
