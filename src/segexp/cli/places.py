"""Where results go: looked at before the work, so that an hour does not end in "permission denied"."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from segexp.errors import InputError


def folder_to_write(path: Path, flag: str = "--output") -> Path:
    """The folder, made with its parents where missing; `InputError` where it is a file or takes no files."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{flag} {path}: a file; wanted a folder, which is made where it is missing")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"{flag} {path}: {error.strerror}; wanted a folder you may write to") from None
    return path


def file_to_write(path: Path, suffixes: Sequence[str] = (), keep: Iterable[Path] = (), flag: str = "--output") -> Path:
    """The file's path, its folder made where missing.

    Args:
        path: as typed.
        suffixes: endings that are accepted; none: any.
        keep: files that it must not replace, such as the model that is read.
        flag: for the message.
    """
    if path.is_dir():
        example = path / f"result{suffixes[0] if suffixes else '.out'}"
        raise InputError(f"{flag} {path}: a folder; wanted the name of a file, such as {example}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {path}: wanted a name ending in {' or '.join(suffixes)}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in keep):
        raise InputError(f"{flag} {path}: would replace the file that is read; wanted another name")
    folder_to_write(path.parent, flag)
    if path.exists():
        try:
            with path.open("ab"):
                pass
        except OSError as error:
            raise InputError(f"{flag} {path}: {error.strerror}; wanted a file you may replace") from None
    return path
