"""Damage image files at random and read them: whatever comes out must be an array or an `InputError`, soon and small.

    python -W error -m tests.data.fuzz --seconds 600 --seed 1

A child reads the files in a process with little memory, so that a crash of a decoder shows as its signal; each file is
written down before it is read, and the one that was being read is kept. Prints how many files of each format were read
or refused, the slowest (in processor time) and the memory that reading took.
"""

import argparse
import io
import json
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from benchmarks.memory import peak_memory
from PIL import BmpImagePlugin, Image, PngImagePlugin

from segexp.errors import InputError
from segexp.io.images import MASK_SUFFIXES, open_image, read_image, read_mask, read_pixel_size

ROOM = 8 * 2**30
"""Bytes of addresses that the child may have, libraries included (they take about 3 GiB of them)."""
SECONDS = 10.0
"""Processor time that one file may take."""
GROWTH = 700
"""MiB by which the child may grow: `segexp.io.limits.HARMLESS` (128) a few times over, for what decoders copy."""

_ODD = (0, 1, 2, 3, 8, 16, 127, 128, 254, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63)


def corpus() -> dict[str, tuple[str, bytes]]:
    """Sound small files of every kind that is read: name -> (suffix, content)."""
    rng = np.random.default_rng(0)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (40, 52), np.uint8), (0, 0), 1)
    colour = np.dstack([grey, 255 - grey, grey // 2])
    wide, real = grey.astype(np.uint16) * 250, grey.astype(np.float32) / 7
    stack = np.stack([wide, wide // 2, wide // 3])
    found = {}

    def tiff(name: str, pixels: np.ndarray, **more: object) -> None:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **more)
        found[f"tiff {name}"] = (".tif", file.getvalue())

    tiff("plain", grey)
    tiff("16 bits", wide, byteorder=">", rowsperstrip=7)
    tiff("float", real, compression="zlib", predictor=True)
    tiff("lzw", wide, compression="lzw", rowsperstrip=8, predictor=True)
    tiff("tiles", grey, compression="zlib", tile=(16, 16))
    tiff("zstd", wide, bigtiff=True, compression="zstd")
    tiff("packbits", grey, compression="packbits")
    tiff("lzma", grey, compression="lzma")
    tiff("jpeg", colour, compression="jpeg", photometric="ycbcr", tile=(32, 32))
    tiff("rgb", colour)
    tiff("planar", np.moveaxis(colour, 2, 0), photometric="rgb", planarconfig="separate")
    tiff("palette", grey, photometric="palette", colormap=rng.integers(0, 65536, (3, 256)).astype(np.uint16))
    tiff("bits", grey > 128, photometric="miniswhite")
    tiff("imagej", stack, imagej=True, resolution=(5, 5), metadata={"unit": "um", "axes": "ZYX"})
    tiff("ome", stack, ome=True, metadata={"axes": "CYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "nm"})
    tiff("pages", stack, photometric="minisblack")

    found["tiff thumbnail first"] = (".tif", tiff_of_pages(wide, [{"shape": (10, 13)}, {}]))
    found["tiff subifd"] = (".tif", tiff_of_pages(wide, [{"shape": (10, 13), "subifds": 1}, {}]))
    blocks = "".join(f'<TiffData IFD="{n}" FirstC="{1 - n}" PlaneCount="1"/>' for n in range(2))
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" SizeX="52" SizeY="40" SizeC="2" SizeZ="1" SizeT="1">{blocks}</Pixels></Image></OME>'
    )
    found["tiff ome order"] = (".tif", tiff_of_pages(wide, [{"description": text}, {}]))

    def encoded(name: str, suffix: str, pixels: np.ndarray, *settings: int) -> None:
        found[name] = (suffix, cv2.imencode(suffix, pixels, list(settings))[1].tobytes())

    encoded("png grey", ".png", grey)
    encoded("png 16 bits", ".png", wide)
    encoded("png colour", ".png", colour)
    encoded("png alpha", ".png", np.dstack([colour, grey]))
    encoded("png bits", ".png", (grey > 128).astype(np.uint8), cv2.IMWRITE_PNG_BILEVEL, 1)
    encoded("jpeg grey", ".jpg", grey)
    encoded("jpeg colour", ".jpg", colour)
    encoded("jpeg progressive", ".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    encoded("bmp grey", ".bmp", grey)
    encoded("bmp colour", ".bmp", colour)
    encoded("webp lossy", ".webp", colour, cv2.IMWRITE_WEBP_QUALITY, 70)
    encoded("webp lossless", ".webp", colour, cv2.IMWRITE_WEBP_QUALITY, 101)
    for name, suffix, plugin in (("png palette", ".png", PngImagePlugin), ("bmp bits", ".bmp", BmpImagePlugin)):
        image, file = Image.fromarray(grey), io.BytesIO()
        image = image.quantize(16) if plugin is PngImagePlugin else image.convert("1")
        image.save(file, suffix[1:])
        found[name] = (suffix, file.getvalue())
    for name, suffix in (("png animated", ".png"), ("webp animated", ".webp")):
        file = io.BytesIO()
        Image.fromarray(colour).save(file, suffix[1:], save_all=True, append_images=[Image.fromarray(colour[::-1])])
        found[name] = (suffix, file.getvalue())
    blue = Image.frombytes("P", (52, 40), grey.tobytes())
    blue.putpalette(np.stack([np.zeros(256), np.zeros(256), np.arange(256)], 1).astype(np.uint8).tobytes())
    file = io.BytesIO()
    blue.save(file, "png")
    found["png lookup table"] = (".png", file.getvalue())
    for name, array in (("plain", grey), ("float", real), ("turned", np.asfortranarray(wide)), ("stack", stack)):
        file = io.BytesIO()
        np.save(file, array)
        found[f"npy {name}"] = (".npy", file.getvalue())
    return found


def tiff_of_pages(pixels: np.ndarray, pages: list[dict[str, Any]]) -> bytes:
    """A TIFF of a page for each item: `pixels`, or its corner of that ``shape``, with the writer's other arguments."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for more in pages:
            height, width = more.pop("shape", pixels.shape)
            writer.write(pixels[:height, :width], metadata=None, contiguous=False, photometric="minisblack", **more)
    return file.getvalue()


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`data` damaged in one to four places, near its start more often than elsewhere; PNG checksums often mended."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        length = len(changed)
        if length < 16:
            break
        head = min(length, int(rng.choice([64, 400, length])))
        at = int(rng.integers(0, head) if rng.random() < 0.8 else rng.integers(max(0, length - 400), length))
        kind = int(rng.integers(0, 8))
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            changed[at] = int(rng.choice([0, 1, 127, 128, 255, int(rng.integers(0, 256))]))
        elif kind in (2, 3):  # a number in a header
            size = int(rng.choice([2, 4, 8]))
            value = int(_ODD[int(rng.integers(0, len(_ODD)))]) % 256**size
            changed[at : at + size] = value.to_bytes(size, "little" if rng.random() < 0.6 else "big")
        elif kind == 4:
            del changed[int(rng.integers(8, length)) :]
        elif kind == 5:
            del changed[at : at + int(rng.integers(1, 40))]
        elif kind == 6:
            changed[at:at] = changed[at : at + int(rng.integers(1, 200))]
        else:
            start = int(rng.integers(0, len(other)))
            piece = other[start : start + int(rng.integers(1, 60))]
            changed[at : at + len(piece)] = piece
    mended = bytes(changed)
    return with_checksums(mended) if mended[:4] == b"\x89PNG" and rng.random() < 0.7 else mended


def with_checksums(data: bytes) -> bytes:
    """A PNG whose parts carry the checksums that fit, as far as its parts can be followed."""
    fixed, position = bytearray(data), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        end = position + 8 + length
        if end + 4 > len(data):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(fixed)


def attempt(path: Path) -> bool:
    """Read a file in every way there is; whether any gave pixels. What is no `InputError` comes through."""
    good = False
    ways = [read_image, lambda file: read_image(file, "max"), _window]
    ways += [read_mask] if path.suffix in MASK_SUFFIXES else []
    for way in ways:
        try:
            pixels = way(path)
        except InputError as error:
            assert path.name in str(error), error  # noqa: PT017
        else:
            assert pixels.size > 0
            assert pixels.dtype.kind in "biuf"
            good = True
    try:
        size = read_pixel_size(path)
        assert size is None or all(0 < value < 1e4 for value in size)
    except InputError as error:
        assert path.name in str(error), error  # noqa: PT017
    return good


def _window(path: Path) -> np.ndarray:
    with open_image(path, "first") as file:
        height, width = file.shape[:2]
        return file.read(height // 2, width // 3, max(1, height // 4), max(1, width // 4))


def child(folder: Path, seed: int, count: int, seconds: float) -> None:
    """Read damaged files until `count` or `seconds` are reached; the outcome as JSON on standard output."""
    kinds, rng = corpus(), np.random.default_rng(seed)
    names = sorted(kinds)
    for name in names:
        path = folder / f"sound{kinds[name][0]}"
        path.write_bytes(kinds[name][1])
        assert attempt(path) != ("animated" in name), f"{name}: an animation is refused, all others are read"
    before = peak_memory()
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    outcomes: Counter[str] = Counter()
    slowest, done, end = 0.0, 0, time.monotonic() + seconds
    while done < count and time.monotonic() < end:
        name = names[done % len(names)]
        suffix, data = kinds[name]
        path = folder / f"damaged{suffix}"
        path.write_bytes(mutate(data, kinds[names[int(rng.integers(0, len(names)))]][1], rng))
        (folder / "current.json").write_text(json.dumps({"name": name, "number": done, "file": path.name}))
        tick = time.process_time()
        outcomes[f"{name.split()[0]} {'read' if attempt(path) else 'refused'}"] += 1
        took = time.process_time() - tick
        assert took < SECONDS, f"{took:.1f} s"
        slowest, done = max(slowest, took), done + 1
    grown = (peak_memory() - before) // 2**20
    assert grown < GROWTH, f"grew by {grown} MiB"
    print(json.dumps({"files": done, "outcomes": dict(sorted(outcomes.items())), "slowest": slowest, "mib": grown}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, help="where the files lie, the last of them too; default: temporary")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        child(folder, options.seed, options.count, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
