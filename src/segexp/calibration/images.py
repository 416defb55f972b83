"""Cuts parts from the user's images for the calibration, and draws them beside generated images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segexp import synthesis
from segexp.data.reading import Reading, locate, read_pixels
from segexp.errors import InputError
from segexp.io.images import IMAGE_SUFFIXES, image_files, open_image
from segexp.viz.overlay import Picture, to_display

SMALLEST = 64  # px, least side of a part: smaller parts contain too little structure


def find(sources: Sequence[Path], own: Path | None = None) -> list[Path]:
    """Return the image files among `sources`, and those directly inside folders among them, sorted by name.

    Args:
        sources: files and folders.
        own: the picture of an earlier calibration, which is left out.

    Raises:
        InputError: if a source does not exist, or there is no image.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            files += image_files(source)
        elif source.is_file():
            files.append(source)
        else:
            raise InputError(f"{source}: no such file or folder")
    files = [path for path in files if own is None or path.absolute() != own.absolute()]
    if not files:
        raise InputError(
            f"{', '.join(map(str, sources))}: no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return files


def cut(files: Sequence[Path], size: int, most: int, channel: int | None = None) -> list[NDArray]:
    """Cut up to `most` squares from the files' first pages, converted to grey, spread evenly over the files.

    The squares are `size` px a side, or as large as the smallest image. `channel`, from 1, is read of files that have
    several.

    Raises:
        InputError: if an image is smaller than `SMALLEST`, every square is constant, a file has several channels that
            are not colours and `channel` is None, or pixels are not finite.
    """
    chosen = [files[k] for k in np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).astype(int))]
    images = [_grey(path, channel) for path in chosen]
    smallest = min(range(len(images)), key=lambda k: min(images[k].shape))
    side = min(size, *images[smallest].shape)
    if side < SMALLEST:
        raise InputError(f"{chosen[smallest]}: {images[smallest].shape}; expected {SMALLEST} px a side or more")
    squares = []
    for image in images:
        corners = [(y, x) for y in _starts(image.shape[0], side) for x in _starts(image.shape[1], side)]
        count = min(len(corners), -(-most // len(images)))
        for k in np.unique(np.linspace(0, len(corners) - 1, count).round().astype(int)):
            y, x = corners[k]
            squares.append(image[y : y + side, x : x + side])
    squares = [square for square in squares if square.max() > square.min()]
    if not squares:
        raise InputError(f"{chosen[0]}: every image is constant, so there is nothing to fit")
    kept = np.linspace(0, len(squares) - 1, min(most, len(squares))).round().astype(int)
    return [squares[k] for k in kept]


def _grey(path: Path, channel: int | None) -> NDArray:
    """The first page of a file (H, W) in its dtype: one of its channels, or its colours converted to grey."""
    with open_image(path, "first", channel) as file:
        return read_pixels(file, Reading(), locate(file, Reading()))[0]


def _starts(length: int, side: int) -> list[int]:
    """Return the first pixels of squares along an axis, side by side, so that the outer ones touch the axis's ends."""
    return np.linspace(0, length - side, length // side).round().astype(int).tolist()


def side_by_side(task: str, images: Sequence[NDArray], ranges: dict[str, Any], seed: int) -> Picture:
    """Draw nine of the user's squares, nine generated before and nine after the calibration: RGB uint8."""
    side = images[0].shape[0]
    order = np.linspace(0, len(images) - 1, min(9, len(images))).round().astype(int)
    before, _ = synthesis.generate(task, 9, side, seed)
    after, _ = synthesis.generate(task, 9, side, seed, **ranges)
    columns = [
        _block("yours", [images[k] for k in order]),
        _block("generated, before", list(before)),
        _block("generated, calibrated", list(after)),
    ]
    gap = np.full((columns[0].shape[0], 12, 3), 255, np.uint8)
    return np.concatenate([columns[0], gap, columns[1], gap, columns[2]], axis=1)


def _block(title: str, images: list[NDArray]) -> Picture:
    """Draw a title above three rows of three images; missing images are white."""
    tiles = [to_display(image[None]) for image in images]
    tiles += [np.full_like(tiles[0], 255)] * (9 - len(tiles))
    block = np.concatenate([np.concatenate(tiles[row : row + 3], axis=1) for row in (0, 3, 6)])
    head = np.full((28, block.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([head, block])
