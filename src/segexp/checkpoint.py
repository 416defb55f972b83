"""Model files: tensors and plain values, written whole or not at all, read without running anything in them.

A file is written under a temporary name, flushed to the disk and renamed over the old one, so that a crash leaves
either the old file or the new one. Reading compares every checksum first (`segexp.io.archive`) and then uses
``torch.load(weights_only=True)``; the network is rebuilt from the name of one of `segexp.models.MODELS` and its keyword
arguments. A network of another package is a name like any other value, imported only if the caller allows it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segexp.errors import InputError
from segexp.io import atomic
from segexp.io.archive import verified
from segexp.io.ownership import RECORD, noting
from segexp.model_facts import check_facts
from segexp.models import MODELS, External, Network
from segexp.pretrained import NAMES, located

FORMAT = 1
HOW = "--allow-targets {0} (in Python: load_model(path, allow_targets=['{0}']))"
_NEEDED = ("format", "model", "weights", "normalization", "classes", "threshold")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, lists, dicts) to `path` atomically; the folder's record notes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()  # a disk that fills up is then a plain OSError, not torch's
    torch.save({"format": FORMAT, **content}, whole)
    atomic.write_bytes(path, whole.getbuffer(), noting(path))


def model_file(path: Path) -> Path:
    """The model file that `path` names: a file, the best model of a run folder, or the name of a pretrained model.

    A run folder without a model is refused, even if it has the name of a pretrained model.

    Raises:
        InputError: if a folder holds no model, or several.
    """
    models = sorted(path.glob("best_*_model.pth")) if path.is_dir() else []
    of_a_run = any((path / name).exists() for name in (RECORD, "last.pth", ".hydra"))  # one named like a shipped model
    if not models and not of_a_run and located(path) != path:
        return located(path)
    if not path.is_dir():
        return path
    if len(models) != 1:
        what = ", ".join(file.name for file in models) or "no best_<task>_model.pth"
        raise InputError(f"{path}: holds {what}; expected a run with one, a sweep, or a model file")
    return models[0]


def load(path: str | Path) -> dict[str, Any]:
    """Read a file written by `save`, the best model of a run folder, or a pretrained model by its name.

    Every byte is compared with its checksum.

    Raises:
        InputError: if it is missing, damaged, foreign or of a newer format.
    """
    path = model_file(Path(path))
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; expected a model file, a run folder, or a pretrained model: {', '.join(NAMES)}"
        )
    try:
        content = torch.load(verified(path), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # the restricted unpickler raises whatever it meets, and advises to do without it
        raise InputError(f"{path}: not a segexp model file, or damaged ({type(error).__name__})") from None
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(f"{path}: a PyTorch file, but not written by segexp (no 'format' in it)")
    version = content["format"]
    if type(version) is not int or version < FORMAT:
        raise InputError(
            f"{path}: a PyTorch file, but not written by segexp (its 'format' is not a number from {FORMAT} on)"
        )
    if version > FORMAT:
        raise InputError(f"{path}: format {version:.6g}; this segexp reads format {FORMAT}: upgrade segexp")
    return content


def load_model(path: str | Path, allow_targets: Sequence[str] = ()) -> tuple[Network, dict[str, Any]]:
    """The network with its weights, in evaluation mode on the CPU, and everything else in the file.

    Raises:
        InputError: as `load`; if a value is out of its limits (`segexp.model_facts`), the network answers with NaN,
            or is a class of another package that is neither among `allow_targets` (classes and packages) nor an
            installed entry point.
    """
    content = _complete(path)
    return _model(Path(path), content["model"], content.pop("weights"), allow_targets).eval(), content


def _complete(path: str | Path) -> dict[str, Any]:
    """The content of a model file, checked: all required entries are there and within their limits."""
    content = load(path)
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise InputError(f"{path}: holds no {', '.join(missing)}; expected a best_<task>_model.pth")
    check_facts(path, content)
    return content


def load_weights(path: str | Path) -> dict[str, Any]:
    """What a model file holds, its weights among it, without building the network that it names.

    Raises:
        InputError: if it is not a model file, or a value is out of its limits or not finite.
    """
    content = _complete(path)
    require_finite(path, content["weights"])
    return content


def require_finite(path: str | Path, weights: dict[Any, Any]) -> None:
    """`InputError` if weights are not all tensors of possible values."""
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise InputError(f"{path}: the weights do not fit the model that it names; some are not tensors")
    if not all(isinstance(key, str) for key in weights):
        raise InputError(f"{path}: the weights do not fit the model that it names; some are not named by text")
    wrong = [key for key, tensor in weights.items() if not torch.isfinite(tensor).all()]
    wrong += [key for key, tensor in weights.items() if key.endswith("running_var") and bool((tensor < 0).any())]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} holds NaN, infinite or impossible values; damaged, or training failed")


def _model(path: Path, named: dict[str, Any], weights: dict[Any, Any], allow_targets: Sequence[str]) -> Network:
    """The network that a file names, with its weights; no memory is allocated that the file does not account for."""
    unfit = f"{path}: the weights do not fit the model that it names"
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise InputError(f"{unfit}; some are not tensors")
    more = {"allowed": tuple(allow_targets), "how": HOW} if MODELS[named["name"]] is External else {}
    if any(key in named["settings"] for key in more):
        raise InputError(f"{path}: model.settings: {' and '.join(more)} are not a file's to say")
    try:
        with torch.device("meta"):  # shapes without memory: a file could ask for any width
            model = MODELS[named["name"]](**named["settings"], **more)
    except InputError as error:
        length = 600 if more else 200  # a refused class is followed by what to type
        raise InputError(f"{path}: {str(error)[:length]}") from None
    except Exception as error:  # settings that the network does not take
        raise InputError(f"{path}: model.settings: {str(error)[:200]}") from None
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if {key: tensor.shape for key, tensor in weights.items()} != expected:
        raise InputError(f"{unfit}; expected the file as it was saved")
    require_finite(path, weights)
    model = MODELS[named["name"]](**named["settings"], **more)
    model.load_state_dict(dict(weights))
    if isinstance(model, External):
        model.try_out()
    if not _answers(model.eval()):
        raise InputError(f"{path}: its network returns NaN; damaged, or training failed")
    return model


@torch.no_grad()
def _answers(model: Network) -> bool:
    """Whether the network gives numbers for values as a normalised image has them."""
    side = model.multiple * -(-16 // model.multiple)
    wave = 3 * torch.sin(torch.arange(int(str(model.settings["in_channels"])) * side * side, dtype=torch.float32))
    return bool(torch.isfinite(model(wave.reshape(1, -1, side, side))).all())
