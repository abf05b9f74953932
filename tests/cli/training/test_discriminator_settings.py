"""The discriminators of a training plan: presets and tables, from files and options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
import pytest

from bigcodec_cli.training.plan import Options, Plan, make_plan
from bigcodec_models.discriminators.config import (
    PRESETS,
    SMALL,
    MultiPeriodConfig,
    MultiResolutionConfig,
)


def plan(tmp_path: Path, *settings: str, config: str | None = None) -> Plan:
    (tmp_path / "a.wav").touch()
    file = tmp_path / "recipe.toml"
    if config is not None:
        file.write_text(config)
    options: dict[str, Any] = dict.fromkeys(("init", "validation", "noise"))
    return make_plan(
        Options(
            data=(str(tmp_path),),
            preset="toy-lite",
            run=tmp_path / "run",
            config=None if config is None else file,
            settings=settings,
            **options,
        )
    )


def discriminators(tmp_path: Path, *settings: str, config: str | None = None) -> Any:
    return plan(tmp_path, *settings, config=config).train.discriminators


TABLE = """
[adversarial]
loss = "hinge"
[discriminators]
preset = "none"
[discriminators.mpd]
[discriminators.mssbcqt]
size = "small"
weight = 0.1
"""
SMALL_MSSBCQT = dataclasses.replace(SMALL["mssbcqt"], weight=0.1)


@pytest.mark.parametrize("preset", PRESETS)
def test_set_names_a_preset(tmp_path: Path, preset: str) -> None:
    assert discriminators(tmp_path, f"discriminators.preset={preset}") == PRESETS[preset]


def test_set_changes_and_adds_kinds(tmp_path: Path) -> None:
    changed = discriminators(
        tmp_path, "discriminators.mpd.weight=2", "discriminators.mrd={size = 'small', weight = 0.5}"
    )
    small = PRESETS["small"]
    assert small.mpd is not None
    assert changed.mpd == dataclasses.replace(small.mpd, weight=2.0)
    assert changed.mrd == MultiResolutionConfig(width=8, weight=0.5)
    assert changed.spectral == small.spectral


def test_a_file_has_a_table_that_set_changes_or_replaces(tmp_path: Path) -> None:
    train = plan(tmp_path, config=TABLE).train
    assert train.discriminators.chosen() == {"mpd": MultiPeriodConfig(), "mssbcqt": SMALL_MSSBCQT}
    assert train.adversarial.loss == "hinge"
    changed = discriminators(tmp_path, "discriminators.mpd.weight=3", config=TABLE)
    assert changed.chosen() == {"mpd": MultiPeriodConfig(weight=3.0), "mssbcqt": SMALL_MSSBCQT}


def test_a_run_remembers_its_discriminators(tmp_path: Path) -> None:
    plan(tmp_path, config=TABLE).save()
    remembered = discriminators(tmp_path)
    assert remembered.chosen() == {"mpd": MultiPeriodConfig(), "mssbcqt": SMALL_MSSBCQT}
    assert discriminators(tmp_path, config=TABLE) == remembered
    changed = discriminators(tmp_path, "discriminators.mssbcqt.weight=1")
    assert changed.mssbcqt == SMALL["mssbcqt"]
    assert discriminators(tmp_path, "discriminators.preset=none").chosen() == {}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("discriminators=small", "must be a table, not 'small'; discriminators.preset may be none"),
        ("discriminators.preset=big", "preset must be one of none, published, small, not 'big'"),
        ("discriminators.mpq.weight=1", "unknown setting 'discriminators.mpq'; known: mpd, mrd, "),
        ("discriminators.mpd=1", "discriminators.mpd must be a table, not 1"),
        ("discriminators.mpd.weight=0", "discriminators.mpd: weight must be above 0"),
        ("discriminators.mpd.weight=much", "discriminators.mpd.weight must be float"),
        ("adversarial.loss=wgan", "adversarial: loss must be one of least_squares, hinge, bce"),
    ],
)
def test_other_settings_are_refused_before_anything_runs(
    tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(click.UsageError, match=message):
        plan(tmp_path, setting)
