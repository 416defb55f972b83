"""`.npy`: which axis is which, and what is no image."""

import numpy as np
import pytest

from segexp.data.reading import Reading
from segexp.errors import InputError
from segexp.io.images import open_image, read_image, read_mask
from tests.data.files import read_image_as

CHANNELS = np.random.default_rng(0).integers(0, 60000, (20, 30, 2), np.uint16)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("held", [2, 3, 4])
def test_channels_first_or_last_are_refused_or_chosen(tmp_path, first, held):
    array = np.dstack([CHANNELS, CHANNELS[..., ::-1]])[..., :held]
    np.save(tmp_path / "a.npy", np.moveaxis(array, 2, 0) if first else array)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), array)
    assert read_image_as(tmp_path / "a.npy", Reading(channel=2))[0].tolist() == array[None, ..., 1].tolist()
    if first or held == 2:  # three or four that come last are colours
        with pytest.raises(InputError, match=rf"a\.npy: {held} channels, .*data\.channel=1 to data\.channel={held}"):
            read_image_as(tmp_path / "a.npy", Reading())


@pytest.mark.parametrize(
    ("shape", "pages"), [((16, 16, 5), 1), ((40, 40, 12), 1), ((12, 40, 40), 12), ((40, 9, 8), 40)]
)
def test_many_channels_come_last_pages_first(tmp_path, shape, pages):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    with open_image(tmp_path / "a.npy", "first") as image:
        assert image.pages == pages


@pytest.mark.parametrize("dtype", ["m8[s]", "M8[s]", "U3", "V4", [("a", "i4"), ("b", "f4")], "c16"])
def test_what_is_no_number_is_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((4, 5), dtype))
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"a\.npy: (dtype|complex|cannot)"):
            read(tmp_path / "a.npy")


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2000, 2000)))
    with open_image(tmp_path / "a.npy") as image:
        image.read(0, 0, 10, 10)
        with (tmp_path / "a.npy").open("r+b") as file:
            file.truncate(5000)
        with pytest.raises(InputError, match=r"a\.npy: was truncated to 5000 of 32000128 bytes"):
            image.read()
