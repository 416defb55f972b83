"""Check from its structure that a picture file is complete: OpenCV decodes truncated files without an error.

PNG has a checksum for each of its chunks and ends with IEND. JPEG ends with an end-of-image marker after the last scan;
its compressed data have no checksum, so flipped bits in the middle of it become wrong pixels and cannot be detected.
BMP and WebP state their length.
"""

import re
import struct
import zlib

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # neither stuffing, nor fill, nor a restart
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_END_OF_IMAGE = 0xD9


def what_is_missing(data: bytes, kind: str) -> str:
    """The damage in a file of `kind` PNG, JPEG, BMP or WebP, in words; empty if it is complete.

    Data after the end of the image are ignored.
    """
    try:
        return {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "WebP": _webp}[kind](data)
    except (struct.error, IndexError):
        return "truncated"


def _png(data: bytes) -> str:
    position = 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        end = position + 8 + length
        name = data[position + 4 : position + 8]
        if end + 4 > len(data):
            return f"truncated: its part {_name(name)} should end at byte {end + 4}, the file has {len(data)}"
        (checksum,) = struct.unpack(">I", data[end : end + 4])
        if name[:1].isupper() and zlib.crc32(data[position + 4 : end]) != checksum:  # small letters: notes, dates
            return f"damaged: the checksum of its part {_name(name)} at byte {position} does not match"
        if name == b"IEND":
            return ""
        position = end + 4
    return "truncated: no end of the image"


def _jpeg(data: bytes) -> str:
    position = 2
    while True:
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            return "truncated: no end of the image"
        marker, position = data[match.start() + 1], match.end()
        if marker == _END_OF_IMAGE:
            return ""
        if marker in _JPEG_BARE:
            continue
        (length,) = struct.unpack(">H", data[position : position + 2])
        position += max(2, length)
        if position > len(data):
            return "truncated within its header"


def _bmp(data: bytes) -> str:
    (start,) = struct.unpack("<I", data[10:14])
    (header,) = struct.unpack("<I", data[14:18])
    if header == 12:  # the format of OS/2
        width, height, _, bits = struct.unpack("<HHHH", data[18:26])
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    row = (abs(width) * bits + 31) // 32 * 4
    end = start + row * abs(height)
    if compression in (0, 3) and end > len(data):
        return f"truncated: its pixels should end at byte {end}, the file has {len(data)}"
    return ""


def _webp(data: bytes) -> str:
    (length,) = struct.unpack("<I", data[4:8])
    if 8 + length > len(data):
        return f"truncated: it should have {8 + length} bytes, the file has {len(data)}"
    return ""


def _name(name: bytes) -> str:
    return name.decode("ascii") if name.isalpha() else repr(name)
