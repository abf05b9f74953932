"""`bigcodec train --list`: what it shows is what can be set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bigcodec_cli.training.listing import PRESET_SUMMARIES
from bigcodec_cli.training.plan import Options, preset_names, recipe_names, resolved
from bigcodec_models.config_values import setting_names
from bigcodec_models.training.config import TrainConfig


def options(preset: str | None, *settings: str) -> Options:
    return Options(
        data=(),
        preset=preset,
        run=None,
        config=None,
        settings=settings,
        init=None,
        validation=None,
        noise=None,
    )


def test_presets_and_recipes_are_all_there(here) -> None:  # type: ignore[no-untyped-def]
    ran = here("train", "--list")
    assert ran.code == 0, ran.stderr
    text = ran.stdout.decode()
    assert set(PRESET_SUMMARIES) == set(preset_names()) and "toy" not in text
    for name in (*preset_names(), *recipe_names()):
        assert re.search(rf"^  {name}  ", text, re.MULTILINE), name
    assert "bigcodec            159 M  the published model" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("preset", ["bigcodec", "lite"])
def test_every_setting_can_be_given_as_it_is_shown(  # type: ignore[no-untyped-def]
    here, preset: str
) -> None:
    changes = ("batch_size=3", "optimizer.learning_rate=2e-4", "model.latent_dim=64")
    words = [word for change in changes for word in ("--set", change)]
    text = here("train", "--list", "--preset", preset, *words).stdout.decode()
    shown = re.findall(r"^  ([\w.]+) = (.*)$", text, re.MULTILINE)
    _, model, train = resolved(options(preset, *changes))
    again = resolved(options(preset, *(f"{name}={value}" for name, value in shown)))
    assert again == (preset, model, train) and train.batch_size == 3
    names = {name for name, _ in shown}
    of_training = {n for n in setting_names(TrainConfig) if not n.startswith("discriminators.")}
    assert names == of_training | {f"model.{name}" for name in setting_names(type(model))}


def test_settings_of_a_file_are_shown(here, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "my.toml").write_text('preset = "lite"\n[crops]\nseconds = 2.5\n')
    text = here("train", "--list", "--config", "my.toml").stdout.decode()
    assert "as preset lite has them here" in text and "\n  crops.seconds = 2.5\n" in text
    wrong = here("train", "--list", "--set", "crop_seconds=1")
    assert wrong.code == 2 and "did you mean 'crops.seconds'?" in wrong.stderr
