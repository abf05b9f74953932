"""Checkpoints of a run: a folder for each, written beside and then renamed, no pickle inside.

RUN/checkpoints/step-00001000/
    model.safetensors      the raw weights, a complete model file
    ema.safetensors        their moving average, a complete model file (this one is exported)
    optimizer.safetensors  AdamW moments by parameter name, and the code usage counts
    state.json             the step and the two configurations
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from bigcodec_models.config import ModelConfig, config_from_dict, config_to_dict
from bigcodec_models.model_file import ModelFileError, ModelInfo, load_model, save_model
from bigcodec_models.training.config import TrainConfig

_STEP_FOLDER = re.compile(r"step-(\d{8,})")
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a run needs to go on: tensors by parameter name, and the step to do next."""

    step: int
    model: ModelConfig
    train: TrainConfig
    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint under `run` and drop all but the newest; returns its folder."""
    folder = run / "checkpoints" / f"step-{checkpoint.step:08d}"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    info = ModelInfo(name=run.name, licence="unreleased", training=checkpoint.facts)
    save_model(partial / "model.safetensors", checkpoint.weights, checkpoint.model, info)
    save_model(partial / "ema.safetensors", checkpoint.ema, checkpoint.model, info)
    stored = {name: tensor.contiguous() for name, tensor in checkpoint.optimizer.items()}
    safetensors.torch.save_file(stored, partial / "optimizer.safetensors")
    state = {
        "step": checkpoint.step,
        "model": config_to_dict(checkpoint.model),
        "train": asdict(checkpoint.train),
        "facts": dict(checkpoint.facts),
    }
    (partial / "state.json").write_text(json.dumps(state, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for old in find_checkpoints(run)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return folder


def find_checkpoints(run: Path) -> list[Path]:
    """Folders of the complete checkpoints of a run, oldest first."""
    found = (run / "checkpoints").glob("step-*")
    return sorted(p for p in found if _STEP_FOLDER.fullmatch(p.name))


def load_checkpoint(run: Path, train: TrainConfig) -> Checkpoint | None:
    """The newest checkpoint of a run, to go on under configuration `train`; None if none.

    Raises:
        ModelFileError: the checkpoint is damaged.
    """
    folders = find_checkpoints(run)
    if not folders:
        return None
    folder = folders[-1]
    try:
        state = json.loads((folder / "state.json").read_text())
        optimizer = safetensors.torch.load_file(folder / "optimizer.safetensors")
        return Checkpoint(
            step=int(state["step"]),
            model=config_from_dict(state["model"]),
            train=train,
            weights=load_model(folder / "model.safetensors").tensors,
            ema=load_model(folder / "ema.safetensors").tensors,
            optimizer=optimizer,
            facts=state["facts"],
        )
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{folder}: damaged checkpoint: {error}") from error
