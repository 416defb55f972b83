"""Files of ranges: what is written is read back, and what is unfit is refused with the reason."""

import pytest

from segexp.data.ranges_file import ranges_text, read_ranges
from segexp.errors import InputError


def test_what_is_written_is_read_back(tmp_path):
    ranges = {"psf": (1.1, 1.4), "photons": (80.0, 240.0), "rings": 0.0, "style": ["cells", "any"]}
    path = tmp_path / "mine.yaml"
    path.write_text(ranges_text("vesicle", ranges, ["distance 0.5"]))
    assert read_ranges(path, "vesicle") == ranges
    assert path.read_text().startswith("# distance 0.5\ntask: vesicle\n")


def test_small_limits_and_no_style_are_read_back(tmp_path):
    path = tmp_path / "r.yaml"
    ranges = {"in_cells": (1e-05, 0.5), "psf": 1.25}
    for some in (ranges, {"style": ["cells", "field"], **ranges}, {}):
        path.write_text(ranges_text("vesicle", some, ["of mine"]))
        assert read_ranges(path, "vesicle") == some


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected task: vesicle"),
        ("a: [", "not YAML"),
        ("task: vesicle", "expected task: vesicle"),
        ("task: cytoskeleton\nranges: {}", "ranges of another task; this is for vesicle"),
        ("task: vesicle\nranges: {psf: [2, 1]}", "psf must be"),
        ("task: vesicle\nranges: {colour: 1}", "unknown range colour"),
        ("task: vesicle\nstyle: mesh\nranges: {}", "unknown style"),
        ("task: vesicle\nranges: {psf: a}", "psf must be"),
        ("task: vesicle\nranges: {size: 5}", "unknown range size"),
        ("task: vesicle\nranges: {foreground: 5}", "unknown range foreground"),
        ("task: vesicle\nranges: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_file_that_is_unfit_is_refused_with_the_reason(tmp_path, text, reason):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        read_ranges(path, "vesicle")
    assert str(path) in str(error.value)


def test_a_missing_file_says_what_writes_one(tmp_path):
    with pytest.raises(InputError, match="segexp calibrate vesicle"):
        read_ranges(tmp_path / "no.yaml", "vesicle")
