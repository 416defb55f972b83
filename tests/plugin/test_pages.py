"""Layers page by page: labels, numbers that go on, progress; without napari."""

import numpy as np
import pytest
import torch

from segexp.errors import InputError
from segexp.inference.predictor import Predictor
from segexp.models import UNet
from segexp.plugin.pages import Segmentation, segment


@pytest.fixture
def predictor():
    """A network that hands the normalised image through: bright is foreground."""
    network = UNet(1, 1, widths=(1, 1), kernel_size=1, norm="none").eval()
    found = Predictor(network, "standard", ["spot"])

    def forward(_, entropies=False):
        return lambda raw: torch.sigmoid((raw.float() - 50) / 5)

    found.forward = forward
    return found


def image(*corners):
    pixels = np.zeros((40, 50), np.uint16)
    for row, column in corners:
        pixels[row : row + 6, column : column + 6] = 100
    return pixels


def run(*arguments, **more):
    *steps, found = segment(*arguments, **more)
    assert isinstance(found, Segmentation)
    assert steps == sorted(steps)
    assert steps[-1] == 1
    return found


def test_an_answer_that_is_no_number_is_not_shown_as_background(predictor):
    predictor.finished = True
    predictor.forward = lambda _, entropies=False: lambda raw: torch.where(raw.float() > 50, torch.nan, 0.0)
    with pytest.raises(InputError, match="page 1: the network returns NaN"):
        list(segment(predictor, np.stack([image(), image((3, 4))])))


def test_an_image(predictor):
    pixels = image((3, 4), (20, 30))
    found = run(predictor, pixels, pixel_size=0.5)
    np.testing.assert_array_equal(found.labels > 0, pixels > 0)
    assert [row["label"] for row in found.rows] == [1, 2]
    assert {row["area_px2"] for row in found.rows} == {36}
    assert {row["area_um2"] for row in found.rows} == {9}
    assert found.labels.dtype == np.int32
    assert found.probabilities.shape == (40, 50)


def test_the_numbers_of_a_stack_go_on(predictor):
    stack = np.stack([image((3, 4)), image(), image((3, 4), (20, 30))])[None]
    found = run(predictor, stack)
    assert found.labels.shape == stack.shape
    assert [(row["label"], row["page"]) for row in found.rows] == [(1, 0), (2, 2), (3, 2)]
    for row in found.rows:
        assert (found.labels[0, row["page"]] == row["label"]).sum() == 36


def test_colours_are_one_page(predictor):
    colour = np.repeat(image((3, 4))[..., None], 3, axis=2)
    found = run(predictor, colour, colour=True)
    assert found.labels.shape == (40, 50)
    assert len(found.rows) == 1


def test_alpha_is_no_brightness(predictor):
    grey = image((3, 4), (20, 30)).astype(np.uint8)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    found, expected = run(predictor, rgba, colour=True).rows, run(predictor, grey).rows
    assert found == expected
    assert found[0]["background"] == 0


def test_of_colours_the_channel_is_taken_that_the_model_was_trained_on(predictor):
    other, own = image((20, 30)), image((3, 4), (30, 10))
    predictor.facts["reading"] = {"channel": 2}
    found = run(predictor, np.dstack([other, own, other]), colour=True)
    np.testing.assert_array_equal(found.labels > 0, own > 0)
    assert found.rows == run(predictor, own).rows


@pytest.mark.parametrize(("shape", "colour"), [((9,), False), ((0, 4), False), ((9, 3), True)])
def test_what_is_no_image_is_refused(predictor, shape, colour):
    with pytest.raises(InputError, match="layer"):
        list(segment(predictor, np.zeros(shape), colour))


def test_a_model_of_more_channels_than_a_layer_has_is_refused_in_words(predictor):
    predictor.model.settings["in_channels"] = 2
    with pytest.raises(InputError, match=r"takes 2 channels and an image of this layer has 1: .* segexp predict"):
        list(segment(predictor, np.zeros((2, 40, 50))))


@pytest.mark.parametrize(
    ("shape", "colour", "channels"), [((9, 9), False, 3), ((9, 9, 3), True, 3), ((9, 9, 4), True, 1)]
)
def test_grey_and_colours_become_what_the_model_takes(predictor, shape, colour, channels):
    predictor.model.settings["in_channels"] = channels
    predictor.forward = lambda _, entropies=False: lambda raw: torch.zeros_like(raw[:, :1], dtype=torch.float32)
    assert run(predictor, np.zeros(shape, np.uint8), colour=colour).labels.shape == (9, 9)


def test_a_layer_of_another_scale_is_seen_at_the_models(predictor):
    """Pixels of 0.05 µm, a model of 0.1 µm: it sees half the rows; what it finds lies where the layer shows it."""
    pixels, seen = image((4, 4), (20, 30)), []
    forward = predictor.forward
    predictor.forward = lambda rows, entropies=False: seen.append(rows.shape) or forward(rows)
    predictor.facts["pixel_size"] = 0.1
    found = run(predictor, pixels, pixel_size=0.05)
    assert seen == [(1, 20, 25)]
    assert found.probabilities.shape == (40, 50)
    assert ((found.labels > 0) != (pixels > 0)).mean() < 0.02
    assert len(found.rows) == 2
    predictor.min_size = 10  # of the model's pixels: 40 of the layer's, and the squares have 36
    assert not run(predictor, pixels, pixel_size=0.05).rows


def test_measurements_look_as_far_as_at_the_scale_of_the_model(predictor):
    pixels = image((8, 8))
    pixels[4:18, 4:18] = np.maximum(pixels[4:18, 4:18], 20)  # 4 px around the object
    predictor.facts |= {"pixel_size": 0.1, "measure": {"kind": "objects", "gap": 2, "ring": 2}}
    for size, background in ((0.1, 20), (0.05, 0)):
        (row,) = run(predictor, pixels, pixel_size=size).rows
        assert row["background"] == background


def test_an_unknown_pixel_size_is_said_where_the_model_has_one(predictor):
    assert not run(predictor, image((4, 4))).remark
    predictor.facts["pixel_size"] = 0.1
    assert "not brought to the model's 0.1 µm" in run(predictor, image((4, 4))).remark
    assert not run(predictor, image((4, 4)), pixel_size=0.1).remark
