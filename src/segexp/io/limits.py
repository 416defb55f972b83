"""Limits on the memory that a file may make segexp allocate, checked by its header before anything is decoded.

A few bytes can declare an image of a million by a million pixels. The declared size is therefore compared with the size
of the file: no common compression shrinks real images, or even empty ones, by more than `RATIO`. In addition, no single
read may take more than `largest()` bytes.
"""

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from segexp.errors import InputError

HARMLESS = 128 * 2**20
"""Bytes that a file of any size may declare: an empty mask of 8192x8192 pixels compresses to almost nothing."""

RATIO = 2000
"""Largest compression ratio that is accepted: deflate, and therefore PNG, reaches 1032 at best."""

LARGEST_GIB = 16.0
VARIABLE = "SEGEXP_MAX_GIB"
"""Environment variable that replaces `LARGEST_GIB`."""


SCANS = 100
"""Largest number of scans of a progressive JPEG: encoders write about 10, and each is decoded over the whole image."""

PIECES = {"strips": 1 << 15, "tiles": 1 << 15, "pages": 1 << 13}
"""Largest numbers of pieces below `PIECE` values: one takes as long as 10,000 values, a page as long as 100,000."""

PIECE = 1024


def largest() -> int:
    """Bytes that one read may take: 16 GiB, or what the environment variable ``SEGEXP_MAX_GIB`` says.

    Raises:
        InputError: if the variable is not a number.
    """
    text = os.environ.get(VARIABLE, str(LARGEST_GIB))
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < 2**20:
        raise InputError(f"{VARIABLE}={text}: expected a number of GiB, such as 16")
    return int(limit * 2**30)


def check_declared(path: str | Path, shape: Sequence[int], itemsize: int, stored: int | None = None) -> int:
    """Check the size of an array of `shape` and `itemsize` that `path` declares; returns its bytes.

    Args:
        path: the file, for the message.
        shape: the declared shape, or that of the part which is about to be read.
        itemsize: bytes a value.
        stored: bytes in the file from which it would be decoded, times 8 if a bit becomes a byte; None if the values
            are stored uncompressed and the length of the file was checked.

    Raises:
        InputError: if the declared size is implausible or too large.
    """
    size = prod(int(length) for length in shape) * itemsize
    claim = f"{path}: declares {'x'.join(str(length) for length in shape)} values, {_amount(size)}"
    if any(length < 0 for length in shape):
        raise InputError(f"{claim}; damaged")
    if stored is not None and size > max(HARMLESS, RATIO * stored):
        raise InputError(f"{claim}, but the file has {_amount(stored)}; not read: damaged, or made to exhaust memory")
    if size > largest():
        raise InputError(f"{claim}; one read may take {_amount(largest())} ({VARIABLE}=N allows N GiB)")
    return size


def check_scans(path: str | Path, data: bytes) -> None:
    """Raise `InputError` if a JPEG, or one segment of a TIFF, consists of more than `SCANS` scans."""
    scans = data.count(b"\xff\xda")  # the marker cannot occur within compressed data
    if scans > SCANS:
        raise InputError(
            f"{path}: a JPEG of {scans} scans; not read: encoders write about 10, and more than {SCANS} only waste time"
        )


def check_pieces(path: str | Path, count: int, values: int, name: str) -> None:
    """Raise `InputError` if `values` pixel values lie in too many (`count`) strips, tiles or pages (`name`)."""
    if count > PIECES[name] and values < count * PIECE:
        raise InputError(
            f"{path}: {count} {name} of {values / count:.3g} values each; more than {PIECES[name]} so small ones are "
            "not read: save the file again with larger ones"
        )


def _amount(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1e6 * factor else f"{size / factor:.0e} {unit}"
    return f"{size} bytes"
