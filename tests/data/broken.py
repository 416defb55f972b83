"""A corpus of broken data sets: functions that damage a sound one, each under a name.

A maker is given the folder of a sound data set (three training images and one for validation: ``train/img/a.tif`` and
so on) and returns the name of the file that must be named.
"""

import json
import os
import shutil
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile

SIZE = (40, 52)


@dataclass(frozen=True)
class Case:
    """How to break a data set, and words that the message must hold, or alternatives with ``|`` between them."""

    make: Callable[[Path], str]
    words: str


CASES: dict[str, Case] = {}


def case(name: str, words: str):
    """Add a maker to the corpus."""

    def add(make):
        assert name not in CASES, name
        CASES[name] = Case(make, words)
        return make

    return add


def picture(seed: int = 0) -> np.ndarray:
    """An 8-bit image with structure."""
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8), (0, 0), 1)


def write_sound(folder: Path) -> Path:
    """Three training images and one for validation, with masks."""
    for index, (part, name) in enumerate((("train", "a"), ("train", "b"), ("train", "c"), ("val", "d"))):
        for kind in ("img", "mask"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        image = picture(index)
        tifffile.imwrite(folder / part / "img" / f"{name}.tif", image)
        np.save(folder / part / "mask" / f"{name}.npy", image > image.mean())
    return folder


IMAGES = {
    "tiff": (".tif", lambda path, image: tifffile.imwrite(path, image)),
    "lzw": (".tif", lambda path, image: tifffile.imwrite(path, image, compression="lzw", rowsperstrip=8)),
    "tiled": (".tif", lambda path, image: tifffile.imwrite(path, image, compression="zlib", tile=(16, 16))),
    "bigtiff": (".tif", lambda path, image: tifffile.imwrite(path, image, bigtiff=True, compression="zstd")),
    "png": (".png", lambda path, image: path.write_bytes(cv2.imencode(".png", image)[1].tobytes())),
    "jpeg": (".jpg", lambda path, image: path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())),
    "bmp": (".bmp", lambda path, image: path.write_bytes(cv2.imencode(".bmp", image)[1].tobytes())),
    "webp": (".webp", lambda path, image: path.write_bytes(cv2.imencode(".webp", image)[1].tobytes())),
    "npy": (".npy", np.save),
}


def emptied(folder: Path, kind: str, name: str) -> Path:
    """The path of a file of the training set, which is gone now."""
    path = folder / "train" / kind / name
    path.unlink()
    return path


def put_image(folder: Path, kind: str = "tiff", image: np.ndarray | None = None) -> Path:
    """Replace ``train/img/a.tif`` by a sound image of another format; returns its path."""
    suffix, write = IMAGES[kind]
    emptied(folder, "img", "a.tif")
    path = folder / "train" / "img" / f"a{suffix}"
    write(path, picture() if image is None else image)
    return path


def put_bytes(folder: Path, suffix: str, data: bytes) -> str:
    """Replace ``train/img/a.tif`` by these bytes under another ending."""
    emptied(folder, "img", "a.tif")
    (folder / "train" / "img" / f"a{suffix}").write_bytes(data)
    return f"a{suffix}"


def put_mask(folder: Path, mask: object, pickled: bool = False) -> str:
    """Replace the mask of ``a``."""
    np.save(folder / "train" / "mask" / "a.npy", mask, allow_pickle=pickled)
    return "a.npy"


UNREADABLE = {".tif": "cannot be read as TIFF", ".npy": "cannot be read as a NumPy file"}


