"""Checkpoints of a run: a folder for each, written under another name first, without pickle.

RUN/checkpoints/step-00001000/
    model.safetensors           the raw weights, a complete model file
    ema.safetensors             their moving average, a complete model file
    discriminators.safetensors  empty if the run has none
    optimizer.safetensors       moments by parameter name, and the counts of code usage
    state.json                  the step, the two configurations, facts
RUN/best.safetensors            the average with the lowest validation mel distance so far
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
from bigcodec_models.config import (
    ModelConfig,
    build_dataclass,
    config_from_dict,
    config_to_dict,
)
from bigcodec_models.errors import ModelFileError
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.layout import find_checkpoints, step_of

_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything needed to resume a run: tensors by parameter name, and how many steps it has."""

    step: int
    model: ModelConfig
    train: TrainConfig
    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    discriminators: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint under `run`; returns its folder.

    All but the newest two are removed, besides those at multiples of `keep_every` steps.
    """
    folder = run / "checkpoints" / f"step-{checkpoint.step:08d}"
    if folder.exists():  # a step has one state, and this one is whole
        return folder
    for leftover in (run / "checkpoints").glob("*.partial"):
        shutil.rmtree(leftover)  # of a process that was killed while it saved
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True)
    info = ModelInfo(name=run.name, license="unreleased", training=checkpoint.facts)
    save_model(partial / "model.safetensors", checkpoint.weights, checkpoint.model, info)
    save_model(partial / "ema.safetensors", checkpoint.ema, checkpoint.model, info)
    for name in ("discriminators", "optimizer"):
        tensors = {key: value.contiguous() for key, value in getattr(checkpoint, name).items()}
        save_tensors(tensors, partial / f"{name}.safetensors")
    state = {
        "step": checkpoint.step,
        "model": config_to_dict(checkpoint.model),
        "train": asdict(checkpoint.train),
        "facts": dict(checkpoint.facts),
    }
    (partial / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    _sync(partial)
    partial.rename(folder)
    _drop_old(run, checkpoint.train.checkpoints.keep_every)
    return folder


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a new file, which has the permissions of any file that is created.

    safetensors lets nobody but the owner read what it writes.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch(exist_ok=False)
    mode = path.stat().st_mode
    safetensors.torch.save_file(dict(tensors), path)
    path.chmod(mode)


def load_checkpoint(
    run: Path, damaged: Callable[[ModelFileError], None] | None = None
) -> Checkpoint | None:
    """The newest checkpoint of a run; None if there is none.

    With `damaged`, which is called with what is wrong, a damaged checkpoint gives way to the one
    before it, if that can be used.

    Raises:
        ModelFileError: the newest checkpoint is damaged, and so are all others or `damaged` is
            None; or one cannot be read for a reason other than damage.
    """
    failures: list[ModelFileError] = []
    for folder in reversed(find_checkpoints(run)):
        try:
            checkpoint = _read_checkpoint(folder)
        except ModelFileError as error:
            if damaged is None or not _is_damage(error):
                raise
            failures.append(error)
            continue
        for failure in failures:
            assert damaged is not None
            damaged(failure)
        return checkpoint
    if failures:
        raise failures[0]
    return None


def what_stands(run: Path) -> str:
    """What is left of a run that has failed and cannot be saved."""
    return "the last checkpoint stands" if find_checkpoints(run) else "nothing is saved"


def set_aside_newer(run: Path, step: int) -> None:
    """Rename the checkpoints after `step`, which are damaged, to NAME.damaged: they are in the way
    of those that the run will write."""
    for folder in find_checkpoints(run):
        if step_of(folder) > step:
            names = (f"{folder.name}.damaged{suffix}" for suffix in ("", *range(2, 100)))
            free = (folder.with_name(name) for name in names)
            folder.rename(next(path for path in free if not path.exists()))


def _read_checkpoint(folder: Path) -> Checkpoint:
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(
            step=int(state["step"]),
            model=config_from_dict(state["model"]),
            train=build_dataclass(TrainConfig, state["train"]),
            weights=load_model(folder / "model.safetensors").tensors,
            ema=load_model(folder / "ema.safetensors").tensors,
            discriminators=safetensors.torch.load_file(folder / "discriminators.safetensors"),
            optimizer=safetensors.torch.load_file(folder / "optimizer.safetensors"),
            facts=dict(state["facts"]),
        )
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{folder}: damaged checkpoint: {error}") from error


def _is_damage(error: ModelFileError) -> bool:
    """Not so if the system refused to read a file that is there."""
    cause = error.__cause__
    return not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError)


def _sync(folder: Path) -> None:
    """Write the files to disk before the folder is renamed, in case of a power failure."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _drop_old(run: Path, keep_every: int) -> None:
    for old in find_checkpoints(run)[:-_KEPT]:
        if step_of(old) % keep_every:
            shutil.rmtree(old)
