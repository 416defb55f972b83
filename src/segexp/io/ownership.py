"""Record which files of an output folder segexp wrote, so that it only replaces and removes those.

Each output folder holds a record, ``.segexp.jsonl``: a line of JSON for each file, with its path inside the folder, its
size and SHA-256, and the command. The line is written before the file gets its name, so that a kill between the two
leaves no file without a record. A file is segexp's own if its content equals one recorded for its path: a file that was
drawn by hand, copied there or edited later is not, and no command replaces it.

`hold` locks the folder against a second command.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import filelock

from segexp.errors import InputError
from segexp.io import atomic

RECORD = ".segexp.jsonl"
LOCK = ".segexp.lock"
LARGEST_RECORD = 1 << 28
"""Bytes; a record of a million files takes about 250 MB."""
SHOWN = 20
"""Largest number of file names in a message."""
LONGEST_COMMAND = 500
"""Characters of a command line that are recorded: a shell may expand thousands of file names."""


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def predictions_in(folder: Path) -> set[str]:
    """Names of the files that ``segexp predict`` wrote into a folder, such as that of the images; empty: no record."""
    try:
        entries = OwnedFolder(folder).entries
    except InputError:
        return set()
    return {str(entry["path"]) for entry in entries if "path" in entry and "image" in entry}


class OwnedFolder:
    """The record of one output folder.

    Nothing is written before the first `write`, `create` or `note`.

    Args:
        folder: the output folder; need not exist.
        command: what writes there, as the record says it; default: this process's command line.

    Attributes:
        entries: the lines of the record in their order, as far as they are JSON objects; those that `append` wrote
            name no file.

    Raises:
        InputError: if ``.segexp.jsonl`` is not a record written by segexp.
    """

    def __init__(self, folder: Path, command: str | None = None):
        self.folder = folder
        typed = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if command is None else command
        self.command = typed if len(typed) <= LONGEST_COMMAND else typed[:LONGEST_COMMAND] + " ..."
        self.entries: list[dict[str, Any]] = []
        self._known: dict[str, set[str]] = {}
        self._digests: dict[str, tuple[tuple[int, ...], str]] = {}
        self._read()

    def _read(self) -> None:
        path = self.folder / RECORD
        try:
            if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > LARGEST_RECORD:
                raise InputError(f"{path}: not a record that segexp wrote; choose another output folder")
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in content.split(b"\n"):
            try:
                entry = json.loads(line.decode("utf-8", errors="surrogateescape"))
            except (ValueError, RecursionError):
                continue  # the line that was being written when the machine stopped: its file never got its name
            if isinstance(entry, dict):
                self.entries.append(entry)
                self._learn(entry)

    def _learn(self, entry: dict[str, Any]) -> None:
        name, sha256 = entry.get("path"), entry.get("sha256")
        if isinstance(name, str) and isinstance(sha256, str) and _inside(name):
            self._known.setdefault(name, set()).add(sha256)

    def names(self) -> list[str]:
        """Paths inside the folder, with ``/``, of all existing files that are segexp's own."""
        return [name for name in self._known if self.owns(name)]

    def knows(self, name: str) -> bool:
        """Whether segexp ever wrote a file of this name here, whatever is there now."""
        return name in self._known

    def owns(self, name: str, of: str | None = None) -> bool:
        """Whether the file exists, was written by segexp, and is unchanged since; with `of`, has this SHA-256."""
        path = self.folder / name
        known = self._known.get(name, set()) if of is None else self._known.get(name, set()) & {of}
        return bool(known) and _regular(path) and self._digest(path) in known

    def _digest(self, path: Path) -> str:
        """`digest`, cached as long as the file is unchanged, so that repeated checks are cheap."""
        facts = path.stat()
        stamp = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        known = self._digests.get(str(path))
        if known is None or known[0] != stamp:
            self._digests[str(path)] = known = stamp, digest(path)
        return known[1]

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that exist and are not segexp's own: files, folders or links."""
        return [name for name in names if self._taken(name) and not self.owns(name)]

    def _taken(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)

    def require_free(self, names: Iterable[str], flag: str = "--output") -> None:
        """Make sure that every file of `names` may be written.

        Raises:
            InputError: lists all existing files that are not segexp's own, and says what to do.
        """
        not_ours = self.foreign(dict.fromkeys(names))
        edited = [name for name in not_ours if self.knows(name)]
        others = [name for name in not_ours if not self.knows(name)]
        faults = []
        for few, why, whys in (
            (others, "was not written by segexp", "were not written by segexp"),
            (edited, "was changed since segexp wrote it", "were changed since segexp wrote them"),
        ):
            more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
            if few:
                names = ", ".join(str(self.folder / name) for name in few[:SHOWN])
                faults.append(f"{names}{more} {f'exists and {why}' if len(few) == 1 else f'exist and {whys}'}")
        if faults:
            it = "it is not replaced. Move it away" if len(not_ours) == 1 else "they are not replaced. Move them away"
            raise InputError(f"{flag} {self.folder}: {'; '.join(faults)}, so {it}, or choose another folder")

    def note(self, name: str, path: Path | None = None, **facts: Any) -> None:
        """Record that segexp writes the file `name`, with the content of `path` (default: of the file itself).

        Further `facts` are kept in the line, such as the input that the file was made from.
        """
        self._append([self._entry(name, self.folder / name if path is None else path, facts)])

    def append(self, **facts: Any) -> None:
        """Add a line that names no file, such as the settings that several files were made with."""
        self._append([facts])

    def _entry(self, name: str, path: Path, facts: dict[str, Any]) -> dict[str, Any]:
        entry = {"path": name, "size": path.stat().st_size, "sha256": digest(path), "time": round(time.time(), 3)}
        return entry | {"command": self.command, **facts}

    def _append(self, entries: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(entry, ensure_ascii=True) + "\n" for entry in entries)
        self._add_lines(lines, flush=True)
        for entry in entries:
            self.entries.append(entry)
            self._learn(entry)

    def _add_lines(self, lines: str, flush: bool) -> None:
        """Append to the record, on a new line: the last one is torn if the machine stopped or the disk was full."""
        with (self.folder / RECORD).open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read() == b"\n" else f"\n{lines}"
            file.write(lines.encode("ascii"))
            if flush:
                atomic.flush(file)

    def _free_path(self, name: str) -> Path:
        """The path of a file to write, with its folder created; `InputError` if a file there is not segexp's own."""
        self.require_free([name])
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def create(self, name: str, **facts: Any) -> Iterator[BinaryIO]:
        """A file open for writing: it is recorded and gets its name when the block ends without an error.

        Raises:
            InputError: if something lies there that is not segexp's own.
        """
        path = self._free_path(name)
        with atomic.replacing(path, lambda whole: self.note(name, whole, **facts)) as file:
            yield file

    def write(self, name: str, content: bytes | str, **facts: Any) -> None:
        """Write a file whole and record it.

        Raises:
            InputError: if something lies there that is not segexp's own.
        """
        with self.create(name, **facts) as file:
            file.write(content.encode("utf-8", errors="surrogateescape") if isinstance(content, str) else content)

    @contextlib.contextmanager
    def making(self, name: str, **facts: Any) -> Iterator[Path]:
        """As `create`, for writers that need a path with the file's suffix rather than an open file.

        Raises:
            InputError: if something lies there that is not segexp's own.
        """
        path = self._free_path(name)
        hidden = atomic.partial(path, atomic.PARTIAL + path.suffix)
        try:
            yield hidden
            atomic.sync(hidden)
            self.adopt(hidden, name, **facts)
        finally:
            hidden.unlink(missing_ok=True)

    def adopt(self, path: Path, name: str, **facts: Any) -> None:
        """Record a finished file inside the folder that has a hidden name, and rename it to its final name."""
        self.adopt_all({name: path}, **facts)

    def adopt_all(self, files: Mapping[str, Path], also: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Record finished files, given by their final names, and rename them.

        `also` becomes a line that names no file, as `append` writes it, with the SHA-256 of each file as ``outputs``.
        It is recorded before the files are renamed: if that is interrupted, the hashes do not match.
        """
        self.require_free(files)
        entries = [self._entry(name, path, facts) for name, path in files.items()]
        hashes = {entry["path"]: entry["sha256"] for entry in entries}
        self._append([*entries, *([] if also is None else [{**also, "outputs": hashes}])])
        for name, path in files.items():
            os.replace(path, self.folder / name)

    def remove(self, name: str) -> bool:
        """Remove a file if it is segexp's own; False, with nothing changed, if it is not or does not exist."""
        if not self.owns(name):
            return False
        (self.folder / name).unlink()
        return True


def noting(path: Path) -> Callable[[Path], None] | None:
    """A function for `atomic` that notes a file in the folder's record; None if the folder has no record."""
    if not (path.parent / RECORD).is_file():
        return None
    return lambda whole: OwnedFolder(path.parent).note(path.name, whole)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def hold(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Lock an existing folder against other segexp commands; the lock ends with the process, even if it is killed.

    Args:
        folder: its lock is the file ``.segexp.lock`` in it, which is kept.
        patience: seconds to wait for a command that is ending; a line is printed if there is something to wait for.

    Raises:
        InputError: if another command holds the folder.
    """
    with contextlib.suppress(FileNotFoundError):
        facts = (folder / LOCK).lstat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size:  # taking the lock would empty it
            raise InputError(f"{folder / LOCK}: not a lock that segexp made; move it away, or choose another folder")
    # a lock that is the mere existence of a file would stay behind a killed process and hold the folder for ever
    lock = filelock.FileLock(folder / LOCK, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if patience:
                print(f"waiting for another segexp command to leave {folder}")
            lock.acquire(timeout=patience)
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another segexp command is writing to this folder. Wait until it ends, or choose another folder"
        ) from None
    except OSError as error:  # some network file systems have no locks
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise
    try:
        yield
    finally:
        lock.release()
