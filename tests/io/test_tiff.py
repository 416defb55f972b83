"""TIFF in all it comes as: layouts, channels, stacks, windows, and headers that lie."""

import struct
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segexp.errors import InputError
from segexp.io.images import open_image, read_image, read_mask

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 60000, (70, 90), np.uint16)
COLOUR = RNG.integers(0, 256, (70, 90, 3), np.uint8)
STACK = RNG.integers(0, 60000, (5, 70, 90), np.uint16)

LAYOUTS = {
    "plain": {},
    "strips": {"rowsperstrip": 16},
    "tiles": {"tile": (32, 32)},
    "lzw strips": {"compression": "lzw", "rowsperstrip": 16},
    "zlib tiles, predictor": {"compression": "zlib", "tile": (16, 48), "predictor": True},
    "zstd tiles": {"compression": "zstd", "tile": (32, 32)},
    "lzma": {"compression": "lzma"},
    "big endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF, big endian, tiles": {"bigtiff": True, "byteorder": ">", "tile": (32, 32), "compression": "zlib"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("photometric", ["minisblack", "rgb", "planar"])
def test_every_layout_whole_and_by_window(tmp_path, layout, photometric):
    image = GREY if photometric == "minisblack" else COLOUR
    more = {"planarconfig": "separate"} if photometric == "planar" else {}
    stored = np.moveaxis(image, 2, 0) if photometric == "planar" else image
    kind = "rgb" if photometric == "planar" else photometric
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=kind, **more, **LAYOUTS[layout])
    whole = read_image(tmp_path / "a.tif")
    assert whole.dtype == image.dtype
    np.testing.assert_array_equal(whole, image)
    with open_image(tmp_path / "a.tif") as file:
        assert file.shape == image.shape
        assert file.colour == (photometric != "minisblack")
        for top, left, height, width in ((0, 0, 1, 1), (10, 20, 40, 50), (69, 89, 1, 1), (31, 31, 2, 34)):
            window = file.read(top, left, height, width)
            np.testing.assert_array_equal(window, image[top : top + height, left : left + width])


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
def test_every_dtype_is_kept(tmp_path, dtype):
    image = (GREY > 30000) if dtype == "bool" else (GREY / 600 - (50 if dtype[0] != "u" else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize(("dtype", "largest"), [("bool", 1), ("u1", 255), ("u2", 65535)])
def test_white_is_zero_is_turned_round_for_images_and_kept_for_masks(tmp_path, dtype, largest):
    image = (GREY > 30000) if dtype == "bool" else GREY.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), largest - image.astype(int))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), image)


def test_without_a_photometric_tag_large_values_are_bright(tmp_path):
    _change_tag(tmp_path / "a.tif", GREY, 262, lambda data, tag: struct.pack_into("<H", data, tag.offset, 65000))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY)


def test_a_segment_that_is_not_stored_is_told(tmp_path):
    def leave_out(data, tag):
        letter = {3: "H", 4: "I"}[int(tag.dtype)]
        struct.pack_into(f"<{letter}", data, tag.valueoffset + struct.calcsize(letter), 0)

    for tag in (324, 325):
        _change_tag(tmp_path / "a.tif", GREY if tag == 324 else None, tag, leave_out, tile=(32, 32), compression="zlib")
    with pytest.raises(InputError, match=r"a\.tif: segment 1 is not stored: a sparse TIFF"):
        read_image(tmp_path / "a.tif")


def _change_tag(path, image, number, change, **layout):
    """Write an image, unless it is None, and change a tag of the file."""
    if image is not None:
        tifffile.imwrite(path, image, **layout)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[number]
    data = bytearray(path.read_bytes())
    change(data, tag)
    path.write_bytes(data)


def test_a_palette_is_colour_in_an_image_and_class_ids_in_a_mask(tmp_path):
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    ids = RNG.integers(0, 4, (20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", ids, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), (colours.T // 257)[ids])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["plain", "imagej", "ome", "shaped"])
def test_pages_of_a_stack(tmp_path, kind, compression):
    path = tmp_path / "a.tif"
    more = {"imagej": kind == "imagej", "ome": kind == "ome", "metadata": None if kind == "plain" else {"axes": "ZYX"}}
    tifffile.imwrite(path, STACK, photometric="minisblack", compression=compression, **more)
    with pytest.raises(InputError, match=r"a\.tif: a stack of 5 pages.*data\.page=max"):
        read_image(path)
    for page, expected in {"first": STACK[0], 4: STACK[3], "max": STACK.max(axis=0)}.items():
        np.testing.assert_array_equal(read_image(path, page), expected)
    np.testing.assert_array_equal(read_image(path, "mean"), np.rint(STACK.mean(axis=0)))
    np.testing.assert_array_equal(read_image(path, "channels"), np.moveaxis(STACK, 0, 2))
    np.testing.assert_array_equal(read_mask(path, 5), STACK[4])
    with open_image(path, "max") as file:
        assert file.pages == 5
        np.testing.assert_array_equal(file.read(3, 4, 5, 6), STACK.max(axis=0)[3:8, 4:10])
    for page in (0, 6):
        with pytest.raises(InputError, match=r"it has 5, counted from 1"):
            read_image(path, page)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize(("axes", "expected"), [("ZYX", "Z"), ("TYX", "T"), ("TCYX", "T"), ("ZCYX", "Z"), ("TZYX", "")])
def test_what_pages_are(tmp_path, kind, axes, expected):
    pixels = np.zeros([{"Y": 20, "X": 30}.get(axis, 3) for axis in axes], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    with open_image(tmp_path / "a.tif", page=1) as file:
        assert (file.axis, file.planes) == (expected, 3 if "C" in axes else 1)


HYPERSTACK = RNG.integers(0, 60000, (2, 3, 4, 20, 30), np.uint16)  # times, slices, channels


@pytest.mark.parametrize("kind", ["imagej", "ome", "ome, slices fastest", "shaped"])
def test_channels_are_told_from_slices(tmp_path, kind):
    path = tmp_path / "a.tif"
    if kind == "ome, slices fastest":
        swapped = np.swapaxes(HYPERSTACK, 1, 2)
        tifffile.imwrite(path, swapped, ome=True, metadata={"axes": "TCZYX"}, photometric="minisblack")
    else:
        more = {"imagej": kind == "imagej", "ome": kind == "ome", "metadata": {"axes": "TZCYX"}}
        tifffile.imwrite(path, HYPERSTACK, photometric="minisblack", **more)
    with open_image(path, page=6, channel=3) as file:
        assert file.pages == 6
        np.testing.assert_array_equal(file.read(), HYPERSTACK[1, 2, 2])
    np.testing.assert_array_equal(read_image(path, 2), np.moveaxis(HYPERSTACK[0, 1], 0, 2))
    np.testing.assert_array_equal(read_image(path, 2, [4, 1]), np.moveaxis(HYPERSTACK[0, 1, [3, 0]], 0, 2))
    np.testing.assert_array_equal(read_image(path, "max", 1), HYPERSTACK[:, :, 0].max(axis=(0, 1)))
    with pytest.raises(InputError, match=r"no channel 5; it has 4"):
        read_image(path, 1, 5)


def test_a_stack_of_imagej_with_a_single_directory(tmp_path):
    """What ImageJ writes beyond 4 GiB: one directory, and the planes behind each other."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        offset, end = file.pages[0].offset, len(file.pages[0].tags)
    data = bytearray(path.read_bytes())
    data[offset + 2 + 12 * end : offset + 6 + 12 * end] = b"\0\0\0\0"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path, 5), STACK[4])
    np.testing.assert_array_equal(read_image(path, "max"), STACK.max(axis=0))


def test_pyramids_and_thumbnails_are_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY, metadata=None, tile=(32, 32))
        file.write(GREY[::2, ::2], subfiletype=1, metadata=None)
        file.write(GREY[::4, ::4], metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY)


def test_extra_samples(tmp_path):
    alpha = np.dstack([GREY, GREY // 2])
    tifffile.imwrite(tmp_path / "la.tif", alpha, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "la.tif"), GREY)
    five = RNG.integers(0, 9, (20, 30, 5), np.uint8)
    for planar in ("contig", "separate"):
        stored = five if planar == "contig" else np.moveaxis(five, 2, 0)
        tifffile.imwrite(tmp_path / "5.tif", stored, photometric="minisblack", planarconfig=planar)
        np.testing.assert_array_equal(read_image(tmp_path / "5.tif"), five)
        np.testing.assert_array_equal(read_image(tmp_path / "5.tif", channel=4), five[..., 3])


def test_jpeg_in_tiff(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([smooth] * 3), compression="jpeg", tile=(32, 32), photometric="rgb")
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - smooth[..., None]).max() <= 6


def test_colours_that_are_no_rgb_are_refused(tmp_path):
    picture = Image.fromarray(COLOUR)
    for mode in ("YCbCr", "CMYK", "LAB"):
        picture.convert(mode).save(tmp_path / "a.tif")
        with pytest.raises(InputError, match=r"a\.tif: \w+ colours; save it as grey or RGB"):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "jpeg", "tiff_lzw", "zstd"])
def test_what_pillow_writes_reads_as_pillow_reads_it(tmp_path, compression):
    bilevel = compression in ("group3", "group4", "tiff_ccitt")
    Image.fromarray(GREY > 30000 if bilevel else COLOUR).save(tmp_path / "a.tif", compression=compression)
    expected = np.asarray(Image.open(tmp_path / "a.tif"))
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - expected.astype(int)).max() <= 1


def test_a_window_of_a_large_tiled_file_costs_only_its_tiles(tmp_path):
    side = 6144
    with tifffile.TiffWriter(tmp_path / "big.tif") as file:
        tile = np.zeros((512, 512), np.uint16)
        tiles = (np.add(tile, n).astype(np.uint16) for n in range((side // 512) ** 2))
        file.write(tiles, shape=(side, side), dtype=np.uint16, tile=(512, 512), compression="zlib")
    tracemalloc.start()
    with open_image(tmp_path / "big.tif") as image:
        assert image.shape == (side, side)
        window = image.read(1000, 1000, 100, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert window[0, 0] == 1 * 12 + 1
    assert window[99, 99] == 2 * 12 + 2
    assert peak < 8 * 2**20, "the whole image has 72 MiB, the four tiles 2"


def _ifd(width, height, strip_bytes, compression=1, bits=8, offset=8, rows=None):
    """A little TIFF by hand: one strip at `offset`, the directory behind 8 bytes of pixels."""
    rows = rows or height
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, compression), (262, 3, 1), (273, 4, offset),
        (277, 3, 1), (278, 4, rows), (279, 4, strip_bytes),
    ]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in entries)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + body + struct.pack("<I", 0)


@pytest.mark.parametrize("compression", [1, 5, 8, 50000])
@pytest.mark.parametrize("side", [60_000, 2**31 - 1])
def test_a_bomb_is_refused_before_room_is_made(tmp_path, compression, side):
    (tmp_path / "a.tif").write_bytes(_ifd(side, side, 8, compression))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_claims_that_the_file_does_not_bear_out(tmp_path):
    path = tmp_path / "a.tif"
    for data in (_ifd(80, 40, 3200), _ifd(8, 1, 8, offset=10**6), _ifd(8, 8, 8, compression=34712)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.tif"):
            read_image(path)
    path.write_bytes(_ifd(8, 1, 8))
    assert read_image(path).shape == (1, 8)
    images = 2**31 - 1
    text = f"ImageJ=1.54\nimages={images}\nslices={images}\n"
    tifffile.imwrite(path, GREY, description=text, metadata=None)
    np.testing.assert_array_equal(read_image(path), GREY)  # one page is there, whatever is claimed


def _imagej_stack(stack, text_length, planes=None):
    """A file as ImageJ writes it over 4 GiB: a single directory, then `planes` of all planes, one after the other."""
    count, height, width = stack.shape
    text = f"ImageJ=1.54f\nimages={count}\nslices={count}\n".encode().ljust(text_length, b"\n") + b"\0"
    start = 8 + 2 + 10 * 12 + 4
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
        (270, 2, len(text), start), (273, 4, 1, start + len(text)), (277, 3, 1, 1), (278, 4, 1, height),
        (279, 4, 1, height * width * 2),
    ]  # fmt: skip
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    pixels = stack.astype("<u2").tobytes()
    kept = len(pixels) if planes is None else int(planes * len(pixels) / count)
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(4) + text + pixels[:kept]


@pytest.mark.parametrize("text_length", [60, 61])
def test_planes_behind_a_single_directory_at_any_offset(tmp_path, text_length):
    (tmp_path / "a.tif").write_bytes(_imagej_stack(STACK, text_length))
    with open_image(tmp_path / "a.tif", page=4) as image:
        assert image.pages == 5
        np.testing.assert_array_equal(image.read(3, 5, 60, 70), STACK[3, 3:63, 5:75])
    for planes in (1.5, 3, 4.99):
        (tmp_path / "a.tif").write_bytes(_imagej_stack(STACK, text_length, planes))
        with pytest.raises(InputError, match=rf"a\.tif: truncated; holds {int(planes)} of the 5 planes"):
            read_image(tmp_path / "a.tif", page="max")
    (tmp_path / "a.tif").write_bytes(_imagej_stack(STACK, text_length, 0.5))
    with pytest.raises(InputError, match=r"a\.tif: truncated"):
        read_image(tmp_path / "a.tif")


def test_directories_in_a_circle_are_refused(tmp_path):
    data = _ifd(8, 1, 8)
    (tmp_path / "a.tif").write_bytes(data[:-4] + struct.pack("<I", 16))
    with pytest.raises(InputError, match=r"a\.tif: damaged; the directory after page 1"):
        read_image(tmp_path / "a.tif")


def test_files_that_an_ome_xml_names_are_not_opened(tmp_path):
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, GREY)
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYCZT" Type="uint16" SizeX="90" SizeY="70" SizeC="1" '
        f'SizeZ="1" SizeT="1"><TiffData><UUID FileName="../{secret.name}">urn:uuid:2</UUID></TiffData></Pixels>'
        "</Image></OME>"
    )
    (tmp_path / "data").mkdir()
    tifffile.imwrite(tmp_path / "data" / "a.tif", GREY + 1, description=xml, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "data" / "a.tif"), GREY + 1)
    entity = xml.replace("<OME", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><OME', 1)
    tifffile.imwrite(tmp_path / "data" / "a.tif", GREY, description=entity, metadata=None)
    with pytest.raises(InputError, match="document type"):
        read_image(tmp_path / "data" / "a.tif")


@given(data=st.data())
def test_damaged_files_are_refused_or_read_in_a_believable_shape(tmp_path_factory, data):
    compression = data.draw(st.sampled_from([None, "lzw", "zlib"]))
    path = tmp_path_factory.mktemp("t") / "a.tif"
    tifffile.imwrite(path, GREY[:20, :30], compression=compression, imagej=compression is None)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    try:
        assert read_image(path, "first").nbytes < 10**8
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("byteorder", "<>")
def test_any_number_of_bits_is_read_as_tifffile_reads_it(tmp_path, bits, photometric, byteorder):
    stored = RNG.integers(0, 1 << bits, (20, 33)).astype(bool if bits == 1 else np.uint8 if bits <= 8 else np.uint16)
    more = {} if bits in (1, 8, 16) else {"bitspersample": bits}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, byteorder=byteorder, **more)
    stored = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), stored)
    expected = stored if photometric == "minisblack" else (1 << bits) - 1 - stored.astype(int)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u4", "u8", "f2", "f4", "f8"])
def test_signs_and_widths_are_read_as_tifffile_reads_them(tmp_path, dtype):
    stored = (RNG.normal(size=(20, 33)) * 100).astype("i8").astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, compression="zlib")
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == tifffile.imread(tmp_path / "a.tif").dtype
    np.testing.assert_array_equal(read, stored)


@pytest.mark.parametrize("kind", ["complex", "lerc", "jpeg2000", "png"])
def test_what_is_not_read_is_refused_in_words(tmp_path, kind):
    if kind == "complex":
        tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.complex64))
    else:
        tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.uint8), compression=kind)
    with pytest.raises(InputError, match=r"a\.tif: .*(expected integers or floats|save it uncompressed)"):
        read_image(tmp_path / "a.tif")


def _pages(path, *pages, **more):
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, metadata=None, photometric="minisblack", contiguous=False, **more)


@pytest.mark.parametrize("marked", [0, 1])
@pytest.mark.parametrize("thumbnail", [GREY[::5, ::5], (GREY[::5, ::5] >> 8).astype(np.uint8)])
def test_a_thumbnail_as_the_first_page_is_passed_over(tmp_path, thumbnail, marked):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(thumbnail, metadata=None, subfiletype=marked)
        file.write(GREY, metadata=None, resolution=(4, 4), resolutionunit="micrometer")
    with open_image(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(image.read(), GREY)
        assert image.pages == 1


def test_full_resolution_in_a_subifd_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY[::4, ::4], metadata=None, subifds=2)
        file.write(GREY[::2, ::2], metadata=None)
        file.write(GREY, metadata=None, compression="zlib", tile=(32, 32))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), GREY)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in STACK[:2]:
            file.write(page[::4, ::4], metadata=None, subifds=1)
            file.write(page, metadata=None)
    with pytest.raises(InputError, match=r"a\.tif: each page of 18x23 pixels hides a larger one .*70x90"):
        read_image(tmp_path / "a.tif", "max")
    tifffile.imwrite(tmp_path / "b.tif", GREY)  # a pyramid the usual way round
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(GREY, metadata=None, subifds=1)
        file.write(GREY[::2, ::2], metadata=None, subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), GREY)


@pytest.mark.parametrize(
    "pages",
    [
        (GREY, GREY, GREY[:40, :40]),  # another size
        (GREY, GREY, GREY[::2, ::2]),  # half the size: a level of which page?
        (GREY, GREY.astype(np.uint8)),  # another type
        (GREY, GREY[:60, :50]),
        (GREY[::2, ::2], GREY[1::2, ::2], GREY),
    ],
)
@pytest.mark.parametrize("page", [None, "max", "first", 1])
def test_pages_of_another_size_or_type_are_refused(tmp_path, pages, page):
    _pages(tmp_path / "a.tif", *pages)
    with pytest.raises(InputError, match=r"a\.tif: page \d is .*expected pages of one size and type"):
        read_image(tmp_path / "a.tif", page)


def _ome(blocks, size_c=2, size_z=1, order="XYCZT"):
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="P:0" DimensionOrder="{order}" Type="uint16" SizeX="90" SizeY="70" SizeC="{size_c}" '
        f'SizeZ="{size_z}" SizeT="1">{blocks}</Pixels></Image></OME>'
    )


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT", "XYTZC"])
def test_tiff_data_of_ome_says_which_page_is_which(tmp_path, order):
    """Pages in reverse; tifffile's own reader of OME is the referee."""
    places = [(c, z) for c in (1, 0) for z in (2, 1, 0)]
    blocks = "".join(
        f'<TiffData IFD="{n}" FirstC="{c}" FirstZ="{z}" PlaneCount="1"/>' for n, (c, z) in enumerate(places)
    )
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(6):
            text = {"description": _ome(blocks, 2, 3, order)} if number == 0 else {}
            file.write(GREY // 2 + number, metadata=None, contiguous=False, **text)
    expected = {place: GREY // 2 + number for number, place in enumerate(places)}
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        planes = series.asarray().transpose([series.axes.index(axis) for axis in "CZYX"])
    for (c, z), plane in expected.items():
        np.testing.assert_array_equal(planes[c, z], plane)
        np.testing.assert_array_equal(read_image(path, z + 1, c + 1), plane)


def test_tiff_data_that_cannot_be_is_a_stack_of_pages(tmp_path):
    for blocks in (
        '<TiffData IFD="0" PlaneCount="1"/>',
        '<TiffData IFD="7"/>',
        '<TiffData IFD="0"/><TiffData IFD="0"/>',
    ):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(GREY, metadata=None, contiguous=False, description=_ome(blocks, 9))
            file.write(GREY + 1, metadata=None, contiguous=False)
        with pytest.raises(InputError, match=r"a\.tif: a stack of 2 pages"):
            read_image(tmp_path / "a.tif")


def test_hundreds_of_thousands_of_strips_are_refused_before_they_are_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40_000, 4), np.uint8), rowsperstrip=1, compression="packbits")
    with pytest.raises(InputError, match=r"a\.tif: 40000 strips of 4 values each"):
        read_image(tmp_path / "a.tif")


def test_a_file_that_is_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), np.uint16))
    with open_image(tmp_path / "a.tif") as image:
        image.read(0, 0, 10, 10)
        with (tmp_path / "a.tif").open("r+b") as file:
            file.truncate(5000)
        with pytest.raises(InputError, match=r"a\.tif: truncated; page 1 reaches beyond the 5000 bytes"):
            image.read(0, 0, 10, 10)
