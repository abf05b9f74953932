"""Reading tensors out of a torch checkpoint without running anything that it contains.

`torch.load(weights_only=True)` refuses a Lightning checkpoint for the omegaconf objects among
its hyper-parameters. This unpickler builds plain containers and tensors; every other class in
the pickle becomes an inert `Placeholder`, and nothing that the file names is imported or called.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

_MAX_PICKLE_BYTES = 64 << 20
_MAX_TOTAL_BYTES = 16 << 30

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
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive)
    except UnsafeCheckpointError:
        raise
    except OSError:
        raise
    except Exception as error:  # a hostile pickle can raise nearly anything from the unpickler
        raise UnsafeCheckpointError(f"malformed checkpoint: {type(error).__name__}") from error


def _read_archive(archive: zipfile.ZipFile) -> Any:
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise UnsafeCheckpointError("not a torch checkpoint: it holds no single data.pkl")
    if archive.getinfo(names[0]).file_size > _MAX_PICKLE_BYTES:
        raise UnsafeCheckpointError("its pickle is larger than 64 MiB")
    root = names[0].removesuffix("data.pkl")
    if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
        raise UnsafeCheckpointError("its tensors are not little-endian")
    with archive.open(names[0]) as file:
        return _TensorUnpickler(file, archive, root).load()


class _Storage:
    def __init__(self, values: Tensor) -> None:
        self.values = values


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root
        self._storages: dict[str, _Storage] = {}
        self._bytes_left = _MAX_TOTAL_BYTES

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
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
            self._storages[key] = _Storage(self._read_storage(key, dtype, int(count)))
        return self._storages[key]

    def _read_storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        member = self._archive.getinfo(f"{self._root}data/{key}")
        wanted = count * dtype.itemsize
        self._bytes_left -= max(wanted, 0)
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != wanted:
            raise UnsafeCheckpointError("a tensor's data have the wrong length")
        if self._bytes_left < 0:
            raise UnsafeCheckpointError("its tensors are larger than 16 GiB together")
        if not count:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(member)), dtype=dtype)


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    count = len(storage.values)
    if offset < 0 or math.prod(size) > count or any(n < 0 for n in (*size, *stride)):
        raise UnsafeCheckpointError("a tensor reaches outside its data")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= count:
        raise UnsafeCheckpointError("a tensor reaches outside its data")
    return storage.values.as_strided(size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data
