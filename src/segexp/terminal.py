"""Standard output and error as they are: closed, full, narrow, of another encoding, or read by nobody any more."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from segexp.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class _Sink(io.RawIOBase):
    """The bytes of a standard stream. Output that cannot be written is dropped, and the first error is kept."""

    def __init__(self, number: int):
        self.number = number
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def isatty(self) -> bool:
        return self.lost is None and os.isatty(self.number)

    def write(self, data: Any) -> int:
        if self.lost is None:
            try:
                return os.write(self.number, data)
            except BlockingIOError:
                raise
            except OSError as error:
                self.lost = error
        return len(data)


class _Text(io.TextIOWrapper):
    """Text for a log: control characters, which may occur in file names, are escaped."""

    def write(self, text: str) -> int:
        super().write("\t".join(printable(part) for part in text.split("\t")))
        return len(text)


def open_streams() -> None:
    """Replace standard output and error by streams on which printing never fails; calling it again changes nothing.

    A character that the encoding lacks is written as a backslash escape. Output to a closed stream is dropped. If the
    output is not a terminal, control characters are escaped.
    """
    for number in (0, 1, 2):  # a closed one would be given to the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and _is_file(stream):
            stream.flush()
            kind = io.TextIOWrapper if stream.isatty() else _Text
            lines = number == 2 or stream.line_buffering or stream.write_through
            buffer = io.BufferedWriter(_Sink(number))
            setattr(sys, name, kind(buffer, stream.encoding, "backslashreplace", line_buffering=lines))


def _is_file(stream: Any) -> bool:
    """Whether a stream writes bytes to a file or pipe; not so the console of Windows, or what a test puts there."""
    buffer = getattr(stream, "buffer", None)
    return isinstance(getattr(buffer, "raw", buffer), io.FileIO)


@contextmanager
def streams() -> Iterator[None]:
    """Call `open_streams`, and exit with code 1 at the end if the output could not be written completely.

    A pipe that its reader closed early, as ``head`` does, is not an error.
    """
    open_streams()
    try:
        yield
    except SystemExit as ended:
        if ended.code:
            raise
    lost = _lost()
    if lost is not None and lost.errno not in (errno.EPIPE, errno.EBADF):
        sys.exit(f"error: standard output: {lost.strerror}; the output is incomplete")


def _lost() -> OSError | None:
    """Why standard output was not written completely; None if it was."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Sink) else None


def print_table(console: "Console", table: "Table") -> None:
    """Print a table with every cell whole, also where the terminal is too narrow for it.

    There each row is a paragraph: the first cell, then the others, each behind its column's header. A file or pipe has
    no width and gets the table.

    Args:
        console: where; its width decides.
        table: headers and cells are texts. A column with ``overflow="fold"`` may be narrow, the others are not wrapped.
    """
    from rich.padding import Padding
    from rich.segment import Segment, Segments
    from rich.text import Text

    columns = [[Text.from_markup(str(cell)) for cell in column.cells] for column in table.columns]
    rows = list(zip(*columns, strict=True))
    needed = 0
    for index, column in enumerate(table.columns):
        widths = [len(str(column.header)), *(row[index].cell_len for row in rows)]
        column.no_wrap = column.overflow != "fold"
        needed += 2 + (max(widths) if column.no_wrap else min(max(widths), _FOLDED))
    if needed <= console.width:
        console.print(table)
        return
    if not console.is_terminal:
        for line in console.render_lines(table, console.options.update(width=needed), pad=False):
            console.print(Segments([*line, Segment.line()]), soft_wrap=True)
        return
    first, *others = table.columns
    for row in rows:
        console.print(row[0] if first.justify == "left" else Text(f"{first.header} ").append_text(row[0]), style="bold")
        named = [(f"{column.header} ".lstrip(), cell) for column, cell in zip(others, row[1:], strict=True)]
        text = Text(", ").join(Text(name).append_text(cell) for name, cell in named if cell.plain)
        console.print(Padding(text, (0, 0, 0, 2)))


_FOLDED = 20  # columns that a folded cell needs at least
