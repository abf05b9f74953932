"""How a training plan comes by its discriminators: words, lists, and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from bigcodec_cli.training.plan import Options, Plan, make_plan


def plan(tmp_path: Path, *settings: str, config: str | None = None) -> Plan:
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


@pytest.mark.parametrize(
    ("setting", "resolved"),
    [
        ("discriminators=none", "none"),
        ("discriminators=mpd:1,mrd:0.5", "mpd:1,mrd:0.5"),
        ("discriminators=mpd-small", "mpd-small"),
        ("discriminators={mpd = 1, mrd-small = 0.5}", "mpd:1,mrd-small:0.5"),
        ("discriminators.msd=2.0", "msd:2.0"),
    ],
)
def test_set_takes_a_word_a_list_or_a_table(tmp_path: Path, setting: str, resolved: str) -> None:
    assert plan(tmp_path, setting).train.discriminators == resolved


def test_a_file_has_a_table_that_set_adds_to_or_replaces(tmp_path: Path) -> None:
    table = 'adversarial_loss = "hinge"\n[discriminators]\nmpd = 1\nmssbcqt-small = 0.1\n'
    found = plan(tmp_path, config=table).train
    assert found.discriminators == "mpd:1,mssbcqt-small:0.1"
    assert found.adversarial_loss == "hinge"
    added = plan(tmp_path, "discriminators.mpd=3", config=table).train.discriminators
    assert added == "mpd:3,mssbcqt-small:0.1"
    assert plan(tmp_path, "discriminators=small", config=table).train.discriminators == "small"


def test_a_run_remembers_its_list(tmp_path: Path) -> None:
    plan(tmp_path, "discriminators=mpd-small:1,mrd-small:0.5").save()
    again = plan(tmp_path)
    assert again.train.discriminators == "mpd-small:1,mrd-small:0.5"
    assert plan(tmp_path, "discriminators.mrd-small=1").train.discriminators == "mrd-small:1"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("discriminators=mpq", "'mpq' is none of"),
        ("discriminators=mpd:0", "weight of mpd must be above 0"),
        ("discriminators={}", "an empty table"),
        ("discriminators={mpd = 'much'}", "must be a number"),
        ("discriminators.mpd.width=3", "must be a number"),
        ("adversarial_loss=wgan", "adversarial_loss must be one of least_squares, hinge, bce"),
    ],
)
def test_other_settings_are_refused_before_anything_runs(
    tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(click.UsageError, match=message):
        plan(tmp_path, setting)
