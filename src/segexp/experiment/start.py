"""Start a run from a trained model (``model.weights=``); a table lists what is taken from it and what is not.

The file is read as any model file, and nothing is built from it: its tensors are copied into the run's own network,
whichever package that comes from. How images are read and normalised is taken over with the weights, unless typed.
"""

import fnmatch
import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segexp import checkpoint
from segexp.config import RunConfig
from segexp.config.fingerprint import settings_of
from segexp.errors import InputError
from segexp.io.ownership import digest
from segexp.models import Network, UNet

Row = tuple[str, str, str, str]
"""A row of the table: item, value in the model, value in this run, what is used."""
HEAD = ("", "the model", "this run", "taken")
FREE = ("in_channels", "classes", "multiple", "channels_as", "classes_as")
"""Settings of a network in which the given model may differ from the run's."""


@dataclass(frozen=True)
class Start:
    """A model file that a run starts from.

    Attributes:
        typed: ``model.weights`` as it was typed.
        path: the file that it names.
        sha256: of the file.
        content: of the file, see `segexp.checkpoint.load_weights`.
    """

    typed: str
    path: Path
    sha256: str
    content: dict[str, Any]

    def facts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What ``run.json`` and the model file record of it; `settings` are those taken over with the weights."""
        kept = {"weights": self.typed, "file": str(self.path), "sha256": self.sha256, "settings": settings}
        return kept | {"run": self.content.get("run"), "task": self.content.get("task")}

    def title(self) -> str:
        """The file, with its task, score and SHA-256, for the log."""
        scores = self.content.get("metrics") or {}
        score = f", Dice {scores['dice']:.4f} on its validation images" if scores.get("dice") is not None else ""
        return f"weights: {self.path} (task {self.content.get('task', 'unknown')}{score}; SHA-256 {self.sha256[:12]})"


@dataclass(frozen=True)
class Started:
    """What a run starts from.

    Attributes:
        facts: as ``run.json`` and the model file keep them.
        model: the file, unless the run is resumed.
        rows: lines of the table on settings.
    """

    facts: dict[str, Any]
    model: Start | None = None
    rows: Sequence[Row] = ()


def read_start(typed: str, path: Path) -> Start:
    """Read the model file `path` that ``model.weights=typed`` names.

    Raises:
        InputError: if it is none.
    """
    try:
        content = checkpoint.load_weights(path)
    except InputError as error:
        raise InputError(f"model.weights={typed}: {error}") from None
    return Start(typed, path, digest(path), content)


def given_settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model file that determine the input of its network."""
    reading = content.get("reading") or {}
    page = reading.get("page")
    return {
        "task.normalization": content["normalization"],
        "task.pixel_size": content.get("pixel_size"),
        "data.channels": content["model"]["settings"].get("in_channels", 1),
        "data.channel": reading.get("channel"),
        "data.page": page if page is None else str(page),
    }


