"""Steps that can be captured as CUDA graphs: nothing is read back, nothing comes from the host."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bigcodec_models.config import PRESETS, ModelConfig
from bigcodec_models.config_values import merged
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.step import StepKind
from bigcodec_models.training.step_inputs import StepInputs
from bigcodec_models.training.trainer import Trainer

# Operators for which the host waits for a GPU, by themselves or in their kernels, and those that
# copy from or to the host.
WAITING = {
    "_local_scalar_dense",
    "bincount",
    "embedding_dense_backward",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "repeat_interleave.Tensor",
    "unique_consecutive",
    "_unique2",
    "unique_dim",
    "histc",
    "lift_fresh",
    "lift_fresh_copy",
}


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the names of operators for which a GPU's host would wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        name = str(func).removeprefix("aten.")
        masks = [i for a in args if isinstance(a, (list, tuple)) for i in a]
        by_mask = name.startswith("index") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in masks
        )
        if by_mask or {name, name.split(".")[0]} & WAITING:
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def trainer(
    preset: str, speech: Path, run: Path, codebook_kind: str = "vq", **changes: object
) -> Trainer:
    model: ModelConfig = PRESETS[preset]
    quantizer = dataclasses.replace(model.quantizer, kind=codebook_kind)
    model = dataclasses.replace(model, quantizer=quantizer)
    small = {
        "batch_size": 2,
        "crops": {"seconds": 0.5},
        "losses": {"mel_windows": [128, 512]},
        "discriminators": {"preset": "small"},
        "adversarial": {"start_step": 0, "segment_seconds": 0.25, "every": 1},
    }
    config = with_settings(recipe_for(model), merged(small, changes))
    source = CropSource(scan(speech.parent), crop=8000, seed=4)
    return Trainer(model, config, source, run, "cpu")


def inputs_of(run: Trainer) -> StepInputs:
    return run._input_maker.inputs(
        wave(), run.step, adversarial=True, predicts_f0=run.network.predicts_f0
    )


def wave() -> Tensor:
    return 0.1 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("preset", ["toy", "toy-lite", "toy-single"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_host_never_waits_within_a_step(
    preset: str, optimizer: str, speech: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "optimizer": {"kind": optimizer},
        "losses": {"loudness_weight": 5.0},
    }
    run = trainer(preset, speech, tmp_path, **changes)
    run.train_step(wave())
    for kind in (
        StepKind(adversarial=False, discriminators=False),
        StepKind(adversarial=True, discriminators=False),
        StepKind(adversarial=True, discriminators=True),
        StepKind(adversarial=True, discriminators=True, decoder_only=True),
    ):
        inputs = inputs_of(run)
        with Waits() as waits:
            run._computation(kind, inputs)
        assert waits.count > 500 and not waits.names


@pytest.mark.parametrize("preset", ["toy", "toy-lite", "toy-single"])
@pytest.mark.parametrize("kind", ["vq", "ema"])
def test_after_a_step_that_is_not_finite_nothing_changes(
    preset: str, kind: str, speech: Path, tmp_path: Path
) -> None:
    """Until the host looks: a GPU's trainer does so at intervals only."""
    run = trainer(preset, speech, tmp_path, codebook_kind=kind, optimizer={"kind": "muon"})
    every = StepKind(adversarial=True, discriminators=True)
    run._computation(every, inputs_of(run))
    state = {**run.network.state_dict(), **run.codec_loss.state_dict()}
    moments = {f"{n}/{k}": v for n, o in run.optimizers.items() for k, v in o.moments().items()}
    before = {k: v.clone() for k, v in (state | moments | run.ema).items()}
    counts = run.usage.counts.clone()
    inputs = inputs_of(run)
    inputs.wave = torch.full_like(inputs.wave, math.nan)
    run._computation(every, inputs)
    run._computation(every, inputs_of(run))
    moments = {f"{n}/{k}": v for n, o in run.optimizers.items() for k, v in o.moments().items()}
    for name, value in (state | moments | run.ema).items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(run.usage.counts, counts)
    assert run._computation.outcome.read() == (True, False, 1)


def test_what_a_captured_step_reads_stays_where_it_is(speech: Path, tmp_path: Path) -> None:
    """Schedules and random places come as tensors that each step overwrites, not as numbers."""
    run = trainer("toy-lite", speech, tmp_path)
    first = inputs_of(run)
    values = (float(first.ema_weight), int(first.segment_start))
    run.step = 7
    second = inputs_of(run)
    assert second.ema_weight is first.ema_weight and second.segment_start is first.segment_start
    assert (float(second.ema_weight), int(second.segment_start)) != values


def test_what_waits_would_be_noticed() -> None:
    x = torch.zeros(3)
    with Waits() as waits:
        x[x > 0]
        float(x[0])
        torch.tensor([1.0])
    assert waits.names == {"index.Tensor", "_local_scalar_dense.default", "lift_fresh.default"}
