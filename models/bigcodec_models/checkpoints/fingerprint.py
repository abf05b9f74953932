"""Fingerprints, which name the weights of a model whatever file they are stored in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bigcodec_models.checkpoints.stored import fingerprint_of


def fingerprint(tensors: Mapping[str, Tensor]) -> bytes:
    """SHA-256 (32 bytes) over tensors; see `fingerprint_of`.

    They are those of the network's state dict as stored, before weight norm is folded or anything
    else is computed from them.
    """
    return fingerprint_of(_described(name, tensors[name]) for name in sorted(tensors))


def _described(name: str, tensor: Tensor) -> tuple[str, str, tuple[int, ...], memoryview]:
    tensor = tensor.detach().cpu().contiguous()
    dtype = str(tensor.dtype).removeprefix("torch.")
    data = tensor.reshape(-1).view(torch.uint8).numpy().data
    return name, dtype, tuple(tensor.shape), data
