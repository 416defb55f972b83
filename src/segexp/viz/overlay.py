"""Pictures of an image with outlines of truth and prediction."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.io.atomic import write_bytes

TRUTH = (0, 200, 90)
PREDICTION = (255, 60, 200)
"""Green and magenta as (red, green, blue): told apart with any common colour vision."""

Picture = NDArray[np.uint8]


def to_display(pixels: NDArray) -> Picture:
    """Stretch (C, H, W) of any dtype between its 0.5 and 99.8 percentiles to RGB uint8 (H, W, 3).

    One channel is grey, two are red and green, of more the first three are shown.
    """
    image = np.moveaxis(pixels[:3], 0, 2).astype(np.float32)
    if image.shape[2] == 2:
        image = np.dstack([image, np.full_like(image[..., 0], image.min())])
    low, high = np.percentile(image, (0.5, 99.8))
    stretched = np.clip((image - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1) * 255
    return np.repeat(stretched, 3 // image.shape[2], axis=2).astype(np.uint8)


def outline(picture: Picture, mask: NDArray, colour: tuple[int, int, int]) -> Picture:
    """Draw the borders of a boolean mask (H, W) on a picture (h, w, 3) that shows it at a whole multiple."""
    scale = picture.shape[0] // mask.shape[0]
    large = np.kron(mask.astype(np.uint8), np.ones((scale, scale), np.uint8))
    contours, _ = cv2.findContours(large.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    marked = picture.copy()
    cv2.drawContours(marked, contours, -1, colour, 1)
    return marked


def overlay(
    pixels: NDArray, truth: NDArray[np.uint8] | None, prediction: NDArray[np.uint8], classes: int = 1
) -> Picture:
    """The image beside the same image with outlines of each class: truth green, prediction magenta. RGB uint8.

    Pixels (C, H, W), label maps (H, W). Images under 600 pixels are shown at a whole multiple of their size.
    """
    display = to_display(pixels)
    scale = max(1, 600 // max(display.shape[:2]))
    display = display.repeat(scale, axis=0).repeat(scale, axis=1)
    marked = display
    for label in range(1, classes + 1):
        if truth is not None:
            marked = outline(marked, truth == label, TRUTH)
        marked = outline(marked, prediction == label, PREDICTION)
    return np.concatenate([display, marked], axis=1)


def encode_png(picture: Picture) -> bytes:
    """RGB (H, W, 3) or grey (H, W) uint8 as the content of a PNG file."""
    _, encoded = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
    return encoded.tobytes()


def write_png(path: str | Path, picture: Picture) -> None:
    """Write RGB (H, W, 3) or grey (H, W) uint8."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(Path(path), encode_png(picture))