def with_settings(cfg: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """`cfg` with other values of settings such as ``task.normalization``.

    Raises:
        InputError: if one is out of range.
    """
    parts: dict[str, dict[str, Any]] = {"task": {}, "data": {}}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        parts[section][key] = value
    return replace(cfg, task=replace(cfg.task, **parts["task"]), data=replace(cfg.data, **parts["data"]))


def take_settings(
    cfg: RunConfig, start: Start, overrides: Sequence[str]
) -> tuple[RunConfig, dict[str, Any], list[Row]]:
    """The settings of a run that starts from a model: those for the network's input are the model's, unless typed.

    Returns:
        the settings; those of them that were taken from the model; rows of the table for those that differ.
    """
    typed, rows, taken = settings_of(overrides), [], {}
    for name, its in given_settings(start.content).items():
        section, _, key = name.partition(".")
        ours = getattr(getattr(cfg, section), key)
        words = as_override(its), as_override(ours)
        if name not in typed:
            taken[name] = its
            if ours != its:
                rows.append((name, *words, f"{words[0]}, the model's; {name}={words[1]} would keep this run's"))
        elif ours != its and name != "data.channels":
            rows.append((name, *words, f"{words[1]}, as typed; the model learned {words[0]}"))
    return with_settings(cfg, taken), taken, rows


def take_weights(network: Network, start: Start, classes: Sequence[str]) -> list[Row]:
    """Put the weights of a model into a network, as far as they fit; returns rows of the table for all differences.

    Other channels: each kernel of the first convolution becomes the mean over its channels, for each new one, scaled so
    that an image of equal channels gives the same output. Other classes: a class of the same name, or the only one of
    both, keeps its output; the others keep that of `network`, which is the share of foreground in the data.

    Args:
        network: built for the run; changed in place.
        start: the model.
        classes: of the run, in the order of the network's outputs.

    Raises:
        InputError: if the two networks differ in more than channels and classes.
    """
    require_same_architecture(network, start)
    its = start.content["model"]["settings"]
    channels = int(its.get("in_channels", 1)), int(str(network.settings["in_channels"]))
    theirs = list(start.content["classes"])
    rows = [_row_of(name, theirs, classes) for name in classes]
    named = isinstance(network, UNet)
    if not named and len(theirs) == len(classes) > 1 and theirs != list(classes):
        raise InputError(
            f"model.weights={start.typed}: its classes are {', '.join(theirs)}, this run's {', '.join(classes)}. Which "
            f"of another package's tensors belong to a class is not known: type the classes as they are in the model, "
            f"task.classes=[{','.join(theirs)}]"
        )
    ours = network.state_dict()
    whole, adapted, fresh = _copy(ours, start.content["weights"], channels, rows, len(theirs), named)
    network.load_state_dict(ours)
    lines = [("network", _title(start), network.title, f"{whole} of {len(ours)} tensors as they are")]
    if channels[0] != channels[1]:
        what = "its mean over channels" if channels[1] == 1 else "its mean over channels, repeated"
        scaled = f"{what}, times {channels[0]}/{channels[1]}: {', '.join(adapted) or 'nothing'}"
        lines.append(("channels", str(channels[0]), str(channels[1]), f"first convolution: {scaled}"))
    if theirs != list(classes):
        pairs = list(zip(classes, rows, strict=True))
        kept = [f"{name} from {theirs[row]}" for name, row in pairs if row is not None]
        new = [name for name, row in pairs if row is None]
        words = [f"output of {', '.join(kept)}"] if kept else []
        words += [f"new output for {', '.join(new)}, started at its share of the data"] if new else []
        lines.append(("classes", ", ".join(theirs), ", ".join(classes), "; ".join(words)))
    if fresh:
        more = f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
        lines.append(("tensors", "no such shape", f"{len(fresh)}", f"new: {', '.join(fresh[:4])}{more}"))
    return lines


def _copy(
    ours: dict[str, Tensor],
    given: dict[str, Tensor],
    channels: tuple[int, int],
    rows: Sequence[int | None],
    outputs: int,
    own_head: bool,
) -> tuple[int, list[str], list[str]]:
    """Copy tensors of the same name into `ours`, in place, as far as their shapes fit.

    Args:
        ours: tensors of the run's network, by name.
        given: tensors of the model that it starts from, by name.
        channels: input channels of the model and of the run.
        rows: for each of the run's classes its row in the model's output layer; None: a new class.
        outputs: rows of the model's output layer.
        own_head: the output layer is called ``head`` and is always copied row by row.

    Returns:
        how many tensors were copied whole, the names of those adapted to other channels, and of those not copied.
    """
    whole, adapted, fresh = 0, [], []
    for name, mine in ours.items():
        theirs = given.get(name)
        if theirs is None:
            fresh.append(name)
        elif theirs.shape == mine.shape and not (own_head and name.startswith("head.")):
            mine.copy_(theirs)
            whole += 1
        elif _differs_in(theirs, mine, 1, channels):
            mean = theirs.float().mean(dim=1, keepdim=True) * channels[0] / channels[1]
            mine.copy_(mean.expand_as(mine))
            adapted.append(name)
        elif theirs.shape[1:] == mine.shape[1:] and len(theirs) == outputs:
            for index, row in enumerate(rows):
                if row is not None:
                    mine[index] = theirs[row]
            whole += rows == list(range(len(theirs)))
        else:
            fresh.append(name)
    return whole, adapted, fresh


def as_it_was(started: Started, network: Network, classes: Sequence[str]) -> tuple[Network, dict[str, Any]] | str:
    """A copy of `network` with the given model's weights, and the content of its file; or why there is none, as text.

    In a resumed run the file is read again.
    """
    model = started.model
    if model is None:
        path = Path(started.facts["file"])
        if not path.is_file() or digest(path) != started.facts["sha256"]:
            return f"{path} is missing or was changed"
        model = read_start(started.facts["weights"], path)
    theirs = model.content["classes"]
    new = [name for name in classes if _row_of(name, theirs, classes) is None]
    if new:
        return f"the given model has no output for {', '.join(new)}"
    copy = deepcopy(network)
    if any(row[0] == "tensors" for row in take_weights(copy, model, classes)):
        return "some of its tensors have no place in this network"
    return copy, model.content


def require_same_architecture(network: Network, start: Start) -> None:
    """`InputError`, with advice on what to type, if a model's network differs from the run's."""
    named = start.content["model"]
    kind, ours = type(network).__name__, dict(network.settings)
    if named["name"] != kind:
        typed = "model=unet_fast" if named["name"] == "UNet" else "the model= option that it was trained with"
        raise InputError(
            f"model.weights={start.typed}: its network is {_title(start)}, this run's is {network.title}; its weights "
            f"fit no other network. Type {typed}"
        )
    theirs = dict(named["settings"])
    if isinstance(network, UNet):
        try:
            with torch.device("meta"):
                theirs = dict(UNet(**theirs).settings)
        except (InputError, TypeError) as error:
            raise InputError(f"model.weights={start.typed}: {start.path}: {str(error)[:200]}") from None
    wrong = [key for key in ours if key not in FREE and ours[key] != theirs.get(key)]
    if not wrong:
        return
    there, here = ({key: as_override(each.get(key)) for key in wrong} for each in (theirs, ours))
    differ = "; ".join(f"{key} {there[key]} there, {here[key]} here" for key in wrong)
    change = " ".join(f"model.{key}={there[key]}" for key in wrong)
    raise InputError(
        f"model.weights={start.typed}: its weights do not fit this run's network ({differ}). To start from it, type "
        f"{change}"
    )


def freeze(network: nn.Module, patterns: Sequence[str]) -> int:
    """Exclude parts of a network from training; returns the number of frozen weights.

    `patterns` are names of modules with ``*`` and ``?`` (``stem``, ``down.*``), including their submodules. Frozen
    batch norms use their running statistics during training, too, and do not change them.

    Raises:
        InputError: if a pattern fits no module, or nothing is left to train.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    for pattern in patterns:
        found = [module for name, module in modules.items() if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise InputError(f"trainer.freeze: {pattern} fits no part of the network; {_parts(modules)}")
        for module in found:
            module.requires_grad_(False)
            for part in module.modules():
                part.register_forward_pre_hook(_as_finished)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError("trainer.freeze: freezes the whole network; expected only some of its parts")
    return sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)


def parameter_groups(network: nn.Module, rates: Sequence[str]) -> tuple[list[dict[str, Any]], list[float]]:
    """The trainable parameters in groups, as an optimiser takes them, and the learning rate factor of each group.

    `rates` are patterns of module names with a factor: ``down*:0.1``. A parameter has that of the first pattern that
    fits one of the modules it is in. The first group, of factor 1, holds all others.

    Raises:
        InputError: if a pattern fits nothing that is trained, or all of it.
    """
    scaled = [_rate(entry) for entry in rates]
    groups: list[list[nn.Parameter]] = [[] for _ in range(len(scaled) + 1)]
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parents = [name[:index] for index, letter in enumerate(name) if letter == "."]
            fits = (
                number
                for number, (pattern, _) in enumerate(scaled, 1)
                if any(fnmatch.fnmatchcase(parent, pattern) for parent in parents)
            )
            groups[next(fits, 0)].append(parameter)
    modules = {name: module for name, module in network.named_modules() if name}
    for (pattern, _), group in zip(scaled, groups[1:], strict=True):
        if not group:
            raise InputError(f"trainer.rates: {pattern} fits nothing that is trained; {_parts(modules)}")
    if not groups[0]:
        raise InputError("trainer.rates: covers the whole network; lower trainer.lr instead")
    return [{"params": group} for group in groups], [1.0, *(factor for _, factor in scaled)]


def log_table(rows: Iterable[Row], log: Callable[[str], None]) -> None:
    """The table as lines of aligned text."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line[:3], widths, strict=True)]
        log(f"  {'  '.join([*cells, line[3]])}".rstrip())


def as_override(value: Any) -> str:
    """A value as one would type it on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(as_override(part) for part in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{as_override(part)}' for key, part in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _rate(entry: str) -> tuple[str, float]:
    pattern, _, text = entry.rpartition(":")
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not pattern or not 0 < factor <= 100:
        raise InputError(f"trainer.rates: {entry}: expected PATTERN:FACTOR, such as down*:0.1")
    return pattern, factor


def _as_finished(module: nn.Module, inputs: Any) -> None:
    """Hook that keeps a frozen module in evaluation mode, whatever the mode of the network."""
    module.training = False


def _parts(modules: dict[str, nn.Module]) -> str:
    names = [name for name in modules if name.count(".") < 2]
    return f"its parts are {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}"


def _row_of(name: str, theirs: Sequence[str], ours: Sequence[str]) -> int | None:
    if len(theirs) == len(ours) == 1:
        return 0
    return list(theirs).index(name) if name in theirs else None


def _differs_in(theirs: Tensor, mine: Tensor, axis: int, sizes: tuple[int, int]) -> bool:
    if theirs.dim() != mine.dim() or theirs.dim() < 3 or sizes[0] == sizes[1]:
        return False
    rest = [size for index, size in enumerate(theirs.shape) if index != axis]
    same = rest == [size for index, size in enumerate(mine.shape) if index != axis]
    return same and (theirs.shape[axis], mine.shape[axis]) == sizes


def _title(start: Start) -> str:
    settings = start.content["model"]["settings"]
    if start.content["model"]["name"] == "UNet":
        shrink = settings.get("shrink", 1)
        return f"UNet {settings.get('widths')}" + (f" on the image shrunk by {shrink}" if shrink != 1 else "")
    return str(settings.get("network"))[:100]
