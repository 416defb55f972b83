"""Prediction: shapes, dtypes, invariance to brightness, and a model file that round-trips."""

import sys

import numpy as np
import pytest
import torch

import segexp
from segexp import checkpoint
from segexp.errors import InputError
from segexp.inference.predictor import Predictor, label_classes
from segexp.models import UNet


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    return Predictor(UNet(1, 1, widths=(4, 8)), "log", ["vesicle"])


def write_model(path, classes=("vesicle",), channels=1):
    torch.manual_seed(0)
    model = UNet(channels, len(classes), widths=(4, 8)).eval()
    content = {
        "model": {"name": "UNet", "settings": model.settings},
        "weights": model.state_dict(),
        "normalization": "standard",
        "classes": list(classes),
        "threshold": 0.5,
        "task": "vesicle",
    }
    checkpoint.save(path, content)
    return model


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64, np.uint32])
def test_any_dtype_and_size(predictor, dtype):
    image = np.random.default_rng(0).integers(0, 100, (37, 51)).astype(dtype)
    probabilities = predictor.predict(image)
    assert probabilities.shape == (37, 51)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    np.testing.assert_allclose(probabilities, predictor.predict(image.astype(np.uint8)), atol=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1, 65000])
def test_a_multiple_of_an_image_gives_the_same_result(predictor, factor):
    image = np.random.default_rng(0).lognormal(3, 1, (40, 40)).astype(np.float32)
    np.testing.assert_allclose(predictor.predict(image * np.float32(factor)), predictor.predict(image), atol=1e-3)


def test_tiles_agree_with_the_whole_image(predictor):
    image = np.random.default_rng(0).integers(0, 4000, (1, 200, 200)).astype(np.uint16)
    whole = predictor.probabilities(image, tile=512)
    tiled = predictor.probabilities(image, tile=64, overlap=32)
    assert np.abs(whole - tiled)[:, 16:-16, 16:-16].max() < 0.01


def test_load_model(tmp_path):
    model = write_model(tmp_path / "m.pth")
    loaded = segexp.load_model(tmp_path / "m.pth", device="cpu", precision="fp32")
    image = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    standard = torch.from_numpy((image - image.mean()) / image.std())[None, None]
    with torch.no_grad():
        expected = torch.sigmoid(model(standard))[0, 0].numpy()
    np.testing.assert_allclose(loaded.predict(image), expected, atol=1e-5)
    assert loaded.facts["task"] == "vesicle"


def test_several_classes(tmp_path):
    write_model(tmp_path / "m.pth", ("a", "b"), channels=3)
    loaded = segexp.load_model(tmp_path / "m.pth", device="cpu")
    assert loaded.predict(np.zeros((9, 8, 3), np.uint8)).shape == (2, 9, 8)
    probabilities = np.array([[[0.9, 0.2, 0.6]], [[0.1, 0.4, 0.7]]], np.float32)
    assert label_classes(probabilities, 0.5).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("image", [np.zeros(3), np.zeros((2, 2, 2, 2)), np.full((4, 4), np.nan)])
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(InputError):
        predictor.predict(image)


def test_predicting_loads_neither_hydra_nor_kornia(tmp_path):
    import subprocess

    write_model(tmp_path / "m.pth")
    code = (
        "import sys, numpy, segexp\n"
        f"segexp.load_model({str(tmp_path / 'm.pth')!r}, 'cpu').predict(numpy.zeros((16, 16)))\n"
        "print([name for name in ('hydra', 'omegaconf', 'kornia') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
