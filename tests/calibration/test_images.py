"""Which parts of which files are looked at."""

import numpy as np
import pytest
import tifffile

from segexp.calibration.images import cut, find, side_by_side
from segexp.errors import InputError


def write(folder, *shapes, dtype=np.uint16):
    folder.mkdir(exist_ok=True)
    for k, shape in enumerate(shapes):
        tifffile.imwrite(
            folder / f"{k}.tif",
            np.random.default_rng(k).integers(0, 200, shape).astype(dtype),
            photometric="rgb" if shape[-1] == 3 else "minisblack",
        )
    return folder


def test_parts_are_as_large_as_asked_or_as_the_smallest_image_allows(tmp_path):
    folder = write(tmp_path / "a", (200, 300), (100, 128))
    parts = cut(find([folder]), 256, 10)
    assert {part.shape for part in parts} == {(100, 100)}
    assert len(parts) == 1 + 5  # five of the six of the large one
    first = tifffile.imread(folder / "0.tif")
    np.testing.assert_array_equal(parts[0], first[:100, :100])
    np.testing.assert_array_equal(parts[4], first[100:, 200:])


def test_many_files_share_the_parts(tmp_path):
    folder = write(tmp_path / "a", *[(128, 128)] * 9)
    parts = cut(find([folder]), 64, 4)
    assert len(parts) == 4
    np.testing.assert_array_equal(parts[0], tifffile.imread(folder / "0.tif")[:64, :64])
    np.testing.assert_array_equal(parts[3], tifffile.imread(folder / "8.tif")[:64, :64])


def test_colour_and_stacks_are_read(tmp_path):
    folder = write(tmp_path / "a", (64, 64, 3), dtype=np.uint8)
    stack = np.random.default_rng(5).integers(0, 9, (5, 70, 70)).astype(np.uint16)
    tifffile.imwrite(folder / "stack.tif", stack, photometric="minisblack")
    assert [part.shape for part in cut(find([folder]), 64, 8)] == [(64, 64)] * 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: write(folder, (30, 200)), "expected 64 px a side or more"),
        (lambda folder: write(folder), "no images; expected files ending in"),
        (lambda folder: tifffile.imwrite(write(folder) / "c.tif", np.ones((90, 90), np.uint8)), "is constant"),
        (lambda folder: None, "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, make, reason):
    make(tmp_path / "a")
    with pytest.raises(InputError, match=reason):
        cut(find([tmp_path / "a"]), 128, 8)


def test_channels_that_are_no_colours_are_not_mixed(tmp_path):
    planes = np.random.default_rng(0).integers(0, 999, (3, 70, 70)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(InputError, match=r"a\.tif: 3 channels, .* data\.channel=1 to data\.channel=3 chooses one"):
        cut([tmp_path / "a.tif"], 64, 1)
    (part,) = cut([tmp_path / "a.tif"], 64, 1, channel=2)
    np.testing.assert_array_equal(part, planes[1, :64, :64])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_pixels_that_are_no_numbers_is_named(tmp_path, value):
    pixels = np.random.default_rng(0).random((64, 128)).astype(np.float32)
    pixels[3, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(InputError, match=r"a\.tif: holds NaN or infinite values"):
        cut([tmp_path / "a.tif"], 64, 2)


def test_the_picture_of_an_earlier_calibration_is_no_image(tmp_path):
    folder = write(tmp_path / "a", (64, 64))
    (folder / "mine.png").write_bytes(b"")
    assert find([folder], folder / "mine.png") == [folder / "0.tif"]
    (folder / "0.tif").unlink()
    with pytest.raises(InputError, match="no images"):
        find([folder], folder / "mine.png")


def test_the_picture_shows_all_three(tmp_path):
    parts = cut(find([write(tmp_path / "a", (64, 128))]), 64, 8)
    picture = side_by_side("vesicle", parts, {"style": "field"}, 0)
    assert picture.shape == (28 + 3 * 64, 3 * 3 * 64 + 2 * 12, 3)
    assert (picture[28:, 2 * 64 : 3 * 64] == 255).all()  # two parts, so seven places stay empty
    before, after = picture[28:, 204:396], picture[28:, 408:]
    assert not np.array_equal(before, after)


def test_where_more_squares_are_cut_than_taken_all_files_have_their_part(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = rng.integers(0, 30, (256, 512)).astype(np.uint8) + np.uint8(30 * number)
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels)
    squares = cut(sorted(tmp_path.iterdir()), 256, 10)
    assert len(squares) == 10
    assert {int(square.min()) // 30 for square in squares} == set(range(7))
