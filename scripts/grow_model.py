"""Carries the weights of a model over into one of another configuration, to train on from.

    python scripts/grow_model.py MODEL PRESET OUTPUT [PREFIX...]

Tensors of the same name and shape are copied. A larger codebook gets its further codes near the
old ones; a layer with more inputs gets weights of 0 for the new ones. All other tensors, and those
whose name starts with a PREFIX, stay as in a fresh network. Name a head as a PREFIX if it is to be
trained together with a new harmonic head: trained before it, it leaves that head nothing to do
(docs/training-log.md).

    python scripts/grow_model.py lite-5 lite runs/grown.safetensors decoder.head decoder.filter
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.codec import read_model
from bigcodec_models.config import PRESETS

_SPREAD = 0.1  # of the codes' own length


def main(model: str, preset: str, output: str, *fresh_ones: str) -> None:
    """Write the grown model."""
    torch.manual_seed(0)
    source = read_model(model)
    weights = CodecNetwork(PRESETS[preset]).state_dict()
    for name, fresh in weights.items():
        old = source.tensors.get(name)
        if old is not None and not name.startswith(fresh_ones):
            weights[name] = _fitted(old.float(), fresh)
    info = ModelInfo(name=Path(output).stem, license=source.info.license)
    save_model(Path(output), weights, PRESETS[preset], info)


def _fitted(old: Tensor, fresh: Tensor) -> Tensor:
    if old.shape == fresh.shape:
        return old
    if old.dim() > 1 and old.shape[:1] + old.shape[2:] == fresh.shape[:1] + fresh.shape[2:]:
        return torch.cat([old, torch.zeros_like(fresh[:, old.shape[1] :])], dim=1)
    if old.shape[1:] != fresh.shape[1:] or len(old) > len(fresh):
        return fresh
    more = old[torch.randint(len(old), (len(fresh) - len(old),))]
    return torch.cat([old, more + _SPREAD * old.std() * torch.randn_like(more)])


if __name__ == "__main__":
    main(*sys.argv[1:])
