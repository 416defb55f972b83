"""The folder and state of each job of a sweep: ``job.json`` in each job's folder.

A job is identified by its settings, its data and the code, not by its number: numbers shift when an axis is added. A
resumed sweep looks up the folder in which a job was started. Any launcher works, since the jobs themselves do the same.
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
    """Three fingerprints that determine a job's result: settings, files of the data set, code."""

    settings: str
    data: str
    code: str

    def differs(self, other: "Identity") -> str:
        """The parts in which `other` differs: "code", "data and code"; empty if it is the same job."""
        return " and ".join(name for name, value in asdict(self).items() if value != getattr(other, name))


@dataclass
class Record:
    """The record of a job in its folder.

    Attributes:
        folder: its run folder.
        number: the number of the folder, or of the job.
        overrides: as typed, those of all jobs included.
        identity: the fingerprints that determine its result.
        status: one of the words above.
        score: the monitored score of a job that is done.
        better: ``higher`` or ``lower``: which of these scores are better.
        seconds: training time over all its sessions.
        message: why it failed.
        sittings: number of sessions, in which it was started or resumed.
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
        """Set `changes` and write ``job.json`` atomically.

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
    """The content of ``job.json``; None if there is none, or none that this version wrote."""
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
    """Whether lower values of the score are better by which the jobs of a sweep are judged."""
    return any(record.better == "lower" for record in records)


def read_jobs(sweep: Path) -> list[Record]:
    """The jobs of a sweep, by number; of several with the same settings (and older data or code) only the latest."""
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
    """The records of jobs that exist but cannot be read."""
    return _read_all(sweep)[1]


def _read_all(sweep: Path) -> tuple[list[Record], list[Path]]:
    """The records of a sweep's jobs, and those that exist but cannot be read."""
    found = {folder / FILE: read_job(folder) for folder in jobs(sweep)}
    lacking = [path for path, record in found.items() if record is None]
    damaged = [path for path in lacking if path.is_file() and path.stat().st_size]
    return [record for record in found.values() if record is not None], damaged


@functools.cache
def _warn_of(path: Path) -> None:
    """Warn once that a job's record cannot be used."""
    words = f"warning: {path}: damaged, or of another version of segexp; its job is left out"
    print(printable(words), file=sys.stderr, flush=True)


def data_fingerprint(folders: Mapping[str, Path] | None) -> str:
    """SHA-256 over name, size and time of change of every file under the folders of a data set.

    As in ``make``: no pixels are read, so that a thousand jobs are identified at once. Generated images have none,
    since settings and code determine them.
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
    """The folder for a job of a resumed sweep, and a remark on an earlier result that it does not use.

    The folder in which the same job was started, or waits without a saved state (then data and code may differ), else
    `target`, else (if that holds another job) the next free number, or name. `taken` are folders of other jobs. The
    folder exists when this returns, and is not given to any other job.
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
    """Whether the folder was empty; if so, it is marked as taken, so that only one of two processes gets it."""
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
        """Record the progress of training."""
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
    """What `ProgressWriter` wrote last; empty if nothing yet."""
    try:
        content = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
