"""Fingerprints, which name the weights of a model whatever file they are stored in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def fingerprint(tensors: Mapping[str, Tensor]) -> bytes:
    """SHA-256 (32 bytes) over tensors: for each, in order of name, a JSON line, then its bytes.

    The line is `["name", "dtype", [shape]]` and a newline, with dtypes as in "float32"; the bytes
    are C-ordered and little-endian. The tensors are those of the network's state dict as stored,
    before weight norm is folded or anything else is computed from them.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        line = json.dumps([name, dtype, list(tensor.shape)], separators=(",", ":"))
        digest.update(line.encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
