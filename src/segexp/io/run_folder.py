"""The folder of a run: claimed after all checks have passed, and locked by the run from then on.

Until `RunFolder.begin` nothing in the folder is changed, not even to lock it: files to be written wait in memory.
`begin` takes the lock, checks again, and writes.

Files that are written atomically have their line in the record before they get their name (`segexp.io.ownership`).
Files that grow (``metrics.csv``, ``train.log``, TensorBoard's events) cannot be hashed before they are complete. Their
names were free when the run began, and the run holds the lock, so the record notes at each epoch how far they have
grown: size and SHA-256 up to there, as an open line. A file with an open line belongs to the run if it still begins
with these bytes. Each has one before it is created: ``train.log`` and ``metrics.csv`` are first written atomically, and
a random part of an event file's name is recorded before TensorBoard creates it. So a kill at any time leaves no file
that the record does not know. A run that ends by itself closes the lines: the files then belong to it as long as they
are unchanged.
"""

import fnmatch
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from segexp.errors import InputError
from segexp.io import atomic, ownership
from segexp.io.ownership import LOCK, RECORD, OwnedFolder, digest

STATE = "last.pth"
"""The files from which a run resumes."""
MODEL = "best_*_model.pth"
"""Pattern of the best model's name."""
JOB_FILES = ("job.json", "job.log")
"""Written by a sweep into the folder of a job, beside the files of the run."""
GROWING = ("train.log", "metrics.csv", "events.out.tfevents.*")
FILES = (
    STATE,
    MODEL,
    "summary.json",
    "run.json",
    "report.html",
    "split.json",
    "scratch.pth",
    "scratch_last.pth",
    "fold_*.npz",
    "failed.txt",
    "pruned.txt",
    "progress.json",
    "mlflow.json",
    *GROWING,
    *JOB_FILES,
)
"""Names, and patterns of names, of files that a run may write directly in its folder."""
FOLDERS = {".hydra": ("*.yaml",), "val": ("*.png", "scores.csv", "evaluation.json", "pictures.json")}
"""Sub-folders of a run, with what it may write into them."""
SWEEP_FILES = ("multirun.yaml", "summary.csv", "search.journal", "search.json")
"""Files that mark the folder of a sweep."""
CURVE_FILES = ("learning_curve.csv", "learning_curve.json", "learning_curve.png")
"""Files that a sweep over ``data.images`` writes in addition."""


