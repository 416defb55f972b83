"""A package passes the official test, and bioimageio.core gives what `Predictor` gives."""

import socket
import zipfile

import numpy as np
import pytest

from segexp import synthesis
from segexp.errors import InputError
from segexp.export import bioimageio, card
from tests.export.test_graph import make_predictor

# on one worker of xdist, so that each package is made once
pytestmark = pytest.mark.xdist_group("bioimageio")
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")


CITATION = card.read_citation("Roe: Vesicles (2026), doi:10.1000/xyz")


@pytest.fixture(scope="module", params=["standard", "log"])
def packed(request, tmp_path_factory):
    pytest.importorskip("bioimageio.core", reason="needs the extra bioimageio")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    predictor = make_predictor(request.param, task="vesicle", metrics={"dice": 0.5}, pixel_size=0.065)
    path = tmp_path_factory.mktemp("package") / "model.zip"
    people = [card.Author("Ada Roe", "University of X")]

    def refuse(*_):
        raise AssertionError("the network was used")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        lines = list(bioimageio.package(predictor, path, people, "MIT", "segexp vesicle", None, [CITATION]))
    return predictor, path, lines


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_official_test_passes_for_all_formats(packed):
    _, _, lines = packed
    assert lines[-1] == "bioimageio test: passed"
    for name in FORMATS:
        assert f"passed: Reproduce test outputs from test inputs ({name})" in lines
    assert not [line for line in lines if line.startswith("failed")]


@pytest.mark.slow
def test_what_is_inside(packed):
    _, path, _ = packed
    names = set(zipfile.ZipFile(path).namelist())
    wanted = {"README.md", "cover.png", "unet.py", "test_input.npy", "test_output.npy"}
    assert wanted | {"weights.pt", "weights.torchscript.pt", "weights.onnx"} <= names
    assert b"import segexp" not in zipfile.ZipFile(path).read("unet.py")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_axes_carry_scale_and_unit(packed):
    from bioimageio.spec import load_description

    _, path, _ = packed
    model = load_description(path, perform_io_checks=False)
    assert [(entry.text, entry.doi) for entry in model.cite][1:] == [CITATION]
    for tensor in (*model.inputs, *model.outputs):
        for axis in tensor.axes[2:]:
            assert (axis.unit, axis.scale) == ("micrometer", 0.065)
    assert model.inputs[0].axes[2].size.step % 4 == 0
    assert str(model.license) == "MIT"
    assert model.cite[0].doi is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weights", FORMATS)
def test_bioimageio_core_equals_the_predictor(packed, weights):
    """1e-4 on the image as it is; in blocks, border pixels and (log) the deviation of a block differ."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_description

    predictor, path, _ = packed
    model = load_description(path, perform_io_checks=False)
    image = synthesis.generate("vesicle", 1, 256, 5)[0][0]
    expected = predictor.probabilities(image[None])[0]

    def sample():
        return create_sample_for_model(model, inputs={"image": image[None, None].astype(np.float32)})

    def pixels(result):
        return np.asarray(result.members["probability"].data)[0, 0]

    with create_prediction_pipeline(model, weight_format=weights) as pipeline:
        whole = pipeline.predict_sample_without_blocking(sample(), skip_input_padding=True, skip_output_cropping=True)
        blocks = pipeline.predict_sample_with_blocking(sample(), ns=4)
    np.testing.assert_allclose(pixels(whole), expected, atol=1e-4)
    assert np.abs(pixels(blocks) - expected).mean() < 0.02


@pytest.mark.filterwarnings("ignore")
def test_a_licence_that_is_none_is_refused(tmp_path):
    pytest.importorskip("bioimageio.core", reason="needs the extra bioimageio")
    package = bioimageio.package(
        make_predictor("standard", task="vesicle"), tmp_path / "m.zip", [card.Author("Ada")], "mine", "segexp model"
    )
    with pytest.raises(InputError, match="license"):
        list(package)
    assert not (tmp_path / "m.zip").exists()
