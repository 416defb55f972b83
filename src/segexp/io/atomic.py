"""Files that are written whole or not at all.

The content goes to a hidden file in the same folder, is flushed to the disk, and takes its name by a rename. A crash, a
kill or a full disk leaves the old file or the new one, and never half of one.

Network drives and drives of other systems may take no permissions and cannot always flush; they get whole files too.
"""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

PARTIAL = ".partial"
"""Ending of a file that is being written."""


def partial(path: Path, ending: str = PARTIAL) -> Path:
    """A new, empty, hidden file beside `path`, readable by whom other new files are readable by."""
    stem = path.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")  # names end at 255 bytes
    handle, name = tempfile.mkstemp(prefix=f".{stem}.", suffix=ending, dir=path.parent)
    os.close(handle)
    mask = os.umask(0o022)
    os.umask(mask)
    with contextlib.suppress(PermissionError, NotImplementedError):  # a drive whose permissions are those of its mount
        os.chmod(name, 0o666 & ~mask)  # mkstemp makes files that only their owner may read
    return Path(name)


def is_partial(name: str) -> bool:
    """Whether a file of this name is one that was being written, as `partial` names them."""
    return re.fullmatch(rf"\..+\.\w{{8}}{re.escape(PARTIAL)}(\.\w+)?", name) is not None


def sync(path: Path) -> None:
    """Flush a file to the disk."""
    with path.open("rb+") as file:
        flush(file)


def flush(file: IO[Any]) -> None:
    """Flush an open file to the disk, where its file system can do that.

    Raises:
        OSError: if it can, and fails: a full disk.
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
        before: is given the finished file under its hidden name, before it is renamed. An error there keeps the old
            file.

    Raises:
        OSError: if the folder takes no files or the disk is full; the old file is unchanged then.
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
    """Write a file whole or not at all; `before` as in `replacing`."""
    with replacing(path, before) as file:
        file.write(content)


def write_text(path: Path, text: str, before: Callable[[Path], None] | None = None) -> None:
    """Write UTF-8 text whole or not at all; lone surrogates, of names that are not UTF-8, are kept as their bytes."""
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"), before)
