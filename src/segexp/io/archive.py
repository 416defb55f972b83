"""The archive that ``torch.save`` writes, verified before PyTorch reads it.

PyTorch neither verifies the checksums of the archive's members nor limits their decompressed size. Here every byte is
verified, and the description of the tensors (``data.pkl``) is read separately first: no memory is allocated that the
file does not account for.
"""

import io
import pickle
import pickletools
import re
import zipfile
import zlib
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from segexp.errors import InputError

ITEM_BYTES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "IntStorage": 4,
    "FloatStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
}
"""Bytes of an element, by the class of its storage."""

DIMENSIONS = 8  # of a tensor at most; weights have four
DESCRIPTION = "data.pkl"
LARGEST_DESCRIPTION = 16 * 2**20  # bytes; of 31 million weights it takes 22 thousand
_MEMBER = re.compile(r"(?P<folder>[^/\\]+)/(?P<name>\.?\w[\w.-]*(/\w[\w.-]*)?)", re.ASCII)
_CODES = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
}
"""Pickle opcodes of a description of tensors and plain values."""


class Outline(NamedTuple):
    """A tensor as described: sizes, strides and offset in elements, and the number of elements of its storage."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    item_bytes: int
    available: int

    def fault(self) -> str:
        """The problem with it; empty if each element of the tensor is an element of the storage."""
        valid = all(type(number) is int and number >= 0 for number in (*self.size, *self.stride, self.offset))
        if not valid or len(self.size) != len(self.stride):
            return "a tensor whose sizes are not whole numbers"
        elements, expected = prod(self.size), 1
        for stride, size in sorted((stride, size) for stride, size in zip(self.stride, self.size, strict=True)):
            if size > 1 and elements and stride != expected:
                return f"a tensor of {'x'.join(map(str, self.size))} elements that overlap or have gaps between them"
            expected *= max(size, 1)
        if self.offset + elements > self.available:
            return f"a tensor of {'x'.join(map(str, self.size))} elements, of which the file holds {self.available}"
        return ""


class Refused(ValueError):
    """The archive is damaged, or is not an archive of tensors and plain values; the text says why."""


def verified(path: Path) -> io.BytesIO:
    """The archive with its verified members, for ``torch.load``.

    Raises `InputError` with the file and the problem: a damaged or compressed member, code, or tensors that the file
    does not hold. Takes as much memory as the file is large.
    """
    try:
        with path.open("rb") as file:
            return _verified(file)
    except Refused as error:
        raise InputError(f"{path}: not a segexp model file, or damaged ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _verified(file: BinaryIO) -> io.BytesIO:
    length = file.seek(0, io.SEEK_END)
    if length == 0:
        raise Refused("it is empty")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = _names(entries, length)
            contents = {entry.filename: archive.read(entry) for entry in entries}
    except Refused:
        raise
    except zipfile.BadZipFile as error:
        bad_entry = re.search(r"Bad CRC-32 for file '([^']*)'", str(error))
        raise Refused(f"the checksum of its member {bad_entry[1]} differs" if bad_entry else _foreign(file)) from None
    # what the reader of the standard library raises for headers that cannot be
    except (ValueError, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error, MemoryError) as error:
        raise Refused(str(error) or type(error).__name__) from None
    storages = {name.removeprefix("data/"): len(contents[whole]) for name, whole in names.items() if "/" in name}
    _check_description(contents[names[DESCRIPTION]], storages)
    # written again, so that PyTorch's own reader of archives meets nothing that was not verified
    clean = io.BytesIO()
    with zipfile.ZipFile(clean, "w") as archive:
        for name, whole in names.items():
            archive.writestr(f"archive/{name}", contents.pop(whole))
    clean.seek(0)
    return clean


def _foreign(file: BinaryIO) -> str:
    file.seek(0)
    start = file.read(2)
    if start == b"PK":
        return "the end of its archive is missing or damaged"
    if start[:1] == b"\x80":
        return "it is a bare pickle, which could hold code"
    return "it is not a zip archive"


def _names(entries: list[zipfile.ZipInfo], length: int) -> dict[str, str]:
    """Names in the archive's only folder -> full names; `Refused` if a member is not as ``torch.save`` writes it."""
    if sum(entry.file_size for entry in entries) > length:
        raise Refused("its members are larger than the file")
    names: dict[str, str] = {}
    folders = set()
    for entry in entries:
        match = _MEMBER.fullmatch(entry.orig_filename)
        if match is None or entry.flag_bits & 1:
            raise Refused(f"it has a member {entry.orig_filename[:50]!a}, which a model file never has")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"its member {entry.filename} is compressed, which a model file never is")
        folders.add(match["folder"])
        names[match["name"]] = entry.filename
    if len({name.lower() for name in names}) != len(entries) or len(folders) != 1 or DESCRIPTION not in names:
        raise Refused(f"it needs one folder with {DESCRIPTION} and each member once")
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise Refused("it is TorchScript, which is code")
    return names


def _check_description(data: bytes, storages: dict[str, int]) -> None:
    """Check ``data.pkl`` without building anything that it names."""
    if len(data) > LARGEST_DESCRIPTION:
        raise Refused(f"{DESCRIPTION} takes {len(data)} bytes")
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name == "GLOBAL" and not _known(*str(argument).split(" ", 1)):
                raise Refused(f"it names {_described(argument)}; a model file holds weights, not code")
            if code.name not in _CODES or (code.name == "LONG_BINPUT" and int(str(argument)) > len(data)):
                raise Refused(f"{DESCRIPTION} holds {code.name}, which a model file never has")
        reader = _Description(data, storages)
        reader.load()
    except Refused:
        raise
    except Exception as error:  # the unpickler raises whatever the damage makes it meet
        raise Refused(f"{DESCRIPTION}: {str(error)[:100] or type(error).__name__}") from None
    if reader.taken > SHARED * sum(storages.values()):
        raise Refused("its tensors take more than the file holds")


def _described(argument: Any) -> str:
    return ascii(str(argument).replace(" ", "."))[1:-1][:100]


def _known(module: str, name: str = "") -> bool:
    if module == "torch":
        return name in ITEM_BYTES
    return (module, name) in (("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"))


SHARED = 3
"""How many tensors may share bytes: ``last.pth`` holds the model's weights as weights, training state and average."""


class _Description(pickle.Unpickler):
    """Builds outlines in place of tensors; everything else that a description names is refused."""

    def __init__(self, data: bytes, storages: dict[str, int]):
        super().__init__(io.BytesIO(data))
        self.storages = storages
        self.taken = 0

    def find_class(self, module: str, name: str) -> Any:
        if not _known(module, name):
            raise Refused(f"it names {module}.{name}; a model file holds weights, not code")
        return name if name in ITEM_BYTES else self._dict if name == "OrderedDict" else self._tensor

    def persistent_load(self, pid: Any) -> tuple[int, int]:
        kind, storage, key, _, count = pid
        item_bytes = ITEM_BYTES[storage]
        if kind != "storage" or type(count) is not int or self.storages.get(key) != count * item_bytes:
            raise Refused(f"data/{str(key)[:20]} is not as long as {DESCRIPTION} says")
        return item_bytes, count

    def _dict(self) -> OrderedDict[Any, Any]:
        return OrderedDict()

    def _tensor(self, storage: tuple[int, int], offset: int, size: Any, stride: Any, *_: Any) -> Outline:
        if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) <= DIMENSIONS):
            raise Refused("a tensor without sizes")
        outline = Outline(size, stride, offset, *storage)
        if outline.fault():
            raise Refused(outline.fault())
        self.taken += prod(outline.size) * outline.item_bytes
        return outline
