"""Masks as pictures in colour, drawn in a transparent layer, or one-hot: turned into class ids, alike for all files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.images import read_image

COLOURS = 64
"""More colours than this are those of a photograph or of JPEG."""

Colour = tuple[int, ...]


def read_picture(path: Path) -> NDArray:
    """Pixels (H, W, C) of a picture, or of an array (H, W, K) or (K, H, W) of 0 and 1."""
    if path.suffix.lower() == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.asarray(array)
    pixels = read_image(path)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def colours_of(paths: Iterable[Path], background: Colour | None) -> list[Colour]:
    """The colours of all files but the background, sorted: the first is class 1; transparent pixels are background.

    Raises:
        InputError: where a file has more than a few flat colours, or no pixel that is surely background.
    """
    colours: set[Colour] = set()
    for path in paths:
        opaque, shades = _opaque(read_picture(path)), _shades(read_picture(path))
        mine = {tuple(int(value) for value in colour) for colour in np.unique(shades[opaque], axis=0)}
        transparent = not opaque.all()
        if len(mine) > COLOURS:
            raise InputError(
                f"{path}: {len(mine)} colours; expected a few flat colours: JPEG compression and smooth edges "
                "add others"
            )
        black = (0,) * shades.shape[2]
        if background is None and not transparent and black not in mine:
            shown = " or ".join(",".join(map(str, colour)) for colour in sorted(mine)[:4])
            raise InputError(
                f"{path}: no black and no transparent pixels; name the background colour: --background {shown}"
            )
        colours |= mine - {background if background is not None else None if transparent else black}
    return sorted(colours)


def class_map(path: Path, colours: list[Colour]) -> NDArray[np.uint8]:
    """Class ids (H, W) of a picture: the place of each pixel's colour in `colours` from 1, 0 elsewhere."""
    pixels = read_picture(path)
    opaque, shades = _opaque(pixels), _shades(pixels)
    result = np.zeros(opaque.shape, np.uint8)
    for number, colour in enumerate(colours, 1):
        result[opaque & (shades == np.array(colour)).all(axis=2)] = number
    return result


def one_hot(path: Path) -> NDArray[np.uint8]:
    """Class ids (H, W) of an array (H, W, K) or (K, H, W) with 1 in the layer of the pixel's class.

    Where every pixel has a layer the first is background, else pixels without one are.

    Raises:
        InputError: where there are no layers of 0 and 1, or a pixel is in several.
    """
    array = read_picture(path)
    if array.ndim != 3 or array.dtype.kind not in "buif" or not np.isin(np.unique(array), (0, 1, 255)).all():
        raise InputError(
            f"{path}: shape {array.shape}, {array.dtype}; expected layers (H, W, K) of 0 and 1, one for each class"
        )
    layers = (array if array.shape[2] <= array.shape[0] else np.moveaxis(array, 0, 2)) != 0
    count = layers.sum(axis=2)
    if count.max() > 1:
        raise InputError(f"{path}: pixels of several classes at once; expected each pixel in one layer")
    ids = layers.argmax(axis=2)
    return (ids if count.min() == 1 else np.where(count == 1, ids + 1, 0)).astype(np.uint8)


def _opaque(pixels: NDArray) -> NDArray[np.bool_]:
    if pixels.shape[2] not in (2, 4):
        return np.ones(pixels.shape[:2], bool)
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return pixels[..., -1] > top / 2


def _shades(pixels: NDArray) -> NDArray:
    return pixels[..., :3] if pixels.shape[2] in (3, 4) else pixels[..., :1]
