"""Write a `Graph` as ONNX, TorchScript or torch.export, read it back in its own runtime, compare with `Predictor`."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segexp import __version__
from segexp.data.normalization import image_statistics
from segexp.errors import InputError
from segexp.export.graph import Graph
from segexp.export.samples import patterned
from segexp.inference.predictor import Predictor

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference in probability that an exported file may have."""

WHOLE = 1 << 20  # a tile that every image fits in

RunModel = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(B, C, H, W) float32 to (B, K, H, W) float32."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional package, or raise an `InputError` that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{error}; install the extra: pip install 'segexp[{extra}]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of the exporters: deprecations inside PyTorch, missing torchvision, deprecated TorchScript."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            yield
    finally:
        logger.setLevel(level)


def write_onnx(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    """Write ONNX with open batch and size, input ``image``, output ``probability`` or ``logit``."""
    onnx = need("onnx", "export")
    need("onnxscript", "export")
    open_sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    if not graph.pad:
        open_sizes = _multiples(graph)
    with _quiet():
        # deferred: that a padded size is a multiple is true by construction, and not for the exporter to prove
        program = torch.export.export(
            graph, _example(graph), dynamic_shapes=(open_sizes,), prefer_deferred_runtime_asserts_over_guards=True
        )
        model = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=[output_name(graph)],
            verbose=False,
        ).model_proto  # type: ignore[union-attr]
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]  # shapes in terms of the names just replaced
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "segexp", __version__
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def output_name(graph: Graph) -> str:
    """What the output holds: ``probability`` or ``logit``."""
    return "probability" if graph.sigmoid else "logit"


def write_torchscript(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    """Write a traced TorchScript file; the metadata lie in it as ``segexp.json``."""
    with _quiet():  # PyTorch 2.13 deprecates TorchScript; ImageJ's and bioimage.io's programs still read it
        traced = torch.jit.trace(graph, _example(graph), check_trace=False)
        whole = io.BytesIO()  # a disk that fills up is then a plain OSError, not torch's
        torch.jit.save(traced, whole, _extra_files={"segexp.json": json.dumps(metadata)})
    path.write_bytes(whole.getbuffer())


def write_pt2(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    """Write a torch.export archive; `graph.pad` must be off: sizes are multiples of `graph.multiple`."""
    with _quiet():
        program = torch.export.export(graph, _example(graph), dynamic_shapes=(_multiples(graph),))
        whole = io.BytesIO()
        torch.export.save(program, whole, extra_files={"segexp.json": json.dumps(metadata)})
    path.write_bytes(whole.getbuffer())


def _example(graph: Graph) -> tuple[torch.Tensor]:
    return (torch.rand(2, graph.channels, 5 * graph.multiple, 7 * graph.multiple),)


def _multiples(graph: Graph) -> dict[int, Any]:
    rows, columns = torch.export.Dim("rows", min=3), torch.export.Dim("columns", min=3)
    return {0: torch.export.Dim("batch"), 2: graph.multiple * rows, 3: graph.multiple * columns}


def run_onnx(path: Path, threads: int = 0) -> RunModel:
    """Open an ONNX file in onnxruntime on the CPU; `threads` 0 means all."""
    onnxruntime = need("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})[0]


def run_torchscript(path: Path) -> RunModel:
    """Open a TorchScript file."""
    with _quiet():
        module = torch.jit.load(str(path))
    return _run_module(module)


def run_pt2(path: Path) -> RunModel:
    """Open a torch.export archive."""
    with _quiet():
        return _run_module(torch.export.load(path).module())


def _run_module(module: Callable[[torch.Tensor], torch.Tensor]) -> RunModel:
    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return module(torch.from_numpy(images)).numpy()

    return run


def prepared(pixels: NDArray, normalization: str) -> NDArray[np.float32]:
    """The input of a graph without normalisation: (C, H, W) minus its offset, divided by its scale."""
    offset, scale = image_statistics(pixels, normalization)
    return ((pixels - offset[:, None, None]) / scale[:, None, None]).astype(np.float32)


def compare(run: RunModel, graph: Graph, predictor: Predictor) -> list[tuple[tuple[int, ...], float]]:
    """Largest difference in probability from `predictor` for three sizes, one of them as a batch of two.

    Raises:
        InputError: if one exceeds `TOLERANCE`: the file must not be used then.
    """
    step = graph.multiple
    sizes = [(8 * step, 12 * step), (16 * step, 16 * step), (512 // step * step, 640 // step * step)]
    if graph.pad:
        sizes = [(height + 3 * index, width + index) for index, (height, width) in enumerate(sizes)]
    rows = []
    for number, (height, width) in enumerate(sizes):
        pixels = patterned(predictor, max(height, 16), max(width, 16))
        images = [pixels, 3 * pixels[:, ::-1] + 7][: 1 + (number == 1)]
        batch = np.stack([image if graph.takes == "raw" else prepared(image, graph.normalization) for image in images])
        expected = np.stack([predictor.probabilities(image, tile=WHOLE) for image in images])
        difference = float(np.abs(run(np.ascontiguousarray(batch, np.float32)) - expected).max())
        rows.append((batch.shape, difference))
        if not difference <= TOLERANCE:  # NaN as well
            raise InputError(
                f"input {batch.shape}: differs from PyTorch by {difference:.2g} in probability, more than {TOLERANCE}; "
                "please report this with the model file"
            )
    return rows


def describe(predictor: Predictor, graph: Graph) -> dict[str, str]:
    """What a program needs to know besides the graph, as text: the metadata of ONNX, ``segexp.json`` of the others."""
    where = {
        "raw": "inside, from the whole input",
        "normalized": "outside; the input is (image - offset) / scale",
        "package": "outside, as the package's preprocessing says",
    }[graph.takes]
    offset = "mean" if graph.normalization == "standard" else "first percentile (linear interpolation)"
    after = "" if graph.normalization == "standard" else ", then sign(x) log(1 + |x|), inside"
    return {
        "segexp.version": __version__,
        "segexp.task": str(predictor.facts.get("task", "")),
        "segexp.classes": json.dumps(predictor.classes),
        "segexp.threshold": repr(float(predictor.threshold)),
        "segexp.min_size": str(predictor.min_size),
        "segexp.normalization": graph.normalization,
        "segexp.normalization_where": where,
        "segexp.normalization_rule": f"per image and channel: offset = {offset}, scale = standard deviation{after}",
        "segexp.temperature": repr(float(graph.temperature)),
        "segexp.pixel_size": json.dumps(predictor.facts.get("pixel_size")),
        "segexp.input": f"image: float32 (batch, {graph.channels}, height, width)",
        "segexp.output": f"{output_name(graph)}: float32 (batch, {len(predictor.classes)}, height, width)",
        "segexp.sizes": f"at least {2 * graph.multiple}" if graph.pad else f"multiples of {graph.multiple}",
        "segexp.metrics": json.dumps(predictor.facts.get("metrics", {})),
    }
