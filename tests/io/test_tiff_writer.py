"""TIFFs written by rows are what was given, in strips and in tiles, and nothing is left of those that fail."""

import numpy as np
import pytest
import tifffile

from segexp.io import tiff_writer
from segexp.io.images import open_image
from segexp.io.tiff_writer import TiffStream, finishing


def write(path, pixels, samples=1, size=None, step=37):
    """Pixels (pages, H, W) or (pages, H, W, samples)."""
    file = TiffStream(path, pixels.shape[:3], samples, pixels.dtype, size)
    with finishing([file]):
        for page in pixels:
            for top in range(0, len(page), step):
                file.add(page[top : top + step])
    file.hidden.rename(path)
    return file


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize(("pages", "samples"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_pixels_come_back(tmp_path, monkeypatch, tiled, dtype, pages, samples):
    monkeypatch.setattr(tiff_writer, "TILED", 1 if tiled else 1 << 30)
    monkeypatch.setattr(tiff_writer, "TILE", 64)
    shape = (pages, 150, 203) + ((samples,) if samples > 1 else ())
    pixels = (np.random.default_rng(0).random(shape) * 250).astype(dtype)
    assert write(tmp_path / "a.tif", pixels, samples, (0.5, 0.25)).tiled == tiled
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].is_tiled == tiled
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    for page in range(pages):
        with open_image(tmp_path / "a.tif", page=page + 1) as image:
            np.testing.assert_array_equal(image.read(), pixels[page])
            assert image.pages == pages
            assert image.pixel_size == pytest.approx((0.5, 0.25))


def test_a_long_stack_of_small_pages_is_written_as_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_writer, "LONG", 1 << 20)
    sizes = []  # of the file as each band is taken; tifffile asks for no more than the last page
    following = TiffStream._next

    def count(self):
        sizes.append(self.hidden.stat().st_size)
        return following(self)

    monkeypatch.setattr(TiffStream, "_next", count)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 70, 60), np.uint8)
    file = write(tmp_path / "a.tif", pixels)
    assert file.tiled
    assert sizes[-1] > 0.8 * pixels.nbytes
    with tifffile.TiffFile(tmp_path / "a.tif") as written:
        assert (written.pages[0].tilelength, written.pages[0].tilewidth) == (80, 64)
        np.testing.assert_array_equal(written.asarray(), pixels)


def test_imagej_is_told_the_unit_and_large_files_are_bigtiff(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", np.zeros((1, 10, 20), np.uint16), size=(0.1, 0.1))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.imagej_metadata["unit"] in ("um", "µm", "micron")
        assert not file.is_bigtiff
    arguments = TiffStream._arguments
    file = TiffStream.__new__(TiffStream)
    file.shape, file.samples, file.dtype = (1, 30000, 30000), 1, np.dtype(np.float32)
    file.tiled, file.tile, file.axis = True, (512, 512), "T"
    assert arguments(file, None)["file"]["bigtiff"]


def test_no_file_until_it_is_whole_and_none_after_a_failure(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"earlier")
    file = TiffStream(path, (1, 100, 100), 1, np.dtype(np.uint8), None)
    file.add(np.zeros((50, 100), np.uint8))
    assert path.read_bytes() == b"earlier"
    with pytest.raises(KeyboardInterrupt), finishing([file]):
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize("tiled", [False, True])
def test_what_the_writer_meets_is_raised_where_rows_are_given(tmp_path, monkeypatch, tiled):
    monkeypatch.setattr(tiff_writer, "TILED", 1 if tiled else 1 << 30)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.tif", np.zeros((1, 2000, 100), np.uint8), step=10)
    assert not list(tmp_path.iterdir())


def test_rows_that_are_missing_leave_no_file(tmp_path):
    file = TiffStream(tmp_path / "a.tif", (1, 100, 100), 1, np.dtype(np.uint8), None)
    file.add(np.zeros((50, 100), np.uint8))
    with pytest.raises(ValueError, match="reshape"):
        file.finish()
    assert not list(tmp_path.iterdir())
