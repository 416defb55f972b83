"""Model files: tensors and plain values, written whole or not at all, read without running anything in them.

A file is written under a temporary name, flushed to the disk and renamed over the old one, so that a crash leaves
either the old file or the new one. Reading uses ``torch.load(weights_only=True)``; the network is rebuilt from the
name of one of `segexp.models.MODELS` and its keyword arguments.
"""

import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from segexp.errors import InputError
from segexp.models import MODELS, UNet
from segexp.weights import NAMES, located

FORMAT = 1
_NEEDED = ("format", "model", "weights", "normalization", "classes", "threshold")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, lists, dicts) to `path` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()  # a disk that fills up is then a plain OSError, not torch's
    torch.save({"format": FORMAT, **content}, whole)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner may read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def load(path: str | Path) -> dict[str, Any]:
    """Read a file written by `save`, or a shipped model by its name.

    `InputError` where it is missing, damaged, foreign or of a newer format.
    """
    path = located(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; wanted a model file, or one that is shipped: {', '.join(NAMES)}")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch comments on foreign files that are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever the damage makes it meet
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(f"{path}: not a segexp model file, or damaged ({reason})") from None
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(f"{path}: a PyTorch file, but not written by segexp (no 'format' in it)")
    if content["format"] != FORMAT:
        raise InputError(f"{path}: format {content['format']}; this segexp reads format {FORMAT}: upgrade segexp")
    return content


def load_model(path: str | Path) -> tuple[UNet, dict[str, Any]]:
    """The network with its weights, in evaluation mode on the CPU, and all else that the file holds."""
    content = load(path)
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise InputError(f"{path}: holds no {', '.join(missing)}; wanted a best_<task>_model.pth")
    return _model(Path(path), content["model"], content.pop("weights")).eval(), content


def _model(path: Path, named: Any, weights: Any) -> UNet:
    """The network that a file names, with its weights: nothing is made room for that the file does not hold."""
    name = named.get("name") if isinstance(named, dict) else named
    if not isinstance(name, str) or name not in MODELS or not isinstance(named, dict):
        raise InputError(f"{path}: model {name!r}; this segexp knows {', '.join(MODELS)}")
    unfit = f"{path}: the weights do not fit the model it names"
    try:
        if any(isinstance(value, list) and len(value) > len(weights) for value in named["settings"].values()):
            raise InputError(f"{unfit}; it has more parts than weights")
        with torch.device("meta"):  # shapes without memory: a file could ask for any width
            model = MODELS[name](**named["settings"])
        wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
        if {key: tensor.shape for key, tensor in weights.items()} != wanted:
            raise InputError(f"{unfit}; wanted the file as it was saved")
        model = MODELS[name](**named["settings"])
        model.load_state_dict(weights)
    except InputError:
        raise
    except Exception as error:  # settings that the network does not take, or weights that are no tensors
        raise InputError(f"{unfit} ({error})") from None
    return model
