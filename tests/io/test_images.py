"""Reading keeps the file's dtype and values, and says which file is at fault."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from segexp.errors import InputError
from segexp.io.images import label_map, open_image, read_image, read_mask, to_channels

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (13, 17), np.uint8)
GREY16 = RNG.integers(0, 65536, (13, 17), np.uint16)
COLOUR = RNG.integers(0, 256, (13, 17, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".npy", ".TIF"])
def test_grey_8_bit(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix.lower().startswith(".tif"):
        tifffile.imwrite(path, GREY8)
    elif suffix == ".npy":
        np.save(path, GREY8)
    else:
        cv2.imwrite(str(path), GREY8)
    read = read_image(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, GREY8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_stays_16_bit(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), GREY16)
    read = read_image(path)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, GREY16)


def test_float_tiff_keeps_values_beyond_one(tmp_path):
    image = (RNG.normal(size=(9, 7)) * 1e4).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", GREY16, compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_is_red_green_blue(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, COLOUR, photometric="rgb")
    else:
        cv2.imwrite(str(path), COLOUR[..., ::-1])
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("pages", [2, 3, 4])
def test_a_short_stack_is_not_a_colour_image(tmp_path, pages):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((pages, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif: a stack"):
        read_image(tmp_path / "a.tif")


def test_one_bit_images_become_0_and_1(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY8 > 100, photometric="minisblack")
    pixels = to_channels(read_image(tmp_path / "a.tif"), 1)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[0], GREY8 > 100)


def test_jpeg_is_close(tmp_path):
    smooth = cv2.GaussianBlur(GREY8, (0, 0), 3)
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth).max() < 10


def test_a_path_with_odd_characters(tmp_path):
    folder = tmp_path / "é = [a, 'b'] ${x}"
    folder.mkdir()
    cv2.imencode(".png", GREY8)[1].tofile(folder / "ü ~.png")
    np.testing.assert_array_equal(read_image(folder / "ü ~.png"), GREY8)


def _write(path, data):
    path.write_bytes(data)
    return path


def test_faults_name_the_file(tmp_path):
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.zeros((7, 20, 20), np.uint8), photometric="minisblack")
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "complex.npy", np.ones((3, 3), complex))
    cases = {
        tmp_path / "absent.png": "no such file",
        _write(tmp_path / "empty.png", b""): "0 bytes",
        _write(tmp_path / "text.png", b"not a picture"): "damaged",
        _write(tmp_path / "text.tif", b"not a picture"): "TIFF",
        _write(tmp_path / "bad.npy", b"\x93NUMPY\x01\x00"): "NumPy",
        _write(tmp_path / "a.czi", b"x"): ".czi",
        stack: "stack",
        tmp_path / "text.npy": "numbers",
        tmp_path / "complex.npy": "complex",
    }
    for path, words in cases.items():
        with pytest.raises(InputError) as error:
            read_image(path)
        assert str(path) in str(error.value)
        assert words in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".jpg", ".bmp"])
def test_truncated_files_are_refused_or_read_in_full_shape(tmp_path, suffix):
    """A file cut anywhere never comes back as another shape, and never as anything but an `InputError`."""
    whole = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(whole, GREY8)
    elif suffix == ".tif":
        tifffile.imwrite(whole, GREY8)
    else:
        cv2.imwrite(str(whole), GREY8)
    data = whole.read_bytes()
    refused = 0
    for tenth in range(10):
        cut = _write(tmp_path / f"cut{suffix}", data[: len(data) * tenth // 10])
        try:
            assert read_image(cut).shape == GREY8.shape
        except InputError as error:
            assert str(cut) in str(error)  # noqa: PT017
            refused += 1
    assert refused >= 5


def test_pickled_masks_are_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    np.save(tmp_path / "a.npy", np.array([Attack()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_mask(tmp_path / "a.npy")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (5, 6, 1)])
def test_mask_shapes(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape, bool))
    assert read_mask(tmp_path / "a.npy").shape == (5, 6)


@pytest.mark.parametrize("shape", [(), (5,), (3, 5, 6), (0, 5)])
def test_mask_shapes_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.ones(shape, bool))
    with pytest.raises(InputError, match=r"a\.npy: shape"):
        read_mask(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.array([[True, False]]), [[1, 0]]),
        (np.array([[1, 0]], np.int64), [[1, 0]]),
        (np.array([[255, 0]], np.uint8), [[1, 0]]),
        (np.array([[255, 255]], np.uint8), [[1, 1]]),
        (np.array([[0.0, 1.0]]), [[0, 1]]),
        (np.array([[0, 0]], np.uint16), [[0, 0]]),
    ],
)
def test_binary_masks(mask, expected):
    labels = label_map(mask, 1)
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected


def test_class_ids():
    assert label_map(np.array([[0, 1, 2, 3]], np.int32), 3).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("mask", "classes"), [([[0, 1, 2]], 1), ([[0, 1, 255]], 1), ([[0, 255]], 2), ([[0, -1]], 1), ([[0.5, 1]], 1)]
)
def test_ambiguous_masks_are_refused_with_their_values(mask, classes):
    with pytest.raises(InputError, match=r"values .*expected"):
        label_map(np.array(mask), classes, "m.npy")


def test_grey_from_colour_uses_luma_and_equal_channels_are_exact():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    assert to_channels(red, 1).tolist() == [[[60, 60], [60, 60]]]  # 0.299 * 200 = 59.8
    equal = np.repeat(GREY8[..., None], 3, axis=2)
    np.testing.assert_array_equal(to_channels(equal, 1)[0], GREY8)


@given(channels=st.sampled_from([1, 3]), source=st.sampled_from([None, 2, 3, 4]))
def test_to_channels_gives_the_channels_asked_for(channels, source):
    shape = (4, 5) if source is None else (4, 5, source)
    result = to_channels(np.ones(shape, np.uint16), channels)
    assert result.shape == (channels, 4, 5)
    assert result.dtype == np.uint16


def test_five_channels_are_refused():
    with pytest.raises(InputError, match="image: 5 channels, but"):
        to_channels(np.ones((4, 5, 5)), 1)


def test_the_example_of_the_page_on_data_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parent.parent.parent / "docs" / "data.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("slide.tif", np.zeros((80, 90), np.uint16), tile=(32, 32), compression="zlib")
    names = {}
    exec(example, names)  # our own file
    assert names["part"].shape == (64, 64)
    assert capsys.readouterr().out == "(80, 90) uint16 None\n"


@pytest.mark.parametrize(("channels", "held"), [(1, 2), (1, 3), (1, 5), (3, 2), (2, 3), (5, 1)])
def test_channels_that_are_no_colours_are_never_mixed(channels, held):
    with pytest.raises(InputError, match=rf"a\.tif: {held} channels?, .*data\.channels={held} keeps"):
        to_channels(np.ones((4, 5, held), np.uint16), channels, "a.tif", colour=False)
    kept = to_channels(np.arange(20 * held, dtype=np.uint16).reshape(4, 5, held), held, "a.tif", colour=False)
    np.testing.assert_array_equal(kept, np.moveaxis(np.arange(20 * held).reshape(4, 5, held), 2, 0))


@pytest.mark.parametrize(
    ("stored", "shape", "colour", "pages"),
    [
        ((20, 30), (20, 30), False, 1),
        ((1, 20, 30, 1), (20, 30), False, 1),
        ((20, 30, 3), (20, 30, 3), True, 1),
        ((3, 20, 30), (20, 30, 3), False, 1),  # uint16: channels, and no colours, unless they come last
        ((20, 30, 2), (20, 30, 2), False, 1),
        ((64, 80, 5), (64, 80, 5), False, 1),
        ((7, 20, 30), (20, 30), False, 7),
        ((5, 1), (5, 1), False, 1),
    ],
)
def test_axes_of_an_array(tmp_path, stored, shape, colour, pages):
    array = np.arange(np.prod(stored), dtype=np.uint16).reshape(stored)
    np.save(tmp_path / "a.npy", array)
    with open_image(tmp_path / "a.npy", "first") as file:
        assert (file.shape, file.colour, file.pages) == (shape, colour, pages)
        np.testing.assert_array_equal(file.read(1, 0, 2, 1), file.read()[1:3, :1])
    for wrong in ((2, 3, 20, 30), (), (9,), (0, 9)):
        np.save(tmp_path / "b.npy", np.zeros(wrong))
        with pytest.raises(InputError, match=r"b\.npy"):
            read_image(tmp_path / "b.npy")


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_an_orientation_is_told_and_never_applied(tmp_path, suffix, turn):
    """Fiji and OpenCV's unchanged reading agree; a viewer that turns the picture shows its mask unturned."""
    from PIL import Image

    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24] = 200
    exif = Image.Exif()
    exif[274] = turn
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with open_image(path) as image:
        assert image.orientation == turn
        pixels = image.read()
    assert pixels.shape == picture.shape
    assert np.abs(pixels.astype(int) - picture).max() < 20
    Image.fromarray(picture).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    with open_image(path) as image:
        assert image.orientation == 1


def test_a_zarr_folder_says_what_is_read_instead(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError, match=r"a\.zarr: a folder.*tiled TIFF"):
        read_image(tmp_path / "a.zarr")
