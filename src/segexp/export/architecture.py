"""The network's source as one file that needs only PyTorch: the ``unet.py`` of a bioimage.io package.

The file is put together from the modules the class is made of, each behind those it imports, with the imports among
them removed; a subclass of the network at its end adds what `segexp.export.packaged` does.
"""

import ast
import inspect
import sys
from collections import Counter
from types import ModuleType

from torch import nn

from segexp import __version__
from segexp.errors import InputError
from segexp.export import packaged
from segexp.models import External

AROUND = '''
class Packaged{name}({name}):
    """The network with what its training images went through, and the reflection around an image."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) as the package's preprocessing gives them, to logits (B, K, H, W)."""
        return reflected(super().forward, {images}, {margin})
'''


def standalone_source(network: nn.Module, normalization: str, margin: int) -> tuple[str, str]:
    """The file's text, and the name in it that builds the network from its keyword arguments.

    `margin` is the width of the reflection around an image, px.

    Raises:
        InputError: if the network is another package's.
    """
    network_class = type(network)
    if isinstance(network, External):
        raise InputError(
            f"the network is {network.title}, a class of another package, whose source a bioimage.io package cannot "
            "hold; segexp export onnx or torchscript writes it without"
        )
    name = network_class.__name__
    modules = [*_closure(sys.modules[network_class.__module__], []), packaged]
    headers: dict[str, None] = {}
    bodies = []
    for module in modules:
        header, body = _split(module)
        headers |= dict.fromkeys(header)
        bodies.append(body)
    taken = "compress_range(images)" if normalization == "log" else "images"
    bodies.append(AROUND.format(name=name, images=taken, margin=margin).strip("\n"))
    title = f'"""The network {name} of segexp {__version__} (MIT licence), in one file that needs PyTorch alone."""'
    text = "\n\n\n".join([f"{title}\n\n" + "\n".join(sorted(headers)), *bodies]) + "\n"
    _refuse_what_cannot_stand_alone(text, name)
    return text, f"Packaged{name}"


def _refuse_what_cannot_stand_alone(text: str, name: str) -> None:
    tree = ast.parse(text)
    inner = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and _own(node)]
    defined = Counter(node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))
    twice = [defined_name for defined_name, count in defined.items() if count > 1]
    if inner or twice:
        reason = f"defines {', '.join(twice)} twice" if twice else "imports segexp inside a function"
        raise InputError(f"{name}: its source {reason} and cannot stand alone; please report this")


def _closure(module: ModuleType, visited: list[ModuleType]) -> list[ModuleType]:
    """`module` behind all of segexp that it imports, each once."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("segexp"):
            for alias in node.names:
                whole = sys.modules.get(f"{node.module}.{alias.name}")
                other = whole or _home(sys.modules[str(node.module)], alias.name)
                if other not in visited and other is not module:
                    _closure(other, visited)
    if module not in visited:
        visited.append(module)
    return visited


def _home(module: ModuleType, name: str) -> ModuleType:
    """The module in which a name is defined: a package may only re-export it."""
    value = getattr(module, name)
    return sys.modules[getattr(value, "__module__", module.__name__)]


def _split(module: ModuleType) -> tuple[list[str], str]:
    """The imports of a module that are not segexp's, and its text without docstring and imports."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    tree = ast.parse(source)
    headers = []
    for index, node in enumerate(tree.body):
        docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (docstring or isinstance(node, ast.Import | ast.ImportFrom)):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom) and not _own(node):
            headers.append(ast.unparse(node))
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    text = "\n".join(lines).strip("\n")
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return headers, text


def _own(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return any(name.split(".")[0] == "segexp" for name in names)
