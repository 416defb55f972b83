"""Which job of a sweep lies in which folder, and how far it came: ``job.json`` in each job's folder.

A job is known by its settings, its data and the code, not by its number: numbers shift when an axis is added. A sweep
that goes on asks here for the folder in which a job was begun. Any launcher will do, since the jobs themselves ask too.
"""

import contextlib
import functools
import hashlib
import json
import math
import sys
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from segexp.errors import InputError, printable
from segexp.io import atomic
from segexp.io.ownership import RECORD, OwnedFolder
from segexp.io.records import read_json
from segexp.io.run_folder import STATE, RunFolder
from segexp.io.shape import Number, Text
from segexp.sweep.folder import add_job, jobs
from segexp.training.state import TrainState

FILE = "job.json"
PROGRESS = "progress.json"
FORMAT = 1
WAITING, RUNNING, DONE, FAILED, INTERRUPTED = "waiting", "running", "done", "failed", "interrupted"
GIVEN_UP = "pruned"
"""A search ended the job because others were ahead; it has a score."""


@dataclass(frozen=True)
class Identity:
    """What a job's result follows from, as three fingerprints: settings, files of the data set, code."""

    settings: str
    data: str
    code: str

    def differs(self, other: "Identity") -> str:
        """In words, what of `other` is another: "code", "data and code"; empty if it is the same job."""
        return " and ".join(name for name, value in asdict(self).items() if value != getattr(other, name))


@dataclass
class Record:
    """A job as its folder tells of it.

    Attributes:
        folder: its run folder.
        number: the number that the folder has, or the job had.
        overrides: as typed, those of all jobs included.
        identity: what its result follows from.
        status: one of the words above.
        score: the monitored score of a job that is done.
        better: ``higher`` or ``lower``: which of these scores are good.
        seconds: training time over all its sittings.
        message: why it failed.
        sittings: how often it was begun or gone on with.
        changed: when this was written, seconds since 1970.
    """

    folder: Path
    number: int
    overrides: list[str]
    identity: Identity
    status: str = WAITING
    score: float | None = None
    seconds: float | None = None
    message: str = ""
    sittings: int = 0
    changed: float = field(default_factory=time.time)
    better: str = "higher"

    def save(self, **changes: Any) -> None:
        """Set `changes` and write ``job.json``, whole or not at all.

        Raises:
            InputError: if it is not segexp's own.
        """
        for name, value in changes.items():
            setattr(self, name, value)
        self.changed = time.time()
        OwnedFolder(self.folder).write(FILE, self._text())

    def _text(self) -> str:
        content = {"format": FORMAT} | {name: value for name, value in asdict(self).items() if name != "folder"}
        if self.score is not None and not math.isfinite(self.score):
            content["score"] = None
        if self.better == "higher":  # stated where it is otherwise
            del content["better"]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_job(folder: Path) -> Record | None:
    """What ``job.json`` says; None if there is none, or none that this version wrote."""
    path = folder / FILE
    try:
        if path.stat().st_size == 0:  # the folder was given to a job that has not begun
            return None
        content = read_json(path, SHAPE)
    except (OSError, InputError):
        return None
    if content.pop("format") != FORMAT:
        return None
    return Record(folder, identity=Identity(**content.pop("identity")), **content)


_STATES = (WAITING, RUNNING, DONE, FAILED, INTERRUPTED, GIVEN_UP)
_COUNT = Number(0, 1e15, whole=True)
SHAPE = {
    "format": int,
    "number": _COUNT,
    "overrides": [str],
    "identity": {"settings": str, "data": str, "code": str},
    "status": Text(lambda text: text in _STATES, f"one of {', '.join(_STATES)}"),
    "score": (None, Number(-1e300, 1e300)),
    "better?": Text(lambda text: text in ("higher", "lower"), "higher or lower"),
    "seconds": (None, Number(0, 1e12)),
    "message": str,
    "sittings": _COUNT,
    "changed": Number(0, 1e12),
}
"""Of ``job.json``; see `segexp.io.shape`."""


def less_is_better(records: Iterable[Record]) -> bool:
    """Whether the jobs of a sweep are judged by a score of which less is better."""
    return any(record.better == "lower" for record in records)


def read_jobs(sweep: Path) -> list[Record]:
    """The jobs of a sweep, by number; of several with the same settings (of older data or code) the latest alone."""
    records, damaged = _read_all(sweep)
    for path in damaged:
        _warn_of(path)
    latest: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.changed):
        alike = latest.get(record.identity.settings)
        if alike is not None and not alike.identity.differs(record.identity):
            latest[f"{record.folder}"] = record  # the same job twice, as `seed=0,0` asks
        else:
            latest[record.identity.settings] = record
    return sorted(latest.values(), key=lambda record: (record.number, str(record.folder)))