def _truncations() -> None:
    def cut(kind: str, share: float):
        def make(folder: Path) -> str:
            path = put_image(folder, kind)
            data = path.read_bytes()
            path.write_bytes(data[: max(0, int(len(data) * share)) if share < 1 else -1])
            return path.name

        return make

    def cut_mask(suffix: str, share: float):
        def make(folder: Path) -> str:
            sound = folder / "train" / "mask" / "a.npy"
            path, mask = sound.with_suffix(suffix), np.load(sound)
            if suffix == ".png":
                sound.unlink()
                path.write_bytes(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes())
            data = path.read_bytes()
            path.write_bytes(data[: int(len(data) * share) if share < 1 else -1])
            return path.name

        return make

    for tenth in (*range(10), 10):
        where = {0: "to nothing", 10: "by a byte"}.get(tenth, f"at {tenth} tenths")
        tiff = "truncated|cannot be read as TIFF"  # the latter where the directory itself is cut
        words = {"npy": UNREADABLE[".npy"], "bigtiff": tiff}
        for kind in IMAGES:
            expected = words.get(kind, "truncated") if tenth else "the file is empty (0 bytes)"
            CASES[f"{kind} image cut {where}"] = Case(cut(kind, tenth / 10), expected)
        for suffix in (".npy", ".png"):
            expected = words.get(suffix[1:], "truncated") if tenth else "the file is empty (0 bytes)"
            CASES[f"{suffix[1:]} mask cut {where}"] = Case(cut_mask(suffix, tenth / 10), expected)


def _foreign() -> None:
    contents = {
        "text": b"this is no picture\n",
        "a web page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "zeros": bytes(4096),
        "noise": np.random.default_rng(0).bytes(4096),
    }
    for suffix in (".tif", ".png", ".jpg", ".bmp", ".webp", ".npy"):
        for name, data in contents.items():
            words = UNREADABLE.get(suffix, f"damaged, or not a {suffix} file")
            CASES[f"{name} called {suffix}"] = Case(lambda folder, s=suffix, d=data: put_bytes(folder, s, d), words)
        start = {".tif": "tiff", ".jpg": "jpeg"}.get(suffix, suffix[1:])

        def wrong_start(folder: Path, kind: str = start) -> str:
            path = put_image(folder, kind)
            path.write_bytes(b"\0\0\0\0" + path.read_bytes()[4:])
            return path.name

        CASES[f"{suffix} with another first word"] = Case(wrong_start, "")


def _arrays() -> None:
    flat = picture().astype(np.float64)
    holes, endless, low = flat.copy(), flat.copy(), flat.copy()
    holes[3, 4], endless[5, 6], low[7, 8] = np.nan, np.inf, -np.inf
    images = {
        "NaN": (holes, "NaN"),
        "infinity": (endless, "infinite"),
        "minus infinity": (low, "infinite"),
        "no axes": (np.float32(3), "shape ()"),
        "one axis": (np.arange(50.0), "shape (50,)"),
        "four axes": (np.zeros((2, 3, 40, 52)), "shape (2, 3, 40, 52)"),
        "five axes": (np.zeros((2, 2, 3, 4, 5)), "shape"),
        "no pixels": (np.zeros((0, 52)), "shape (0, 52)"),
        "a stack": (np.zeros((7, 40, 52)), "stack"),
        "complex numbers": (flat + 1j, "complex"),
        "texts": (np.full(SIZE, "a"), "dtype"),
        "dates": (np.zeros(SIZE, "datetime64[s]"), "dtype"),
        "records": (np.zeros(SIZE, [("x", "u1"), ("y", "u1")]), "dtype"),
        "bytes": (np.full(SIZE, b"abc"), "dtype"),
    }
    for name, (array, words) in images.items():

        def make(folder: Path, array: np.ndarray = array) -> str:
            return put_image(folder, "npy", array).name

        CASES[f"image array with {name}"] = Case(make, words)
    for name, (array, words) in {"NaN": (holes, "NaN"), "infinity": (endless, "infinite")}.items():

        def make_tiff(folder: Path, array: np.ndarray = array) -> str:
            return put_image(folder, "tiff", array.astype(np.float32)).name

        CASES[f"TIFF image with {name}"] = Case(make_tiff, words)
    mask = (flat > flat.mean()).astype(np.int64)
    masks = {
        "another size": (np.zeros((40, 51), bool), "shape (40, 51)"),
        "swapped axes": (mask.T, "swapped"),
        "no axes": (np.int64(1), "shape ()"),
        "one axis": (np.arange(40) > 3, "shape (40,)"),
        "three axes": (np.zeros((3, *SIZE), bool), "shape (3, 40, 52)"),
        "channels last": (np.zeros((*SIZE, 3), bool), "shape (40, 52, 3)"),
        "four axes": (np.zeros((1, 2, *SIZE), bool), "shape (1, 2, 40, 52)"),
        "no pixels": (np.zeros((0, 52), bool), "shape (0, 52)"),
        "0, 1, 2 and 255": (mask + (np.arange(52) % 2) + 253 * (np.arange(52) == 9), "task."),
        "two classes": (2 * mask, "task.classes"),
        "probabilities": (flat / 255, "task.masks=probabilities"),
        "negative numbers": (mask - 1, "values -1"),
        "NaN": (np.where(mask, np.nan, 0.0), "NaN"),
        "infinity": (np.where(mask, np.inf, 0.0), "infinite"),
        "complex numbers": (mask + 0j, "complex"),
        "texts": (np.full(SIZE, "1"), "dtype"),
        "records": (np.zeros(SIZE, [("x", "u1")]), "dtype"),
    }
    for name, (array, words) in masks.items():
        CASES[f"mask with {name}"] = Case(lambda folder, array=array: put_mask(folder, array), words)


