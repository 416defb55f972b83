"""A bioimage.io package (specification 0.5) of a model: deepImageJ, QuPath, ilastik and `bioimageio.core` open it.

It holds the weights as a PyTorch state dict with its architecture in one file, as TorchScript and as ONNX, and it only
appears under its name after the official test of bioimageio.core has passed for all three.

Normalisation is in the specification's own operations, so programs that cut tiles apply the whole image's statistics.
One operation only may need statistics, because programs differ: bioimageio.core takes all of them from the raw image,
ImageJ's library each from what the operation before left. ``standard`` is ``zero_mean_unit_variance``; ``log`` is
``scale_range``, and the division by the deviation follows inside the network (`segexp.export.packaged`).
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from segexp import __version__
from segexp.data.loader import extend
from segexp.errors import InputError
from segexp.evaluation import evaluate, summarize
from segexp.export import card, formats
from segexp.export.architecture import standalone_source
from segexp.export.graph import Graph
from segexp.export.packaged import LOWER, UPPER
from segexp.export.samples import annotated, patterned
from segexp.inference.predictor import Predictor
from segexp.viz.overlay import overlay, write_png


class Sizes(NamedTuple):
    """In pixels: smallest side, step, the unreliable border of a tile, and the side of the sample."""

    smallest: int
    step: int
    halo: int
    sample: int


def sizes(predictor: Predictor) -> Sizes:
    """Sizes for a network; the halo is what two convolutions a block see, 6 * multiple - 4 pixels at kernel size 3."""
    step = predictor.model.multiple
    reach = max(1, int(predictor.model.settings.get("kernel_size", 3)) // 2)
    smallest = 16 * step * reach
    return Sizes(smallest, step, 6 * step * reach, max(256, smallest))


def package(
    predictor: Predictor,
    output: Path,
    authors: list[card.Author],
    license: str,
    name: str,
    data: Path | None = None,
    citations: Sequence[card.Citation] = (),
) -> Iterator[str]:
    """Write `output` (a .zip) and test it; yields a line for each result of the test.

    Args:
        predictor: the model, on the CPU in fp32.
        output: written only when the package has passed.
        authors: who made the model.
        license: SPDX identifier, such as MIT or CC-BY-4.0.
        name: 5 to 64 letters, digits, spaces, ``_+-()``.
        data: annotated images for the scores and the sample; without them the scores of the model file and a
            generated sample are used.
        citations: what to cite beside the U-Net's paper.

    Raises:
        InputError: if a library is missing, the licence or a name does not meet the specification, or the package
            fails its test.
    """
    formats.need("bioimageio.core", "bioimageio")
    formats.need("onnxscript", "bioimageio")
    from bioimageio.spec import save_bioimageio_package

    _check_license(license)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        folder = Path(place)
        pixels, scores = _sample(predictor, data)
        architecture = _write_files(predictor, folder, pixels)
        made = card.Card(name, tuple(authors), license, tuple(citations), scores)
        text = card.readme(predictor, made)
        (folder / "README.md").write_text(text, encoding="utf-8")
        model = _describe(predictor, folder, architecture, made)
        package_file = save_bioimageio_package(model, output_path=folder / "package.zip")
        yield from _official_test(Path(package_file))
        shutil.copyfile(package_file, output)


def _check_license(license: str) -> None:
    """Check the licence before anything is written: the specification would only refuse it at the end."""
    from bioimageio.spec._internal.license_id import LicenseIdLiteral  # the list has no public name

    known = get_args(LicenseIdLiteral)
    if license not in known:
        near = get_close_matches(license, known, 3, 0.4)
        raise InputError(f"--license {license}: not an SPDX identifier; {', '.join(near) or 'MIT, CC-BY-4.0'}?")


def _sample(predictor: Predictor, data: Path | None) -> tuple[NDArray[np.float32], dict[str, float]]:
    """An image (C, H, W) for test and cover, and the validation scores."""
    side = sizes(predictor).sample
    if data is None:
        known = predictor.facts.get("metrics") or {}
        return patterned(predictor, side, side), {key: value for key, value in known.items() if key != "epoch"}
    samples = annotated(predictor, data)
    scores = summarize(evaluate(predictor, samples))
    pixels = extend(samples[0].load()[0][:, :side, :side], side)
    return np.ascontiguousarray(pixels, np.float32), scores


def _write_files(predictor: Predictor, folder: Path, pixels: NDArray[np.float32]) -> str:
    """Everything the description points to; returns the name of the callable in ``unet.py``."""
    graph = Graph(predictor, takes="package", pad=False, sigmoid=False)
    metadata = formats.describe(predictor, graph)
    formats.write_onnx(graph, folder / "weights.onnx", metadata)
    formats.write_torchscript(graph, folder / "weights.torchscript.pt", metadata)
    torch.save(dict(graph.network.state_dict()), folder / "weights.pt")
    source, callable_name = standalone_source(predictor.model, predictor.normalization, graph.margin)
    (folder / "unet.py").write_text(source, encoding="utf-8")
    probabilities = predictor.probabilities(pixels, tile=formats.WHOLE)
    np.save(folder / "test_input.npy", pixels[None])
    np.save(folder / "test_output.npy", probabilities[None])
    picture = overlay(pixels, None, predictor.labels(probabilities), len(predictor.classes))
    small = cv2.resize(picture, (512, 256), interpolation=cv2.INTER_AREA)
    write_png(folder / "cover.png", small.astype(np.uint8))
    return callable_name


def _preprocessing(normalization: str) -> list[dict[str, Any]]:
    over = {"axes": ["y", "x"]}
    if normalization == "standard":
        return [{"id": "zero_mean_unit_variance", "kwargs": over}]
    return [{"id": "scale_range", "kwargs": {**over, "min_percentile": LOWER, "max_percentile": UPPER}}]


def _postprocessing(predictor: Predictor) -> list[dict[str, Any]]:
    heat = float(predictor.temperature)
    soften = [{"id": "scale_linear", "kwargs": {"gain": 1 / heat, "offset": 0.0}}] if heat != 1 else []
    return [*soften, {"id": "sigmoid"}]


def pixel_size(predictor: Predictor) -> tuple[float, float] | None:
    """Micrometres (y, x) of a pixel of the training images, or None if the model file does not say."""
    known = predictor.facts.get("pixel_size")
    if known is None:
        return None
    pair = known if isinstance(known, list | tuple) else (known, known)
    return float(pair[0]), float(pair[1])


def _axes(predictor: Predictor) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Axes of input and output: the same scale and unit, sizes in steps of the network's multiple."""
    smallest, step, halo, _ = sizes(predictor)
    known, channels = pixel_size(predictor), predictor.model.settings["in_channels"]
    names = ["red", "green", "blue"] if channels == 3 else [f"channel{index}" for index in range(channels)]
    inputs: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": names}]
    outputs: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": list(predictor.classes)}]
    for index, axis in enumerate("yx"):
        space: dict[str, Any] = {"type": "space", "id": axis}
        if known is not None:
            space |= {"unit": "micrometer", "scale": known[index]}
        inputs.append(space | {"size": {"min": smallest, "step": step}, "concatenable": True})
        outputs.append(space | {"size": {"tensor_id": "image", "axis_id": axis}, "halo": halo})
    return inputs, outputs


