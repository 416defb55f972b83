"""Statistics by bands are those of the whole."""

import numpy as np
import pytest

from segexp.data import normalization
from segexp.data.normalization import image_statistics
from segexp.inference import row_reader, statistics
from segexp.inference.row_reader import ArrayRows


@pytest.mark.parametrize("kind", ["standard", "log"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_give_the_statistics_of_the_whole(monkeypatch, kind, dtype):
    image = np.random.default_rng(0).lognormal(3, 1, (3, 257, 130)).clip(0, 255).astype(dtype)
    image[:, :100] += 20  # no two bands are alike
    image[2] = 7
    for module in (normalization, statistics):
        monkeypatch.setattr(module, "PERCENTILE_PIXELS", 5000)
    monkeypatch.setattr(row_reader, "BAND", 3 * 130 * 10)
    assert len(list(row_reader.pass_over(ArrayRows(image)))) == 26
    found, expected = statistics.row_statistics(ArrayRows(image), kind), image_statistics(image, kind)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_small_spread_on_a_large_offset():
    image = np.random.default_rng(0).normal(60000, 1, (1, 1500, 1200)).astype(np.float32)
    offset, scale = statistics.row_statistics(ArrayRows(image), "standard")
    assert offset == pytest.approx(image.mean(dtype=np.float64), rel=1e-7)
    assert scale == pytest.approx(image.std(dtype=np.float64), rel=1e-5)
