"""Runs by a time budget: the learning rate, the phases and the end follow the time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bigcodec_models.config import PRESETS
from bigcodec_models.config_values import merged
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.training.checkpoint import load_checkpoint
from bigcodec_models.training.config import TrainConfig, recipe_for, with_settings
from bigcodec_models.training.events import Callbacks, Progress, Validation
from bigcodec_models.training.schedule import learning_rate, phase_at
from bigcodec_models.training.trainer import Trainer
from bigcodec_models.training.validation import Validator

TOY = PRESETS["toy-lite"]


def config(**budget: float) -> TrainConfig:
    small = {
        "batch_size": 2,
        "log_every": 1,
        "crops": {"seconds": 0.5},
        "optimizer": {"learning_rate": 1e-3, "final_learning_rate": 1e-5},
        "losses": {"mel_windows": [128, 512]},
        "codebook": {"replace_dead_codes_every": 3},
        "discriminators": {"preset": "small"},
        "validation": {"seconds": 0.5},
    }
    return with_settings(recipe_for(TOY), merged(small, {"budget": budget}))


def trainer(chosen: TrainConfig, speech: Path, run: Path) -> Trainer:
    clip = ("blip", np.full(100, 0.5, dtype=np.float32))
    validator = Validator([clip], torch.device("cpu"))
    source = CropSource(scan(speech.parent), crop=8000, seed=4)
    return Trainer(TOY, chosen, source, run, "cpu", validator)


def test_the_learning_rate_follows_the_time() -> None:
    chosen = config(seconds=110, reserve_seconds=10, warmup_fraction=0.1)
    for step in (0, 10**6):
        rates = [phase_at(chosen, step, t).learning_rate for t in (0, 5, 10, 55, 100, 110, 999)]
        middle = (1e-3 + 1e-5) / 2
        first = 1e-5 + (1e-3 - 1e-5) / 4
        assert rates == pytest.approx([1e-5, first, 1e-3, middle, 1e-5, 1e-5, 1e-5])


def test_phases_begin_after_their_part_of_the_time() -> None:
    chosen = config(seconds=100, reserve_seconds=0, adversarial_from=0.25, decoder_only_from=0.75)
    phases = [phase_at(chosen, 7, seconds) for seconds in (24, 25, 74, 75)]
    assert [phase.adversarial for phase in phases] == [False, True, True, True]
    assert [phase.decoder_only for phase in phases] == [False, False, False, True]
    without = with_settings(chosen, {"discriminators": {"preset": "none"}})
    assert not phase_at(without, 7, 99).adversarial
    frozen = with_settings(
        chosen, {"freeze_encoder": True, "codebook": {"replace_dead_codes_every": 0}}
    )
    assert not phase_at(frozen, 7, 99).decoder_only


def test_without_a_budget_only_the_step_counts() -> None:
    chosen = config()
    for step in (0, 100, 6999, 7000):
        phase = phase_at(chosen, step, 1e9)
        assert phase.learning_rate == learning_rate(step, chosen.optimizer)
        assert phase.adversarial == (step >= 7000) and not phase.decoder_only


def test_a_run_ends_within_its_budget_after_all_phases(speech: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    validations: list[Validation] = []
    chosen = config(seconds=15, reserve_seconds=2, decoder_only_from=0.7)
    chosen = with_settings(chosen, {"validation": {"every": 4}})
    run = trainer(chosen, speech, tmp_path)
    assert run.validator is not None
    run.validator.measure(run.network, run.ema, 0, 0.0)  # imports what metrics need
    start = time.monotonic()
    run.run(Callbacks(progress=reports.append, validation=validations.append))
    assert time.monotonic() - start < 21
    assert run.phase.adversarial and run.phase.decoder_only
    assert "adversarial" not in reports[0].losses and "adversarial" in reports[-1].losses
    assert reports[-1].learning_rate < 0.2 * max(report.learning_rate for report in reports)
    assert reports[-1].expected_steps < 3 * run.step
    assert validations[-1].step == run.step
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.step == run.step
    for name, value in run.network.state_dict().items():
        still = name.startswith(("encoder.", "quantizer."))
        assert torch.equal(value, run.ema[name]) == still, name


def test_a_resumed_run_has_the_rest_of_its_budget(speech: Path, tmp_path: Path) -> None:
    chosen = config(seconds=1000, reserve_seconds=0)
    first = trainer(chosen, speech, tmp_path)
    first.seconds = 988.0
    first.run(Callbacks(should_stop=lambda: first.step >= 2))
    second = trainer(chosen, speech, tmp_path)
    assert second.resume() and second.step == 2 and 988 < second.seconds < 1000
    second.run(Callbacks())
    assert second.step > 2 and 990 < second.seconds < 1010
    notices: list[str] = []
    third = trainer(chosen, speech, tmp_path)
    third.resume()
    third.run(Callbacks(notice=notices.append))
    assert third.step == second.step and "raise budget.seconds" in notices[0]
