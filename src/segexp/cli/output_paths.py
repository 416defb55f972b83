"""Check output paths before the work starts, so that an hour of work does not end in "permission denied".

The check changes nothing. The folder is created, and locked against other commands, after all other checks.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from segexp.errors import InputError
from segexp.io.ownership import LOCK, RECORD, OwnedFolder, hold

Ready = TypeVar("Ready")


def folder_to_write(path: Path, flag: str = "--output") -> Path:
    """The folder, which need not exist yet.

    Raises:
        InputError: if it is a file or cannot be written to.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{flag} {path}: a file; expected a folder, which is created if missing")
    there = path.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{flag} {path}: {error.strerror}; choose a folder with write permission") from None
    return path


@contextmanager
def locked_folder(path: Path, prepare: Callable[[OwnedFolder], Ready]) -> Iterator[Ready]:
    """Create an output folder and lock it against other segexp commands; yields what `prepare` returned.

    Args:
        path: the folder.
        prepare: called with the folder's record; raises `InputError` unless all output may be written. It is called
            before the folder is created, so that a refused command changes nothing.
    """
    folder_to_write(path)
    with ExitStack() as stack:
        locked = (path / LOCK).is_file()
        if locked:  # taking this lock changes nothing
            stack.enter_context(hold(path))
        before = _stamp(path / RECORD)
        ready = prepare(OwnedFolder(path))
        if not locked:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(path))
            if _stamp(path / RECORD) != before:  # another command wrote in between
                ready = prepare(OwnedFolder(path))
        yield ready


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def file_to_write(path: Path, suffixes: Sequence[str] = (), keep: Iterable[Path] = (), flag: str = "--output") -> Path:
    """Check the path of an output file; neither the file nor its folder need exist.

    Args:
        path: as typed.
        suffixes: endings that are accepted; none: any.
        keep: files that it must not replace, such as the model that is read.
        flag: the option's name, for messages.

    Raises:
        InputError: if it cannot be written, or exists and was not written by segexp.
    """
    if path.is_dir():
        example = path / f"result{suffixes[0] if suffixes else '.out'}"
        raise InputError(f"{flag} {path}: a folder; expected the name of a file, such as {example}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {path}: expected a name ending in {' or '.join(suffixes)}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in keep):
        raise InputError(f"{flag} {path}: this would overwrite the input file; choose another name")
    folder_to_write(path.parent, flag)
    if os.path.lexists(path):
        OwnedFolder(path.parent).require_free([path.name], flag)
        if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise InputError(f"{flag} {path}: read-only; choose another file or change its permissions")
    return path


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file that `file_to_write` has checked, atomically, and note it in the record of its folder."""
    OwnedFolder(path.parent).write(path.name, content)
