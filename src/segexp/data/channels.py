"""From the channels of a file to the channels of a model."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the rule OpenCV and Fiji's "weighted" conversion use


def to_channels(pixels: NDArray, channels: int, path: str | Path = "image", colour: bool | None = None) -> NDArray:
    """Bring (H, W) or (H, W, C) to (channels, H, W), keeping the dtype; bool becomes uint8 0 and 1.

    `channels` 1: colour becomes grey by the luma weights 0.299, 0.587, 0.114 (three equal channels keep their values
    exactly). 3: colour is kept, grey is repeated. Any number: a file with just so many channels keeps them. An alpha
    channel is dropped. Several channels that are not colours are never mixed: `InputError` asks which.

    Args:
        colour: whether (H, W, 3 or 4) holds red, green, blue and perhaps alpha; None: yes, as far as the shape can
            tell, and of two channels the second is alpha.
    """
    if channels < 1:
        raise InputError(f"data.channels={channels}: wanted 1 (grey), 3 (colour) or the number of channels to keep")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    stack = pixels.reshape(*pixels.shape[:2], -1)
    held = stack.shape[2]
    if held == 2 and colour is None and channels != 2:
        stack, held = stack[..., :1], 1
    if held in (3, 4) and colour is not False and not (colour is None and channels == 4 == held):
        stack, held, colour = stack[..., :3], 3, True
    if held == channels:
        pass
    elif held == 1 and channels == 3:
        stack = np.repeat(stack, 3, axis=2)
    elif held == 3 and channels == 1 and colour:
        stack = _grey(stack)
    else:
        one = f"data.channel=1 to data.channel={held} chooses one, " if held > 1 else ""
        raise InputError(
            f"{path}: {held} channel{'s' if held > 1 else ''} (shape {pixels.shape}), but data.channels={channels}; "
            f"{one}data.channels={held} keeps {'them' if held > 1 else 'it'}"
        )
    return np.ascontiguousarray(np.moveaxis(stack, 2, 0))


def _grey(colour: NDArray) -> NDArray:
    red, green, blue = np.moveaxis(colour, 2, 0)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red[..., None]
    grey = colour @ _LUMA
    if np.issubdtype(colour.dtype, np.integer):
        grey = np.rint(grey)
    return grey.astype(colour.dtype)[..., None]
