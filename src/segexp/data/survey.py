"""Statistics of an annotated image too large for memory, computed in bands of rows; equal to those of the whole."""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segexp.data.normalization import band_statistics, casts, check_float32
from segexp.data.reading import Pair, Reading, check_shapes, hue_of, locate, open_mask, read_mask_window, read_pixels
from segexp.io.images import ImageFile, MaskFile, open_image
from segexp.io.labels import IGNORE, Values, distinct, judge_values, uneven

LARGE = 1 << 26
"""Values from which an image is surveyed in bands."""

BAND = 1 << 22
"""Values in memory at a time."""


class PixelDigest:
    """A digest of pixels and labels that is the same whether they are given whole or in bands of rows."""

    def __init__(self) -> None:
        self._parts = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)

    def pixels(self, rows: NDArray) -> None:
        """The next rows (C, rows, W) of the image."""
        self._parts[0].update(np.ascontiguousarray(np.moveaxis(rows, 1, 0)).data)

    def labels(self, rows: NDArray[np.uint8]) -> None:
        """The next rows (rows, W) of the mask."""
        self._parts[1].update(np.ascontiguousarray(rows).data)

    def text(self) -> str:
        """Hexadecimal digits."""
        return "".join(part.hexdigest() for part in self._parts)


def is_large(pair: Pair, reading: Reading) -> bool:
    """Whether an image has more than `LARGE` values.

    Raises:
        InputError: if it cannot be opened.
    """
    with open_image(pair.image, reading.page_of(pair.page), reading.channel) as file:
        return reading.channels * file.shape[0] * file.shape[1] > LARGE


def band_steps(height: int, values_a_row: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each band of about `BAND` values."""
    step = max(1, BAND // values_a_row)
    return ((top, min(step, height - top)) for top in range(0, height, step))


def judge_mask(mask: MaskFile, reading: Reading) -> Values:
    """Judge an open mask by its values, read in bands: see `segexp.io.labels.mask_values`."""

    def bands() -> Iterator[NDArray]:
        return (mask.read(top, 0, rows, mask.shape[1]) for top, rows in band_steps(*mask.shape))

    values = set().union(*map(distinct, bands()))
    settings = reading.masks, reading.ignore, reading.mask_threshold
    return judge_values(values, reading.classes, mask.path, *settings, lambda: uneven(bands(), reading.ignore))


class Survey:
    """The result of one pass over an image and two over its mask.

    Attributes:
        shape: (C, H, W) at the scale in which it is read.
        dtype: the file's.
        place: where its pixels lie.
        values: what the mask holds.
        offset, scale: float32 (C,), as `segexp.data.normalization.image_statistics` gives for the whole.
        class_pixels: pixels of each label 0..K, int64 (K + 1,).
        digest: of all pixels and labels.
        foreground: int32 (N, 2), rows and columns of at most `points` foreground pixels, evenly spread in their order.
    """

    def __init__(self, pair: Pair, reading: Reading, normalization: str, points: int):
        with (
            open_image(pair.image, reading.page_of(pair.page), reading.channel) as image,
            open_mask(pair.mask, pair.mask_page, reading) as mask,
        ):
            self.place = locate(image, reading)._replace(hue=hue_of(image, reading))
            check_shapes(pair, mask.shape, self.place)
            self.shape = (reading.channels, *self.place.shape)
            self.dtype = image.dtype if image.dtype != bool else np.dtype(np.uint8)
            self.values = judge_mask(mask, reading)
            if casts(image.dtype):
                check_float32((pixels for _, pixels in self._bands(image, reading)), image.path)
            digest = PixelDigest()
            bands = self._digested(image, reading, digest)
            self.offset, self.scale = band_statistics(bands, self.place.shape, normalization)
            self.class_pixels = np.zeros(reading.classes + 1, np.int64)
            for _, labels in self._labels(mask, reading):
                digest.labels(labels)
                self.class_pixels += np.bincount(labels.ravel(), minlength=256)[: reading.classes + 1]
            self.digest = digest.text()
            self.foreground = self._spread(mask, reading, points)

    def _digested(self, image: ImageFile, reading: Reading, digest: PixelDigest) -> Iterator[NDArray]:
        for _, pixels in self._bands(image, reading):
            digest.pixels(pixels)
            yield pixels

    def _bands(self, image: ImageFile, reading: Reading) -> Iterator[tuple[int, NDArray]]:
        width = self.place.shape[1]
        for top, rows in band_steps(self.place.shape[0], reading.channels * width):
            yield top, read_pixels(image, reading, self.place, (top, 0, rows, width))

    def _labels(self, mask: MaskFile, reading: Reading) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        width = self.place.shape[1]
        for top, rows in band_steps(self.place.shape[0], width):
            stored = read_mask_window(mask, self.place, (top, 0, rows, width))
            yield top, reading.labels(stored)

    def _spread(self, mask: MaskFile, reading: Reading, points: int) -> NDArray[np.int32]:
        """The same foreground pixels as chosen for an image in memory: their ranks follow from the counts."""
        total = int(self.class_pixels[1:].sum())
        targets = np.arange(total) if total <= points else np.linspace(0, total - 1, points).astype(np.int64)
        chosen: list[NDArray] = []
        counted = 0
        for top, labels in self._labels(mask, reading):
            inside = np.flatnonzero((labels > 0) & (labels != IGNORE))
            ranks = targets[(targets >= counted) & (targets < counted + len(inside))] - counted
            rows, columns = np.unravel_index(inside[ranks], labels.shape)
            chosen.append(np.stack([rows + top, columns], axis=1))
            counted += len(inside)
        return np.concatenate(chosen).astype(np.int32)
