"""The exported graph against NumPy's statistics and against `Predictor`."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segexp.data.normalization import image_statistics
from segexp.export.graph import Graph, black_level, normalize
from segexp.export.packaged import LOWER, SMALLEST_DEVIATION, UPPER, compress_range
from segexp.inference.predictor import Predictor
from segexp.models import UNet


def make_predictor(normalization, classes=("vesicle",), channels=1, **facts):
    torch.manual_seed(0)
    network = UNet(channels, len(classes), widths=(4, 8, 8))
    return Predictor(network.eval(), normalization, list(classes), facts=facts)


@given(st.integers(2, 400), st.integers(0, 2**31))
def test_the_black_level_is_numpys_first_percentile(length, seed):
    values = np.random.default_rng(seed).normal(size=(2, 1, length)).astype(np.float32)
    found = black_level(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found[..., 0], np.percentile(values, 1, axis=2), atol=1e-5)


@pytest.mark.parametrize("normalization", ["standard", "log"])
@given(pixels=arrays(np.uint16, (2, 9, 13), elements=st.integers(0, 65535)))
def test_statistics_are_those_of_the_predictor(normalization, pixels):
    offset, scale = image_statistics(pixels, normalization)
    expected = (pixels.astype(np.float64) - offset[:, None, None]) / scale[:, None, None]
    found = normalize(torch.from_numpy(pixels.astype(np.float32))[None], normalization)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_small_signal_on_a_large_background_keeps_its_digits():
    pixels = 60000 + np.random.default_rng(0).normal(0, 1, (1, 256, 256)).astype(np.float32)
    found = normalize(torch.from_numpy(pixels)[None], "standard").numpy()
    assert abs(found.mean()) < 1e-3
    assert abs(found.std() - 1) < 1e-3


@pytest.mark.parametrize("normalization", ["standard", "log"])
@pytest.mark.parametrize("shape", [(1, 31, 45), (1, 64, 64), (3, 50, 33)])
def test_the_graph_equals_the_predictor(normalization, shape):
    predictor = make_predictor(normalization, ("a", "b"), channels=shape[0])
    pixels = np.random.default_rng(0).integers(100, 4000, shape).astype(np.uint16)
    graph = Graph(predictor)
    with torch.no_grad():
        batch = graph(torch.from_numpy(np.stack([pixels, pixels * 3]).astype(np.float32)))
    for found, image in zip(batch.numpy(), (pixels, pixels * 3), strict=True):
        np.testing.assert_allclose(found, predictor.probabilities(image), atol=1e-5)


@pytest.mark.parametrize("normalization", ["standard", "log"])
def test_a_constant_image_gives_numbers(normalization):
    with torch.no_grad():
        assert torch.isfinite(Graph(make_predictor(normalization))(torch.full((1, 1, 32, 32), 1000.3))).all()


def test_a_temperature_softens():
    calibrated = make_predictor("standard")
    calibrated.temperature = 2.0
    plain, warm = Graph(make_predictor("standard")), Graph(calibrated)
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        np.testing.assert_allclose(torch.logit(plain(images)), 2 * torch.logit(warm(images)), atol=1e-5)


def test_exporting_leaves_the_model_as_it_was():
    predictor = make_predictor("standard")
    predictor.model.train()
    Graph(predictor)
    assert predictor.model.training


@given(arrays(np.float32, (1, 12, 17), elements=st.floats(0, 2**16, width=32)))
def test_of_a_whole_image_the_package_takes_exactly_the_log_normalisation(pixels):
    low, high = np.percentile(pixels, (LOWER, UPPER))
    ranged = (pixels - low) / (high - low + 1e-6)
    offset, scale = image_statistics(pixels, "log")
    standard = (pixels - offset) / scale
    expected = np.sign(standard) * np.log1p(np.abs(standard))
    if high - low > 1e-3:  # below, the specification's epsilon is no longer small
        found = compress_range(torch.from_numpy(ranged.astype(np.float32))[None])[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_a_dark_tile_is_not_stretched():
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.001, (1, 1, 64, 64)).astype(np.float32))
    assert compress_range(noise).std() < 1.1 * 0.001 / SMALLEST_DEVIATION
