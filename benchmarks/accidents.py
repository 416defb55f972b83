"""Damaged and hostile files: the number of attempts in each class that segexp refuses or handles correctly.

    python benchmarks/accidents.py

Each attempt is one command in its own process, on small files made here. If the input has a correct result, the attempt
passes if the command gives this result. Otherwise it passes if the command refuses the input with an error message
(exit code not 0, no traceback). The tests check the same cases one by one. This script uses only the command line, so
it can also be run on an older version: set PYTHONPATH to that version's ``src``.
"""

import contextlib
import csv
import io
import os
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image

import segexp
from segexp.cli import main

Attempt = tuple[str, Callable[[Path], bool]]
READY = next(Path(segexp.__file__).parent.glob("*/vesicle.pth"))
RNG = np.random.default_rng(0)


def call(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Return exit code and output of a command, run in its own process; the code is 99 if it ended with a traceback."""
    log = cwd / ".output"
    child = os.fork()
    if not child:
        code = 99
        try:
            os.chdir(cwd)
            file = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            torch.set_num_threads(1)
            sys.argv = ["segexp", *map(str, arguments)]
            try:
                main()
                code = 0
            except SystemExit as end:
                if isinstance(end.code, str):
                    print(end.code)
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                import traceback

                traceback.print_exc()
            with contextlib.suppress(Exception):
                sys.stdout.flush()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    text = log.read_bytes().decode(errors="replace")
    log.unlink()
    code = os.waitstatus_to_exitcode(status)
    return (99 if "Traceback (most recent" in text else code), text


def refused(*arguments: object, cwd: Path) -> bool:
    """Return whether the command ends with an error message, not a traceback."""
    return call(*arguments, cwd=cwd)[0] not in (0, 99)


def cell(path: Path, value: int = 0) -> Path:
    """Write an image of a bright square on a dim background."""
    image = np.full((96, 96), 100, np.uint16)
    image[30:60, 30:60] = 900 + value
    tifffile.imwrite(path, image)
    return path


def predict(folder: Path, model: Path | str = READY, name: str = "a.tif", *more: object) -> tuple[int, str]:
    """Predict one image of the folder with a model."""
    return call("predict", "--model", model, "--input", folder / name, "--output", folder / "out", *more, cwd=folder)


def changed(change: Callable[[dict], None]) -> Callable[[Path], bool]:
    """Return an attempt with a ready model whose content was changed, which must be refused."""

    def attempt(folder: Path) -> bool:
        state = torch.load(READY, map_location="cpu", weights_only=True)
        change(state)
        torch.save(state, folder / "m.pth")
        cell(folder / "a.tif")
        return predict(folder, folder / "m.pth")[0] not in (0, 99)

    return attempt


def flipped(position: float) -> Callable[[Path], bool]:
    """Return an attempt with a model file in which one bit of the archive's largest member is flipped."""

    def attempt(folder: Path) -> bool:
        data = bytearray(READY.read_bytes())
        with zipfile.ZipFile(READY) as archive:
            member = max(archive.infolist(), key=lambda info: info.file_size)
        data[member.header_offset + 200 + int(position * (member.file_size - 400))] ^= 64
        (folder / "m.pth").write_bytes(data)
        cell(folder / "a.tif")
        return predict(folder, folder / "m.pth")[0] not in (0, 99)

    return attempt


def models() -> Iterator[Attempt]:
    """Yield attempts with damaged or hostile model files."""
    for number in range(12):
        yield "a model file with one flipped bit", flipped(number / 12)
    first = lambda state: next(value for value in state["weights"].values() if value.is_floating_point())  # noqa: E731
    for value in (float("nan"), float("inf")):
        yield "weights that are not numbers", changed(lambda s, v=value: first(s).view(-1).__setitem__(0, v))
    for value in (float("nan"), -1.0, 2.0):
        yield "a threshold or a size out of bounds", changed(lambda s, v=value: s.update(threshold=v))
    for value in (10**30, -5):
        yield "a threshold or a size out of bounds", changed(lambda s, v=value: s.update(min_size=v))
    yield "wrong types in a model file", changed(lambda s: s.update(classes=7))
    yield "wrong types in a model file", changed(lambda s: s.update(threshold="0.5"))
    yield "wrong types in a model file", changed(lambda s: s.update(reading=[1]))
    yield "wrong types in a model file", changed(lambda s: s.update(measure={"kind": 3}))
    yield "class names that are paths", changed(lambda s: s.update(classes=["../../x"]))
    yield "class names that are paths", changed(lambda s: s.update(classes=["a\x1b[2Jb"]))

    def stride(state: dict) -> None:
        state["weights"]["extra"] = torch.zeros(1).expand(2**31)

    yield "tensors larger than the file", changed(stride)

    def deflated(folder: Path) -> bool:
        state = torch.load(READY, map_location="cpu", weights_only=True)
        state["weights"]["extra"] = torch.zeros(2**27)
        torch.save(state, folder / "big.pth")
        with (
            zipfile.ZipFile(folder / "big.pth") as big,
            zipfile.ZipFile(folder / "m.pth", "w", zipfile.ZIP_DEFLATED) as small,
        ):
            for name in big.namelist():
                small.writestr(name, big.read(name))
        (folder / "big.pth").unlink()
        cell(folder / "a.tif")
        return predict(folder, folder / "m.pth")[0] not in (0, 99)

    yield "tensors larger than the file", deflated


def pages() -> Iterator[Attempt]:
    """Yield attempts with files whose first page is not the image."""
    large, small = np.zeros((96, 96), np.uint16), np.zeros((24, 24), np.uint16)

    def written(*arrays: np.ndarray) -> Callable[[Path], bool]:
        def attempt(folder: Path) -> bool:
            with tifffile.TiffWriter(folder / "a.tif") as file:
                for array in arrays:
                    file.write(array, contiguous=False)
            code, _ = predict(folder)
            mask = folder / "out" / "a_mask.png"
            return code not in (0, 99) or (mask.is_file() and cv2.imread(str(mask), -1).shape == (96, 96))

        return attempt

    yield "pages of several sizes", written(small, large)
    yield "pages of several sizes", written(large, large[:50])

    def subifd(folder: Path) -> bool:
        with tifffile.TiffWriter(folder / "a.tif") as file:
            file.write(small, subifds=1)
            file.write(large, subfiletype=0)
        code, _ = predict(folder)
        mask = folder / "out" / "a_mask.png"
        return code not in (0, 99) or (mask.is_file() and cv2.imread(str(mask), -1).shape == (96, 96))

    yield "pages of several sizes", subifd
    for kind in ("png", "webp"):

        def animated(folder: Path, kind: str = kind) -> bool:
            frames = [Image.fromarray(np.full((64, 64, 3), 50 * n, np.uint8)) for n in range(1, 4)]
            frames[0].save(folder / f"a.{kind}", save_all=True, append_images=frames[1:], lossless=True)
            return predict(folder, READY, f"a.{kind}")[0] not in (0, 99)

        yield "animations", animated


def values() -> Iterator[Attempt]:
    """Yield attempts with numbers at the limits of their types."""

    def bright(scale: float, offset: float, kind: type) -> Callable[[Path], bool]:
        """Check that an object that is found in a plain copy of the image is also found here."""

        def attempt(folder: Path) -> bool:
            image = tifffile.imread(cell(folder / "plain.tif")).astype(np.float64)
            tifffile.imwrite(folder / "a.tif", (image * scale + offset).astype(kind))
            code, _ = predict(folder)
            if code:
                return code != 99
            predict(folder, READY, "plain.tif")
            masks = [cv2.imread(str(folder / "out" / f"{name}_mask.png"), -1) > 0 for name in ("a", "plain")]
            return bool((masks[0] == masks[1]).mean() > 0.97)

        return attempt

    yield "values beyond float32", bright(1e300, 0, np.float64)
    yield "values beyond float32", bright(1e-3, 1e9, np.float64)
    yield "values beyond float32", bright(1e-40, 0, np.float64)

    def dates(folder: Path) -> bool:
        np.save(folder / "a.npy", np.zeros((64, 64), "m8[s]"))
        return predict(folder, READY, "a.npy")[0] not in (0, 99)

    yield "arrays that are not images", dates


def records() -> Iterator[Attempt]:
    """Yield attempts with results of an earlier command that were changed or damaged afterwards."""

    def outputs(spoil: Callable[[Path], None], *more: object) -> Callable[[Path], bool]:
        """Predict, change the output, predict again: the mask must then be correct, or the command refused."""

        def attempt(folder: Path) -> bool:
            cell(folder / "a.tif")
            predict(folder)
            right = (folder / "out" / "a_mask.png").read_bytes()
            spoil(folder)
            code, _ = predict(folder, READY, "a.tif", *more)
            now = folder / "out" / "a_mask.png"
            return code not in (0, 99) or (now.is_file() and now.read_bytes() == right)

        return attempt

    yield "a wrong record", outputs(lambda f: (f / "out" / "a_mask.png").write_bytes(b""))
    yield "a wrong record", outputs(lambda f: (f / "out" / "a_mask.png").unlink())

    def other(folder: Path) -> None:
        cv2.imwrite(str(folder / "out" / "a_mask.png"), np.zeros((96, 96), np.uint8))

    yield "a wrong record", outputs(other)
    for junk in (b"\0\0\0", b"[1, 2]\n", b'{"a"\n', b"\xff\xfe"):

        def damage(folder: Path, junk: bytes = junk) -> None:
            for path in (folder / "out").iterdir():
                if path.suffix == ".jsonl":
                    path.write_bytes(path.read_bytes() + junk)

        yield "a damaged record", outputs(damage)

    def second(folder: Path) -> bool:
        """Check that the measurements of a second folder do not remove the rows of the first."""
        for name in ("one", "two"):
            (folder / name).mkdir()
            cell(folder / name / f"{name}.tif")
            arguments = ("predict", "--model", READY, "--input", folder / name, "--output", folder / "out")
            code, _ = call(*arguments, "--save", "measurements", cwd=folder)
            if code:
                return code != 99
        text = "".join(path.read_text() for path in (folder / "out").glob("*.csv"))
        return "one" in text and "two" in text

    yield "results of a second folder in an output folder", second

    def same(folder: Path) -> bool:
        """Check that equal file names in two folders are not confused."""
        for number, name in enumerate(("one", "two")):
            (folder / name).mkdir()
            tifffile.imwrite(folder / name / "a.tif", np.full((96, 96), 100, np.uint16))
            if number:
                cell(folder / name / "a.tif")
            arguments = ("predict", "--model", READY, "--input", folder / name, "--output", folder / "out")
            code, _ = call(*arguments, cwd=folder)
        return code not in (0, 99)

    yield "results of a second folder in an output folder", same

    def drawing(folder: Path) -> bool:
        cell(folder / "a.tif")
        (folder / "out").mkdir()
        (folder / "out" / "a_mask.png").write_bytes(b"drawn by hand")
        predict(folder)
        return (folder / "out" / "a_mask.png").read_bytes() == b"drawn by hand"

    yield "a user's file under the name of an output", drawing

    def table(folder: Path) -> bool:
        cell(folder / "a.tif")
        (folder / "out").mkdir()
        (folder / "out" / "measurements.csv").write_text("mine")
        predict(folder, READY, "a.tif", "--save", "measurements")
        return (folder / "out" / "measurements.csv").read_text() == "mine"

    yield "a user's file under the name of an output", table


def names() -> Iterator[Attempt]:
    """Yield attempts with file names that a terminal, a spreadsheet or a web page would interpret."""
    for name in ("a\x1b[31mb.tif", "a\nb.tif", "a\rb.tif"):

        def escape(folder: Path, name: str = name) -> bool:
            cell(folder / name)
            code, text = predict(folder, READY, name)
            return code != 99 and "\x1b[31m" not in text and "a\nb" not in text and "a\rb" not in text

        yield "control characters in names", escape

    def broken(folder: Path) -> bool:
        path = os.fsencode(folder) + b"/\xff\xfe.tif"
        cell(folder / "x.tif").rename(os.fsdecode(path))
        cell(folder / "a.tif")
        code, _ = call("predict", "--model", READY, "--input", folder, "--output", folder / "out", cwd=folder)
        return code != 99 and (folder / "out" / "a_mask.png").is_file()

    yield "names that are not UTF-8", broken

    def formula(folder: Path) -> bool:
        (folder / "in").mkdir()
        cell(folder / "in" / "=cmd.tif")
        arguments = ("predict", "--model", READY, "--input", folder / "in", "--output", folder / "out")
        code, _ = call(*arguments, "--save", "measurements", cwd=folder)
        cells = [c for path in (folder / "out").glob("*.csv") for row in csv.reader(path.open()) for c in row]
        return code != 99 and not any(c.startswith("=") for c in cells)

    yield "formulas in names", formula


def costs() -> Iterator[Attempt]:
    """Yield attempts with small files that take minutes to decode; at most 6 s of processor time pass."""

    def scans(folder: Path) -> bool:
        data = io.BytesIO()
        Image.fromarray(RNG.integers(0, 255, (1024, 1024), np.uint8)).save(data, "JPEG", progressive=True)
        raw = data.getvalue()
        start = raw.rindex(b"\xff\xda")  # the last scan, which is repeated 300 times
        (folder / "a.jpg").write_bytes(raw[:start] + raw[start:-2] * 300 + raw[-2:])
        before = os.times().children_user
        code, _ = predict(folder, READY, "a.jpg")
        return code != 99 and os.times().children_user - before < 6

    yield "files that take minutes to decode", scans


def count() -> None:
    """Run every attempt and print the table."""
    passed: dict[str, list[bool]] = defaultdict(list)
    for group in (models, pages, values, records, names, costs):
        for name, attempt in group():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    passed[name].append(attempt(Path(folder)))
                except (AssertionError, OSError, AttributeError, KeyError):
                    passed[name].append(False)
    print(f"{'class':55s} passed  tried")
    for name, results in passed.items():
        print(f"{name:55s} {sum(results):6d} {len(results):6d}")
    every = [result for results in passed.values() for result in results]
    print(f"{'all':55s} {sum(every):6d} {len(every):6d}")


if __name__ == "__main__":
    count()
