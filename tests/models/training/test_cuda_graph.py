"""Steps as CUDA graphs: the same results, and what happens where they cannot be captured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bigcodec_models.config import PRESETS, BigCodecConfig, ModelConfig
from bigcodec_models.config_values import merged
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.errors import NonFiniteError
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


MODELS: dict[str, ModelConfig] = {name: PRESETS[name] for name in ("toy", "toy-lite", "toy-single")}
assert isinstance(PRESETS["toy"], BigCodecConfig)
MODELS["toy with dropout"] = dataclasses.replace(PRESETS["toy"], lstm_dropout=0.1)


def trainer(preset: str, speech: Path, run: Path, **changes: object) -> Trainer:
    small = {
        "batch_size": 2,
        "crops": {"seconds": 0.5},
        "losses": {"mel_windows": [128, 512]},
        "codebook": {"replace_dead_codes_every": 4},
        "discriminators": {"preset": "small"},
        "adversarial": {"start_step": 2, "segment_seconds": 0.25, "every": 2},
        "optimizer": {"kind": "muon", "learning_rate": 1e-4, "final_learning_rate": 1e-4},
    }
    config = with_settings(recipe_for(MODELS[preset]), merged(small, changes))
    source = CropSource(scan(speech.parent), crop=8000, seed=4)
    return Trainer(MODELS[preset], config, source, run, "cuda")


def waves(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(2, 1, 8000, generator=generator).cuda() for _ in range(count)]


@pytest.mark.parametrize("preset", list(MODELS))
def test_captured_steps_are_those_that_are_launched_one_by_one(
    preset: str, speech: Path, tmp_path: Path
) -> None:
    """All kinds of steps, each captured after its third; codes are replaced in between."""
    totals = []
    for compiled in (False, True):
        run, notices = trainer(preset, speech, tmp_path), list[str]()
        if compiled:
            run.compile(notices.append)
        totals.append([float(run.train_step(wave)["total"]) for wave in waves(14)])
        run.check_finite()
        assert run.step == 14 and not notices
    assert totals[1] == pytest.approx(totals[0], rel=2e-2)
    assert totals[1][:3] == pytest.approx(totals[0][:3], rel=1e-3)


def test_a_step_that_reads_a_value_runs_without_a_graph(speech: Path, tmp_path: Path) -> None:
    run, notices = trainer("toy-lite", speech, tmp_path), list[str]()
    run.compile(notices.append)
    weighted_sum = run.codec_loss.weighted_sum

    def reading(losses: dict[str, Tensor]) -> Tensor:
        total = weighted_sum(losses)
        assert math.isfinite(total.item())
        return total

    run.codec_loss.weighted_sum = reading  # type: ignore[method-assign]
    before = [value.clone() for value in run.network.parameters()]
    for wave in waves(8):
        run.train_step(wave)
    run.check_finite()
    assert len(notices) == 1 and notices[0].startswith("compile: no CUDA graph")
    assert run.step == 8
    assert any(not torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))


def test_steps_after_one_that_is_not_finite_change_nothing(speech: Path, tmp_path: Path) -> None:
    run = trainer("toy-lite", speech, tmp_path, codebook={"replace_dead_codes_every": 0})
    run.compile(lambda _: None)
    *good, bad, late = waves(14)
    for wave in good:
        run.train_step(wave)
    run.check_finite()
    before = [value.clone() for value in (*run.network.state_dict().values(), *run.ema.values())]
    run.train_step(torch.full_like(bad, math.nan))
    run.train_step(late)
    with pytest.raises(NonFiniteError):
        run.check_finite()
    assert run.step == len(good)
    after = (*run.network.state_dict().values(), *run.ema.values())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
