"""Model files as bytes: what they say of a model, and where its tensors lie. Loads no torch.

`model_file` reads the same files for torch.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bigcodec_models.config import ModelConfig, config_from_dict, config_to_dict
from bigcodec_models.errors import ModelFileError

FORMAT = "bigcodec-model 1"
_MAX_HEADER_BYTES = 16 << 20
_MAX_MESSAGE = 300
_MAX_NESTING = 20
TYPES = {"F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
"""The types of tensors in a model file, as it names them: their names here, and bytes a value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Name, license and training facts of a model; `training` holds plain JSON values."""

    name: str
    license: str
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts(abc.ABC):
    """What a model is, whatever reads its tensors."""

    config: ModelConfig
    info: ModelInfo

    @property
    @abc.abstractmethod
    def fingerprint(self) -> bytes:
        """That of the tensors, which containers name."""

    @property
    @abc.abstractmethod
    def num_parameters(self) -> int:
        """The number of values of all tensors."""

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) over all that a model file holds, whatever the order it is in."""
        info = self.info
        facts = [config_to_dict(self.config), info.name, info.license, dict(info.training)]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(self.fingerprint + text.encode()).digest()

    def check_digest(self, path: Path, expected: bytes) -> None:
        """Compare the model that was read from `path` with the one that was once stored there.

        Raises:
            ModelFileError: it is another.
        """
        if self.digest != expected:
            raise ModelFileError(
                f"{path}: is damaged, or not the model that was stored under this name; "
                "import or pull the model again, or install bigcodec-cli again if it came with it"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file: `dtype` as in "float32", and its bytes from `start` to `stop`."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredModel(ModelFacts):
    """A model file: all its bytes, and its tensors by parameter name."""

    content: bytes
    tensors: Mapping[str, StoredTensor]

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """As that of a `LoadedModel`; takes about 1 ms a megabyte."""
        view = memoryview(self.content)
        return fingerprint_of(
            (name, tensor.dtype, tensor.shape, view[tensor.start : tensor.stop])
            for name, tensor in sorted(self.tensors.items())
        )

    @property
    def num_parameters(self) -> int:
        """The number of values of all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def fingerprint_of(tensors: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> bytes:
    """SHA-256 (32 bytes) over tensors in order of name: for each a JSON line, then its bytes.

    The line is `["name", "dtype", [shape]]` and a newline, with dtypes as in "float32"; the bytes
    are C-ordered and little-endian.
    """
    digest = hashlib.sha256()
    for name, dtype, shape, data in tensors:
        line = json.dumps([name, dtype, list(shape)], separators=(",", ":"))
        digest.update(line.encode() + b"\n")
        digest.update(data)
    return digest.digest()


def read_stored_model(path: Path) -> StoredModel:
    """Read a model file. Whether it has the tensors of its configuration is not checked.

    Raises:
        ModelFileError: the file cannot be read, or is not a model file.
    """
    try:
        content = path.read_bytes()
        header = tensors_header(content)
        config, info = parse_metadata(header.pop("__metadata__", {}))
        tensors = stored_tensors(header, content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a usable model file: {shortened(error)}") from error
    return StoredModel(config=config, info=info, content=content, tensors=tensors)


def is_zip(path: Path) -> bool:
    """Whether a file begins like a checkpoint of torch, not like a safetensors file.

    Raises:
        ModelFileError: it begins like neither, so that it is no model, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(b"PK"):
            return True
        header_size(start)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: not a usable model file: {error}") from error
    return False


def tensors_header(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file.

    Raises:
        ValueError: it has none.
    """
    size = header_size(content[:8])
    header = json.loads(content[8 : 8 + size])
    if not isinstance(header, dict):
        raise ValueError("bad safetensors header")
    return header


def header_size(start: bytes) -> int:
    """The size of the header of a safetensors file that begins with 8 bytes.

    Raises:
        ValueError: it is too large, or there are fewer bytes.
    """
    if len(start) < 8 or (size := int(struct.unpack("<Q", start)[0])) > _MAX_HEADER_BYTES:
        raise ValueError("bad safetensors header")
    return size


def stored_tensors(
    header: Mapping[str, Any], content: bytes, types: Mapping[str, tuple[str, int]] = TYPES
) -> dict[str, StoredTensor]:
    """The tensors that a header, without its metadata, declares; `types` are those allowed.

    Raises:
        ValueError, KeyError, TypeError: one lies outside of the file, or is of another kind.
    """
    base, tensors = 8 + header_size(content[:8]), {}
    for name, row in header.items():
        dtype, size = types[row["dtype"]]
        shape = tuple(int(n) for n in row["shape"])
        start, stop = (base + int(offset) for offset in row["data_offsets"])
        inside = base <= start <= stop <= len(content)
        if not inside or min(shape, default=0) < 0 or stop - start != size * math.prod(shape):
            raise ValueError(f"tensor {name} lies outside of the file, or has another size")
        tensors[name] = StoredTensor(dtype=dtype, shape=shape, start=start, stop=stop)
    return tensors


def parse_metadata(metadata: Mapping[str, str]) -> tuple[ModelConfig, ModelInfo]:
    """The configuration and the facts that the metadata of a model file have.

    Raises:
        ValueError: they are malformed.
        KeyError: there is no configuration.
    """
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format is {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        fields = json.loads(metadata["config"])
        training = json.loads(metadata.get("training", "{}"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("the configuration must be a JSON object")
    config = config_from_dict(fields)
    if not isinstance(training, dict):
        raise ValueError("training facts must be a JSON object")
    if _is_deeper(training, _MAX_NESTING):  # it could be read, but perhaps not written again
        raise ValueError("its training facts are nested too deeply")
    name, license = metadata.get("name", ""), metadata.get("license", "")
    return config, ModelInfo(name=name, license=license, training=training)


def shortened(error: Exception) -> str:
    """The message of an error about a file; of what it quotes from the file there may be much."""
    message = str(error)
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has containers in each other on more than some levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