_truncations()
_foreign()
_arrays()


# what a header claims: nothing of it may be allocated


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of 8-bit grey that claims a size, with checksums that fit."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", data or zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def npy_header(text: str, body: bytes = b"", length: int | None = None) -> bytes:
    """An .npy file with this header."""
    head = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) if length is None else length) + head + body


def tiff_claiming(width: int, height: int, compression: int = 1, count: int = 64) -> bytes:
    """A little-endian TIFF of 8-bit grey that claims a size."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, count),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + zlib.compress(bytes(1000)).ljust(count, b"\0")


BOMBS = {
    "PNG": (".png", png_header(100_000, 100_000)),
    "PNG of the greatest size": (".png", png_header(2**31 - 1, 2**31 - 1)),
    "PNG without width": (".png", png_header(0, 40)),
    "JPEG": (
        ".jpg",
        b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\0\0\x3f\0\xff\xd9",
    ),
    "BMP": (".bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1078, 0, 0, 54, 40, 2**30, 2**30, 1, 8, 0, 0, 0, 0, 0, 0)),
    "WebP": (".webp", b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(8)),
    "TIFF": (".tif", tiff_claiming(10**6, 10**6)),
    "TIFF of the greatest size": (".tif", tiff_claiming(2**32 - 1, 2**32 - 1)),
    "deflated TIFF": (".tif", tiff_claiming(10**5, 10**5, compression=8)),
    "LZW TIFF": (".tif", tiff_claiming(10**5, 10**5, compression=5)),
    "NumPy": (".npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }")),
    "NumPy of nearly no bytes": (".npy", npy_header("{'descr': '<f8', 'fortran_order': True, 'shape': (2**62,), }")),
    "NumPy below zero": (
        ".npy",
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-5, -5), }", bytes(200)),
    ),
    "NumPy with a long header": (".npy", npy_header("{" + " " * 60000)),
    "NumPy with a header that calls": (
        ".npy",
        npy_header(
            "{'descr': __import__('os').system('touch owned'), 'fortran_order': False, 'shape': (4, 4)}", bytes(16)
        ),
    ),
}
for _name, (_suffix, _data) in BOMBS.items():
    CASES[f"claim of a {_name}"] = Case(lambda folder, s=_suffix, d=_data: put_bytes(folder, s, d), "")


# pickles and archives


class Attack:
    """Unpickling this makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@case("pickled image", "pickle")
def _(folder):
    emptied(folder, "img", "a.tif")
    np.save(folder / "train" / "img" / "a.npy", np.array([[Attack(folder / "owned")]], object), allow_pickle=True)
    return "a.npy"


@case("pickled mask", "pickle")
def _(folder):
    return put_mask(folder, np.array([[Attack(folder / "owned")]], object), pickled=True)


@case("archive called .npy", "archive")
def _(folder):
    path = folder / "train" / "mask" / "a.npy"
    with path.open("wb") as file:
        np.savez(file, mask=np.zeros(SIZE))
    return "a.npy"


@case("archive with a path that climbs", "archive")
def _(folder):
    with zipfile.ZipFile(folder / "train" / "mask" / "a.npy", "w") as archive:
        archive.writestr("../../../owned", "x")
    return "a.npy"


# what lies in the folders


