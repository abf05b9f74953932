"""The discriminators of a trained model, in a file of their own beside it.

Coding does not need them; whoever trains a model further does, for new ones take long to become as
good.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models.errors import ModelFileError

_SUFFIX = ".discriminators.safetensors"


def discriminator_file(model: Path) -> Path:
    """Where the discriminators of the model file `model` are: NAME.discriminators.safetensors
    beside NAME.safetensors."""
    return model.with_name(model.stem + _SUFFIX)


def save_discriminators(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write the state of `build_discriminators` to a file, in type `dtype`.

    Raises:
        OSError: it cannot be written.
    """
    stored = {name: t.detach().to(dtype).contiguous() for name, t in tensors.items()}
    path.write_bytes(safetensors.torch.save(stored))


def load_discriminators(path: Path) -> dict[str, Tensor]:
    """What `save_discriminators` wrote, as float32 tensors by name.

    Raises:
        ModelFileError: unreadable or damaged.
    """
    try:
        return {name: t.float() for name, t in safetensors.torch.load_file(path).items()}
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{path}: cannot be read as discriminators: {error}") from error
