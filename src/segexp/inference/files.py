"""Predict image files into a folder: a mask that any viewer shows and the probabilities behind it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from segexp.data.images import IMAGE_SUFFIXES, read_image, to_channels
from segexp.errors import InputError
from segexp.inference.predictor import Predictor


def find_images(source: str | Path) -> list[Path]:
    """One file, or the image files of a folder sorted by name."""
    source = Path(source).expanduser() if not Path(source).exists() else Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder")
    files = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not files:
        raise InputError(f"{source}: no images; wanted files ending in {', '.join(IMAGE_SUFFIXES)}")
    return files


def predict_files(predictor: Predictor, files: Iterable[Path], output: Path) -> Iterator[tuple[Path, float | str]]:
    """Write ``<stem>_mask.png`` and ``<stem>_prob.tif`` for each file; yield it with its foreground share or its fault.

    The mask is uint8 (H, W), 0 and 255, or class ids for several classes. The probability map is float32 (H, W) or
    (K, H, W). A file that cannot be read is reported and does not stop the rest.
    """
    output.mkdir(parents=True, exist_ok=True)
    for path in files:
        try:
            pixels = to_channels(read_image(path), predictor.model.settings["in_channels"], path)
            if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
                raise InputError(f"{path}: holds NaN or infinite values")
        except (InputError, OSError) as error:
            yield path, str(error)
            continue
        probabilities = predictor.probabilities(pixels)
        labels = predictor.labels(probabilities)
        mask = labels * np.uint8(255) if len(predictor.classes) == 1 else labels
        _, encoded = cv2.imencode(".png", mask)
        (output / f"{path.stem}_mask.png").write_bytes(encoded.tobytes())
        maps = probabilities[0] if len(predictor.classes) == 1 else probabilities
        # zlib without a predictor: what ImageJ reads by itself, besides Bio-Formats, napari and QuPath
        tifffile.imwrite(output / f"{path.stem}_prob.tif", maps, compression="zlib")
        yield path, float((labels > 0).mean())
