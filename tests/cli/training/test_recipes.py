"""The recipes that ship in the package: each resolves to what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from bigcodec_cli.training.plan import Options, Plan, make_plan, recipe_names
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS, BigCodecConfig, ModelConfig
from bigcodec_models.discriminators.config import (
    DiscriminatorsConfig,
    MultiPeriodConfig,
    MultiResolutionConfig,
)
from bigcodec_models.training.config import recipe_for

ROOT = Path(__file__).parents[3]
RECIPES = ["attention", "ll60k", "mpd-mrd", "rvq-same-rate"]
PUBLISHED = PRESETS["bigcodec"]


def plan(name: str, tmp_path: Path, *settings: str, **changes: Any) -> Plan:
    (tmp_path / "a.wav").touch()
    given: dict[str, Any] = dict.fromkeys(("preset", "init", "validation", "noise"))
    given |= {"data": (str(tmp_path),), "run": tmp_path / "run", "config": Path(name)}
    return make_plan(Options(**{**given, "settings": settings, **changes}))


def bits_a_second(model: ModelConfig) -> float:
    bits = math.log2(model.quantizer.codebook_size) * model.quantizer.num_codebooks
    return 16000 / model.hop * bits


def test_there_are_as_many_as_expected_and_all_are_documented() -> None:
    assert recipe_names() == RECIPES
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_each_resolves_at_the_published_bitrate(name: str, tmp_path: Path) -> None:
    recipe = plan(name, tmp_path)
    assert bits_a_second(recipe.model) == 1040
    with torch.device("meta"):
        network = CodecNetwork(recipe.model)
    assert sum(p.numel() for p in network.parameters()) > 16e6
    text = (ROOT / "bigcodec_cli" / "training" / "recipes" / f"{name}.toml").read_text()
    assert f"bigcodec train --config {name} " in text and recipe.preset in text


def test_comparisons_differ_in_what_they_compare(tmp_path: Path) -> None:
    pair = plan("mpd-mrd", tmp_path)
    assert pair.model == PUBLISHED
    assert pair.train.discriminators == DiscriminatorsConfig(
        mpd=MultiPeriodConfig(), mrd=MultiResolutionConfig()
    )
    residual = plan("rvq-same-rate", tmp_path)
    assert residual.train == recipe_for(PUBLISHED)
    assert (residual.model.hop, residual.model.quantizer.num_codebooks) == (400, 2)
    attention = plan("attention", tmp_path)
    assert isinstance(attention.model, BigCodecConfig)
    assert (attention.model.sequence, attention.train) == ("attention", recipe_for(PUBLISHED))


def test_ll60k_takes_many_folders_with_shares(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    data = (str(tmp_path / "a"), str(tmp_path / "b"), f"{tmp_path / 'c'}=0.1")
    recipe = plan("ll60k", tmp_path, data=data)
    assert [share for _, share in recipe.data] == [None, None, 0.1]
    assert (recipe.train.batch_size, recipe.train.crops.gain_db) == (64, 6.0)
    assert recipe.train.optimizer.decay_steps == 1_000_000
    assert recipe.train.validation.fraction == 0.001


def test_set_and_preset_go_before_a_recipe_and_a_file_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = plan("rvq-same-rate", tmp_path, "batch_size=2", "model.quantizer.kind=ema")
    assert (changed.train.batch_size, changed.model.quantizer.kind) == (2, "ema")
    assert plan("mpd-mrd", tmp_path, preset="toy").preset == "toy"
    monkeypatch.chdir(tmp_path)
    Path("mpd-mrd").write_text('preset = "lite"\n')
    assert plan("mpd-mrd", tmp_path).preset == "lite"


def test_a_name_that_is_no_recipe_is_reported(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"no recipe 'mpd'; recipes: attention, ll60k"):
        plan("mpd", tmp_path)


def test_an_unknown_preset_is_reported_without_toys(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="no preset 'big'; there are: ") as caught:
        plan("mpd-mrd", tmp_path, preset="big")
    assert "bigcodec-base" in caught.value.message and "toy" not in caught.value.message
