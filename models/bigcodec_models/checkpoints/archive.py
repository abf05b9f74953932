"""Reading what `torch.save` wrote: a zip file with one pickle, and the data of tensors.

`torch.load(weights_only=True)` reads it, so that no code of the file runs. What could still take
much memory or time is refused before: the pickle is gone through opcode by opcode, and may do only
what the pickles of published checkpoints do. What torch makes of it then takes time and memory
proportional to its length, and that is limited by the length of the file.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bigcodec_models.errors import ConfigError

_TENSOR_PARTS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v2|parameter)"
    r"|torch\.(Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
"""What torch builds tensors and state dicts of."""
_HYPERPARAMETER_PARTS = (
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "long", "str")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "collections.defaultdict",
    "typing.Any",
)
"""What the omegaconf objects in Lightning checkpoints are built of; see `_Inert`."""
_MAX_PICKLE_BYTES = 2 << 20  # that of a checkpoint with optimizers has about 0.6 MB
_SMALL_PICKLE_BYTES = 1 << 18  # any file may have one; a byte can become an object of 300
_MAX_TUPLE_ITEMS = 64  # as many sizes as a tensor can have
_LEAVES = {
    "EMPTY_DICT": "dict",
    "EMPTY_LIST": "list",
    "EMPTY_TUPLE": "empty tuple",
    **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2"), "key"),
    **dict.fromkeys(("BINFLOAT", "LONG1", "NONE", "NEWTRUE", "NEWFALSE"), "value"),
}
"""The kind of object that an opcode makes of nothing."""
_COMBINING = frozenset(
    ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS")
    + ("REDUCE", "NEWOBJ", "BUILD", "BINPERSID")
)


class _Inert:
    """Stands for an object of a class that is not loaded, and ignores all that it is given."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def load_pickled(path: Path) -> dict[Any, Any]:
    """The dict that `torch.save` wrote into a zip file; its tensors are views of the mapped file.

    Raises:
        ConfigError: it is no such file, is damaged, or holds more than tensors and settings.
    """
    try:
        _check_archive(path)
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals([(_Inert, name) for name in _HYPERPARAMETER_PARTS]),
        ):
            # Storages of a mapped file cannot grow, whatever shape a tensor declares.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(text_items(loaded))
    except ConfigError:
        raise
    except Exception as error:  # damaged zip files and pickles raise nearly anything
        reason = f"it is damaged, or not written by torch.save ({type(error).__name__})"
        raise ConfigError(reason) from error


def text_items(state: Any) -> Iterator[tuple[str, Any]]:
    """Entries of a dict from a file whose names are text.

    Raises:
        ConfigError: it is no dict.
    """
    if not isinstance(state, dict):
        raise ConfigError("it holds another object where a dict should be")
    # Not by `state.items`, which the file can set on an OrderedDict.
    return ((name, value) for name, value in dict.items(state) if isinstance(name, str))


def _check_archive(path: Path) -> None:
    """Refuse zip files of which reading would take much more memory than they are long."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        largest = min(max(_SMALL_PICKLE_BYTES, size // 16), _MAX_PICKLE_BYTES)
        if len(pickles) != 1 or pickles[0].file_size > largest:
            raise ConfigError(f"it holds no single pickle of at most {largest} bytes")
        compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if compressed or sum(member.file_size for member in members) > size:
            raise ConfigError("its members are compressed, or larger than the file")
        content = archive.read(pickles[0])
    with path.open("rb") as file:  # torch could find another directory in the file
        reader = torch._C.PyTorchFileReader(str(path))
        file.seek(reader.get_record_offset("data.pkl"))  # type: ignore[attr-defined]
        if file.read(len(content)) != content:
            raise ConfigError("it holds two directories of members")
    _check_pickle(content)


def _check_pickle(content: bytes) -> None:
    """Refuse a pickle that names other classes than published checkpoints do, or that torch could
    not load in time and memory proportional to its length: see `_made_of`."""
    stack: list[str] = []  # the kind of each object
    marks: list[int] = []
    memo: dict[Any, str] = {}
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append("shared dict" if memo[argument] == "dict" else memo[argument])
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name == "MARK":
            marks.append(len(stack))
        elif opcode.name == "GLOBAL":
            stack.append(_checked_global(str(argument)))
        elif opcode.name in _LEAVES:
            stack.append(_LEAVES[opcode.name])
        elif opcode.name in _COMBINING:
            stack.append(_made_of(opcode.name, _popped(opcode, stack, marks)))
        elif opcode.name not in ("PROTO", "STOP"):
            raise ConfigError(f"its pickle has {opcode.name}, unlike the published ones")


def _checked_global(argument: str) -> str:
    name = argument.replace(" ", ".").replace("__builtin__.", "builtins.")
    if name not in _HYPERPARAMETER_PARTS and not _TENSOR_PARTS.fullmatch(name):
        raise ConfigError(f"it refers to {name!r}, unlike the published ones")
    return name


def _made_of(opcode: str, items: list[str]) -> str:
    """The kind of object that an opcode makes of others, or fills with them.

    Raises:
        ConfigError: that could take unbounded time or memory.
    """
    first = items[0] if items else ""
    if "TUPLE" in opcode:
        if len(items) > _MAX_TUPLE_ITEMS:  # the sizes of a tensor are copied into it
            raise ConfigError(f"it holds a tuple of more than {_MAX_TUPLE_ITEMS} items")
        return _kind_of_tuple(items)
    if opcode in ("REDUCE", "NEWOBJ"):
        return _called(first, items[1])
    if opcode == "BINPERSID":
        if first != "flat tuple":  # parts of it are printed: of shared lists that is exponential
            raise ConfigError("it refers to a storage in another way than published ones")
        return "storage"
    if opcode == "BUILD":
        if first not in ("inert", "ordered") or (first == "ordered" and items[1] != "dict"):
            raise ConfigError("it sets attributes unlike the published ones")  # they are copied
    elif "SETITEM" in opcode and any(key != "key" for key in items[1::2]):
        # Other hashes than those of text and short integers can be made equal, or take long.
        raise ConfigError("it has a key that is neither text nor a number")
    return first


def _kind_of_tuple(items: list[str]) -> str:
    kinds = set(items)
    if kinds & {"list", "loose tuple"}:
        return "loose tuple"
    flat = all(kind in ("key", "value") or "." in kind for kind in kinds)
    return "flat tuple" if flat else "tuple"


def _called(function: str, arguments: str) -> str:
    """The kind of what a class or function of the pickle gives."""
    if not arguments.endswith("tuple") or "." not in function:  # torch prints what is no function
        raise ConfigError("it calls something unlike the published ones")
    if function in _HYPERPARAMETER_PARTS:
        return "inert"
    if function == "collections.OrderedDict" and arguments == "empty tuple":  # others are copied
        return "ordered"
    if function.startswith("torch._utils.") and arguments == "tuple":  # a list may be a long size
        return "tensor"
    raise ConfigError(f"it calls {function} unlike the published ones")


def _popped(opcode: pickletools.OpcodeInfo, stack: list[str], marks: list[int]) -> list[str]:
    """Take from the stack what an opcode takes, without the mark."""
    before = opcode.stack_before
    if pickletools.markobject in before:
        first = marks.pop() - before.index(pickletools.markobject)
    else:
        first = len(stack) - len(before)
    if first < 0:
        raise ConfigError("its pickle is damaged")
    items = stack[first:]
    del stack[first:]
    return items
