"""`segexp export`: a trained model for programs other than segexp."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from segexp.cli.command import Command
from segexp.cli.output_paths import file_to_write
from segexp.cli.reading import AllowTargets
from segexp.errors import InputError
from segexp.io.ownership import OwnedFolder

export = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a model for other programs.",
    short_help="Export a model to other programs.",
    epilog="Example: segexp export onnx --model runs/first --output vesicle.onnx",
)

Model = Annotated[
    Path,
    typer.Option(help="A best_<task>_model.pth, a run folder, or one of segexp models.", show_default=False),
]
Normalization = Annotated[
    str,
    typer.Option(
        help="inside: the model takes raw images; outside: it takes normalised images, for programs that use tiles."
    ),
]


@export.command(cls=Command, short_help="Write ONNX.")
def onnx(
    model: Model,
    output: Annotated[Path, typer.Option(help="The .onnx file to write.", show_default=False)],
    normalization: Normalization = "inside",
    int8: Annotated[
        str | None, typer.Option(help="Quantise to int8: dynamic (weights) or static (weights and activations).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With --int8: annotated images for calibration and for measuring the loss; default: generated images."
        ),
    ] = None,
    allow_targets: AllowTargets = None,
) -> None:
    """Write ONNX: raw image in, probabilities out, any batch and size; compared with PyTorch at three sizes.

    Example: segexp export onnx --model runs/first/best_vesicle_model.pth --output vesicle.onnx
    """
    from segexp.export import formats, quantize

    if int8 not in (None, *quantize.MODES):
        raise InputError(f"--int8 {int8}: expected one of {', '.join(quantize.MODES)}")
    if data is not None and int8 is None:
        raise InputError(f"--data {data}: needs --int8; add --int8 static (or dynamic), or leave --data out")
    file_to_write(output, keep=[_file(model)])
    predictor, graph = _open(model, normalization, allow_targets)
    with _making(output) as hidden:
        _write(hidden, predictor, graph, formats.write_onnx, formats.run_onnx)
        if int8 is not None:
            for line in quantize.quantize(hidden, int8, graph, predictor, data):
                print(line)


@export.command(cls=Command, short_help="Write TorchScript.")
def torchscript(
    model: Model,
    output: Annotated[Path, typer.Option(help="The .pt file to write.", show_default=False)],
    normalization: Normalization = "inside",
    allow_targets: AllowTargets = None,
) -> None:
    """Write TorchScript: raw image in, probabilities out, any batch and size.

    Example: segexp export torchscript --model runs/first/best_vesicle_model.pth --output vesicle.pt
    """
    from segexp.export import formats

    file_to_write(output, keep=[_file(model)])
    predictor, graph = _open(model, normalization, allow_targets)
    with _making(output) as hidden:
        _write(hidden, predictor, graph, formats.write_torchscript, formats.run_torchscript)


@export.command(cls=Command, short_help="Write a torch.export archive.")
def pt2(
    model: Model,
    output: Annotated[Path, typer.Option(help="The .pt2 file to write.", show_default=False)],
    normalization: Normalization = "inside",
    allow_targets: AllowTargets = None,
) -> None:
    """Write a torch.export archive, PyTorch's successor to TorchScript; image sides must be multiples of 2^depth.

    Example: segexp export pt2 --model runs/first/best_vesicle_model.pth --output vesicle.pt2
    """
    from segexp.export import formats

    file_to_write(output, (".pt2",), keep=[_file(model)])
    predictor, graph = _open(model, normalization, allow_targets, pad=False)
    with _making(output) as hidden:
        _write(hidden, predictor, graph, formats.write_pt2, formats.run_pt2)


@export.command(cls=Command, short_help="Write a bioimage.io package.")
def bioimageio(
    model: Model,
    output: Annotated[Path, typer.Option(help="The .zip file to write.", show_default=False)],
    authors: Annotated[str, typer.Option(help="Such as 'Ada Roe (University of X), Bo Lee'.", show_default=False)],
    license: Annotated[str, typer.Option(help="SPDX identifier, such as MIT or CC-BY-4.0.", show_default=False)],
    cite: Annotated[
        list[str] | None,
        typer.Option(
            help="A publication with its DOI, in addition to that of the U-Net; may be repeated.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Title of the package, 5 to 64 letters; default: from the task.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Annotated images for the scores and the sample; default: the scores in the model file."),
    ] = None,
    allow_targets: AllowTargets = None,
) -> None:
    """Write a bioimage.io package for deepImageJ, QuPath and ilastik, and run the official test on it.

    Example: segexp export bioimageio --model best_vesicle_model.pth --output v.zip --authors 'Ada Roe' --license MIT
    """
    from segexp.export import bioimageio, card
    from segexp.inference.predictor import load_model

    file_to_write(output, (".zip",), keep=[_file(model)])
    people, citations = card.read_authors(authors), [card.read_citation(text) for text in cite or ()]
    predictor = load_model(model, device="cpu", precision="fp32", allow_targets=allow_targets or ())
    title = name or f"segexp {predictor.facts.get('task', 'model')}"
    with _making(output) as hidden:
        for line in bioimageio.package(predictor, hidden, people, license, title, data, citations):
            print(line)


def _file(model: Path) -> Path:
    """The model file that is read; the output must not replace it."""
    from segexp.checkpoint import model_file

    return model_file(model)


def _open(path: Path, normalization: str, allow_targets: list[str] | None, pad: bool = True) -> tuple[Any, Any]:
    from segexp.export.graph import Graph
    from segexp.inference.predictor import load_model

    if normalization not in ("inside", "outside"):
        raise InputError(f"--normalization {normalization}: expected inside or outside")
    predictor = load_model(path, device="cpu", precision="fp32", allow_targets=allow_targets or ())
    return predictor, Graph(predictor, takes="raw" if normalization == "inside" else "normalized", pad=pad)


@contextmanager
def _making(output: Path) -> Iterator[Path]:
    """A temporary path to write to; the file there is renamed to `output` when the block ends without an error."""
    with OwnedFolder(output.parent).making(output.name) as hidden:
        yield hidden
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def _write(
    path: Path,
    predictor: Any,
    graph: Any,
    write: Callable[[Any, Path, dict[str, str]], None],
    runner: Callable[[Path], Any],
) -> None:
    """Write a model with `write` and compare what `runner` makes of the file with PyTorch."""
    from segexp.export import formats

    write(graph, path, formats.describe(predictor, graph))
    for shape, difference in formats.compare(runner(path), graph, predictor):
        print(f"input {'x'.join(map(str, shape))}: differs from PyTorch by at most {difference:.1e}")
