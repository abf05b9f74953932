"""Model files: safetensors with weights, configuration, name, license and training facts.

Everything but the tensors is JSON in the safetensors metadata, so that reading a file runs no code.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.stored import (
    FORMAT,
    ModelFacts,
    ModelInfo,
    header_size,
    parse_metadata,
    shortened,
)
from bigcodec_models.checkpoints.uninitialized import build_uninitialized
from bigcodec_models.config import ModelConfig, config_to_dict
from bigcodec_models.errors import ConfigError, ModelFileError

__all__ = [
    "LoadedModel",
    "ModelInfo",
    "build_network",
    "check_dtypes",
    "check_shapes",
    "is_foreign",
    "load_model",
    "save_model",
    "shortened",
]

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel(ModelFacts):
    """A model read from disk, with its tensors as they are stored, by parameter name."""

    tensors: Mapping[str, Tensor]

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """That of the tensors, which containers name; takes about 1 ms a megabyte."""
        return fingerprint(self.tensors)

    @property
    def num_parameters(self) -> int:
        """The number of values of all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def save_model(
    path: Path, tensors: Mapping[str, Tensor], config: ModelConfig, info: ModelInfo
) -> None:
    """Write a model file, through a temporary file in the same folder.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
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
        with path.open("rb") as content:
            header_size(content.read(8))
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
        with path.open("rb") as content:
            header_size(content.read(8))
        with safetensors.safe_open(path, framework="pt") as file:
            config, info = parse_metadata(file.metadata() or {})
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


def build_network(model: LoadedModel) -> CodecNetwork:
    """The network with the model's weights, in float32, in evaluation mode."""
    network = build_uninitialized(model.config)
    weights = {name: tensor.float() for name, tensor in model.tensors.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()