class RunFolder(OwnedFolder):
    """A run folder and its record; a context manager that closes the record of growing files and releases the lock.

    Args:
        folder: the run folder; need not exist.
        command: what writes there; default: this process's command line.
        job: whether the run is a sweep's job: its sweep wrote the `JOB_FILES`, and an earlier run of the same job is
            moved aside without being asked.
    """

    def __init__(self, folder: Path, command: str | None = None, job: bool = False):
        self.job, self.begun, self._locked = job, False, False
        self._state: tuple[int, ...] | None = None
        self._waiting: dict[str, str] = {}
        self._grown: dict[str, tuple[int, Any]] = {}
        self._stack = ExitStack()
        super().__init__(folder, command)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.begun and self.folder.is_dir():
                self.note_grown(closed=True)
        finally:
            self._stack.close()

    def _read(self) -> None:
        super()._read()
        self._open: dict[str, tuple[int, str]] = {}
        self._announced: list[str] = []
        try:
            lines = (self.folder / RECORD).read_bytes().split(b"\n")
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in lines:
            try:
                entry = json.loads(line.decode("utf-8", errors="surrogateescape"))
                name, size, sha256 = entry["path"], entry.get("size"), entry.get("sha256")
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            if isinstance(name, str) and entry.get("announced") is True:
                self._announced.append(name)
            if isinstance(name, str) and isinstance(size, int) and isinstance(sha256, str):
                self._open.pop(name, None)
                if entry.get("open") is True:
                    self._open[name] = (size, sha256)

    def owns(self, name: str, of: str | None = None) -> bool:
        """Whether the file is segexp's own: unchanged, or a growing file that still begins with the recorded bytes."""
        if name in self._open and of is None:
            size, sha256 = self._open[name]
            path = self.folder / name
            return path.is_file() and not path.is_symlink() and start_digest(path, size) == sha256
        if of is None and not self.knows(name) and any(fnmatch.fnmatchcase(name, known) for known in self._announced):
            return _is_plain_file(self.folder / name)
        return super().owns(name, of)

    def note_grown(self, closed: bool = False) -> None:
        """Record the current size of the growing files; with `closed` they are complete."""
        for name in self.present(GROWING, {}):
            path = self.folder / name
            if not path.is_file() or path.is_symlink():
                continue
            size = path.stat().st_size
            if closed:
                if name in self._open and self.owns(name):
                    self.note(name)
                    self._open.pop(name, None)
                continue
            known, sums = self._grown.get(name, (0, hashlib.sha256()))
            if size < known or (name in self._open and name not in self._grown):
                known, sums = 0, hashlib.sha256()
            if size == known and name in self._open:
                continue
            with path.open("rb") as file:
                file.seek(known)
                while known < size and (part := file.read(min(1 << 20, size - known))):
                    sums.update(part)
                    known += len(part)
            self._grown[name] = (known, sums)
            self.note_open(name, known, sums.hexdigest())

    def note_open(self, name: str, size: int, sha256: str) -> None:
        """Record that the file `name` belongs to the run if its first `size` bytes have this SHA-256."""
        entry = {"path": name, "size": size, "sha256": sha256, "open": True, "time": round(time.time(), 3)}
        self._add_lines(json.dumps(entry | {"command": self.command}) + "\n", flush=False)
        self._open[name] = (size, sha256)

    def announce(self, pattern: str) -> None:
        """Record a pattern of names, with a unique random part, before files with such names are created.

        Such a file belongs to the run from its first byte, until it gets a line of its own.
        """
        self.append(path=pattern, announced=True, time=round(time.time(), 3), command=self.command)
        self._announced.append(pattern)

    def note_beginning(self, name: str) -> None:
        """Record a file to which others append, with its current content."""
        if not self.owns(name):
            content = (self.folder / name).read_bytes()
            self.note_open(name, len(content), hashlib.sha256(content).hexdigest())

    def note_start(self, name: str, start: bytes) -> None:
        """Record that a file which is rewritten repeatedly belongs to the run if it begins with these bytes."""
        if name not in self._open or self._open[name][0] != len(start):
            self.require_free([name], "output_dir")
        entry = (len(start), hashlib.sha256(start).hexdigest())
        if self._open.get(name) != entry:
            self.note_open(name, *entry)

    def replace_growing(self, name: str, text: str) -> None:
        """Rewrite a growing file atomically."""
        content = text.encode("utf-8", errors="surrogateescape")

        def note(_: Path) -> None:
            self.note_open(name, len(content), hashlib.sha256(content).hexdigest())

        self._grown.pop(name, None)
        atomic.write_bytes(self.folder / name, content, note)

    def present(self, files: Iterable[str] = FILES, folders: Mapping[str, Iterable[str]] | None = None) -> list[str]:
        """Names of a run's files that exist in the folder, as files, folders or links, whoever created them.

        Files that a kill left unfinished have names that are never used again, and do not count.
        """
        try:
            entries = sorted(entry.name for entry in os.scandir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = [name for name in entries if any(fnmatch.fnmatchcase(name, pattern) for pattern in files)]
        for name in FOLDERS if folders is None else folders:
            path = self.folder / name
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                names.append(name)
            elif path.is_dir():
                inside = (entry.name for entry in os.scandir(path))
                names += sorted(f"{name}/{each}" for each in inside if not atomic.is_partial(each))
        return [name for name in names if not (self.job and name in JOB_FILES)]

    def holds_run(self) -> bool:
        """Whether the folder holds a run of segexp that was saved at least once."""
        return any(self.owns(name) for name in self.present((STATE, MODEL, "summary.json"), {}))

    def unrecorded_run(self) -> bool:
        """Whether the folder holds a run from before segexp kept records."""
        stored = self.folder / ".hydra" / "overrides.yaml"
        return not self.knows(STATE) and (self.folder / STATE).is_file() and stored.is_file()

    def require(self, resume: bool, overwrite: bool = False) -> None:
        """Make sure that a run may start or resume here; changes nothing.

        Raises:
            InputError: if a name that a run writes is taken by something that is not segexp's own, or if the
                folder holds an earlier run or a sweep and neither `resume` nor `overwrite` is given.
        """
        self._state = _stamp(self.folder / STATE)
        if resume:
            self._require_resumable()
            return
        taken = self.present()
        if not self.job and self._holds_sweep():
            raise InputError(
                f"output_dir={self.folder}: contains a sweep, so no run can start in it. Choose another output_dir, "
                f"such as {self._another()}"
            )
        foreign = self.foreign(taken)
        if foreign and self.unrecorded_run():
            raise InputError(
                f"output_dir={self.folder}: already contains a run. Resume it: resume={self.folder}; or choose "
                f"another output_dir, such as {self._another()}"
            )
        if foreign:
            edited = all(self.knows(name) for name in foreign)
            why = "changed since segexp wrote them" if edited else "not written by segexp"
            more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
            raise InputError(
                f"output_dir={self.folder}: {', '.join(foreign[:5])}{more} would be overwritten by files of the run: "
                f"{why}. Nothing was changed. Move them away, or choose another output_dir, such as {self._another()}"
            )
        if taken and not overwrite and not self.job and not self._killed_at_start():
            state = "finished" if self.owns("summary.json") else "interrupted"
            ways = f"Resume it: resume={self.folder}; c" if self.owns(STATE) else "C"
            there = self._what_lies_here(state)
            raise InputError(
                f"output_dir={self.folder}: holds {there}. Nothing was changed. {ways}hoose another "
                f"output_dir, such as {self._another()}; or add overwrite=true to this command: that moves what lies "
                f"there to {self._aside().name}/ first, and deletes nothing"
            )

    def _require_resumable(self) -> None:
        taken = self.present()
        writable = [name for name in taken if "/" not in name or _written(name)]
        if self.unrecorded_run():
            links = [name for name in writable if not _is_plain_file(self.folder / name)]
            if links:
                raise InputError(f"resume={self.folder}: {', '.join(links)}: expected the run's own file; move it away")
            return
        # a best model that is damaged or changed is moved aside by `begin`: the run has its weights elsewhere
        foreign = self.foreign(name for name in writable if not self._is_model(name))
        if foreign:
            edited = all(self.knows(name) for name in foreign)
            why = "changed since segexp wrote it" if edited else "not written by segexp"
            raise InputError(
                f"resume={self.folder}: {', '.join(foreign[:5])} would be replaced, and was {why}. Nothing was "
                "changed. Move it away, then give the command again"
            )

    def _is_model(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name, MODEL) and _is_plain_file(self.folder / name)

    def _keep_changed_models(self) -> list[str]:
        """Rename best models that were changed since segexp wrote them, so that none is replaced; the new names."""
        kept = []
        for name in self.foreign(name for name in self.present((MODEL,), {}) if self._is_model(name)):
            number = 1
            while os.path.lexists(self.folder / f"{name}.changed_{number}"):
                number += 1
            os.rename(self.folder / name, self.folder / f"{name}.changed_{number}")
            kept.append(f"{name}.changed_{number}")
        return kept

    def _holds_sweep(self) -> bool:
        return any(self.knows(name) and os.path.lexists(self.folder / name) for name in SWEEP_FILES)

    def _killed_at_start(self) -> bool:
        """Whether the folder holds only the first records of a run that never saved a state."""
        first = (".hydra", "run.json", "split.json", "train.log")
        return not self.holds_run() and any(self.owns(name) for name in self.present(first))

    def _what_lies_here(self, state: str) -> str:
        if not self.holds_run():
            return "results of another segexp command"
        task = [name.removeprefix("best_").removesuffix("_model.pth") for name in self.present((MODEL,), {})]
        return f"{'an' if state[0] == 'i' else 'a'} {state} run" + (f" of task {task[0]}" if task else "")

    def _another(self) -> Path:
        place = self.folder if self.folder.name else self.folder.absolute()
        number = 2
        while os.path.lexists(place.with_name(f"{place.name}_{number}")):
            number += 1
        return place.with_name(f"{place.name}_{number}")

    def _aside(self) -> Path:
        number = 1
        while os.path.lexists(self.folder / f"earlier_{number}"):
            number += 1
        return self.folder / f"earlier_{number}"

    def put(self, name: str, text: str) -> None:
        """Write a file of the run, or keep its text until the run begins."""
        if self.begun:
            self.write(name, text)
        else:
            self._waiting[name] = text

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A hidden folder inside the run folder; its files are moved to the run folder when the block ends.

        Files are moved one by one, ``summary.json`` last, each after its line in the record.

        Raises:
            InputError: if an existing file that is not segexp's own would be replaced.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft.", dir=self.folder) as name:
            place = Path(name)
            yield place
            names = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
            names.sort(key=lambda name: (name == "summary.json", name))
            self.require_free(names, "output_dir")
            for name in names:
                (self.folder / name).parent.mkdir(exist_ok=True)
                self.adopt(place / name, name)

    def peek(self) -> None:
        """Take the lock now if that changes nothing in the folder.

        Raises:
            InputError: if another command holds it.
        """
        if os.path.lexists(self.folder / LOCK):
            self.hold()

    def hold(self) -> None:
        """Lock the folder against other commands; a job waits two minutes for one that is still saving its state."""
        if not self._locked:
            self._stack.enter_context(ownership.hold(self.folder, 120.0 if self.job else 0.0))
            self._locked = True
        OwnedFolder.__init__(self, self.folder, self.command)  # it may have waited for another command to end

    def begin(self, resume: bool, overwrite: bool = False) -> str:
        """Claim the folder and write the waiting files; returns a line on what was moved aside, or an empty text.

        Raises:
            InputError: as `require`, or if another command holds the folder or has changed it since.
        """
        before = self._state
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hold()
        self.require(resume, overwrite)
        if resume and before is not None and self._state != before:
            raise InputError(f"resume={self.folder}: another command resumed this run in the meantime; try again")
        message = ""
        if resume and self.unrecorded_run():
            for name in self.present():
                if "/" not in name or _written(name):
                    self.note(name)
        elif not resume and (names := [name for name in self.present() if self.owns(name)]):
            message = f"the earlier run is kept in {self.set_aside(names)}"
        elif resume and (changed := self._keep_changed_models()):
            message = f"warning: the best model was changed since segexp wrote it; it is kept as {', '.join(changed)}"
        self.begun = True
        self._remove_unfinished()
        self.note_grown()
        for name, text in self._waiting.items():
            self.write(name, text)
        return message

    def _remove_unfinished(self) -> None:
        """Remove models that a kill left half written: their hidden names are not used again, and each is large."""
        models = [pattern for pattern in FILES if pattern.endswith(".pth")]
        for entry in list(os.scandir(self.folder)):
            name = entry.name.removeprefix(".").rpartition(atomic.PARTIAL)[0].rpartition(".")[0]
            left = atomic.is_partial(entry.name) and any(fnmatch.fnmatchcase(name, pattern) for pattern in models)
            if left and entry.is_file(follow_symlinks=False):
                os.unlink(entry)

    def set_aside(self, names: Iterable[str], target: Path | None = None) -> Path:
        """Move files that are segexp's own to a new folder, with a record of its own; nothing else is moved."""
        target = self._aside() if target is None else target
        target.mkdir(parents=True)
        kept = OwnedFolder(target, self.command)
        # what tells that a run lies here goes last, so that a kill in between leaves that told
        for name in sorted(names, key=lambda name: (name == STATE, name.endswith(".pth"), name == "summary.json")):
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            kept.note(name, self.folder / name)
            os.rename(self.folder / name, place)
        for name in FOLDERS:
            if (self.folder / name).is_dir() and not any((self.folder / name).iterdir()):
                (self.folder / name).rmdir()
        return target


def _written(name: str) -> bool:
    """Whether a run writes a file of this name into one of its folders."""
    folder, _, inside = name.partition("/")
    return any(fnmatch.fnmatchcase(inside, pattern) for pattern in FOLDERS[folder])


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def start_digest(path: Path, size: int) -> str:
    """SHA-256 of a file's first `size` bytes, of all if it is shorter."""
    if path.stat().st_size <= size:
        return digest(path)
    sums = hashlib.sha256()
    with path.open("rb") as file:
        while size and (part := file.read(min(1 << 20, size))):
            sums.update(part)
            size -= len(part)
    return sums.hexdigest()


def require_apart(folder: Path, data: Mapping[str, Path]) -> None:
    """Make sure that a run's own folders do not overlap the folders its data are read from, links followed.

    Args:
        folder: the run folder.
        data: setting -> folder, such as ``val_img_dir``.

    Raises:
        InputError: names both.
    """
    for own in FOLDERS:
        place = (folder / own).resolve()
        for name, read in data.items():
            source = Path(read).resolve()
            if place == source or place in source.parents:
                raise InputError(
                    f"output_dir={folder}: the run writes to {folder / own}, and data.{name} is {read}. Nothing was "
                    "changed. Choose another output_dir"
                )
