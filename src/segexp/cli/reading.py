"""What predict, evaluate and suggest share: how models are found and opened; the options on how files are read.

``--channel`` and ``--page`` take the same values as the settings ``data.channel`` and ``data.page``; ``--pixel-size``
stands for what the files state. Error messages of the readers name settings; `in_options` makes them name the options
of the command instead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexp.errors import InputError, printable

if TYPE_CHECKING:
    from segexp.inference.predictor import Predictor

AllowTargets = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Class or package that may be imported if the model file names it as its network; may be repeated.",
        show_default=False,
    ),
]
ChannelOption = Annotated[
    str | None,
    typer.Option(
        help="Channel of files with several: a number from 1, or several, such as 1,3; default: as in training.",
        show_default=False,
    ),
]
PageOption = Annotated[
    str | None,
    typer.Option(
        help="Page of stacks: a number from 1, first, max, mean, channels or each; default: as in training.",
        show_default=False,
    ),
]


def _pixel_size(size: float | None) -> float | None:
    from segexp.data.reading import require_pixel_size

    return require_pixel_size(size)


PixelSizeOption = Annotated[
    float | None,
    typer.Option(callback=_pixel_size, help="Pixel size in µm; overrides what the files state.", show_default=False),
]

OPTIONS = {"channel": "--channel", "page": "--page", "pixel_size": "--pixel-size", "group": "--group"}
_CHANNELS_KEPT = re.compile(r",? ?\bdata\.channels=\d+ keeps (it|them)")


def model_files(paths: list[Path]) -> list[Path]:
    """Resolve files, run folders, names of pretrained models and sweeps to model files."""
    from segexp.checkpoint import model_file

    models: list[Path] = []
    for path in paths:
        if path.is_dir() and not any(path.glob("best_*_model.pth")):
            from segexp.sweep.selection import best_models, is_sweep

            if is_sweep(path):
                models += best_models(path)
                continue
        models.append(model_file(path))
    return models


def open_predictor(
    model: Path | list[Path], device: str, allow_targets: list[str] | None, *, tta: bool = False
) -> "Predictor":
    """Load a model, or several as an ensemble, and set up the process for prediction.

    PyTorch is limited to the cores that the process may use; on a CPU, freed memory is kept for the next tile.

    Raises:
        InputError: if a file is not a model, the device is not there, or the network's class is not allowed.
    """
    from segexp.device import keep_freed_memory
    from segexp.inference.predictor import load_model
    from segexp.io.cores import limit_threads

    limit_threads()
    predictor = load_model(model, device, tta=tta, allow_targets=allow_targets or ())
    if predictor.device.type == "cpu":
        keep_freed_memory()
    return predictor


def read_as(predictor: "Predictor", channel: str | None, page: str | None) -> None:
    """Let a predictor read the channels and pages that the options name; without an option, those of its training.

    Raises:
        InputError: if an option is not a channel or page, or the models of an ensemble were trained on different ones
            and no option says which to read.
    """
    typed = reading_typed(channel, page)
    stored = (predictor.facts.get("reading") or {}) | typed
    for key in {"channel", "page"} - typed.keys():
        known = [(one.facts.get("reading") or {}).get(key) for one in (predictor, *predictor.others)]
        asked = [value for value in known if value is not None]
        if any(value != asked[0] for value in asked):
            raise InputError(
                f"the models were trained on different settings of data.{key}: {', '.join(map(str, known))}; "
                f"choose one for all of them with --{key}"
            )
        if asked:
            stored[key] = asked[0]
    if stored:
        predictor.facts["reading"] = stored


def reading_typed(channel: str | None, page: str | None) -> dict[str, Any]:
    """The values of ``--channel`` and ``--page``; options that were not given are left out.

    Raises:
        InputError: if one is not a channel or page.
    """
    from segexp.io.images import PAGES

    stored: dict[str, Any] = {}
    if channel is not None:
        numbers = channel.strip().removeprefix("[").removesuffix("]").split(",")
        if not all(re.fullmatch(r"\s*[1-9]\d{0,8}\s*", number, re.ASCII) for number in numbers):
            raise InputError(f"--channel {channel}: expected a number from 1, or several: 1,3")
        chosen = [int(number) for number in numbers]
        stored["channel"] = chosen if len(chosen) > 1 else chosen[0]
    if page is not None:
        if page not in (*PAGES, "each") and not re.fullmatch(r"[1-9]\d{0,8}", page, re.ASCII):
            raise InputError(f"--page {page}: expected {', '.join(PAGES)}, each, or a number from 1")
        stored["page"] = int(page) if page.isdigit() else page
    return stored


def in_options(text: str) -> str:
    """Rewrite a message about reading a file so that it names options in place of settings.

    >>> in_options("a.tif: 2 channels, but data.channels=1; data.channel=1 to data.channel=2 chooses one")
    'a.tif: 2 channels, but the model takes 1; --channel 1 to --channel 2 chooses one'
    """
    text = re.sub(r"\bbut data\.channels=(\d+)", r"but the model takes \1", text)
    text = _CHANNELS_KEPT.sub("", text).rstrip("; ")
    for name, option in OPTIONS.items():
        text = re.sub(rf"\bdata\.{name}=", f"{option} ", text)
        text = re.sub(rf"\bdata\.{name}\b", option, text)
    if re.search(r"\b(data|task)\.\w", text):
        text += " (data.* and task.* are settings of segexp train; here files are read as the model file says)"
    return text


@contextmanager
def options_in_messages() -> Iterator[None]:
    """Apply `in_options` to the message of every `InputError` raised in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(in_options(str(error))) from None


def say_unscaled(facts: Mapping[str, Any], names: Sequence[str], images: int) -> None:
    """Warn of images `names`, whose pixel size is not known, where the model has one: their scale may be another."""
    size = facts.get("pixel_size")
    if size is None or not names:
        return
    do, their, were = ("does", "its", "was") if len(names) == 1 else ("do", "their", "were")
    print(
        f"warning: {len(names)} of {images} images {do} not state {their} pixel size ({_listed(names)}) and {were} not "
        f"brought to the model's {size:g} µm a pixel; --pixel-size gives it"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, multiline=False) for name in names[:5]) + (", ..." if len(names) > 5 else "")


def say_misfits(facts: Mapping[str, Any], names: Sequence[str], images: int, strict: bool) -> None:
    """Print which images are unlike the training images; with `strict`, also if the model file cannot tell."""
    from segexp.inference.misfit import KEY

    if names:
        one = len(names) == 1
        print(f"{len(names)} of {images} images {'is' if one else 'are'} unlike the training images: {_listed(names)}")
        print(
            "segexp predict --save overlay shows their masks; segexp models lists others; docs/finetune.md adapts one"
        )
    elif strict and not facts.get(KEY):
        print("--strict: the model file does not say what its training images looked like, so no image was compared")
