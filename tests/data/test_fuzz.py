"""A few hundred damaged files of each format end in an array or an `InputError`; `tests.data.fuzz` runs for longer."""

import json
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from segexp.errors import InputError
from segexp.io import images
from tests.data import fuzz


def run(folder, *arguments):
    command = [sys.executable, "-W", "error", "-m", "tests.data.fuzz", "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_damaged_files_never_surprise(tmp_path):
    result = run(tmp_path, "--count", "1050", "--seed", "20")
    last = (tmp_path / "current.json").read_text() if (tmp_path / "current.json").exists() else ""
    assert result.returncode == 0, f"{signal.strsignal(-min(result.returncode, 0))} {last}\n{result.stderr[-2000:]}"
    facts = json.loads(result.stdout)
    assert facts["files"] == 1050
    kinds = {name.split()[0] for name in facts["outcomes"]}
    assert kinds == {"tiff", "png", "jpeg", "bmp", "webp", "npy"}
    assert all(facts["outcomes"].get(f"{kind} refused", 0) > 20 for kind in kinds)
    assert sum(count for name, count in facts["outcomes"].items() if name.endswith(" read")) > 100


def test_the_fuzzer_notices_what_it_should(tmp_path, monkeypatch):
    """Another exception, a message without the file, a result that is no image, and time without end."""
    (tmp_path / "a.npy").write_bytes(fuzz.corpus()["npy plain"][1])
    assert fuzz.attempt(tmp_path / "a.npy")

    def raising(error):
        def read(path, *more):
            raise error

        return read

    for broken in (raising(ZeroDivisionError()), raising(InputError("x")), lambda *_: np.zeros((0, 3))):
        monkeypatch.setattr(fuzz, "read_image", broken)
        with pytest.raises((ZeroDivisionError, AssertionError)):
            fuzz.attempt(tmp_path / "a.npy")


def test_mutants_differ_and_follow_from_the_seed():
    data = fuzz.corpus()["png grey"][1]
    first, again = (
        [fuzz.mutate(data, b"x" * 99, rng) for _ in range(40)] for rng in map(np.random.default_rng, (1, 1))
    )
    assert first == again
    assert len(set(first)) > 35
    assert data not in first[:5]
    assert fuzz.with_checksums(data) == data


@pytest.mark.parametrize("tag", [256, 257, 258, 277, 278])
@pytest.mark.parametrize("value", [0, 2**31 - 1, 2**32 - 1])
def test_a_length_that_cannot_be(tmp_path, tag, value):
    """Found by the fuzzer: minus a row, a fraction of one, and two thousand million strips of none."""
    for kind in (3, 4, 9, 11):  # short, long, signed long, float
        data = bytearray(fuzz.corpus()["tiff lzw"][1])
        (start,) = struct.unpack("<I", data[4:8])
        (count,) = struct.unpack("<H", data[start : start + 2])
        (at,) = (p for p in range(start + 2, start + 2 + 12 * count, 12) if data[p : p + 2] == struct.pack("<H", tag))
        data[at : at + 12] = struct.pack("<HHI", tag, kind, 1) + value.to_bytes(4, "little")
        (tmp_path / "a.tif").write_bytes(data)
        tick = time.process_time()
        try:
            pixels = images.read_image(tmp_path / "a.tif")
        except InputError as error:
            assert "a.tif" in str(error)  # noqa: PT017
        else:
            assert pixels.size <= 40 * 52
        assert time.process_time() - tick < 2
