"""Networks of other packages: any `torch.nn.Module` that maps images (B, C, H, W) to logits (B, K, H, W).

`External` holds such a network beside what segexp needs to know of it. A model file names its class and arguments, as
text: it is built again only where whoever opens the file allows that name (``--allow-targets``), or where an installed
package lists it as an entry point of the group ``segexp.models``. Nothing is downloaded: arguments that ask for trained
weights are refused, and while a network is built this thread opens no connection.
"""

import difflib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.errors import InputError
from segexp.models.unet import pad_to_multiple

GROUP = "segexp.models"
TRAINABLE = ("monai.networks.nets", "segmentation_models_pytorch")
"""Packages whose networks a configuration may name without ``allow_targets``; a model file may not."""
LARGEST = {"in_channels": 64, "classes": 254, "multiple": 256}
LONGEST = 20_000  # characters of the arguments as JSON
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_LOADS = re.compile(r"pretrain|weights|url|(^|_)(path|file|checkpoint)$|checkpoint_path", re.IGNORECASE)


def installed_names() -> tuple[str, ...]:
    """Classes and packages that installed packages list in the entry point group ``segexp.models``."""
    return tuple(point.value.replace(":", ".") for point in entry_points(group=GROUP))


def is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """Whether a class is one of `allowed`, or belongs to one of these packages."""
    prefixes = [prefix.strip().rstrip(".") for prefix in allowed]
    return any(prefix and (name == prefix or name.startswith(f"{prefix}.")) for prefix in prefixes)


def network_class(name: Any, allowed: Sequence[str], how: str = "allow_targets=[{}]") -> type[nn.Module]:
    """The class called `name`; `how` is what to type if it is not allowed. Only then is its package imported.

    Raises:
        InputError: if the name is none, is not allowed, cannot be imported, or is not a module.
    """
    if not isinstance(name, str) or len(name) > 200 or not _NAME.fullmatch(name):
        raise InputError(f"model.network={str(name)[:60]!r}: expected a class such as monai.networks.nets.BasicUNet")
    module_name, _, class_name = name.rpartition(".")
    if not is_allowed(name, [*allowed, *installed_names()]):
        raise InputError(
            f"the network is {name}, a class of another package, which is imported only if you allow it; if you "
            f"trust that package, type {how.format(module_name)}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"model.network={name}: {module_name} cannot be imported ({str(error)[:200]}); install its package, or put "
            "its folder on PYTHONPATH"
        ) from None
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(f"model.network={name}: {module_name} fails on import: {_line(error)}") from None
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        near = difflib.get_close_matches(class_name, [entry for entry in dir(module) if entry[0].isupper()], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"model.network={name}: {module_name} has no torch.nn.Module of this name{hint}")
    return found


def check_arguments(network: type[nn.Module], arguments: Any, names: Sequence[str]) -> None:
    """`InputError` if arguments are not plain values, ask for trained weights, or are none that the class takes."""
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise InputError(f"model.arguments={str(arguments)[:60]}: expected settings by name")
    try:
        text = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError(
            "model.arguments: expected numbers, texts, true, false, null, and lists and groups of them"
        ) from None
    if len(text) > LONGEST:
        raise InputError(f"model.arguments: {len(text)} characters; expected at most {LONGEST}")
    for key, value in _leaves(arguments):
        if (_LOADS.search(key) and (value is True or isinstance(value, str))) or "://" in str(value):
            raise InputError(
                f"model.arguments.{key}={str(value)[:60]}: would load or download weights; segexp downloads nothing, "
                f"expected {'false' if value is True else 'null'}"
            )
    parameters = inspect.signature(network).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in [*arguments, *names]:
        if key not in parameters:
            near = difflib.get_close_matches(key, parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"model.arguments.{key}: {network.__name__} takes {', '.join(parameters)}{hint}")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, name)
    else:
        yield name, value


_building = threading.local()


