"""Predict image files into a folder: a mask that any viewer shows and the probabilities behind it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from segexp.data.images import IMAGE_SUFFIXES, read_image, to_channels
from segexp.errors import InputError
from segexp.inference.predictor import Predictor


def find_images(sources: Iterable[Path], output: Path) -> list[Path]:
    """Files, and the image files of folders sorted by name, without what an earlier prediction wrote to `output`.

    Raises `InputError` where there is none, or where two would write the same result.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_file():
            files.append(source)
        elif source.is_dir():
            inside = (p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != ".")
            own = output.resolve() == source.resolve()
            files += sorted(p for p in inside if not (own and p.stem.endswith(("_mask", "_prob"))))
        else:
            raise InputError(f"{source}: no such file or folder")
    if not files:
        raise InputError(f"no images; wanted files ending in {', '.join(IMAGE_SUFFIXES)}")
    stems = Counter(path.stem for path in files)
    twice = [str(path) for path in files if stems[path.stem] > 1]
    if twice:
        raise InputError(f"{', '.join(twice)}: same name, so one result would replace the other; predict them apart")
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
