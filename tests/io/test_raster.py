"""PNG, JPEG, BMP and WebP: few bits, palettes, animations, and scans without end."""

import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from segexp.errors import InputError
from segexp.io.images import read_image, read_mask
from segexp.io.labels import IGNORE, label_map

RNG = np.random.default_rng(0)


def png(path, values, depth, palette=None):
    """An 8-bit or smaller PNG of (H, W) `values`, grey or with a palette (N, 3)."""
    shifts = np.arange(depth - 1, -1, -1)
    bits = ((values[..., None] >> shifts) & 1).astype(np.uint8).reshape(len(values), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = 0 if palette is None else 3
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], len(values), depth, colour, 0, 0, 0))
    table = b"" if palette is None else chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    pixels = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + table + pixels + chunk(b"IEND", b""))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_ids_in_few_bits_are_the_ids(tmp_path, depth):
    """Of an image they fill 0 to 255, which the normalisation undoes; of a mask they are what they are."""
    ids = RNG.integers(0, 1 << depth, (9, 13)).astype(np.uint8)
    png(tmp_path / "a.png", ids, depth)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), ids * (255 // ((1 << depth) - 1)))
    palette = RNG.integers(0, 256, (1 << depth, 3))
    png(tmp_path / "b.png", ids, depth, palette)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), ids)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), palette[ids])


def test_one_bit_is_foreground_where_another_value_means_not_annotated(tmp_path):
    png(tmp_path / "a.png", np.array([[0, 1, 1]], np.uint8), 1)
    png(tmp_path / "b.png", np.array([[0, 255, 1]], np.uint8), 8)
    for name, labels in (("a.png", [[0, 1, 1]]), ("b.png", [[0, IGNORE, 1]])):
        np.testing.assert_array_equal(label_map(read_mask(tmp_path / name), 1, ignore=255), labels)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_animations_are_refused(tmp_path, kind):
    frames = [Image.fromarray(np.full((20, 30, 3), 50 * n, np.uint8)) for n in range(1, 4)]
    path = tmp_path / f"a.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(InputError, match=rf"a\.{kind}: an animation of 3 images; expected one"):
        read_image(path)
    frames[0].save(path, lossless=True)
    assert read_image(path).shape == (20, 30, 3)


def test_a_jpeg_of_a_thousand_scans_is_refused_at_once(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    data = path.read_bytes()
    assert 1 < data.count(b"\xff\xda") < 20
    assert read_image(path).shape == (64, 64, 3)
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * 1000 + b"\xff\xd9")
    start = time.process_time()
    with pytest.raises(InputError, match=r"a\.jpg: a JPEG of 10\d\d scans"):
        read_image(path)
    assert time.process_time() - start < 1
