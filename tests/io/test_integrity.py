"""A picture that was cut or changed is noticed; a whole one never is suspected."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segexp.errors import InputError
from segexp.io.images import read_image
from segexp.io.integrity import what_is_missing

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (61, 47, 3), np.uint8), (0, 0), 1)
KINDS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WebP": ".webp"}


def encoded(kind, image=COLOUR):
    return cv2.imencode(KINDS[kind], image)[1].tobytes()


def by_pillow(kind, image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def whole():
    grey = COLOUR[..., 0]
    for kind in KINDS:
        for image in (COLOUR, grey, grey[:1], grey[:, :1]):
            yield kind, encoded(kind, image)
            yield kind, by_pillow(kind, image)
    yield "JPEG", by_pillow("JPEG", COLOUR, progressive=True, comment=b"\xff\xd8 in a comment")
    yield "JPEG", by_pillow("JPEG", COLOUR, exif=b"Exif\0\0\xff\xda\xff\xd9")
    yield "JPEG", cv2.imencode(".jpg", COLOUR, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    yield "JPEG", encoded("JPEG") + b"\0\0 what a camera appends"
    yield "PNG", encoded("PNG") + b"\n"
    yield "PNG", by_pillow("PNG", COLOUR[..., 0] > 99)
    yield "PNG", by_pillow("PNG", COLOUR, interlace=True, dpi=(300, 300))
    yield "WebP", by_pillow("WebP", COLOUR, lossless=True)
    yield "BMP", by_pillow("BMP", COLOUR[..., 0] > 99)


@pytest.mark.parametrize(("kind", "data"), list(whole()))
def test_whole_files_are_not_suspected(kind, data):
    assert what_is_missing(data, kind) == ""


@pytest.mark.parametrize("kind", KINDS)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_anywhere_is_noticed(kind, share):
    data = encoded(kind)
    cut = data[: max(12, int(len(data) * share))]
    assert what_is_missing(cut, kind) != ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_byte_counts(kind):
    assert what_is_missing(encoded(kind)[:-1], kind) != ""


def test_a_flipped_bit_in_a_png_is_noticed_and_one_in_a_note_is_not():
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 1
    assert "checksum of its part IDAT" in what_is_missing(bytes(data), "PNG")
    note = b"tEXtKey\0value"
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note) ^ 1)
    assert what_is_missing(encoded("PNG")[:33] + chunk + encoded("PNG")[33:], "PNG") == ""


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=200))
def test_noise_ends_in_a_text(kind, data):
    assert isinstance(what_is_missing(data, kind), str)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_says_which_file_and_what_to_do(tmp_path, kind):
    path = tmp_path / f"a{KINDS[kind]}"
    path.write_bytes(encoded(kind)[:-5])
    with pytest.raises(InputError, match=r"a\.\w+: truncated.*copy or export it again"):
        read_image(path)