def _tensors(predictor: Predictor) -> dict[str, Any]:
    """Descriptions of the input and output tensors, with the test tensors."""
    inputs, outputs = _axes(predictor)
    image = {
        "id": "image",
        "axes": inputs,
        "data": {"type": "float32"},
        "test_tensor": {"source": "test_input.npy"},
        "preprocessing": _preprocessing(predictor.normalization),
    }
    probability = {
        "id": "probability",
        "axes": outputs,
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": {"source": "test_output.npy"},
        "postprocessing": _postprocessing(predictor),
    }
    return {"inputs": [image], "outputs": [probability]}


def _weights(predictor: Predictor, callable_name: str) -> dict[str, Any]:
    """The three files of weights, the last two made from the first."""
    version, parent = torch.__version__.split("+")[0], {"parent": "pytorch_state_dict"}
    architecture = {"source": "unet.py", "callable": callable_name, "kwargs": dict(predictor.model.settings)}
    return {
        "pytorch_state_dict": {"source": "weights.pt", "pytorch_version": version, "architecture": architecture},
        "torchscript": {"source": "weights.torchscript.pt", "pytorch_version": version, **parent},
        "onnx": {"source": "weights.onnx", "opset_version": formats.OPSET, **parent},
    }


def _describe(predictor: Predictor, folder: Path, callable_name: str, made: card.Card) -> Any:
    """The validated description; what the specification refuses (such as a name) is an `InputError`."""
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description
    from bioimageio.spec.model.v0_5 import ModelDescr

    own = {
        "version": __version__,
        "task": predictor.facts.get("task"),
        "threshold": float(predictor.threshold),
        "min_size": int(predictor.min_size),
        "normalization": predictor.normalization,
        "validation": json.loads(json.dumps(made.scores)),
    }
    content: dict[str, Any] = {
        "type": "model",
        "format_version": ModelDescr.implemented_format_version,
        "name": made.name,
        "description": card.description(predictor),
        "authors": [author.entry() for author in made.authors],
        "license": made.license,
        "cite": [*card.CITATIONS, *(citation.entry() for citation in made.citations)],
        "tags": card.tags(predictor),
        "version": "1.0.0",
        "documentation": {"source": "README.md"},
        "covers": [{"source": "cover.png"}],
        **_tensors(predictor),
        "weights": _weights(predictor, callable_name),
        "config": {"bioimageio": card.config(predictor), "segexp": own},
    }
    with ValidationContext(root=folder, perform_io_checks=True):
        model = build_description(content)
    if isinstance(model, InvalidDescr):
        raise InputError(
            ("the package does not meet the specification of bioimage.io:"),
            *_faults(model.validation_summary).splitlines(),
        )
    return model


def _official_test(path: Path) -> Iterator[str]:
    """Run bioimageio.core's test on all weight formats; `InputError` if it does not pass."""
    from bioimageio.core import test_description

    summary = test_description(path, determinism="seed_only", devices=["cpu"])
    for detail in summary.details:
        yield f"{detail.status}: {detail.name}"
    if summary.status != "passed":
        raise InputError(f"bioimageio test: {summary.status}; no package was written", *_faults(summary).splitlines())
    yield f"bioimageio test: {summary.status}"


def _faults(summary: Any) -> str:
    return "\n".join(
        f"  {'.'.join(map(str, fault.loc))}: {fault.msg}" for detail in summary.details for fault in detail.errors
    )
