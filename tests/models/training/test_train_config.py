"""Settings of training: the schedule they give, how they are changed, and which are refused."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bigcodec_models import PRESETS
from bigcodec_models.config import ConfigError
from bigcodec_models.config_values import build_dataclass, called, setting_names, settings_of
from bigcodec_models.discriminators.config import SMALL
from bigcodec_models.training.config import (
    OptimizerConfig,
    TrainConfig,
    recipe_for,
    with_settings,
)
from bigcodec_models.training.schedule import learning_rate


def test_learning_rate_follows_the_published_schedule() -> None:
    recipe = recipe_for(PRESETS["bigcodec"]).optimizer
    assert learning_rate(0, recipe) == pytest.approx(1e-5)
    assert learning_rate(500, recipe) == pytest.approx(1e-5 + 9e-5 / 4)
    assert learning_rate(1000, recipe) == pytest.approx(1e-4)
    assert learning_rate(251_000, recipe) == pytest.approx(5.5e-5)
    assert learning_rate(10**9, recipe) == pytest.approx(1e-5)
    cosine = dataclasses.replace(recipe, decay="cosine")
    assert learning_rate(251_000, cosine) == pytest.approx(5.5e-5)
    assert learning_rate(126_000, cosine) > learning_rate(126_000, recipe)


def test_a_table_changes_the_settings_in_it_alone() -> None:
    recipe = recipe_for(PRESETS["lite"])
    changed = with_settings(recipe, {"seed": 3, "optimizer": {"learning_rate": 1}})
    optimizer = dataclasses.replace(recipe.optimizer, learning_rate=1.0)
    assert changed == dataclasses.replace(recipe, seed=3, optimizer=optimizer)
    assert build_dataclass(TrainConfig, dataclasses.asdict(changed)) == changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1}, "unknown setting 'speed'; did you mean 'seed'?"),
        ({"learning_rate": 1}, "did you mean 'optimizer.learning_rate'?"),
        ({"crop_seconds": 1}, "did you mean 'crops.seconds'?"),
        ({"discriminator_start_step": 1}, "did you mean 'adversarial.start_step'?"),
        ({"generator_only_steps": 1}, "did you mean 'adversarial.start_step'?"),
        ({"validation_fraction": 0.1}, "did you mean 'validation.fraction'?"),
        ({"optimizer": "muon"}, "not 'muon'; did you mean 'optimizer.kind'?"),
        ({"validation": {"crop_seconds": 1}}, "did you mean 'crops.seconds'?"),
        ({"validation": {"secnds": 1}}, "did you mean 'validation.seconds'?"),
        ({"loss": "l1"}, "did you mean 'codebook.loss' or 'adversarial.loss'?"),
        ({"optimiser": {"kind": "muon"}}, "did you mean 'optimizer'?"),
        ({"optimizer": {"learning_rte": 1}}, "did you mean 'optimizer.learning_rate'?"),
        ({"validation": {"xyz": 1}}, "'validation.xyz'; known: clips, every, fraction, seconds"),
        ({"optimizer": {"beta1": "x"}}, "optimizer.beta1 must be float, not 'x'"),
        ({"crops": 3}, "crops must be a table, not 3"),
        ({"losses": {"mel_windows": [64, "x"]}}, "losses.mel_windows must be int, not 'x'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"optimizer": {"learning_rate": 0.0}}, "optimizer: learning_rate must be above 0"),
        ({"optimizer": {"learning_rate": math.nan}}, "learning_rate must be above 0"),
        ({"optimizer": {"beta1": 1.0}}, "beta1 must be at least 0 and below 1"),
        ({"optimizer": {"decay": "steps"}}, "decay must be one of linear, cosine"),
        ({"optimizer": {"kind": "sgd"}}, "kind must be one of adamw, muon"),
        ({"optimizer": {"final_learning_rate": 1.0}}, "between 0 and learning_rate"),
        ({"losses": {"mel_windows": []}}, "mel_windows must be multiples of 4"),
        ({"losses": {"mel_windows": [30]}}, "mel_windows must be multiples of 4"),
        ({"losses": {"vq_weight": -1.0}}, "vq_weight must not be negative"),
        ({"losses": {"loudness_weight": -1.0}}, "loudness_weight must not be negative"),
        ({"losses": {"wave_l1_weight": -1.0}}, "wave_l1_weight must not be negative"),
        ({"losses": {"wave_l2_weight": math.nan}}, "wave_l2_weight must not be negative"),
        ({"losses": {"stft_weight": -1.0}}, "stft_weight must not be negative"),
        ({"losses": {"stft_windows": []}}, "stft_windows must be between 32 and 16384"),
        ({"losses": {"stft_windows": [16]}}, "stft_windows must be between 32 and 16384"),
        ({"losses": {"stft_windows": [20000]}}, "stft_windows must be between 32 and 16384"),
        ({"losses": {"stft_windows": [16384]}}, "longer than the longest window, 1.024"),
        ({"crops": {"seconds": 0.1}}, "longer than the longest window, 0.128"),
        ({"crops": {"seconds": math.inf}}, "seconds must be finite"),
        ({"crops": {"gain_db": math.inf}}, "gain_db must be finite"),
        ({"crops": {"noise_probability": 1.5}}, "noise_probability must be between 0 and 1"),
        ({"crops": {"noise_snr_db": [3.0]}}, "a lowest and a highest ratio"),
        ({"crops": {"noise_snr_db": [3.0, math.inf]}}, "noise_snr_db must be finite"),
        ({"seed": -1}, "seed must not be negative"),
        ({"seed": 1 << 31}, "seed must be below 2\\^31"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"predicted_f0_fraction": 1.5}, "predicted_f0_fraction must be between 0 and 1"),
        ({"codebook": {"loss": "l3"}}, "loss must be one of l1, l2"),
        ({"validation": {"every": 0}}, "every must be at least 1"),
        ({"validation": {"seconds": 0.1}}, "seconds must be at least 0.5"),
        ({"checkpoints": {"keep_every": 0}}, "keep_every must be at least 1"),
        ({"adversarial": {"segment_seconds": 0.1}}, "must be 0, or above 0.128"),
        ({"adversarial": {"segment_seconds": 1.1}}, "at most crops.seconds"),
        ({"adversarial": {"loss": "wasserstein"}}, "loss must be one of least_squares, hinge"),
        (
            {"freeze_encoder": True, "codebook": {"replace_dead_codes_every": 50}},
            "codebook.replace_dead_codes_every must be 0",
        ),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        with_settings(TrainConfig(), changes)


def test_each_table_checks_itself() -> None:
    with pytest.raises(ConfigError, match="decay_steps must be at least 1"):
        OptimizerConfig(decay_steps=0)


DOCUMENTATION = Path(__file__).parents[3] / "docs" / "training.md"


def rows(heading: str) -> list[tuple[str, str, str, str]]:
    """The rows of the table of settings below a heading: names, two defaults, meanings."""
    section = DOCUMENTATION.read_text(encoding="utf-8").split(f"\n{heading}\n")[1]
    table = section.split("\n## ")[0].split("\n### ")[0]
    return re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*?) \|$", table, re.MULTILINE)


def documented(heading: str) -> dict[str, list[Any]]:
    """Names and the two columns of defaults of the table of settings below a heading."""
    return {
        name: [tomllib.loads(f"value = {cell}")["value"] for cell in cells]
        for name, *cells, _ in rows(heading)
    }


def values(config: Any, names: list[str]) -> list[Any]:
    """Settings by name, with lists in place of tuples."""
    result = []
    for name in names:
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        result.append(list(value) if isinstance(value, tuple) else value)
    return result


def test_documented_settings_are_those_of_the_recipes() -> None:
    names = [n for n in setting_names(TrainConfig) if not n.startswith("discriminators.")]
    columns = (values(recipe_for(PRESETS[preset]), names) for preset in ("bigcodec", "lite"))
    expected = dict(zip(names, map(list, zip(*columns, strict=True)), strict=True))
    assert documented("## Settings") == expected


def test_documented_meanings_are_those_that_the_command_shows() -> None:
    expected = {each.name: each.meaning for each in settings_of(TrainConfig) if each.meaning}
    plain = str.maketrans("", "", '`"')
    assert {name: text.translate(plain) for name, *_, text in rows("## Settings")} == expected


def test_every_setting_of_a_model_has_a_meaning() -> None:
    for preset in ("bigcodec", "lite"):
        assert all(each.meaning for each in settings_of(type(PRESETS[preset])))


OLD_NAMES = {
    *("crop_seconds", "optimizer", "codebook_loss", "adversarial_loss", "adversarial_weight"),
    *("discriminator_start_step", "discriminator_every", "discriminator_segment_seconds"),
    *("validate_every", "validation_fraction", "validation_clips", "validation_seconds"),
    *("checkpoint_minutes", "generator_only_steps", "adversarial_seconds", "revive_every"),
}


def test_every_old_name_leads_to_one_setting() -> None:
    known = {name for each in settings_of(TrainConfig) for name in each.former}
    assert known == OLD_NAMES
    for name in OLD_NAMES - {"optimizer"}:
        (setting,) = (each.name for each in settings_of(TrainConfig) if name in each.former)
        assert called(TrainConfig, name) == [setting]


def test_documented_sizes_are_those_of_the_discriminators() -> None:
    expected = {}
    for kind, small in SMALL.items():
        names = [name for name in setting_names(type(small)) if name != "weight"]
        columns = (values(config, names) for config in (type(small)(), small))
        for name, *defaults in zip(names, *columns, strict=True):
            expected[f"{kind}.{name}"] = defaults
    assert documented("### Sizes") == expected
