"""Files that change under a run, and values that float32 cannot hold."""

import numpy as np
import pytest
import tifffile

from segexp.data.dataset import find_pairs, read_samples
from segexp.data.reading import Reading, locate
from segexp.errors import InputError
from segexp.inference.row_reader import FileRows, checked
from segexp.io.images import open_image
from tests.data.files import read_image_as


@pytest.mark.parametrize(
    "now", [np.zeros((30, 64), np.uint8), np.zeros((80, 64), np.uint8), np.zeros((64, 64), np.uint16)]
)
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_an_image_that_is_replaced_while_a_run_reads_it(tmp_path, suffix, now):
    def save(name, pixels):
        path = tmp_path / name / f"a{suffix if name == 'img' else '.npy'}"
        path.parent.mkdir(exist_ok=True)
        np.save(path, pixels) if path.suffix == ".npy" else tifffile.imwrite(path, pixels)

    save("img", np.zeros((64, 64), np.uint8))
    save("mask", np.zeros((64, 64), np.uint8))
    samples, faults = read_samples(find_pairs(tmp_path / "img", tmp_path / "mask")[0], Reading(), keep=False)
    assert not faults
    assert samples[0].window(40, 0, 32)[0].shape == (1, 24, 32)
    save("img", now)
    with pytest.raises(InputError, match=rf"a{suffix}: changed while it was in use: \(64, 64\) uint8 at first"):
        samples[0].window(40, 0, 32)
    save("img", np.zeros((64, 64), np.uint8))
    save("mask", np.zeros((30, 64), np.uint8))
    with pytest.raises(InputError, match=r"a\.npy: shape \(30, 64\)"):
        samples[0].window(40, 0, 32)


RAMP = np.arange(64 * 64).reshape(64, 64) / 4095


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (RAMP * 1e300, "divide the image"),
        ((RAMP * 1e38).astype(np.float32), "divide the image"),
        (RAMP + 1e9, "subtract 1000000000.0"),
        (RAMP * 1e-60, "multiply the image"),
        ((np.arange(4096) % 2 + 10**9).astype(np.int32).reshape(64, 64), "subtract 1000000000 "),
        ((np.arange(4096) % 2).astype(np.uint64).reshape(64, 64) + np.uint64(2**63), "subtract 9223372036854775808"),
        (np.where(RAMP > 0.5, np.nan, RAMP), r"NaN or infinite values \(50 % of the pixels\)"),
    ],
)
def test_values_that_float32_cannot_hold_are_refused(tmp_path, pixels, words):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(InputError, match=rf"a\.npy: .*{words}"):
        read_image_as(tmp_path / "a.npy", Reading())
    with pytest.raises(InputError, match=words):
        checked(pixels[None])
    with open_image(tmp_path / "a.npy") as file, pytest.raises(InputError, match=words):
        FileRows(file, Reading(), locate(file, Reading())).rows(0, 64)


@pytest.mark.parametrize(
    "pixels",
    [
        RAMP * 1e30,
        RAMP + 1000,
        RAMP * 1e-6,
        np.full((64, 64), 1e9),
        np.full((64, 64), 0.1) + 1e-17 * RAMP,
        (RAMP * 60000).astype(np.int32) + 10**6,
        (RAMP * 4e9).astype(np.uint32),
        np.full((64, 64), 2**60),
        (np.arange(4096) % 2 + 60000).astype(np.uint16).reshape(64, 64),
        (RAMP > 0.5),
    ],
)
def test_values_that_float32_can_hold_are_read(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    assert read_image_as(tmp_path / "a.npy", Reading())[0].shape == (1, 64, 64)
    checked(pixels[None])
