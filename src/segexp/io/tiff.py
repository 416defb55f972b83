"""TIFF, page by page and window by window: only the strips or tiles that a window touches are read and decoded.

tifffile reads the tags and decodes segments. The meaning of the pages (channels, slices, times) comes from
`segexp.io.tiff_metadata` rather than from tifffile's series, which opens files that an OME-XML names and allocates as
many planes as it declares. Sizes are checked against the file's before anything is decoded.
"""

import logging
import struct
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.channels import lookup_direction
from segexp.io.headers import declared_size
from segexp.io.limits import PIECES, check_declared, check_pieces, check_scans
from segexp.io.tiff_metadata import PageTable, pixel_size, planes

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its remarks on damaged files are told by InputError

PHOTOMETRIC = 262
WHITE_IS_ZERO, RGB, PALETTE, YCBCR = 0, 2, 3, 6
_GREY_OR_COLOUR = {WHITE_IS_ZERO, 1, RGB, PALETTE, YCBCR, 4}
# none, CCITT, LZW, JPEG, deflate, packbits, LZMA, zstd: decoded into room of a size that is known before
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000}
_JPEG = 7
SUBIFDS = 64
"""Largest number of SubIFDs of a page that are read: levels of a pyramid."""
_LENGTHS = ("imagelength", "imagewidth", "samplesperpixel", "bitspersample")  # 1 or more, or damaged