@case("folder called like an image", "folder")
def _(folder):
    path = emptied(folder, "img", "a.tif")
    path.mkdir()
    return "a.tif"


@case("folder called like a mask", "folder")
def _(folder):
    path = emptied(folder, "mask", "a.npy")
    path.mkdir()
    return "a.npy"


@case("link to nowhere", "link")
def _(folder):
    path = emptied(folder, "img", "a.tif")
    path.symlink_to("absent.tif")
    return "a.tif"


@case("mask that links to nowhere", "link")
def _(folder):
    path = emptied(folder, "mask", "a.npy")
    path.symlink_to(folder / "absent.npy")
    return "a.npy"


@case("link to itself", "link")
def _(folder):
    path = emptied(folder, "img", "a.tif")
    path.symlink_to("a.tif")
    return "a.tif"


@case("links in a circle", "link")
def _(folder):
    path = emptied(folder, "img", "a.tif")
    path.symlink_to("a.other")
    path.with_name("a.other").symlink_to("a.tif")
    return "a.tif"


@case("pipe called like an image", "pipe")
def _(folder):
    path = folder / "train" / "img" / "a.png"
    path.with_suffix(".tif").unlink()
    os.mkfifo(path)
    return "a.png"


@case("endless device called like an image", "device")
def _(folder):
    path = folder / "train" / "img" / "a.png"
    path.with_suffix(".tif").unlink()
    path.symlink_to("/dev/zero")
    return "a.png"


@case("two images of one stem", "name of its own")
def _(folder):
    cv2.imwrite(str(folder / "train" / "img" / "a.png"), picture())
    return "a.tif"


@case("two masks of one stem", "name of its own")
def _(folder):
    mask = folder / "train" / "mask" / "a.npy"
    for suffix in (".png", ".tif"):
        path = mask.with_suffix(suffix)
        cv2.imwrite(str(path), np.load(mask).astype(np.uint8))
    mask.unlink()
    return "a.tif"


@case("image without a mask", "no mask")
def _(folder):
    (folder / "train" / "mask" / "a.npy").unlink()
    return "a.tif"


@case("mask without an image", "no image of that name")
def _(folder):
    emptied(folder, "img", "a.tif")
    return "a.npy"


@case("mask saved as JPEG", "keep every value")
def _(folder):
    mask = folder / "train" / "mask" / "a.npy"
    cv2.imwrite(str(mask.with_suffix(".jpg")), np.load(mask).astype(np.uint8))
    mask.unlink()
    return "a.tif"


@case("mask saved as text", "keep every value")
def _(folder):
    mask = folder / "train" / "mask" / "a.npy"
    np.savetxt(mask.with_suffix(".csv"), np.load(mask))
    mask.unlink()
    return "a.tif"


@case("mask in colour", "colour")
def _(folder):
    mask = folder / "train" / "mask" / "a.npy"
    mask.unlink()
    cv2.imwrite(str(mask.with_suffix(".png")), np.dstack([picture(index) for index in range(3)]))
    return "a.png"


@case("empty masks only", "every mask is empty")
def _(folder):
    for path in (folder / "train" / "mask").iterdir():
        np.save(path, np.zeros(SIZE, bool))
    return "mask"


@case("name in another Unicode form", "Unicode")
def _(folder):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (folder / "train" / "img" / "a.tif").rename(folder / "train" / "img" / f"{composed}.tif")
    (folder / "train" / "mask" / "a.npy").rename(folder / "train" / "mask" / f"{apart}.npy")
    return f"{composed}.tif"


@case("name in another case", "capital")
def _(folder):
    (folder / "train" / "mask" / "a.npy").rename(folder / "train" / "mask" / "A.npy")
    return "a.tif"


@case("names that differ only in case", "upper and lower case")
def _(folder):
    for kind, suffix in (("img", ".tif"), ("mask", ".npy")):
        path = folder / "train" / kind / f"a{suffix}"
        (folder / "train" / kind / f"A{suffix}").write_bytes(path.read_bytes())
    return "a.tif"