def _refuse_connections(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo") and getattr(_building, "now", False):
        raise InputError("its constructor opens a connection, and segexp downloads nothing")


@contextmanager
def _offline() -> Iterator[None]:
    """Refuse network connections of this thread. Audit hooks stay for good, so there is one, inactive otherwise."""
    if not getattr(_refuse_connections, "added", False):
        sys.addaudithook(_refuse_connections)
        _refuse_connections.added = True  # type: ignore[attr-defined]
    _building.now = True
    try:
        yield
    finally:
        _building.now = False


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class External(nn.Module):
    """A network of another package.

    Args:
        in_channels: channels of the image.
        classes: output channels, one logit map a class (background has none).
        network: its class, such as ``monai.networks.nets.BasicUNet``.
        multiple: sizes that it takes are multiples of this; others are padded by reflection, to two times it at least,
            and cropped back.
        arguments: of the class, plain values.
        channels_as: what the class calls the number of image channels.
        classes_as: what the class calls the number of output channels.
        allowed: classes and packages that may be imported; given by the program, never by settings or a model file.
        how: what to type if the class is not allowed.

    Images (B, in_channels, H, W) of any H and W to logits (B, classes, H, W). A bias for each class is added behind the
    network (`prior`), which starts at the data's share of foreground.

    Raises:
        InputError: if the class is not allowed, does not take the arguments, or fails to build; or a number is out
            of range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        network: str = "",
        multiple: int = 32,
        arguments: dict[str, Any] | None = None,
        channels_as: str = "in_channels",
        classes_as: str = "out_channels",
        *,
        allowed: Sequence[str] = (),
        how: str = "allow_targets=[{}]",
    ):
        super().__init__()
        arguments = dict(arguments or {})
        for name, value in (("in_channels", in_channels), ("classes", classes), ("multiple", multiple)):
            if type(value) is not int or not 1 <= value <= LARGEST[name]:
                raise InputError(f"model.{name}={str(value)[:40]}: expected a whole number from 1 to {LARGEST[name]}")
        found = network_class(network, allowed, how)
        check_arguments(found, arguments, (channels_as, classes_as))
        self.settings: dict[str, Any] = {
            "in_channels": in_channels,
            "classes": classes,
            "network": network,
            "multiple": multiple,
            "arguments": arguments,
            "channels_as": channels_as,
            "classes_as": classes_as,
        }
        self.multiple = multiple
        try:
            with _offline():
                self.network = found(**{**arguments, channels_as: in_channels, classes_as: classes})
        except InputError as error:
            raise InputError(f"model.network={network}: {error}") from None
        except Exception as error:  # a foreign class may raise anything
            raise InputError(f"model.network={network}: {_line(error)}") from None
        self.prior = nn.Parameter(torch.zeros(classes))

    @property
    def title(self) -> str:
        """For logs and tables: the class."""
        return str(self.settings["network"])

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to logits (B, classes, H, W).

        Raises:
            InputError: if the network returns anything but one logit for each class and pixel.
        """
        if _is_exporting():  # sizes are multiples there
            return self.network(images) + self.prior[:, None, None]
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, self.multiple)
        below, beside = (max(0, 2 * self.multiple - side) for side in padded.shape[-2:])
        if below or beside:
            padded = F.pad(padded, (0, beside, 0, below), mode="replicate")
        logits = self.network(padded)
        expected = (len(images), self.settings["classes"], *padded.shape[-2:])
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            given = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise InputError(
                f"model.network={self.title}: makes {given} of images {tuple(padded.shape)}; expected logits {expected}"
            )
        return logits[..., :height, :width] + self.prior[:, None, None]

    @torch.no_grad()
    def try_out(self) -> None:
        """Run the network on zeros (1, C, multiple, multiple), which `forward` pads; `InputError` if that fails."""
        before = self.training
        device = self.prior.device
        try:
            self.eval()(torch.zeros(1, self.settings["in_channels"], self.multiple, self.multiple, device=device))
        except InputError:
            raise
        except Exception as error:  # a foreign network may raise anything
            side = 2 * self.multiple
            raise InputError(
                f"model.network={self.title}: fails on an image of {side}x{side}: {_line(error)}. Set model.multiple "
                "to what the sides of its images must be multiples of"
            ) from None
        finally:
            self.train(before)


def _is_exporting() -> bool:
    return torch.jit.is_tracing() or bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())
