"""What a header declares is judged against the file's size before anything is decoded."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from segexp.errors import InputError
from segexp.io.headers import declared_size
from segexp.io.images import open_image, read_image, read_mask
from segexp.io.limits import HARMLESS, RATIO, VARIABLE, check_declared


def test_what_a_file_of_a_size_may_declare():
    assert check_declared("a", (4, 5), 2, 1) == 40
    assert check_declared("a", (HARMLESS,), 1, 1) == HARMLESS
    with pytest.raises(InputError, match=r"a: declares 134217729 values, 128 MiB, but the file has 1 bytes"):
        check_declared("a", (HARMLESS + 1,), 1, 1)
    assert check_declared("a", (10**6, RATIO), 1, 10**6)
    with pytest.raises(InputError, match="damaged, or made to exhaust memory"):
        check_declared("a", (10**6, RATIO + 1), 1, 10**6)
    with pytest.raises(InputError, match=r"9e\+08 GiB"):
        check_declared("a", (10**9, 10**9), 1, 2**40)
    with pytest.raises(InputError, match="damaged"):
        check_declared("a", (-4, 4), 1, None)


def test_one_read_has_a_limit_that_can_be_moved(monkeypatch):
    shape = (17, 2**30)
    with pytest.raises(InputError, match=rf"17 GiB; one read may take 16 GiB \({VARIABLE}=N"):
        check_declared("a", shape, 1)
    monkeypatch.setenv(VARIABLE, "20")
    assert check_declared("a", shape, 1) == 17 * 2**30
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InputError, match=VARIABLE):
            check_declared("a", shape, 1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("shape", [(13, 17), (13, 17, 3), (13, 17, 4), (1, 300)])
def test_headers_say_what_opencv_decodes(suffix, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if suffix == ".jpg" and shape[-1] == 4:
        pytest.skip("JPEG has no alpha channel")
    data = cv2.imencode(suffix, image)[1].tobytes()
    found = declared_size(data)
    assert (found.height, found.width) == shape[:2]
    assert found.itemsize >= cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[0, 0].nbytes
    for length in range(30):
        declared_size(data[:length])  # never raises


def test_lossless_webp_and_progressive_jpeg():
    image = np.zeros((30, 500), np.uint8)
    for suffix, flags in ((".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])):
        found = declared_size(cv2.imencode(suffix, image, flags)[1].tobytes())
        assert (found.height, found.width) == (30, 500)


def _png(width, height, depth=8, colour=0, body=b""):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def _npy(shape, dtype="|u1"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


BOMBS = {
    "a.png": _png(60_000, 60_000),
    "b.png": _png(2**31 - 1, 2**31 - 1, 16, 6),
    "a.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60_000, -60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99),
    "a.jpg": b"\xff\xd8\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 65_000, 65_000) + b"\x01\x01\x11\x00" + bytes(40),
    "a.webp": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\x00\xff\xff\x00" + bytes(40),
    "a.npy": _npy((60_000, 60_000)),
    "b.npy": _npy((2**40, 2**40), "<f8"),
    "c.npy": _npy((10**30, 2)),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [read_image, read_mask, open_image])
def test_bombs_are_refused_before_room_is_made(tmp_path, name, read):
    (tmp_path / name).write_bytes(BOMBS[name])
    tracemalloc.start()
    with pytest.raises(InputError, match=name):
        read(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_an_empty_mask_of_a_slide_is_no_bomb(tmp_path):
    """Nothing but background shrinks a thousandfold, and to a bit a pixel before that."""
    mask = np.zeros((12_000, 12_000), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), mask)
    cv2.imwrite(str(tmp_path / "b.png"), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert (tmp_path / "b.png").stat().st_size < 40_000
    assert read_mask(tmp_path / "a.png").shape == read_mask(tmp_path / "b.png").shape == mask.shape


def test_a_tiff_by_another_name_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(InputError, match=r"rename it to \.tif"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_folders_links_and_permissions_are_told(tmp_path, suffix):
    folder, link = tmp_path / f"folder{suffix}", tmp_path / f"link{suffix}"
    folder.mkdir()
    link.symlink_to(link)
    for path in (folder, link, tmp_path / f"none{suffix}"):
        for read in (read_image, read_mask):
            with pytest.raises(InputError, match=path.name):
                read(path)
