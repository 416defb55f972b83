"""Read pixels as the file holds them: 16-bit stays 16-bit, float stays float.

tifffile reads TIFF (every dtype and compression, with imagecodecs), NumPy reads ``.npy``, OpenCV the rest. OpenCV alone
would return page 0 of a stack and 8 bits of a 16-bit file, and nothing at all for a broken one.
"""

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from segexp.errors import InputError

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".npy")
IGNORE = 255
"""Label of a pixel that nobody annotated: no loss and no score counts it."""

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the rule OpenCV and Fiji's "weighted" conversion use


def read_image(path: str | Path) -> NDArray:
    """Read an image as (H, W), or (H, W, C) with colours in the order red, green, blue.

    The dtype is the file's: uint8, uint16, float32 and so on. Raises `InputError` naming the file where it is missing,
    empty, damaged, a stack of several pages, or not numeric.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        pixels = _read_tiff(path)
    elif suffix == ".npy":
        pixels = _read_npy(path)
    elif suffix in IMAGE_SUFFIXES:
        pixels = _read_opencv(path)
    else:
        raise InputError(f"{path}: {suffix or 'no suffix'}; images may be {', '.join(IMAGE_SUFFIXES)}")
    return _channels_last(pixels, path)


def read_mask(path: str | Path) -> NDArray:
    """Read a mask ``.npy`` as (H, W) in the file's dtype; a single leading or trailing axis of length 1 is dropped.

    Pickled objects are refused (``allow_pickle=False``). Raises `InputError` naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() != ".npy":
        raise InputError(f"{path}: masks are NumPy files (.npy), written by numpy.save(path, mask)")
    mask = _read_npy(path)
    if mask.ndim == 3 and 1 in (mask.shape[0], mask.shape[2]):
        mask = mask[0] if mask.shape[0] == 1 else mask[..., 0]
    if mask.ndim != 2 or mask.size == 0:
        raise InputError(f"{path}: shape {mask.shape}; a mask is (height, width)")
    return mask


def label_map(mask: NDArray, classes: int, path: str | Path = "mask") -> NDArray[np.uint8]:
    """Turn mask values into labels 0 (background) to `classes`, as uint8 (H, W).

    One class: bool, 0/1 or 0/255. More classes: integers 0 to `classes`. Anything else raises `InputError` with the
    values
    found: what they mean is a question for the person who drew them.
    """
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if not np.issubdtype(mask.dtype, np.number) or np.issubdtype(mask.dtype, np.complexfloating):
        raise InputError(f"{path}: dtype {mask.dtype}; a mask holds bool or integers")
    values = _distinct(mask)
    if values <= set(range(classes + 1)):
        return mask.astype(np.uint8)
    if classes == 1 and values <= {0, 255}:
        return (mask == 255).astype(np.uint8)
    shown = ", ".join(f"{value:g}" for value in sorted(values)[:6]) + (", ..." if len(values) > 6 else "")
    wanted = "bool, 0/1 or 0/255" if classes == 1 else f"class ids 0 to {classes} (task.classes has {classes})"
    raise InputError(f"{path}: values {shown}; wanted {wanted}")


def to_channels(pixels: NDArray, channels: int, path: str | Path = "image") -> NDArray:
    """Bring (H, W) or (H, W, C) to (C, H, W) with 1 or 3 channels, keeping the dtype.

    Colour asked for as one channel becomes grey by the luma weights 0.299, 0.587, 0.114 (three equal channels keep
    their values exactly); grey asked for as three is repeated; a fourth (alpha) channel is dropped.
    """
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4):
        raise InputError(f"{path}: shape {pixels.shape}; wanted (height, width) or (height, width, 3)")
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # grey with alpha
        pixels = pixels[..., 0]
    colour = pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] in (3, 4) else None
    if channels == 3:
        if colour is None:
            colour = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
        return np.ascontiguousarray(np.moveaxis(colour, 2, 0))
    if channels != 1:
        raise InputError(f"data.channels={channels}: wanted 1 (grey) or 3 (colour)")
    if colour is None:
        return np.ascontiguousarray(pixels.reshape(1, *pixels.shape[:2]))
    red, green, blue = np.moveaxis(colour, 2, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red[None])
    grey = colour @ _LUMA
    if np.issubdtype(pixels.dtype, np.integer):
        grey = np.rint(grey)
    return grey.astype(pixels.dtype)[None]


def _read_tiff(path: Path) -> NDArray:
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            pixels = series.asarray()
            pages = [axis for axis, length in zip(series.axes, series.shape, strict=True) if length > 1]
    except Exception as error:  # tifffile and imagecodecs raise many types on damaged files
        raise InputError(f"{path}: cannot be read as TIFF ({error})") from None
    if len(pages) > 2 and "S" not in pages:  # S: the samples of a colour; all else is a stack, however short
        raise InputError(
            f"{path}: a stack of shape {pixels.shape} (axes {series.axes}); wanted one image (height, width)"
        )
    return pixels


def _read_npy(path: Path) -> NDArray:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises ValueError, EOFError, OSError, SyntaxError on damaged headers
        raise InputError(f"{path}: cannot be read as a NumPy file ({error})") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an archive of several arrays; wanted one array written by numpy.save")
    return array


def _read_opencv(path: Path) -> NDArray:
    # imdecode rather than imread: it takes any path (imread fails on non-ASCII ones on Windows)
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: damaged, or not a {path.suffix} file")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels


def _channels_last(pixels: NDArray, path: Path) -> NDArray:
    """Accept (H, W), (H, W, 2..4) and planar (2..4, H, W); refuse the rest by its shape."""
    squeezed = pixels.reshape([n for n in pixels.shape if n != 1] or [1])
    if pixels.size and squeezed.ndim == 1:  # an image one pixel high or wide
        squeezed = pixels.reshape(pixels.shape[-2:]) if pixels.ndim >= 2 else squeezed
    if not np.issubdtype(pixels.dtype, np.number) and pixels.dtype != bool:
        raise InputError(f"{path}: dtype {pixels.dtype}; an image holds numbers")
    if np.issubdtype(pixels.dtype, np.complexfloating):
        raise InputError(f"{path}: complex numbers; wanted real intensities")
    if squeezed.size and squeezed.ndim == 2:
        return squeezed
    if squeezed.size and squeezed.ndim == 3:
        if squeezed.shape[2] in (2, 3, 4):
            return squeezed
        if squeezed.shape[0] in (2, 3, 4):
            return np.moveaxis(squeezed, 0, 2)
    raise InputError(
        f"{path}: shape {pixels.shape}; wanted one image (height, width) or (height, width, colours), not a stack"
    )


def _distinct(mask: NDArray) -> set[float]:
    """The distinct values; a fast path for 8-bit masks, which are nearly all masks."""
    if mask.dtype == np.uint8:
        return {float(value) for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))}
    return {float(value) for value in np.unique(mask)}
