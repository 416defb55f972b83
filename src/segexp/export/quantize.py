"""Quantise an ONNX file to 8-bit integers, and measure the loss in Dice.

``dynamic`` stores the weights as integers and finds the range of the activations anew for every image; ``static``
fixes the ranges on a few calibration images beforehand. Convolutions gain little or nothing from ``dynamic``: it makes
the file three times smaller and usually slower. ``static`` is faster where the processor multiplies 8-bit integers.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError
from segexp.evaluation import evaluate, summarize
from segexp.export.formats import RunModel, need, prepared, run_onnx
from segexp.export.graph import Graph
from segexp.export.samples import annotated
from segexp.inference.predictor import Predictor

MODES = ("dynamic", "static")
CALIBRATION = 8  # images
_OPERATIONS = ["Conv", "ConvTranspose", "MaxPool", "Concat"]  # what carries the time; normalisation stays float


class Runner(Predictor):
    """A `Predictor` whose probabilities come from an exported file, so that it is scored by the same code."""

    def __init__(self, run: RunModel, graph: Graph, predictor: Predictor):
        self.run, self.graph = run, graph
        self.model, self.classes = predictor.model, predictor.classes
        self.threshold, self.min_size = predictor.threshold, predictor.min_size

    def probabilities(self, pixels: NDArray, *_: object, **__: object) -> NDArray[np.float32]:
        """Raw pixels (C, H, W) to (K, H, W)."""
        return self.run(_input(self.graph, pixels))[0]


def quantize(path: Path, mode: str, graph: Graph, predictor: Predictor, data: Path | None) -> Iterator[str]:
    """Replace the ONNX file by its int8 version; yields lines on Dice before and after, and on time.

    Raises:
        InputError: if onnxruntime is missing, or an image is smaller than what the file takes.
    """
    need("onnxruntime", "export")
    samples = annotated(predictor, data)
    for sample in samples:
        if min(sample.shape[1:]) < 2 * graph.multiple:
            raise InputError(
                f"{sample.name}: {sample.shape[1]}x{sample.shape[2]} pixels; the exported model takes images of at "
                f"least {2 * graph.multiple} pixels a side: leave it out of --data"
            )
    images = [sample.load()[0] for sample in samples[:CALIBRATION]]
    before = run_onnx(path)
    float_size = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float.onnx"
        small = Path(folder) / "int8.onnx"
        _prepare(path, whole)
        if mode == "dynamic":
            _dynamic(whole, small)
        else:
            _static(whole, small, [_input(graph, image) for image in images])
        path.write_bytes(_with_metadata(small, path, mode))
    after = run_onnx(path)
    dice = [
        summarize(evaluate(Runner(run, graph, predictor), samples)).get("dice", math.nan) for run in (before, after)
    ]
    yield f"Dice of {len(samples)} images: {dice[0]:.4f} in float, {dice[1]:.4f} in int8; loss {dice[0] - dice[1]:+.4f}"
    times = _interleaved([before, after], _input(graph, images[0]))
    yield f"time for an image: {times[1] / times[0]:.2f} of float32; file: {path.stat().st_size / float_size:.2f} of it"


def _input(graph: Graph, pixels: NDArray) -> NDArray[np.float32]:
    image = pixels if graph.takes == "raw" else prepared(pixels, graph.normalization)
    return np.ascontiguousarray(image[None], np.float32)


def _prepare(source: Path, target: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(source, target, skip_symbolic_shape=True)


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QUInt8)


def _static(source: Path, target: Path, images: list[NDArray[np.float32]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.rest, None)
            return None if image is None else {"image": image}

    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=_OPERATIONS,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _with_metadata(quantized: Path, original: Path, mode: str) -> bytes:
    import onnx

    model, before = onnx.load(quantized), onnx.load(original)
    kept = {entry.key: entry.value for entry in before.metadata_props}
    onnx.helper.set_model_props(model, kept | {"segexp.int8": mode})
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    return model.SerializeToString()


def _interleaved(runs: list[RunModel], image: NDArray[np.float32]) -> list[float]:
    """Shortest time of each in seconds; they are run in turn, so that a busy machine slows both."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(5):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(image)
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]
