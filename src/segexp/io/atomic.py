"""Write files atomically.

The content goes to a hidden file in the same folder, is flushed to the disk, and gets its name by a rename. A crash, a
kill or a full disk leaves the old file or the new one, never a partial one.

Network drives and drives of other systems may not support permissions or flushing; their files are complete, too.
"""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

PARTIAL = ".partial"
"""Ending of a file that is being written."""


def partial(path: Path, ending: str = PARTIAL) -> Path:
    """Create an empty, hidden file beside `path` with the permissions of ordinary new files."""
    stem = path.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")  # names end at 255 bytes
    hidden = path.with_name(f".{stem}.{secrets.token_hex(4)}{ending}")
    hidden.open("xb").close()  # mkstemp would make a file that only its owner may read
    return hidden


def is_partial(name: str) -> bool:
    """Whether a file name is that of an unfinished file, as `partial` names them."""
    return re.fullmatch(rf"\..+\.\w{{8}}{re.escape(PARTIAL)}(\.\w+)?", name) is not None


def sync(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        flush(file)


def flush(file: IO[Any]) -> None:
    """Flush an open file to the disk, if its file system can do that.

    Raises:
        OSError: if flushing fails, for example because the disk is full.
    """
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise


@contextmanager
def replacing(path: Path, before: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """A file open for writing that becomes `path` when the block ends without an error.

    Args:
        path: the file; its folder must exist.
        before: called with the finished file under its hidden name, before it is renamed. An error there keeps the old
            file.

    Raises:
        OSError: if the folder cannot be written to or the disk is full; the old file is unchanged then.
    """
    temporary = partial(path)
    try:
        with temporary.open("wb") as file:
            yield file
            flush(file)
        if before is not None:
            before(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes | memoryview, before: Callable[[Path], None] | None = None) -> None:
    """Write a file atomically; `before` as in `replacing`."""
    with replacing(path, before) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; lone surrogates, of names that are not UTF-8, are written as their bytes."""
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"))
