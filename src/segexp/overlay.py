"""Pictures of an image with outlines of truth and prediction."""

import cv2
import numpy as np
from numpy.typing import NDArray

TRUTH = (0, 200, 90)
PREDICTION = (255, 60, 200)
"""Green and magenta as (red, green, blue): told apart with any common colour vision."""


def to_display(pixels: NDArray) -> NDArray[np.uint8]:
    """Stretch (C, H, W) of any dtype between its 0.5 and 99.8 percentiles to RGB uint8 (H, W, 3)."""
    image = np.moveaxis(pixels, 0, 2).astype(np.float32)
    low, high = np.percentile(image, (0.5, 99.8))
    stretched = np.clip((image - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1) * 255
    return np.repeat(stretched, 3, axis=2).astype(np.uint8) if image.shape[2] == 1 else stretched.astype(np.uint8)


def outline(picture: NDArray[np.uint8], mask: NDArray, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Draw the borders of a boolean mask (H, W) on a picture (h, w, 3) that shows it at an integer scale."""
    scale = picture.shape[0] // mask.shape[0]
    large = cv2.resize(mask.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, colour, 1)


def overlay(pixels: NDArray, truth: NDArray | None, prediction: NDArray) -> NDArray[np.uint8]:
    """The image beside the same image with outlines: truth green, prediction magenta. RGB uint8.

    Pixels (C, H, W), masks boolean (H, W). Images under 600 pixels are shown at a whole multiple of their size.
    """
    display = to_display(pixels)
    scale = max(1, 600 // max(display.shape[:2]))
    display = cv2.resize(display, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    marked = display if truth is None else outline(display, truth, TRUTH)
    return np.concatenate([display, outline(marked, prediction, PREDICTION)], axis=1)


def write_png(path: str, picture: NDArray[np.uint8]) -> None:
    """Write RGB (H, W, 3) or grey (H, W) uint8."""
    _, encoded = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
    with open(path, "wb") as file:
        file.write(encoded.tobytes())