def _reserved() -> None:
    for name in ("CON", "aux", "nul", "COM1", "lpt9", "prn.old"):

        def make(folder: Path, name: str = name) -> str:
            for kind, suffix in (("img", ".tif"), ("mask", ".npy")):
                (folder / "train" / kind / f"a{suffix}").rename(folder / "train" / kind / f"{name}{suffix}")
            return f"{name}.tif"

        CASES[f"name {name}, which Windows reserves"] = Case(make, "Windows")


_reserved()


@case("broken bytes in a name", "damaged")
def _(folder):
    name = os.fsdecode(b"\xff\xfe")
    (folder / "train" / "img" / f"{name}.png").write_bytes(b"no picture")
    np.save(folder / "train" / "mask" / f"{name}.npy", np.ones(SIZE, bool))
    return f"{name}.png"


@case("terminal commands in a name", "damaged")
def _(folder):
    name = "\x1b[2J\x1b]0;title\x07"
    (folder / "train" / "img" / f"{name}.png").write_bytes(b"no picture")
    np.save(folder / "train" / "mask" / f"{name}.npy", np.ones(SIZE, bool))
    return f"{name}.png"


@case("no folder of masks", "no such folder")
def _(folder):
    shutil.rmtree(folder / "train" / "mask")
    return "mask"


@case("no folder of images", "no such folder")
def _(folder):
    shutil.rmtree(folder / "val" / "img")
    return "img"


@case("a file where the masks should be", "no such folder")
def _(folder):
    shutil.rmtree(folder / "train" / "mask")
    (folder / "train" / "mask").write_text("masks")
    return "mask"


@case("no images", "no images")
def _(folder):
    for kind in ("img", "mask"):
        for path in (folder / "val" / kind).iterdir():
            path.unlink()
    return "img"


# TIFF of its own kind


@case("TIFF with slices", "stack of 5 pages")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    tifffile.imwrite(path, np.stack([picture(i) for i in range(5)]), photometric="minisblack")
    return "a.tif"


@case("TIFF whose directories bite their tail", "")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    tifffile.imwrite(path, np.stack([picture(i) for i in range(2)]), photometric="minisblack")
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    (second,) = struct.unpack("<I", data[first + 2 + 12 * count : first + 6 + 12 * count])
    (count,) = struct.unpack("<H", data[second : second + 2])
    data[second + 2 + 12 * count : second + 6 + 12 * count] = struct.pack("<I", first)
    path.write_bytes(data)
    return "a.tif"


@case("TIFF whose directory lies behind its end", "")
def _(folder):
    return put_bytes(folder, ".tif", b"II*\0" + struct.pack("<I", 10**9) + bytes(100))


@case("TIFF without any directory", "")
def _(folder):
    return put_bytes(folder, ".tif", b"II*\0" + struct.pack("<I", 0) + bytes(100))


@case("TIFF with pixels behind its end", "")
def _(folder):
    data = bytearray(tiff_claiming(40, 40, count=1600))
    return put_bytes(folder, ".tif", bytes(data[:300]))


@case("TIFF with an unknown compression", "compression")
def _(folder):
    return put_bytes(folder, ".tif", tiff_claiming(40, 40, compression=64999))


@case("TIFF in cyan, magenta, yellow and black", "colours")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    tifffile.imwrite(path, np.zeros((*SIZE, 4), np.uint8), photometric="separated")
    return "a.tif"


@case("TIFF of complex numbers", "")
def _(folder):
    return put_image(folder, "tiff", picture().astype(np.complex64)).name


@case("TIFF with five channels", "channels")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    tifffile.imwrite(path, np.zeros((*SIZE, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    return "a.tif"


@case("image of another vendor's format", "no image of that name")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    path.rename(path.with_suffix(".czi"))
    return "a.npy"


@case("PNG with a changed bit", "checksum")
def _(folder):
    path = put_image(folder, "png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return "a.png"


@case("TIFF called .png", "rename it to .tif")
def _(folder):
    path = folder / "train" / "img" / "a.tif"
    path.rename(path.with_suffix(".png"))
    return "a.png"


def snapshot(folder: Path) -> str:
    """Every name and content in a folder, links not followed: equal before and after means untouched."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"link {os.readlink(path)}"
        elif path.is_file():
            found[str(path)] = zlib.crc32(path.read_bytes())
        else:
            found[str(path)] = "folder or pipe"
    return json.dumps(found)
