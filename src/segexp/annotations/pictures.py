"""Convert masks in colour, in a transparent layer, or one-hot to class ids, consistently for all files."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.io.images import ImageFile, open_image
from segexp.io.npy import open_array

COLOURS = 64
"""Largest number of colours of a mask: more indicate a photograph or JPEG."""

CLASSES = 254
"""Most classes of a mask in uint8, in which 255 may stand for pixels that nobody annotated."""

Colour = tuple[int, int, int]
"""Red, green and blue; a grey value is three times the same."""

BLACK: Colour = (0, 0, 0)


class Picture(NamedTuple):
    """A picture whose colours are classes.

    Attributes:
        shades: (H, W, 3) colours, or (H, W, 1) grey values, integers.
        opaque: (H, W), False where it is transparent.
    """

    shades: NDArray
    opaque: NDArray[np.bool_]

    def is_colour(self, colour: Colour) -> NDArray[np.bool_]:
        """Where the opaque pixels have this colour, (H, W)."""
        return self.opaque & (self.shades == np.array(colour)).all(axis=2)

    def colours(self) -> set[Colour]:
        """The colours of its opaque pixels."""
        found = np.unique(self.shades[self.opaque], axis=0)
        grey = self.shades.shape[2] == 1
        return {(int(c[0]), int(c[0]), int(c[0])) if grey else (int(c[0]), int(c[1]), int(c[2])) for c in found}


def colour_text(colour: Colour) -> str:
    """A colour as ``--background`` takes it."""
    return str(colour[0]) if len(set(colour)) == 1 else ",".join(map(str, colour))


def read_picture(path: Path) -> Picture:
    """The colours of a picture; of one channel its values as they are stored, as `segexp.io.images.read_mask` does.

    Raises:
        InputError: for several channels that are not colours, fractions, NaN, and what `open_image` refuses.
    """
    with open_image(path) as file:
        grey, colour = len(file.shape) == 2, file.colour and file.shape[2:] in ((3,), (4,))
        if not grey and not colour:
            raise InputError(
                f"{path}: {file.shape[2]} channels that are not colours; expected a grey or RGB picture whose colours "
                "are classes. Save layers of classes as .npy (height, width, layers) of 0 and 1"
            )
        pixels = None if grey else file.read()
    if pixels is None:
        with ImageFile(path, raw=True) as stored:  # neither inverted nor through a lookup table
            pixels = stored.read()
    pixels = np.atleast_3d(pixels)
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and (pixels == np.rint(pixels)).all()):
        raise InputError(
            f"{path}: {pixels.dtype} with fractions, NaN or infinite values; expected whole numbers, one for each "
            "class. Probabilities need no conversion: train with task.masks=probabilities"
        )
    if pixels.shape[2] < 4:
        return Picture(pixels, np.ones(pixels.shape[:2], bool))
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    return Picture(pixels[..., :3], pixels[..., 3] > top / 2)


def colours_of(paths: Iterable[Path], background: Colour | None) -> list[Colour]:
    """The colours of all files but the background, sorted: the first is class 1; transparent pixels are background.

    Raises:
        InputError: if a file has more than a few flat colours, or no pixel that is surely background; if no file
            has the background that was named, or there are more colours than classes.
    """
    colours: set[Colour] = set()
    seen = False  # whether any file has background
    for path in paths:
        picture = read_picture(path)
        mine = picture.colours()
        transparent = not picture.opaque.all()
        if len(mine) > COLOURS:
            raise InputError(
                f"{path}: {len(mine)} colours; expected a few flat colours: JPEG compression and smooth edges "
                "add others"
            )
        if background is None and not transparent and BLACK not in mine:
            listed = " or ".join(colour_text(colour) for colour in sorted(mine)[:4])
            raise InputError(
                f"{path}: no black and no transparent pixels; name the background colour: --background {listed}"
            )
        seen |= transparent or background is None or background in mine
        colours |= mine - {_background(picture, background)}
    if colours and not seen and background is not None:
        listed = ", ".join(colour_text(colour) for colour in sorted(colours)[:6])
        raise InputError(
            f"--background {colour_text(background)}: no picture has this colour or transparent pixels; found {listed}"
        )
    if len(colours) > CLASSES:
        raise InputError(f"{len(colours)} colours over all pictures; expected at most {CLASSES} classes")
    return sorted(colours)


def class_map(path: Path, colours: list[Colour], background: Colour | None = None) -> NDArray[np.uint8]:
    """Class ids (H, W) of a picture: the place of each pixel's colour in `colours` from 1, 0 elsewhere.

    `background` is as in `colours_of`.
    """
    picture = read_picture(path)
    result = np.zeros(picture.opaque.shape, np.uint8)
    apart = _background(picture, background)
    for number, colour in enumerate(colours, 1):
        if colour != apart:
            result[picture.is_colour(colour)] = number
    return result


def _background(picture: Picture, background: Colour | None) -> Colour | None:
    """The colour of a picture's background; None if it is what is transparent."""
    return background if background is not None else BLACK if picture.opaque.all() else None


def read_layers(path: Path) -> NDArray[np.bool_]:
    """The layers (H, W, K) of a one-hot array (H, W, K) or (K, H, W).

    Raises:
        InputError: if there are no layers of 0 and 1, or a pixel is in several.
    """
    array = open_array(path)
    if array.ndim != 3 or array.dtype.kind not in "buif" or not np.isin(np.unique(array), (0, 1, 255)).all():
        raise InputError(
            f"{path}: shape {array.shape}, {array.dtype}; expected layers (H, W, K) of 0 and 1, one for each class"
        )
    layers = (array if array.shape[2] <= array.shape[0] else np.moveaxis(array, 0, 2)) != 0
    if layers.shape[2] > CLASSES:
        raise InputError(f"{path}: {layers.shape[2]} layers; expected at most {CLASSES}, one for each class")
    if layers.sum(axis=2).max(initial=0) > 1:
        raise InputError(f"{path}: pixels of several classes at once; expected each pixel in one layer")
    return layers


def background_layers(paths: Iterable[Path]) -> dict[int, bool]:
    """By the number of layers: whether the first is background, as where each pixel of all these files has a layer.

    Raises:
        InputError: as `read_layers`.
    """
    first: dict[int, bool] = {}
    for path in paths:
        layers = read_layers(path)
        count = layers.shape[2]
        first[count] = first.get(count, True) and bool(layers.any(axis=2).all())
    return first


def one_hot(path: Path, first_is_background: dict[int, bool]) -> NDArray[np.uint8]:
    """Class ids (H, W) of an array (H, W, K) or (K, H, W) with 1 in the layer of the pixel's class.

    Args:
        path: the file.
        first_is_background: what `background_layers` gives for all files; else pixels without a layer are background.

    Raises:
        InputError: as `read_layers`.
    """
    layers = read_layers(path)
    ids = layers.argmax(axis=2)
    first = 0 if first_is_background[layers.shape[2]] else 1
    return np.where(layers.any(axis=2), ids + first, 0).astype(np.uint8)
