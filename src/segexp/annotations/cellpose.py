"""Read the masks in Cellpose's ``_seg.npy``, a pickled dictionary, without running any code that the pickle names.

A pickle is a program: it names functions and calls them. Here the only names it may use are those by which NumPy stores
arrays and numbers and pathlib stores paths, and what they stand for are the inert classes below: they keep what they
are given, and no function of NumPy or of anything else is called. Any other name ends the reading.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.errors import InputError

EXPORT = "in Cellpose: File > Save masks as PNG/TIF, a format that segexp reads directly"

_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
_PATHS = ("pathlib", "pathlib._local")  # of the image, where a script gave it so


class _Kind:
    """A dtype as described by a pickle: its letters, then its byte order among the rest of its state."""

    def __init__(self, letters: object = "", *rest: object):
        self.letters, self.order = str(letters), "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype:
        if self.letters[:1] not in ("b", "i", "u", "f") or not self.letters[1:].isdigit():
            raise ValueError(f"an array of {self.letters!r}, not of numbers")
        return np.dtype((self.order if self.order in ("<", ">") else "=") + self.letters)


class _Array:
    """An array as a pickle describes it: shape, dtype, order and bytes, put together by `array`."""

    def __init__(self, *arguments: object):
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> NDArray:
        _, shape, kind, fortran, data = self.state
        if not (isinstance(kind, _Kind) and isinstance(data, bytes) and isinstance(shape, tuple)):
            raise ValueError("an array of Python objects")
        return np.frombuffer(data, kind.dtype()).reshape(shape, order="F" if fortran else "C")


class _Unused:
    """A NumPy number or a path, which is not needed."""

    def __init__(self, *arguments: object):
        pass


class _Reader(pickle._Unpickler):  # the one in Python: the C one makes room for whatever index a pickle names
    def find_class(self, module: str, name: str) -> Any:
        known = {"_reconstruct": _Array, "scalar": _Unused}
        if module in _ARRAYS and name in known:
            return known[name]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return _Array if name == "ndarray" else _Kind
        if module in _PATHS:
            return _Unused
        raise InputError(f"names {module}.{name}, which is not a NumPy array; it is not imported")


def read_cellpose(path: Path) -> NDArray:
    """Object ids (H, W) of a ``_seg.npy``.

    Raises:
        InputError: if it holds anything but arrays, numbers and texts.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if dtype.kind != "O" or shape != ():
                raise ValueError("an array, not Cellpose's dictionary")
            content = _Reader(file).load()
            if isinstance(content, _Array):  # NumPy stores the dictionary as the one element of an array
                content = content.state[4]
            while isinstance(content, list) and len(content) == 1:
                content = content[0]
            masks = content["masks"]
            ids = masks.array() if isinstance(masks, _Array) else np.asarray(masks)
        except InputError as error:
            raise InputError(f"{path}: {error}; {EXPORT}") from None
        except Exception as error:  # a damaged pickle raises anything
            raise InputError(f"{path}: not a _seg.npy of Cellpose that can be read ({error!r}); {EXPORT}") from None
    ids = ids[0] if ids.ndim == 3 and len(ids) == 1 else ids
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        what = f"masks of shape {ids.shape}, {ids.dtype}"
        raise InputError(f"{path}: {what}; expected object ids (height, width): save planes one by one, {EXPORT}")
    return ids
