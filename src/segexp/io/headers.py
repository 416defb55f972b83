"""The size that a PNG, JPEG, BMP or WebP file declares, from its first bytes and without decoding.

OpenCV reports an image's size only after allocating it; these few fields give it before. The kind is recognised by the
content, as in OpenCV, and only these four kinds are passed to it.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PNG_CHANNELS = {0: (1, 1), 2: (3, 3), 3: (1, 4), 4: (2, 4), 6: (4, 4)}  # as stored, and as OpenCV decodes them
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


class Header(NamedTuple):
    """What a picture's first bytes declare: its `kind`, its size, bytes a pixel as decoded and bits as stored."""

    kind: str
    height: int
    width: int
    itemsize: int
    bits: int


def declared_size(data: bytes) -> Header | None:
    """The header of a PNG, JPEG, BMP or WebP; None if the content is none of the four or is cut short."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
            stored, decoded = _PNG_CHANNELS.get(colour, (4, 4))
            return Header("PNG", height, width, decoded * (2 if depth == 16 else 1), max(1, depth) * stored)
        if data[:2] == b"BM":
            return _bmp(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
    except (struct.error, IndexError):
        return None
    return None


def png_is_indexed(data: bytes) -> bool:
    """Whether a PNG's pixels are entries of a palette."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[25:26] == b"\x03"


def png_stretch(data: bytes) -> int:
    """The factor by which OpenCV stretches a grey PNG of 1, 2 or 4 bits to 0 to 255; 1 for other pictures."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[25:26] != b"\0" or data[24] not in (1, 2, 4):
        return 1
    return 255 // ((1 << data[24]) - 1)


def frames(data: bytes) -> int:
    """How many images an animated PNG or WebP declares; 1 for all other pictures."""
    if data[:4] == b"RIFF" and data[12:16] == b"VP8X" and data[20] & 2:
        return max(2, sum(name == b"ANMF" for name, _ in _webp_chunks(data)))
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        position = 8
        while position + 16 <= len(data) and (name := data[position + 4 : position + 8]) != b"IDAT":
            if name == b"acTL":
                return max(1, int.from_bytes(data[position + 8 : position + 12], "big"))
            position += 12 + int.from_bytes(data[position : position + 4], "big")
    return 1


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP, 1 to 8; 1 (not rotated) if it has none."""
    for mark in (b"Exif\0\0", b"eXIf", b"EXIF"):  # JPEG's, PNG's (behind its length), WebP's (before its length)
        at = data.find(mark, 0, 1 << 17)
        if at < 0:
            continue
        block = data[at + (8 if mark == b"EXIF" else len(mark)) :][: 1 << 16]
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
        if order is None:
            continue
        try:
            (start,) = struct.unpack(order + "I", block[4:8])
            (count,) = struct.unpack(order + "H", block[start : start + 2])
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind = struct.unpack(order + "HH", block[entry : entry + 4])
                if (tag, kind) == (274, 3):
                    (turn,) = struct.unpack(order + "H", block[entry + 8 : entry + 10])
                    return int(turn) if 1 <= turn <= 8 else 1
        except struct.error:
            return 1
    return 1


def _bmp(data: bytes) -> Header:
    (header,) = struct.unpack("<I", data[14:18])
    width, height = struct.unpack("<HH", data[18:22]) if header == 12 else struct.unpack("<ii", data[18:26])
    return Header("BMP", abs(height), abs(width), 4, 8)  # a negative height means rows from the top


def _webp(data: bytes) -> Header | None:
    kind, body = data[12:16], data[20:]
    if kind == b"VP8X":  # the canvas that later chunks are drawn on
        height, width = (1 + int.from_bytes(body[start : start + 3], "little") for start in (7, 4))
        return Header("WebP", height, width, 4, 32)
    if kind == b"VP8L" and body[0] == 0x2F:
        (bits,) = struct.unpack("<I", body[1:5])
        return Header("WebP", 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 4, 32)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return Header("WebP", height & 0x3FFF, width & 0x3FFF, 4, 32)
    return None


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and position of each part of a WebP."""
    position = 12
    while position + 8 <= len(data):
        yield data[position : position + 4], position
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2


def _jpeg(data: bytes) -> Header | None:
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill bytes
            position += 1
        elif marker in _JPEG_BARE:
            position += 2
        elif marker in _JPEG_FRAMES:
            height, width, components = struct.unpack(">HHB", data[position + 5 : position + 10])
            itemsize = max(components, 1) * (2 if data[position + 4] > 8 else 1)
            return Header("JPEG", height, width, itemsize, 8 * itemsize)
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return None
