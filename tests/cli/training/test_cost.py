"""What a step costs: memory counted from what the passes of a crop keep."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import soundfile

from bigcodec_cli.training.cost import StepCost, step_cost
from bigcodec_models.config import PRESETS
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.training.config import TrainConfig, recipe_for, with_settings
from bigcodec_models.training.trainer import Trainer


@pytest.fixture
def trainer_of(tmp_path: Path, speech: Path):  # type: ignore[no-untyped-def]
    soundfile.write(tmp_path / "a.wav", soundfile.read(speech)[0], 16000)

    def trainer(preset: str, **settings: object) -> Trainer:
        model = PRESETS[preset]
        changes = {"discriminators": {"preset": "none"}, **settings}
        config: TrainConfig = with_settings(recipe_for(model), changes)
        source = CropSource(scan(tmp_path), crop=16000, seed=0)
        return Trainer(model, config, source, tmp_path / "run", "cpu")

    return trainer


def cost(trainer: Trainer) -> StepCost:
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    result = step_cost(trainer)
    assert all(bool((before[k] == v).all()) for k, v in trainer.network.state_dict().items())
    return result


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_memory_grows_with_the_audio_of_a_step(trainer_of, preset: str) -> None:  # type: ignore[no-untyped-def]
    one, two = (cost(trainer_of(preset, batch_size=size)) for size in (64, 128))
    long = cost(trainer_of(preset, batch_size=64, crops={"seconds": 2.0}))
    network = trainer_of(preset).network
    assert one.parameters == sum(parameter.numel() for parameter in network.parameters())
    fixed = 250_000_000 + 20 * one.parameters
    assert fixed < one.memory < two.memory and one.seconds > 0
    kept = [each.memory - fixed for each in (one, two, long)]
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.1)
    assert kept[2] == pytest.approx(2 * kept[0], rel=0.1)


def test_discriminators_need_memory_and_later_time(trainer_of) -> None:  # type: ignore[no-untyped-def]
    without = cost(trainer_of("toy-lite", batch_size=16))
    trainer = trainer_of("toy-lite", batch_size=16, discriminators={"preset": "small"})
    some = cost(trainer)
    assert some.memory > without.memory + 16 * 2_500_000
    assert some.parameters == without.parameters
    adversarial = dataclasses.replace(trainer.config.adversarial, start_step=0)
    trainer.config = dataclasses.replace(trainer.config, adversarial=adversarial)
    assert cost(trainer).seconds > some.seconds


def test_discriminators_that_see_a_part_of_each_crop_cost_that_part(trainer_of) -> None:  # type: ignore[no-untyped-def]
    settings = {"discriminators": {"preset": "small"}, "batch_size": 8, "crops": {"seconds": 2.0}}
    everything = {"start_step": 0, "segment_seconds": 0.0}
    whole = cost(trainer_of("toy-lite", adversarial=everything, **settings))
    part = cost(
        trainer_of("toy-lite", adversarial={**everything, "segment_seconds": 0.2}, **settings)
    )
    assert part.memory < whole.memory
    assert part.seconds < whole.seconds
