"""Write TIFF files atomically, from top to bottom while they are being computed.

An image that easily fits in memory is written in strips with ImageJ's metadata, which ImageJ itself opens; a larger
one, or a long stack, in tiles, as OME-TIFF (and BigTIFF over 2 GiB), which Fiji opens through Bio-Formats, and QuPath
and napari by window. Both are compressed by deflate and keep the pixel size. A thread compresses while the network
predicts.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from segexp.io.atomic import partial, sync

TILE = 512
TILED = 1 << 25
"""Number of pixels of a page from which an image is written in tiles."""
LONG = 1 << 28
"""Bytes of a stack from which it is written in tiles, however small its pages: strips are written at the end."""
WAITING = 2
"""Bands that may wait for the compressor."""

Size = tuple[float, float]


class TiffStream:
    """A TIFF of (pages, H, W) pixels, filled by rows in order: `add` each band, then `finish`, or `abandon`.

    With `samples` over 1, a small image becomes a stack of one page a sample, a tiled one holds samples side by side.

    Args:
        path: final path of the file; until then it has the hidden name `hidden`, in the same folder.
        shape: (pages, H, W).
        samples: values a pixel.
        dtype: uint8, uint16, uint32 or float32.
        pixel_size: micrometres (y, x), or None.
        axis: what the pages are, ``Z`` slices or ``T`` times.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        samples: int,
        dtype: np.dtype,
        pixel_size: Size | None,
        axis: str = "T",
    ):
        self.path, self.shape, self.samples, self.dtype, self.axis = path, shape, samples, np.dtype(dtype), axis
        size = math.prod(shape) * samples * self.dtype.itemsize
        self.tiled = shape[1] * shape[2] >= TILED or size > LONG
        self.tile = (_tile_side(shape[1]), _tile_side(shape[2]))
        self.hidden = partial(path)
        self._queue: Queue[NDArray | None] = Queue(WAITING)
        self._failure: BaseException | None = None
        self._closed = False  # whether the last band was announced
        self._ended = False  # whether the writing thread has taken the last band
        self._thread = Thread(target=self._write, args=(self._arguments(pixel_size),), daemon=True)
        self._thread.start()

    def add(self, rows: NDArray) -> None:
        """Append rows (h, W), or (h, W, samples).

        Raises:
            OSError: if earlier rows could not be written, for example because the disk is full.
        """
        if self._failure is not None:
            raise self._failure
        self._queue.put(rows.astype(self.dtype, copy=False))

    def finish(self) -> Path:
        """Write the remaining rows; returns the path of the complete file, which still has its hidden name.

        Raises:
            OSError: if rows could not be written, for example because the disk is full; the file is removed.
        """
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            self.hidden.unlink(missing_ok=True)
            raise self._failure
        sync(self.hidden)
        return self.hidden

    def abandon(self) -> None:
        """Stop, and leave no file."""
        self._failure = self._failure or RuntimeError("abandoned")
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self.hidden.unlink(missing_ok=True)

    def _arguments(self, pixel_size: Size | None) -> dict[str, Any]:
        pages, height, width = self.shape
        imagej = not self.tiled and self.dtype != np.uint32
        side_by_side = self.tiled and self.samples > 1
        size = pages * height * width * self.samples * self.dtype.itemsize
        axes = f"{self.axis}YXS" if side_by_side else f"{self.axis}CYX"
        counts = (pages, height, width, self.samples) if side_by_side else (pages, self.samples, height, width)
        long = [(axis, n) for axis, n in zip(axes, counts, strict=True) if n > 1 or axis in "YX"]
        metadata: dict[str, Any] = {"axes": "".join(axis for axis, _ in long)}
        arguments: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}}  # higher ones save 1 %
        if pixel_size is not None:
            y, x = pixel_size
            if imagej:
                metadata["unit"] = "um"
                arguments["resolution"] = (1 / x, 1 / y)
            else:
                metadata |= {"PhysicalSizeX": x, "PhysicalSizeY": y}
                metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
                arguments |= {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
        if self.tiled:
            arguments["tile"] = self.tile
        if side_by_side:
            arguments |= {"planarconfig": "contig", "extrasamples": ["unspecified"] * (self.samples - 1)}
        shape = tuple(n for _, n in long)
        arguments |= {"shape": shape, "dtype": self.dtype, "metadata": metadata, "photometric": "minisblack"}
        return {"write": arguments, "file": {"imagej": imagej, "ome": not imagej, "bigtiff": size > 2**31}}

    def _write(self, arguments: dict[str, Any]) -> None:
        try:
            with tifffile.TiffWriter(self.hidden, **arguments["file"]) as file:
                if self.tiled:
                    file.write(self._tiles(), **arguments["write"])
                else:
                    pages = np.concatenate(list(self._bands())).reshape(*self.shape, self.samples)
                    file.write(np.moveaxis(pages, 3, 1).reshape(arguments["write"].pop("shape")), **arguments["write"])
        except BaseException as error:  # handed over to the thread that adds and closes
            self._failure = self._failure or error
            while not self._ended:  # nobody may wait for room for ever
                self._next()

    def _next(self) -> NDArray | None:
        rows = self._queue.get()
        self._ended = rows is None
        return rows

    def _bands(self) -> Iterator[NDArray]:
        while (rows := self._next()) is not None:
            yield rows
        if self._failure is not None:
            raise self._failure

    def _tiles(self) -> Iterator[NDArray]:
        """Rows cut into tiles, from left to right and top to bottom, page after page; tiles at the edge are padded."""
        _, height, width = self.shape
        tall, wide = self.tile
        kept: list[NDArray] = []
        count, left = 0, height  # rows held, rows of this page to come
        for rows in self._bands():
            while len(rows):
                take = min(len(rows), tall - count, left)
                kept.append(rows[:take])
                rows, count, left = rows[take:], count + take, left - take
                if count == tall or left == 0:
                    yield from _cut(np.concatenate(kept), width, tall, wide)
                    kept, count = [], 0
                if left == 0:
                    left = height


def _tile_side(length: int) -> int:
    """Side of the tiles along a side of the page: TIFF requires multiples of 16."""
    return min(TILE, -(-length // 16) * 16)


def _cut(rows: NDArray, width: int, tall: int, wide: int) -> Iterator[NDArray]:
    for x in range(0, width, wide):
        part = rows[:, x : x + wide]
        padding = [(0, tall - part.shape[0]), (0, wide - part.shape[1])] + [(0, 0)] * (part.ndim - 2)
        yield np.pad(part, padding) if part.shape[:2] != (tall, wide) else np.ascontiguousarray(part)


@contextlib.contextmanager
def finishing(streams: list[TiffStream]) -> Iterator[None]:
    """Finish all streams at the end of the block; abandon all if it fails."""
    try:
        yield
        for stream in streams:
            stream.finish()
    except BaseException:
        for stream in streams:
            stream.abandon()
        raise


def write_hidden(path: Path, content: bytes) -> Path:
    """Write a complete file under a hidden name beside `path`; returns the hidden path."""
    hidden = partial(path)
    with hidden_files({"": hidden}):
        hidden.write_bytes(content)
        sync(hidden)
    return hidden


@contextlib.contextmanager
def hidden_files(files: Mapping[str, Path]) -> Iterator[None]:
    """Remove the files, given by hidden names, if the block fails."""
    try:
        yield
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise
