"""Pixel sizes: each place a TIFF may say them, every unit, and what is not believed."""

import numpy as np
import pytest
import tifffile

from segexp.errors import InputError
from segexp.io.images import read_pixel_size
from segexp.io.tiff_metadata import planes

IMAGE = np.zeros((20, 30), np.uint8)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("micron", 0.2),
        ("um", 0.2),
        ("µm", 0.2),
        ("\\u00B5m", 0.2),
        ("nm", 0.0002),
        ("mm", 200.0),
        ("pixel", None),
        ("", None),
        ("parsec", None),
    ],
)
def test_imagej(tmp_path, unit, expected):
    text = f"ImageJ=1.54f\nunit={unit}\n".encode("latin-1")  # as ImageJ writes it: the micro sign escaped, or one byte
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, resolution=(5, 4), resolutionunit=1, description=text, metadata=None)
    found = read_pixel_size(tmp_path / "a.tif")
    assert found == (None if expected is None else pytest.approx((expected * 5 / 4, expected)))


@pytest.mark.parametrize(
    ("unit", "dots", "expected"),
    [("inch", 300, None), ("inch", 254_000, 0.1), ("in", 72, None), ("cm", 118, None), ("cm", 50_000, 0.2)],
)
def test_a_printers_resolution_is_none_of_imagejs_either(tmp_path, unit, dots, expected):
    """ImageJ takes over the 300 dots an inch of a picture as a calibration in inches."""
    text = f"ImageJ=1.54f\nunit={unit}\n"
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, resolution=(dots, dots), description=text, metadata=None)
    found = read_pixel_size(tmp_path / "a.tif")
    assert found == (None if expected is None else pytest.approx((expected, expected)))


@pytest.mark.parametrize(("unit", "expected"), [("µm", 65.0), ("nm", 0.065), ("mm", None), ("pixel", None)])
def test_ome(tmp_path, unit, expected):
    """Rows and columns apart; 65 mm is no microscope's pixel, a pixel is no length."""
    size = {"PhysicalSizeX": 65, "PhysicalSizeXUnit": unit, "PhysicalSizeY": 130, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, ome=True, metadata={"axes": "YX", **size})
    found = read_pixel_size(tmp_path / "a.tif")
    assert found == (None if expected is None else pytest.approx((2 * expected, expected)))


def test_one_side_says_it_for_both(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.5})
    assert read_pixel_size(tmp_path / "a.tif") == (0.5, 0.5)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((50_000, 50_000), "centimeter", 0.2),
        ((254_000, 254_000), "inch", 0.1),
        ((72, 72), "inch", None),
        ((300, 300), "inch", None),
        ((1200, 1200), "inch", None),
        ((50_000, 50_000), "none", None),
        ((0, 0), "centimeter", None),
    ],
)
def test_resolution_tags_below_what_printers_and_screens_have(tmp_path, resolution, unit, expected):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, resolution=resolution, resolutionunit=unit, metadata=None)
    found = read_pixel_size(tmp_path / "a.tif")
    assert found == (None if expected is None else pytest.approx((expected, expected)))


@pytest.mark.parametrize("size", ["nan", "inf", "-1", "0", "1e-30", "1e30", "wide"])
def test_absurd_sizes_are_unknown(tmp_path, size):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" SizeX="30" SizeY="20" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{size}" '
        f'PhysicalSizeY="{size}"/></Image></OME>'
    )
    for one_side in (xml, xml.replace(f'SizeY="{size}"', 'SizeY="0.1"'), xml.replace(f'SizeX="{size}"', 'SizeX="0.1"')):
        tifffile.imwrite(tmp_path / "a.tif", IMAGE, description=one_side, metadata=None)
        found = read_pixel_size(tmp_path / "a.tif")
        assert found == ((0.1, 0.1) if size == "wide" and one_side != xml else None)


def test_formats_that_say_nothing_and_files_that_are_not_there(tmp_path):
    np.save(tmp_path / "a.npy", IMAGE)
    assert read_pixel_size(tmp_path / "a.npy") is None
    for name in ("none.tif", "none.png"):
        with pytest.raises(InputError, match=name):
            read_pixel_size(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": [1000000000000, 20, 30], "axes": "CYX"}',
        '{"shape": [2, 20, 30], "axes": "CCYX"}',
        '{"shape": "x"}',
        '{"shape": [' + "[" * 50_000,
        "ImageJ=1\nimages=99999999\nchannels=99999999\n",
        '<OME><Pixels DimensionOrder="XYCZT" SizeC="9999999999" SizeZ="9" SizeT="1"/></OME>',
        "<OME><Pixels",
    ],
)
def test_descriptions_that_lie_leave_the_pages_as_they_are(tmp_path, text):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(IMAGE, description=text, metadata=None)
        file.write(IMAGE, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        found = planes(file.pages[0], 2, 2, tmp_path / "a.tif")
    assert found.table.tolist() == [[0], [1]]
    assert not found.described
    assert not found.contiguous
