"""TorchScript and torch.export need PyTorch alone; ONNX is tested where its extra is installed."""

import json

import numpy as np
import pytest
import torch

from segexp.errors import InputError
from segexp.export import formats
from segexp.export.graph import Graph
from tests.export.test_graph import make_predictor


@pytest.mark.parametrize("normalization", ["standard", "log"])
def test_torchscript_takes_any_batch_and_size(tmp_path, normalization):
    predictor = make_predictor(normalization, task="vesicle")
    graph = Graph(predictor)
    formats.write_torchscript(graph, tmp_path / "m.pt", formats.describe(predictor, graph))
    rows = formats.compare(formats.run_torchscript(tmp_path / "m.pt"), graph, predictor)
    assert len({shape[2:] for shape, _ in rows}) == 3
    assert {shape[0] for shape, _ in rows} == {1, 2}
    files = {"segexp.json": ""}
    with formats._quiet():
        torch.jit.load(str(tmp_path / "m.pt"), _extra_files=files)
    assert json.loads(files["segexp.json"])["segexp.normalization"] == normalization


def test_torch_export_takes_multiples(tmp_path):
    predictor = make_predictor("log")
    graph = Graph(predictor, takes="normalized", pad=False)
    formats.write_pt2(graph, tmp_path / "m.pt2", formats.describe(predictor, graph))
    assert len(formats.compare(formats.run_pt2(tmp_path / "m.pt2"), graph, predictor)) == 3


@pytest.mark.parametrize("wrong", [lambda y: y + 2e-4, lambda y: y * np.nan])
def test_a_file_that_differs_is_refused(wrong):
    predictor = make_predictor("standard")
    graph = Graph(predictor)

    def run(images):
        with torch.no_grad():
            return wrong(graph(torch.from_numpy(images)).numpy())

    with pytest.raises(InputError, match="differs from PyTorch"):
        formats.compare(run, graph, predictor)


def test_a_missing_extra_is_named():
    with pytest.raises(InputError, match=r"segexp\[export\]"):
        formats.need("no_such_package", "export")


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["standard", "log"])
def test_onnx(tmp_path, normalization):
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    predictor = make_predictor(normalization, ("a", "b"), channels=3, pixel_size=0.065)
    graph = Graph(predictor)
    formats.write_onnx(graph, tmp_path / "m.onnx", formats.describe(predictor, graph))
    model = onnx.load(tmp_path / "m.onnx")
    assert max(entry.version for entry in model.opset_import if entry.domain == "") >= 18
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, "height", "width"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["segexp.classes"]) == ["a", "b"]
    assert json.loads(facts["segexp.pixel_size"]) == 0.065
    run = formats.run_onnx(tmp_path / "m.onnx")
    for height, width in ((16, 16), (17, 90), (301, 203)):
        image = np.random.default_rng(height).integers(100, 60000, (2, 3, height, width)).astype(np.float32)
        expected = graph(torch.from_numpy(image)).detach().numpy()
        np.testing.assert_allclose(run(image), expected, atol=1e-4)
