"""Convert the channels of a file to those of a model."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the rule OpenCV and Fiji's "weighted" conversion use


_KEPT = (
    0.9  # levels of grey for a level of the brightest colour, from which luma is good enough for an image of one hue
)
_ORDINARY = -1


def to_channels(
    pixels: NDArray,
    channels: int,
    path: str | Path = "image",
    colour: bool | None = None,
    hue: int | None = None,
) -> NDArray:
    """Bring (H, W) or (H, W, C) to (channels, H, W), keeping the dtype; bool becomes uint8 0 and 1.

    `channels` 1: colour becomes grey by the luma weights 0.299, 0.587, 0.114 (three equal channels keep their values
    exactly), and an image of a single hue the values of its brightest colour (`single_hue`). 3: colour is kept, grey is
    repeated. Any number: a file with exactly that many channels keeps them. An alpha channel is dropped. Several
    channels that are not colours are never mixed: `InputError` asks for a choice.

    Args:
        colour: whether (H, W, 3 or 4) holds red, green, blue and perhaps alpha; None: yes, as far as the shape can
            tell, and of two channels the second is alpha.
        hue: for a window, `single_hue` of the whole image; None: `pixels` are the whole image.
    """
    if channels < 1:
        raise InputError(f"data.channels={channels}: expected 1 (grey), 3 (colour) or the number of channels to keep")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    stack = pixels.reshape(*pixels.shape[:2], -1)
    count = stack.shape[2]
    if count == 2 and colour is None and channels != 2:
        stack, count = stack[..., :1], 1
    if count in (3, 4) and colour is not False and not (colour is None and channels == 4 == count):
        stack, count, colour = stack[..., :3], 3, True
    if count == channels:
        pass
    elif count == 1 and channels == 3:
        stack = np.repeat(stack, 3, axis=2)
    elif count == 3 and channels == 1 and colour:
        hue = single_hue(lambda: [stack]) if hue is None else hue
        stack = _grey(stack) if hue == _ORDINARY else stack[..., hue : hue + 1]
    else:
        one = f"data.channel=1 to data.channel={count} chooses one, " if count > 1 else ""
        raise InputError(
            f"{path}: {count} channel{'s' if count > 1 else ''}, but data.channels={channels}; "
            f"{one}data.channels={count} keeps {'them' if count > 1 else 'it'}"
        )
    return np.ascontiguousarray(np.moveaxis(stack, 2, 0))


def single_hue(bands: Callable[[], Iterable[NDArray]], lossy: bool = False) -> int:
    """The colour (0 red, 1 green, 2 blue) that holds the intensities of an image of one hue; -1 for other images.

    A blue lookup table stores (0, 0, v), of which luma would leave 30 levels of 256. An image has one hue if two of its
    colours follow the third on a straight line, to rounding: proportional, or constant. Only integers lose levels.
    If luma keeps 9 of 10 levels, as in greys and near-greys, luma is used.

    Args:
        bands: returns an iterator over the image's bands (h, w, 3 or more), each time it is called.
        lossy: whether compression may have changed the colours a little.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for band in bands():
        colours = band.reshape(-1, band.shape[-1])[:, :3]
        if colours.dtype.kind not in "iu":
            return _ORDINARY
        lowest, highest = colours.min(axis=0).astype(float), colours.max(axis=0).astype(float)
        if not _on_a_line(colours, lowest, highest, lossy):
            return _ORDINARY  # nearly every picture in colours, after its first band
        low, high = np.minimum(low, lowest), np.maximum(high, highest)
    reach = high - low
    carrier = int(np.argmax(reach))
    if reach[carrier] == 0 or _LUMA @ reach / reach[carrier] >= _KEPT:
        return _ORDINARY
    alike = all(_on_a_line(band.reshape(-1, band.shape[-1])[:, :3], low, high, lossy) for band in bands())
    return carrier if alike else _ORDINARY


def _on_a_line(colours: NDArray, low: NDArray, high: NDArray, lossy: bool) -> bool:
    """Whether colours (N, 3) lie on the straight line from `low` (3,) to `high` (3,)."""
    reach = high - low
    carrier = int(np.argmax(reach))
    share = (colours[:, carrier] - low[carrier]) / max(reach[carrier], 1)
    allowed = 1.5 + (0.05 * reach[carrier] + 3 if lossy else 0)
    return all(
        (np.abs(colours[:, other] - (low[other] + share * reach[other])) <= allowed).all()
        for other in range(3)
        if other != carrier
    )


def lookup_direction(colours: NDArray[np.uint8], entries: int) -> int:
    """Whether a palette (N, 3) is a lookup table: 1 if it brightens with the entry, -1 if it darkens; 0 for a palette.

    A lookup table (Fiji's blue, fire and the like) has all `entries` that the bits of a pixel can index, and monotonic
    brightness; the index is then the intensity. A palette of greys alone stands for its grey values.
    """
    if len(colours) != entries or (colours == colours[:, :1]).all():
        return 0
    steps = np.diff(colours @ _LUMA)
    for direction in (1, -1):
        if (direction * steps >= 0).all() and (direction * steps > 0).mean() >= 0.75:
            return direction
    return 0


def _grey(colour: NDArray) -> NDArray:
    red, green, blue = np.moveaxis(colour, 2, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red[..., None]
    grey = colour @ _LUMA
    if np.issubdtype(colour.dtype, np.integer):
        grey = np.rint(grey)
    return grey.astype(colour.dtype)[..., None]