class TiffReader:
    """One TIFF file, open for reading windows; closed by `close`.

    Args:
        path: the file.
        raw: return values as stored: no palette applied, white-is-zero not inverted. For masks.

    Attributes:
        pages: number of images (slices, times) in the file, channels not counted.
        height, width, channels: of each of them.
        colour: whether the channels are red, green, blue (and perhaps alpha).
        dtype: of what `read` returns.
        pixel_size: micrometres (y, x), or None if the file does not say.
        lossy: whether its compression changes values.
        orientation: as in EXIF and TIFF, 1 to 8; never applied.
        axis: what the images are, ``Z`` slices or ``T`` times; empty if the file does not say, or says both.
        planes: how many directories hold an image: its channels, unless they lie side by side.

    Raises:
        InputError: if the file is damaged, too large, or a TIFF that holds no image of a supported kind.
    """

    def __init__(self, path: Path, raw: bool = False):
        self.path = path
        with path.open("rb") as file:  # gives the error for a folder or a file without permission
            file.read(1)
        try:
            self._file = tifffile.TiffFile(path, is_ndpi=False, is_scanimage=False, is_lsm=False, _multifile=False)
        except Exception as error:  # tifffile raises many types on damaged files
            raise InputError(f"{path}: cannot be read as TIFF ({error})") from None
        try:
            self._describe(raw)
        except InputError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise InputError(f"{path}: cannot be read as TIFF ({error})") from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _describe(self, raw: bool) -> None:
        first, self._planes = self._arrange()
        self._first = first
        if first.dtype is None or first.dtype.kind == "c" or first.imagedepth != 1 or 0 in first.shape:
            kind = f"{first.bitspersample}-bit samples of format {first.sampleformat}"
            raise InputError(f"{self.path}: {kind}, shape {first.shape}; expected integers or floats in two dimensions")
        # a JPEG's YCbCr is turned into RGB by its decoder, no other's
        if first.photometric not in _GREY_OR_COLOUR or (first.photometric == YCBCR and first.compression != _JPEG):
            name = getattr(first.photometric, "name", first.photometric)
            raise InputError(f"{self.path}: {name} colours; save it as grey or RGB")
        self.height, self.width = first.imagelength, first.imagewidth
        palette = first.colormap if first.photometric == PALETTE and not raw else None
        if palette is not None and palette.max() > 255:
            palette = palette >> 8  # TIFF stores 16 bits of each colour, made of 8
        self._palette: NDArray | None = None if palette is None else palette.T.astype(np.uint8)
        self._inverted = first.tags.valueof(PHOTOMETRIC) == WHITE_IS_ZERO and not raw  # without the tag nothing says so
        direction = 0 if self._palette is None else lookup_direction(self._palette, 1 << first.bitspersample)
        if direction:
            self._palette, self._inverted = None, direction < 0
        self.dtype = np.dtype(np.uint8) if self._palette is not None else first.dtype.newbyteorder("=")
        samples = first.samplesperpixel
        self.colour = self._palette is not None or (first.photometric in (RGB, YCBCR) and samples in (3, 4))
        if samples == 2 and tuple(first.extrasamples) in ((1,), (2,)):
            samples = 1  # grey and alpha
        self._samples = 3 if self._palette is not None else samples
        if self.colour and self._planes.table.shape[1] > 1:
            self._planes = self._planes._replace(table=self._planes.table.reshape(-1, 1))
        self.pages, self.planes = self._planes.table.shape
        self.axis = self._planes.axis
        self.channels = self._planes.table.shape[1] * self._samples
        self.pixel_size = pixel_size(self._page(0) if self._planes.described else first)
        turn = first.tags.valueof(274, 1)
        self.lossy = first.compression == _JPEG
        self.orientation = turn if isinstance(turn, int) and 1 <= turn <= 8 else 1

    def _arrange(self) -> tuple[Any, PageTable]:
        """The page that represents all others, and which page of the file holds which channel of which slice."""
        offsets, first = self._directories(), self._page(0)
        check_pieces(self.path, len(offsets), len(offsets) * int(first.size), "pages")
        behind = self._file.filehandle.size - first.dataoffsets[0] if _is_plain(first) else 0
        # as ImageJ writes it, the directory stands in front and what follows the first plane are others
        following = behind - first.nbytes if behind and first.offset < first.dataoffsets[0] else 0
        description = planes(first, len(offsets), behind // max(first.nbytes, 1), self.path, following)
        if len(offsets) > 1 and not description.described:
            first, alike = self._alike(len(offsets))
            description = PageTable(np.array(alike, np.int64)[:, None])
        elif not description.contiguous:
            first = self._page(int(description.table.flat[0]))
        larger = self._larger_within(first)
        if larger is None:
            return first, description
        if description.table.size > 1:
            raise InputError(
                f"{self.path}: each page of {first.imagelength}x{first.imagewidth} pixels hides a larger one (SubIFD) "
                f"of {larger.imagelength}x{larger.imagewidth}; save the larger ones as an ordinary stack"
            )
        return larger, PageTable(np.zeros((1, 1), np.int64))

    def _alike(self, count: int) -> tuple[Any, list[int]]:
        """The first page of full resolution, and the numbers of all pages like it; thumbnails and levels are skipped.

        Skipped are pages marked as reduced and, in a file with one page of full resolution, smaller copies of it, each
        of another size. Raises `InputError` if a page of another size or type is neither.
        """
        facts = []
        for number in range(count):
            page = self._page(number)
            facts.append((page.imagelength, page.imagewidth, page.shape, page.dtype, int(page.subfiletype)))
            if number > PIECES["pages"] and page.shape != facts[0][2]:
                raise InputError(f"{self.path}: {count} pages of several sizes; expected pages of one size")
        full = [number for number in range(count) if not facts[number][4] & 5] or list(range(count))  # no mask either
        largest = max(full, key=lambda number: (facts[number][0] * facts[number][1], -number))
        tall, wide = facts[largest][:2]
        alike = [number for number in full if facts[number][2:4] == facts[largest][2:4]]
        others = [number for number in full if number not in alike]
        sizes = [facts[number][:2] for number in others]
        smaller = all(h <= 0.75 * tall and abs(h * wide - w * tall) <= tall + wide for h, w in sizes)
        if others and not (smaller and len(set(sizes)) == len(sizes) and len(alike) == 1):
            differing = others[0]
            raise InputError(
                f"{self.path}: page {differing + 1} is {_describe_type(*facts[differing][2:4])}, page {largest + 1} "
                f"{_describe_type(*facts[largest][2:4])}; expected pages of one size and type; save the pages "
                "you need as a stack of their own"
            )
        return self._page(largest), alike

    def _larger_within(self, page: Any) -> Any:
        """The largest image among the SubIFDs of a page if it is larger than the page itself; else None."""
        largest = page
        for number in range(min(len(page.subifds or ()), SUBIFDS)):
            inside = page.pages[number]
            inside = inside if isinstance(inside, tifffile.TiffPage) else inside.aspage()
            inside = _checked(inside, self.path, f"SubIFD {number + 1}")
            if inside.imagelength * inside.imagewidth > largest.imagelength * largest.imagewidth:
                largest = inside
        return None if largest is page else largest

    def _like(self, first: Any, page: Any) -> bool:
        return page is first or (page.shape == first.shape and page.dtype == first.dtype)

    def _directories(self) -> list[int]:
        """Offsets of all image directories; tifffile itself does not detect every circular chain."""
        file, tiff = self._file.filehandle, self._file.tiff
        offset, offsets, visited = self._page(0).offset, [], set()
        while offset and offset not in visited and offset < file.size:
            offsets.append(offset)
            visited.add(offset)
            try:
                file.seek(offset)
                (tags,) = struct.unpack(tiff.tagnoformat, file.read(tiff.tagnosize))
                file.seek(offset + tiff.tagnosize + tags * tiff.tagsize)
                (offset,) = struct.unpack(tiff.offsetformat, file.read(tiff.offsetsize))
            except struct.error:
                raise InputError(f"{self.path}: truncated within the directory of page {len(offsets)}") from None
        if offset:
            raise InputError(f"{self.path}: damaged; the directory after page {len(offsets)} lies at byte {offset}")
        return offsets

    def _page(self, number: int) -> Any:
        page = self._file.pages[number]
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        return _checked(page, self.path, f"page {number + 1}")

    def read(self, page: int, top: int, left: int, height: int, width: int) -> NDArray:
        """The window of page `page` (from 0), which must lie inside it: (height, width, channels).

        Raises:
            InputError: if the pixels are damaged.
        """
        try:
            table = self._planes.table[page]
            parts = [self._finish(self._plane(int(plane), top, left, height, width)) for plane in table]
        except InputError:
            raise
        except Exception as error:  # codecs raise whatever the damage makes them meet
            raise InputError(f"{self.path}: damaged within its pixels ({error})") from None
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def _finish(self, pixels: NDArray) -> NDArray:
        """Convert stored samples: palette applied, white-is-zero inverted."""
        pixels = pixels[..., : self._samples] if self._palette is None else pixels
        if self._palette is not None:
            if pixels.max(initial=0) >= len(self._palette):
                raise InputError(f"{self.path}: pixels beyond the {len(self._palette)} colours of its palette")
            return self._palette[pixels[..., 0]]
        if not self._inverted:
            return pixels
        if pixels.dtype.kind == "f":
            return -pixels
        bits = self._first.bitspersample
        return (1 << bits) - 1 - pixels if pixels.dtype.kind == "u" and bits < 8 * pixels.itemsize else ~pixels

    def _plane(self, plane: int, top: int, left: int, height: int, width: int) -> NDArray:
        first = self._first
        page = first if self._planes.contiguous or self._planes.table.size == 1 else self._page(plane)
        if not self._like(first, page):
            raise InputError(
                f"{self.path}: page {plane + 1} is {_describe_type(page.shape, page.dtype)}, the first "
                f"{_describe_type(first.shape, first.dtype)}; expected pages of one size and type"
            )
        if _is_plain(page):
            check_declared(self.path, (height, width, page.samplesperpixel), page.dtype.itemsize)
            offset = page.dataoffsets[0] + (plane * page.nbytes if self._planes.contiguous else 0)
            end = self.path.stat().st_size  # as it is now: reading beyond its end would end the process
            if offset + page.nbytes > end:
                raise InputError(f"{self.path}: truncated; page {plane + 1} reaches beyond the {end} bytes of the file")
            dtype = np.dtype(self._file.byteorder + page.dtype.char)
            stored = np.memmap(self.path, dtype, "r", offset, page.shaped)[:, 0, top : top + height]
            cut = np.moveaxis(stored[:, :, left : left + width], 0, 2)
            return cut.reshape(height, width, -1).astype(page.dtype.newbyteorder("="), copy=True)
        return self._decode(page, top, left, height, width)

    def _decode(self, page: Any, top: int, left: int, height: int, width: int) -> NDArray:
        """Decode the strips or tiles that the window touches."""
        if page.compression not in _COMPRESSIONS:
            name = getattr(page.compression, "name", page.compression)
            raise InputError(f"{self.path}: compression {name}; save it uncompressed, or with LZW, deflate or zstd")
        tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        across, down = ceil(page.imagewidth / wide), ceil(page.imagelength / tall)
        check_pieces(self.path, len(page.dataoffsets), int(page.size), "tiles" if page.is_tiled else "strips")
        separate = page.shaped[0]  # planes of samples, one after the other
        if len(page.dataoffsets) < separate * down * across or len(page.databytecounts) < separate * down * across:
            raise InputError(f"{self.path}: truncated; {len(page.dataoffsets)} of {separate * down * across} segments")
        strips = [
            (plane * down + row) * across + column
            for plane in range(separate)
            for row in range(top // tall, ceil((top + height) / tall))
            for column in range(left // wide, ceil((left + width) / wide))
        ]
        end, spread = self._file.filehandle.size, max(1, 8 * page.dtype.itemsize // int(page.bitspersample))
        for index in strips:
            start, stored = page.dataoffsets[index], page.databytecounts[index]
            if start == stored == 0:
                raise InputError(
                    f"{self.path}: segment {index} is not stored: a sparse TIFF, or one whose writing was interrupted; "
                    "save it with all its pixels"
                )
            if stored <= 0 or start <= 0 or start + stored > end:
                raise InputError(f"{self.path}: truncated; segment {index} lies outside the {end} bytes of the file")
            check_declared(self.path, (tall, wide, page.shaped[4]), page.dtype.itemsize, stored * spread)
        stored = spread * sum(page.databytecounts[index] for index in strips)
        check_declared(self.path, (height, width, page.samplesperpixel), page.dtype.itemsize, stored)
        result = np.empty((separate, height, width, page.shaped[4]), page.dtype.newbyteorder("="))
        for index in strips:
            segment, plane, y, x = self._segment(page, index, tall, wide)
            y0, x0 = max(y, top), max(x, left)
            y1, x1 = min(y + segment.shape[0], top + height), min(x + segment.shape[1], left + width)
            result[plane, y0 - top : y1 - top, x0 - left : x1 - left] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
        return result[0] if separate == 1 else np.moveaxis(result[..., 0], 0, 2)

    def _segment(self, page: Any, index: int, tall: int, wide: int) -> tuple[NDArray, int, int, int]:
        """Pixels (h, w, samples) of one strip or tile, its plane, and its first row and column."""
        file = self._file.filehandle
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        tables: dict[str, Any] = {}
        if page.compression == _JPEG:
            check_scans(self.path, data)
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
            inside = declared_size(data)
            if inside is None or inside.height > tall or inside.width > wide:
                raise InputError(f"{self.path}: damaged; a JPEG segment of another size than {tall}x{wide}")
        decoded, (plane, _, y, x, _), shape = page.decode(data, index, **tables)
        segment = np.asarray(decoded).reshape(shape)[0]
        rows, columns = page.imagelength - y, page.imagewidth - x
        return segment[:rows, :columns], plane, y, x


def _checked(page: Any, path: Path, name: str) -> Any:
    """The same page; `InputError` if a length of it is none."""
    for length in (*_LENGTHS, *(("tilelength", "tilewidth") if page.is_tiled else ("rowsperstrip",))):
        value = getattr(page, length)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{path}: damaged; the {length} of {name} is {value}")
    return page


def _is_plain(page: Any) -> bool:
    """Whether pixels lie in the file as in memory, byte order aside; `numpy.memmap` maps them at any offset."""
    return bool(page.is_final and page.dtype is not None)


def _describe_type(shape: tuple[int, ...], dtype: Any) -> str:
    return f"{'x'.join(map(str, shape))} {dtype}"
