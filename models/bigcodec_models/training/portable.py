"""Portable checkpoints: a run without its optimizer, in bfloat16, in small pieces.

    FOLDER/portable.json            step, configurations, facts, number of pieces
    FOLDER/piece-00.safetensors     at most 15 MiB each

Resuming from one is not exact: weights are rounded and the optimizer starts anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models.config import build_dataclass, config_from_dict, config_to_dict
from bigcodec_models.errors import ModelFileError
from bigcodec_models.training.checkpoint import Checkpoint, save_tensors
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.layout import MANIFEST

_PIECE_BYTES = (15 << 20) - (1 << 18)  # room for the header of a piece
_PARTS = ("weights", "ema", "discriminators")


def save_portable(folder: Path, checkpoint: Checkpoint) -> list[Path]:
    """Write a portable checkpoint into a new folder; returns the files.

    Raises:
        OSError: the folder exists, or cannot be written.
    """
    folder.mkdir(parents=True)
    files: list[Path] = []
    for piece in _pieces(checkpoint):
        files.append(folder / f"piece-{len(files):02d}.safetensors")
        save_tensors(piece, files[-1])
    manifest = {
        "step": checkpoint.step,
        "model": config_to_dict(checkpoint.model),
        "train": asdict(checkpoint.train),
        "facts": dict(checkpoint.facts),
        "pieces": len(files),
    }
    files.append(folder / MANIFEST)
    files[-1].write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return files


def load_portable(folder: Path) -> Checkpoint:
    """Read a portable checkpoint; tensors come back in float32, without an optimizer.

    Raises:
        ModelFileError: a piece is missing or damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        stored: dict[str, Tensor] = {}
        for index in range(int(manifest["pieces"])):
            stored |= safetensors.torch.load_file(folder / f"piece-{index:02d}.safetensors")
        parts = {part: _join(stored, part) for part in _PARTS}
        return Checkpoint(
            step=int(manifest["step"]),
            model=config_from_dict(manifest["model"]),
            train=build_dataclass(TrainConfig, manifest["train"]),
            facts=dict(manifest["facts"]),
            optimizer={},
            **parts,
        )
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{folder}: damaged portable checkpoint: {error}") from error


def _pieces(checkpoint: Checkpoint) -> Iterator[dict[str, Tensor]]:
    """Pieces, in which slices of tensors along dimension 0 are named PART/NAME@NUMBER."""
    piece: dict[str, Tensor] = {}
    used = 0
    for part in _PARTS:
        for name, tensor in getattr(checkpoint, part).items():
            for number, rows in enumerate(_slices(tensor.to(torch.bfloat16))):
                if used + rows.nbytes > _PIECE_BYTES and piece:
                    yield piece
                    piece, used = {}, 0
                piece[f"{part}/{name}@{number}"] = rows.contiguous()
                used += rows.nbytes
    yield piece


def _slices(tensor: Tensor) -> tuple[Tensor, ...]:
    """A tensor of any shape, cut along dimension 0 so that each part fits into a piece."""
    rows = tensor.shape[0] if tensor.dim() else 1
    count = -(-tensor.nbytes // _PIECE_BYTES)
    return (tensor,) if count <= 1 else torch.split(tensor, -(-rows // count))


def _join(stored: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Whole tensors of a part by name, float32, from the slices of all pieces."""
    slices: dict[str, dict[int, Tensor]] = {}
    for key, tensor in stored.items():
        if key.startswith(part + "/"):
            name, _, number = key.removeprefix(part + "/").rpartition("@")
            slices.setdefault(name, {})[int(number)] = tensor.float()
    return {
        name: parts[0] if len(parts) == 1 else torch.cat([parts[i] for i in range(len(parts))])
        for name, parts in slices.items()
    }
