"""`segexp suggest` as it is typed: a table, crops in the files' own dtypes, a page; nobody's files are touched."""

import csv
import re

import numpy as np
import pytest
import tifffile

from segexp.io.images import read_image, read_pixel_size
from segexp.suggestion.results import tiff_bytes
from tests.data.broken import snapshot
from tests.inference.test_predictor import write_model
from tests.test_cli import run


@pytest.fixture
def house(tmp_path):
    write_model(tmp_path / "m.pth")
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("small.tif", (64, 80)), ("large.tif", (70, 200)), ("same.tif", (64, 80))):
        pixels = rng.integers(0, 4000, shape).astype(np.uint16)
        tifffile.imwrite(tmp_path / "in" / name, pixels, resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    (tmp_path / "done" / "img").mkdir(parents=True)
    (tmp_path / "done" / "img" / "same.tif").write_bytes((tmp_path / "in" / "same.tif").read_bytes())
    return tmp_path


def suggest(house, *more):
    words = ("suggest", "--model", house / "m.pth", "--input", house / "in", "--output", house / "out")
    return (*words, "--region", "64", *more)


def table(house):
    with (house / "out" / "suggestions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_crops_and_a_page_are_written(house, monkeypatch, capsys):
    before = snapshot(house / "in"), snapshot(house / "done")
    assert run(monkeypatch, *suggest(house, "--annotated", house / "done", "--count", "20")) == 0
    said = capsys.readouterr().out
    rows = table(house)
    assert [row["rank"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    regions = {row["region"] for row in rows if row["file"].endswith("large.tif")}
    assert regions == {"0:70,0:67", "0:70,67:133", "0:70,133:200"}
    assert {row["region"] for row in rows if row["file"].endswith("small.tif")} == {""}
    assert not any(row["file"].endswith("same.tif") for row in rows), "it is annotated"
    assert "1 of 3 images annotated already: left out" in said
    assert "4 of 20: there are no more candidates" in said
    image = read_image(house / "in" / "large.tif")
    crops = sorted((house / "out" / "crops").iterdir())
    assert [crop.name for crop in crops] == [f"{int(row['rank']):02}_large.tif" for row in rows if row["region"]]
    first = next(row for row in rows if row["region"])
    rows_, columns = (slice(*map(int, part.split(":"))) for part in first["region"].split(","))
    np.testing.assert_array_equal(read_image(crops[0]), image[rows_, columns])
    assert read_image(crops[0]).dtype == np.uint16
    assert read_pixel_size(crops[0]) == pytest.approx((0.1, 0.1))
    page = (house / "out" / "suggestions.html").read_text()
    assert page.count("data:image/webp;base64,") == 3 * len(rows)
    assert re.search(r"answers disagree by .* bits a pixel, .* times the median", page)
    assert (snapshot(house / "in"), snapshot(house / "done")) == before
    assert run(monkeypatch, *suggest(house, "--count", "1")) == 0
    assert len(table(house)) == 1
    assert len(list((house / "out" / "crops").iterdir())) == bool(table(house)[0]["region"])


def test_regions_of_an_annotated_image_are_not_suggested(house, monkeypatch, capsys):
    (house / "done" / "img" / "another_name.tif").write_bytes((house / "in" / "large.tif").read_bytes())
    assert run(monkeypatch, *suggest(house, "--annotated", house / "done")) == 0
    assert [row["file"] for row in table(house)] == [str(house / "in" / "small.tif")]
    (house / "done" / "img" / "small.tif").write_bytes((house / "in" / "small.tif").read_bytes())
    assert "all images of --input are annotated" in str(
        run(monkeypatch, *suggest(house, "--annotated", house / "done"))
    )


def test_refused_commands_change_nothing(house, monkeypatch):
    (house / "out" / "crops").mkdir(parents=True)
    (house / "out" / "crops" / "01_mine.tif").write_text("drawn")
    before = snapshot(house)
    assert "was not written by segexp" in str(run(monkeypatch, *suggest(house)))
    assert snapshot(house) == before
    (house / "out" / "crops" / "01_mine.tif").unlink()
    assert "holds no images" in str(run(monkeypatch, *suggest(house, "--annotated", house / "in")))
    assert "no such file or folder" in str(run(monkeypatch, *suggest(house, "--input", house / "nothing")))
    assert not (house / "out" / "suggestions.csv").exists()


def test_files_of_others_beside_the_crops_stay(house, monkeypatch):
    (house / "out" / "crops").mkdir(parents=True)
    (house / "out" / "crops" / ".DS_Store").write_text("Finder")
    (house / "out" / "crops" / "01_a_mask.png").write_text("drawn")
    assert run(monkeypatch, *suggest(house, "--count", "1")) == 0
    assert (house / "out" / "crops" / "01_a_mask.png").read_text() == "drawn"


def test_fewer_images_than_asked_for_are_said_so(house, monkeypatch, capsys):
    assert run(monkeypatch, *suggest(house, "--count", "50", "--region", "100000")) == 0
    said = capsys.readouterr().out
    assert ("there are no more" in said) == (len(table(house)) == len(list((house / "in").iterdir())))


def test_files_that_the_shell_has_listed(house, monkeypatch):
    first, *others = sorted((house / "in").iterdir())
    words = ("suggest", "--model", house / "m.pth", "--output", house / "out", "--input", first, *others)
    assert run(monkeypatch, *words) == 0
    assert {row["file"] for row in table(house)} == {str(path) for path in (first, *others)}


def test_an_unreadable_image_is_named_and_the_others_are_ranked(house, monkeypatch, capsys):
    (house / "in" / "broken.tif").write_bytes(b"II*\0")
    assert run(monkeypatch, *suggest(house, "--count", "2")) == 1
    assert "broken.tif" in capsys.readouterr().err
    assert len(table(house)) == 2


def test_the_pixel_size_is_that_of_the_files_or_the_one_that_is_typed(house, monkeypatch, capsys):
    write_model(house / "m.pth", pixel_size=0.2)
    for path in (house / "in" / "small.tif", house / "in" / "large.tif"):
        tifffile.imwrite(path, tifffile.imread(path))  # states none
    assert run(monkeypatch, *suggest(house)) == 0
    warning = "2 of 3 images do not state their pixel size (large.tif, small.tif)"
    assert warning in capsys.readouterr().out
    assert "0:70,0:67" in {row["region"] for row in table(house)}
    assert read_pixel_size(next((house / "out" / "crops").iterdir())) is None
    assert run(monkeypatch, *suggest(house, "--pixel-size", "0.1", "--annotated", house / "done")) == 0
    assert "pixel size" not in capsys.readouterr().out
    assert "0:70,0:100" in {row["region"] for row in table(house)}, "the model sees 35 x 100 pixels, in two regions"
    assert read_pixel_size(next((house / "out" / "crops").iterdir())) == pytest.approx((0.1, 0.1))
    assert "--pixel-size 0: expected micrometres" in str(run(monkeypatch, *suggest(house, "--pixel-size", "0")))


def test_two_models_that_are_one_agree(house, monkeypatch, capsys):
    assert run(monkeypatch, *suggest(house, "--model", house / "m.pth")) == 0
    rows = table(house)
    assert rows
    assert {float(row["disagreement"]) for row in rows} <= {0.0, 1e-6}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 2), (20, 30, 3)])
def test_crops_read_as_the_file_did(tmp_path, dtype, shape):
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff_bytes(pixels, None))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    assert read_image(tmp_path / "a.tif").dtype == ("uint8" if dtype == "bool" else dtype)
