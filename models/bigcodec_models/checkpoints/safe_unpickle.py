"""Reading tensors out of a torch checkpoint without running anything that it contains.

`torch.load(weights_only=True)` refuses a Lightning checkpoint for the omegaconf objects among
its hyper-parameters. This unpickler builds plain containers and tensors; every other class in
the pickle becomes an inert `Placeholder`, and nothing that the file names is imported or called.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_MAX_PICKLE_BYTES = 16 << 20

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class UnsafeCheckpointError(Exception):
    """The checkpoint is not a torch zip file, or is malformed; the message says how."""


class Placeholder:
    """Stands for an object of a class that is not loaded. It swallows whatever it is given."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Swallow a list item."""

    def extend(self, values: Any) -> None:
        """Swallow list items."""

    def add(self, value: Any) -> None:
        """Swallow a set item."""


def load_tensors(path: Path) -> Any:
    """The object pickled in a torch zip checkpoint: containers, numbers, strings and tensors.

    Raises:
        UnsafeCheckpointError: not such a file, or malformed.
        OSError: the file cannot be opened.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, size)
    except UnsafeCheckpointError:
        raise
    except OSError:
        raise
    except Exception as error:  # a hostile pickle can raise nearly anything from the unpickler
        raise UnsafeCheckpointError(f"malformed checkpoint: {type(error).__name__}") from error


def _read_archive(archive: zipfile.ZipFile, size: int) -> Any:
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise UnsafeCheckpointError("not a torch checkpoint: it holds no single data.pkl")
    if archive.getinfo(names[0]).file_size > _MAX_PICKLE_BYTES:
        raise UnsafeCheckpointError("its pickle is larger than 16 MiB")
    root = names[0].removesuffix("data.pkl")
    if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
        raise UnsafeCheckpointError("its tensors are not little-endian")
    content = archive.read(names[0])
    _check_opcodes(content)
    loaded = _TensorUnpickler(content, archive, root, size).load()
    _unwrap(loaded)
    return loaded


def _check_opcodes(content: bytes) -> None:
    """Refuse what makes the unpickler allocate by a declared number before it reads: lengths
    beyond the end (which walking the opcodes notices) and memo indices beyond any use."""
    for opcode, argument, _ in pickletools.genops(content):
        memo = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if memo and argument is not None and int(argument) > len(content):
            raise UnsafeCheckpointError("its pickle has an impossible memo index")


def _unwrap(loaded: Any) -> None:
    """Put tensors in the place of their holders, in dicts within dicts."""
    waiting, seen = [loaded], {id(loaded)}
    while waiting:
        found = waiting.pop()
        if not isinstance(found, dict):
            continue
        for key, value in found.items():
            if isinstance(value, _Held):
                found[key] = value.values
            elif isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)


class _Held:
    """A tensor, or a storage as a flat tensor, while unpickling goes on: a pickle may try to set
    the state of what it has built, and a tensor would let it."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes, archive: zipfile.ZipFile, root: str, size: int) -> None:
        super().__init__(io.BytesIO(content))
        self._archive, self._root = archive, root
        self._storages: dict[str, _Held] = {}
        # Storages lie in the file uncompressed. Tensors may share them, as tied weights do, but
        # not so often that a small file becomes a large model.
        self._storage_bytes_left, self._tensor_bytes_left = size, 2 * size

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        # A fresh class for each, so that one cannot be told by identity from another.
        return type("Placeholder", (Placeholder,), {})

    def persistent_load(self, identity: Any) -> Any:
        kind, dtype, key, _location, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise UnsafeCheckpointError("a tensor has a kind of storage that is not supported")
        if key not in self._storages:
            self._storages[key] = _Held(self._read_storage(key, dtype, int(count)))
        return self._storages[key]

    def _read_storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        member = self._archive.getinfo(f"{self._root}data/{key}")
        wanted = count * dtype.itemsize
        self._storage_bytes_left -= member.file_size
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != wanted:
            raise UnsafeCheckpointError("a tensor's data have the wrong length")
        if self._storage_bytes_left < 0:
            raise UnsafeCheckpointError("its tensors are larger than the file")
        if not count:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(member)), dtype=dtype)

    def _rebuild_tensor(
        self, storage: _Held, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> _Held:
        values = storage.values
        count, wanted = len(values), math.prod(size)
        if offset < 0 or wanted > count or any(n < 0 for n in (*size, *stride)):
            raise UnsafeCheckpointError("a tensor reaches outside its data")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if wanted and last >= count:
            raise UnsafeCheckpointError("a tensor reaches outside its data")
        self._tensor_bytes_left -= wanted * values.dtype.itemsize
        if self._tensor_bytes_left < 0:
            raise UnsafeCheckpointError("its tensors are larger than the file")
        return _Held(values.as_strided(size, stride, offset).clone())


def _rebuild_parameter(data: _Held, *_: Any) -> _Held:
    return data
