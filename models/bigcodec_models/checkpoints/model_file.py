"""Model files: safetensors with weights, configuration, name, license and training facts.

Everything but the tensors is JSON in the safetensors metadata, so that reading a file runs no code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.uninitialized import build_uninitialized
from bigcodec_models.config import ModelConfig, config_from_dict, config_to_dict
from bigcodec_models.errors import ConfigError, ModelFileError

_FORMAT = "bigcodec-model 1"
_MAX_HEADER_BYTES = 16 << 20
_MAX_MESSAGE = 300
_MAX_NESTING = 20
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Name, license and training facts of a model; `training` holds plain JSON values."""

    name: str
    license: str
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model read from disk, with its tensors as they are stored, by parameter name."""

    config: ModelConfig
    info: ModelInfo
    tensors: Mapping[str, Tensor]

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """That of the tensors, which containers name; takes about 1 ms a megabyte."""
        return fingerprint(self.tensors)

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


def save_model(
    path: Path, tensors: Mapping[str, Tensor], config: ModelConfig, info: ModelInfo
) -> None:
    """Write a model file, through a temporary file in the same folder.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(config_to_dict(config)),
        "name": info.name,
        "license": info.license,
        "training": json.dumps(dict(info.training)),
    }
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(stored, metadata)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_foreign(path: Path) -> bool:
    """Whether it is a safetensors file whose metadata name no format of model files."""
    try:
        _check_header_size(path)
        with safetensors.safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("format", "pt") == "pt")
    except (OSError, ValueError, safetensors.SafetensorError):
        return False


def load_model(path: Path) -> LoadedModel:
    """Read a model file, checking that its tensors are exactly what its configuration needs.

    Raises:
        ModelFileError: the file cannot be read, or is not a consistent model file.
    """
    try:
        _check_header_size(path)
        with safetensors.safe_open(path, framework="pt") as file:
            config, info = _parse_metadata(file.metadata() or {})
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            check_shapes(shapes, config)
            tensors = {name: file.get_tensor(name) for name in shapes}
        check_dtypes(tensors)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{path}: not a usable model file: {shortened(error)}") from error
    return LoadedModel(config=config, info=info, tensors=tensors)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], config: ModelConfig) -> None:
    """Compare tensor names and shapes with what the configuration needs.

    Raises:
        ConfigError: a tensor is missing, superfluous or of another shape, or the network does not
            fit into memory.
    """
    try:
        expected = {k: tuple(v.shape) for k, v in build_uninitialized(config).state_dict().items()}
    except (RuntimeError, MemoryError) as error:  # torch raises RuntimeError when memory is short
        raise ConfigError("a network of its configuration does not fit into memory") from error
    for name in sorted(set(expected) | set(shapes)):
        if shapes.get(name) != expected.get(name):
            raise ConfigError(
                f"tensor {name} has shape {shapes.get(name)}, expected {expected.get(name)}"
            )


def check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    """Accept only finite weights in float32, float16 or bfloat16.

    Raises:
        ConfigError: naming the first bad tensor.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise ConfigError(f"tensor {name} has unsupported type {tensor.dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise ConfigError(f"tensor {name} holds values that are not finite")


def shortened(error: Exception) -> str:
    """The message of an error about a file; of what it quotes from the file there may be much."""
    message = str(error)
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def build_network(model: LoadedModel) -> CodecNetwork:
    """The network with the model's weights, in float32, in evaluation mode."""
    network = build_uninitialized(model.config)
    weights = {name: tensor.float() for name, tensor in model.tensors.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or struct.unpack("<Q", head)[0] > _MAX_HEADER_BYTES:
        raise ValueError("bad safetensors header")


def _parse_metadata(metadata: Mapping[str, str]) -> tuple[ModelConfig, ModelInfo]:
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"format is {metadata.get('format')!r}, expected {_FORMAT!r}")
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


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has containers in each other on more than some levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
