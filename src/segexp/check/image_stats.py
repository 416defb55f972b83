"""Statistics of one image and of one mask: plain functions on arrays, a few milliseconds each.

Percentiles come from a histogram for 8 and 16 bits. Objects are 8-connected components. The descriptor, by which
near-duplicates are found, consists of 16 x 16 block means minus their smooth part: it agrees for two images of the
same scene under different light, compression or size, but not for images that share only their illumination.
"""

import functools
import hashlib
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp.io.labels import IGNORE

DESCRIPTOR = 16
"""Side of the descriptor in blocks."""

_CEILINGS = (255, 1023, 4095, 16383, 65535)  # the top of 8-, 10-, 12-, 14- and 16-bit cameras
_GREY = 0.01  # mean difference of two channels, as a share of the image's range, up to which they are one
_KEPT_OBJECTS = 512  # areas kept of one mask: enough for quantiles over the set, little enough for 100,000 images
_SAMPLED_PIXELS = 1_000_000  # of a float image, for its percentiles
_HISTOGRAM_PIXELS = 1 << 22  # counted at a time: bincount widens them to 8 bytes each


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one image.

    Attributes:
        shape: (channels, height, width) of the file.
        dtype: of the file.
        quantiles: minimum, 1 %, median, 99 % and maximum of all pixels.
        saturated: share of the pixels at the camera's ceiling (255, 4095, 65535, ...), where the maximum is one.
        values: number of different values, counted up to 3.
        grey: whether all channels are equal, up to compression artefacts of JPEG.
        digest: hash of shape, dtype and pixels: equal for equal images, whatever the file format.
        descriptor: float32 (256,) of norm 1, or zeros for an image without structure.
    """

    shape: tuple[int, int, int]
    dtype: str
    quantiles: tuple[float, float, float, float, float]
    saturated: float
    values: int
    grey: bool
    digest: str
    descriptor: NDArray[np.float32]

    @property
    def constant(self) -> bool:
        """Whether all pixels are the same."""
        return self.quantiles[0] == self.quantiles[-1]


@dataclass(frozen=True)
class MaskFacts:
    """Facts of one mask.

    Attributes:
        class_pixels: pixels of the labels 0 to K.
        ignored: share of the pixels that nobody annotated.
        objects: number of connected regions of foreground.
        areas: int32, pixels of each object, of up to 512 of them.
        middle: size in pixels of the object that contains the middle foreground pixel; specks hardly influence it.
        width: mean thickness of the foreground in pixels; 0 if there is none.
        digest: hash of the labels.
    """

    class_pixels: tuple[int, ...]
    ignored: float
    objects: int
    areas: NDArray[np.int32]
    middle: int
    width: float
    digest: str

    @property
    def foreground(self) -> float:
        """Share of foreground among the annotated pixels."""
        return sum(self.class_pixels[1:]) / max(sum(self.class_pixels), 1)


def image_facts(pixels: NDArray) -> ImageFacts:
    """Facts of an image (channels, height, width) of any real dtype without NaN; False and True count as 0 and 1."""
    dtype = str(pixels.dtype)
    pixels = pixels.view(np.uint8) if pixels.dtype == bool else pixels
    quantiles, saturated, values = _intensities(pixels)
    shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
    grey = all(_nearly_equal(pixels[0], other, quantiles[-1] - quantiles[0]) for other in pixels[1:])
    digest = _digest(pixels, str(shape), dtype)
    return ImageFacts(shape, dtype, quantiles, saturated, values, grey, digest, descriptor(pixels))


def mask_facts(labels: NDArray[np.uint8], classes: int) -> MaskFacts:
    """Facts of a label map (height, width) with labels 0 to `classes`, and 255 where nobody annotated."""
    counts = np.bincount(labels.ravel(), minlength=256)
    ignored = float(counts[IGNORE] / labels.size) if classes < IGNORE else 0.0
    foreground = ((labels > 0) & (labels != IGNORE)).view(np.uint8)
    class_pixels = tuple(int(count) for count in counts[: classes + 1])
    if not any(class_pixels[1:]):
        empty = np.zeros(0, np.int32)
        return MaskFacts(class_pixels, ignored, 0, empty, 0, 0.0, _digest(labels, str(labels.shape)))
    number, numbered = cv2.connectedComponents(foreground, connectivity=8)
    areas = np.sort(np.bincount(numbered.ravel(), minlength=number)[1:])  # three quarters of ...WithStats' time
    kept = areas[:: -(-len(areas) // _KEPT_OBJECTS)].astype(np.int32)
    middle = int(areas[np.searchsorted(areas.cumsum(), areas.sum() / 2)])
    width = _mean_width(foreground)
    return MaskFacts(class_pixels, ignored, number - 1, kept, middle, width, _digest(labels, str(labels.shape)))


def grown(facts: MaskFacts, step: int, counts: NDArray[np.int64]) -> MaskFacts:
    """Estimate the statistics of a whole mask from those of every `step`-th row and column.

    `counts`, (256,), are the pixels of each label in the whole mask: small objects may lie between the rows.
    """
    classes = len(facts.class_pixels) - 1
    return replace(
        facts,
        class_pixels=tuple(int(count) for count in counts[: classes + 1]),
        ignored=float(counts[IGNORE] / counts.sum()) if classes < IGNORE else 0.0,
        areas=np.minimum(facts.areas.astype(np.int64) * step**2, np.iinfo(np.int32).max).astype(np.int32),
        middle=facts.middle * step**2,
        width=facts.width * step,
    )


def descriptor(pixels: NDArray) -> NDArray[np.float32]:
    """Block means of (channels, height, width) less their blurred self, as a vector of norm 1, float32 (256,)."""
    plane = pixels[0] if len(pixels) == 1 else pixels.mean(axis=0, dtype=np.float32)
    if plane.dtype not in (np.uint8, np.uint16, np.float32):
        plane = plane.astype(np.float32)
    small = cv2.resize(plane, (DESCRIPTOR, DESCRIPTOR), interpolation=cv2.INTER_AREA)
    return unit_detail(small.astype(np.float32))


def unit_detail(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """A small picture minus its smooth part, flattened and scaled to norm 1; zeros if nothing remains."""
    slopes = _slopes(len(small))
    level = small - (slopes @ (slopes.T @ small.ravel())).reshape(small.shape)  # else the blur bends at the edges
    detail = (level - cv2.GaussianBlur(level, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)).ravel()
    norm = float(np.linalg.norm(detail))
    floor = 1e-5 * float(np.abs(small).max()) * len(detail) ** 0.5  # rounding, not structure
    return detail / np.float32(norm) if norm > floor else np.zeros_like(detail)


def _intensities(pixels: NDArray) -> tuple[tuple[float, float, float, float, float], float, int]:
    """Quantiles, share at the camera's ceiling, and the number of different values up to 3."""
    if pixels.dtype in (np.uint8, np.uint16):
        histogram = _histogram(pixels)
        present = np.flatnonzero(histogram)
        cumulative = histogram.cumsum()
        ranks = np.array((0.01, 0.5, 0.99)) * (pixels.size - 1)
        middle = np.searchsorted(cumulative, ranks, side="right")
        highest = int(present[-1])
        saturated = float(histogram[highest] / pixels.size) if highest in _CEILINGS else 0.0
        low, median, high = (float(value) for value in middle)
        return (float(present[0]), low, median, high, float(highest)), saturated, min(3, len(present))
    flat = pixels.ravel()
    lowest, highest_value = float(flat.min()), float(flat.max())
    sample = flat[:: -(-flat.size // _SAMPLED_PIXELS)]
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    saturated = float((flat == flat.max()).mean()) if highest_value in (1.0, *_CEILINGS) else 0.0
    values = min(3, len(np.unique(sample)))
    return (lowest, low, median, high, highest_value), saturated, values


@functools.cache
def _slopes(side: int) -> NDArray[np.float32]:
    """An orthonormal basis of the quadratic surfaces on a square of pixels, (side², 6)."""
    y, x = (np.mgrid[:side, :side] / max(side - 1, 1) - 0.5).reshape(2, -1)
    return np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0].astype(np.float32)


def _nearly_equal(first: NDArray, second: NDArray, span: float) -> bool:
    return bool(np.abs(np.subtract(first, second, dtype=np.float32)).mean() <= _GREY * span)


def _histogram(pixels: NDArray) -> NDArray[np.int64]:
    bins = np.iinfo(pixels.dtype).max + 1
    flat = pixels.ravel()
    total = np.zeros(bins, np.int64)
    for start in range(0, flat.size, _HISTOGRAM_PIXELS):
        total += np.bincount(flat[start : start + _HISTOGRAM_PIXELS], minlength=bins)
    return total


def _mean_width(foreground: NDArray[np.uint8]) -> float:
    """Thickness of a strip whose pixels lie as far from their border, on average, as the foreground's do.

    A strip's pixels lie a quarter of its width from the border on average; a disc of radius r counts as 4 r / 3 wide.
    """
    framed = np.pad(foreground, 1)  # what touches the image's edge ends there
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, 3)
    return max(1.0, 4 * float(distance[framed > 0].mean()) - 2)  # the nearest background pixel is one further out


def _digest(array: NDArray, *words: str) -> str:
    digest = hashlib.sha256(" ".join(words).encode())  # half of BLAKE2b's time where the processor helps
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
