"""PNG, JPEG, BMP and WebP: decoded as a whole by OpenCV, after their declared size has been checked.

Pixels are returned as stored. An EXIF orientation is reported but not applied: Fiji does not apply it either, and a
mask of another format has none, so that rotating an image without its mask would be an error that nobody notices.
"""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from segexp.errors import InputError
from segexp.io.channels import lookup_direction
from segexp.io.headers import declared_size, exif_orientation, frames, png_is_indexed, png_stretch
from segexp.io.integrity import what_is_missing
from segexp.io.limits import check_declared, check_scans


class PictureReader:
    """One picture; see `segexp.io.tiff.TiffReader` for the attributes. It is decoded when it is opened.

    Args:
        path: the file.
        raw: give a PNG's values as stored: the entries of its palette instead of its colours, and 0 and 1 of a single
            bit where an image has 0 and 255. For masks.

    Raises:
        InputError: if the file is damaged, incomplete, an animation, or too large.
    """

    def __init__(self, path: Path, raw: bool = False):
        self.path = path
        data = path.read_bytes()
        size = declared_size(data)
        if size is None:
            other = "; it holds a TIFF: rename it to .tif" if data[:4] in (b"II*\0", b"MM\0*") else ""
            raise InputError(f"{path}: damaged, or not a {path.suffix} file{other}")
        if size.height < 1 or size.width < 1:
            raise InputError(f"{path}: damaged; its header says {size.height}x{size.width} pixels")
        # several pixels to a byte: what the file's bytes may grow to is judged before they are spread out
        check_declared(path, (size.height, size.width), size.itemsize, len(data) * 8 * size.itemsize // size.bits)
        missing = what_is_missing(data, size.kind)
        if missing:
            raise InputError(f"{path}: {missing}; expected the whole file: copy or export it again")
        if size.kind == "JPEG":
            check_scans(path, data)
        images = frames(data)
        if images > 1:
            raise InputError(
                f"{path}: an animation of {images} images; expected one: save the image you need separately"
            )
        pixels = _indexed(path, data, raw) if png_is_indexed(data) else None
        if pixels is None:
            pixels = _decode(data)
            if pixels is not None and raw:
                pixels //= np.uint8(png_stretch(data)) if pixels.dtype == np.uint8 else np.uint16(1)
        if pixels is None or pixels.shape[:2] != (size.height, size.width):
            raise InputError(f"{path}: damaged, or not a {size.kind} file that can be read")
        self._pixels = pixels.reshape(*pixels.shape[:2], -1)
        self.pages, self.planes, self.axis, self.orientation = 1, 1, "", exif_orientation(data)
        self.height, self.width, self.channels = self._pixels.shape
        self.colour = self.channels in (3, 4)
        self.lossy = size.kind in ("JPEG", "WebP")
        self.dtype = self._pixels.dtype
        self.pixel_size: tuple[float, float] | None = None

    def close(self) -> None:
        """Let go of the pixels."""
        self._pixels = self._pixels[:0].copy()

    def read(self, page: int, top: int, left: int, height: int, width: int) -> NDArray:
        """The window, which must lie inside: (height, width, channels), colours red, green, blue."""
        return self._pixels[top : top + height, left : left + width].copy()


def _decode(data: bytes) -> NDArray | None:
    # imdecode rather than imread: it takes any path (imread fails on non-ASCII ones on Windows)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _indexed(path: Path, data: bytes, raw: bool) -> NDArray | None:
    """Entries of the palette of an indexed PNG; None if its colours are expected, which OpenCV gives.

    Images need the colours, unless the palette is a lookup table: see `segexp.io.channels.lookup_direction`.
    """
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(data))
        entries = np.asarray(image)
        if raw:
            return entries
        colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
        direction = lookup_direction(colours, 256)
        return None if direction == 0 else entries if direction > 0 else 255 - entries
    except Exception as error:  # Pillow raises SyntaxError, OSError, ValueError and others on damaged files
        raise InputError(f"{path}: damaged, or not a PNG file that can be read ({error})") from None
