"""8-bit ONNX files: smaller, still close, and measured on the same images."""

import re

import numpy as np
import pytest
import tifffile

from segexp.errors import InputError
from segexp.export import formats
from segexp.export.graph import Graph
from segexp.export.samples import annotated
from tests.export.test_graph import make_predictor


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra export")
    predictor = make_predictor("log", task="vesicle")
    graph = Graph(predictor)
    path = tmp_path_factory.mktemp("int8") / "m.onnx"
    formats.write_onnx(graph, path, formats.describe(predictor, graph))
    return predictor, graph, path.read_bytes()


def test_images_too_small_for_the_file_are_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    from segexp.export.quantize import quantize

    predictor = make_predictor("log", task="vesicle")
    graph = Graph(predictor)
    side = 2 * graph.multiple - 1
    pixels = np.eye(side, 24, dtype=np.uint8)
    (tmp_path / "img").mkdir()
    (tmp_path / "mask").mkdir()
    tifffile.imwrite(tmp_path / "img" / "a.tif", 100 * pixels)
    np.save(tmp_path / "mask" / "a.npy", pixels)
    with pytest.raises(InputError, match=f"a.tif: {side}x24 pixels.* at least {side + 1} pixels"):
        list(quantize(tmp_path / "m.onnx", "static", graph, predictor, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_int8(tmp_path, exported, mode):
    import onnx

    from segexp.export.quantize import quantize

    predictor, graph, content = exported
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    lines = list(quantize(path, mode, graph, predictor, None))
    before, after = (float(x) for x in re.findall(r"(0\.\d+) in", lines[0]))
    assert abs(before - after) < 0.05
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["segexp.int8"] == mode
    assert facts["segexp.task"] == "vesicle"
    stored = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert stored & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    pixels = annotated(predictor, None, count=1)[0].load()[0]
    found = formats.run_onnx(path)(pixels[None].astype(np.float32))[0]
    np.testing.assert_allclose(found, predictor.probabilities(pixels), atol=0.1)