def damaged_records(sweep: Path) -> list[Path]:
    """The records of jobs that hold something and cannot be read."""
    return _read_all(sweep)[1]


def _read_all(sweep: Path) -> tuple[list[Record], list[Path]]:
    """The records of a sweep's jobs, and those that hold something and cannot be read."""
    found = {folder / FILE: read_job(folder) for folder in jobs(sweep)}
    lacking = [path for path, record in found.items() if record is None]
    damaged = [path for path in lacking if path.is_file() and path.stat().st_size]
    return [record for record in found.values() if record is not None], damaged


@functools.cache
def _warn_of(path: Path) -> None:
    """Say once that a job's record cannot be used."""
    words = f"warning: {path}: damaged, or of another version of segexp; its job is left out"
    print(printable(words), file=sys.stderr, flush=True)


def data_fingerprint(folders: Mapping[str, Path] | None) -> str:
    """SHA-256 over name, size and time of change of every file under the folders of a data set.

    The rule of ``make``: it reads no pixel, so that a thousand jobs are told apart in no time. Generated images have
    none, since they follow from settings and code.
    """
    digest = hashlib.sha256()
    for name, folder in sorted((folders or {}).items()):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                facts = path.stat()
                line = f"{name} {path.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest() if folders else "generated"


def claim(target: Path, sweep: Path, identity: Identity, taken: Container[Path] = ()) -> tuple[Path, str]:
    """The folder for a job of a sweep that goes on, and a word on an earlier result that it does not take over.

    The folder in which the same job was begun, or waits without a saved state (then it may have waited with other data
    or code), else `target`, else (where that holds another job) the next free number,
    or name. `taken` are folders given to other jobs. The folder is there when this returns, and no other claim gets it.
    """
    known = [record for folder in jobs(sweep) if (record := read_job(folder)) is not None]
    known.sort(key=lambda record: record.folder != target)
    alike = [record for record in known if record.identity.settings == identity.settings]
    for record in alike:
        unbegun = record.status == WAITING and not (record.folder / STATE).is_file()
        same = unbegun or not record.identity.differs(identity)
        if same and record.folder not in taken:
            return record.folder, ""
    words = f"{alike[0].folder} was made with other {alike[0].identity.differs(identity)}" if alike else ""
    folder = target
    while folder in taken or not _reserve(folder):
        folder = _next(folder)
    add_job(sweep, folder)
    return folder, words


def _reserve(folder: Path) -> bool:
    """Whether the folder was empty; then it is no longer, so that of two processes one gets it."""
    if folder.exists() and any(folder.iterdir()):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / RECORD).open("x").close()
    except FileExistsError:
        return False
    return True


def _next(folder: Path) -> Path:
    if folder.name.isdecimal():
        return folder.with_name(str(int(folder.name) + 1))
    stem, _, count = folder.name.rpartition("~")
    return folder.with_name(f"{stem}~{int(count) + 1}" if stem and count.isdecimal() else f"{folder.name}~2")


class ProgressWriter:
    """Writes ``progress.json`` while a job trains, at most once a second and at each end of an epoch.

    It holds `epoch`, `step`, `progress` (0 to 1), `elapsed` seconds and `score`, the best so far or null.
    """

    def __init__(self, folder: Path, monitor: str, files: RunFolder | None = None):
        self.path, self.monitor, self.files = folder / PROGRESS, monitor, files
        self._last, self._epoch = 0.0, -1
        self.job = uuid4().hex

    def __call__(self, state: TrainState, progress: float) -> None:
        """Take note of where training stands."""
        now = time.monotonic()
        if now - self._last < 1 and state.epoch == self._epoch:
            return
        self._last, self._epoch = now, state.epoch
        content = {
            "job": self.job,
            "epoch": state.epoch,
            "step": state.step,
            "progress": progress,
            "elapsed": state.elapsed,
        }
        # a disk that is full costs no run
        with contextlib.suppress(OSError):
            if self.files is not None:  # a file that begins with this number is this job's
                self.files.note_start(PROGRESS, json.dumps({"job": self.job}).removesuffix("}").encode())
            atomic.write_text(self.path, json.dumps(content | {"score": state.best.get(self.monitor)}))


def read_progress(folder: Path) -> dict[str, Any]:
    """What `ProgressWriter` wrote last; empty before."""
    try:
        content = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
