"""Channels and pages as options: what is accepted, and what messages say in the words of the command."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from segexp.cli.reading import in_options, read_as
from segexp.errors import InputError
from segexp.io.channels import to_channels
from segexp.io.images import open_image


@pytest.mark.parametrize(
    ("channel", "page", "reading"),
    [
        (None, None, None),
        ("2", None, {"channel": 2}),
        ("1,3", "max", {"channel": [1, 3], "page": "max"}),
        ("[1, 3]", "7", {"channel": [1, 3], "page": 7}),
        (None, "each", {"page": "each"}),
    ],
)
def test_what_is_accepted(channel, page, reading):
    predictor = SimpleNamespace(facts={}, others=[])
    read_as(predictor, channel, page)
    assert predictor.facts.get("reading") == reading


def ensemble(*readings):
    first, *others = [SimpleNamespace(facts={"reading": reading}, others=[]) for reading in readings]
    first.others = others
    return first


def test_an_ensemble_reads_what_its_models_were_trained_on_unless_they_differ():
    agreeing = ensemble({"channel": 2}, {}, {"channel": 2, "page": "max"})
    read_as(agreeing, None, None)
    assert agreeing.facts["reading"] == {"channel": 2, "page": "max"}
    with pytest.raises(
        InputError, match=r"different settings of data\.channel: 2, 1; choose one for all of them with --channel"
    ):
        read_as(ensemble({"channel": 2}, {"channel": 1}), None, None)
    chosen = ensemble({"channel": 2}, {"channel": 1})
    read_as(chosen, "1", None)
    assert chosen.facts["reading"] == {"channel": 1}


@pytest.mark.parametrize("wrong", ["0", "-1", "red", "1.5", "", "1,,2", "٣", "9" * 12])
def test_what_is_not(wrong):
    predictor = SimpleNamespace(facts={}, others=[])
    with pytest.raises(InputError, match=r"--channel .*expected a number from 1"):
        read_as(predictor, wrong, None)
    with pytest.raises(InputError, match=r"--page .*expected first, max, mean, channels, each"):
        read_as(predictor, None, wrong)


def said(call, *arguments):
    with pytest.raises(InputError) as error:
        call(*arguments)
    return in_options(str(error.value))


def test_no_message_names_a_setting_as_if_it_could_be_typed(tmp_path):
    channels = said(to_channels, np.zeros((4, 5, 2)), 1, "a.tif", False)
    assert channels == ("a.tif: 2 channels, but the model takes 1; --channel 1 to --channel 2 chooses one")
    few = said(to_channels, np.zeros((4, 5, 1)), 2, "a.tif", False)
    assert few == "a.tif: 1 channel, but the model takes 2"
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((3, 8, 9), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    stack = said(open_image, tmp_path / "s.tif")
    assert "Choose with --page max or mean (projections)" in stack
    assert "data." not in stack
    assert "segexp train" in in_options("m.png: values 0, 9; task.masks=instances if every value is an object")
    assert in_options("a.tif: damaged") == "a.tif: damaged"
