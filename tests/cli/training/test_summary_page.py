"""What the summary page says of settings, of what is not known, and its clips."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_cli.training.log import RunLog
from bigcodec_cli.training.summary import write_summary
from bigcodec_models.arrays import Wave
from bigcodec_models.config import PRESETS, config_to_dict
from bigcodec_models.training.config import recipe_for, with_settings
from bigcodec_models.training.events import Progress, Validation, ValidationClip


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def tone(hertz: float) -> Wave:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype(np.float32)


def validation(
    step: int, hertz: float, best: bool, names: tuple[str, ...] = ("a.wav",)
) -> Validation:
    clips = tuple(ValidationClip(name, tone(300), tone(hertz)) for name in names)
    return Validation(step=step, mel=1.0, stoi=0.5, pesq=None, best=best, clips=clips)


def progress(step: int, codes: int | None) -> Progress:
    return Progress(
        step=step,
        losses={"mel": 1.0},
        gradient_norms={"generator": 2.0},
        learning_rate=1e-4,
        expected_steps=100,
        codes_used=codes,
        perplexity=None if codes is None else codes / 2,
        steps_per_second=1.0,
        data_wait=0.0,
    )


def page_of(run: Path) -> ET.Element:
    text = write_summary(run).read_text(encoding="utf-8")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>"))


def words(element: ET.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def figures(page: ET.Element) -> dict[str, ET.Element]:
    """Players by their captions."""
    entries = {}
    for figure in page.findall(".//div[@class='clip']/figure"):
        (caption, audio) = (figure.find("figcaption"), figure.find("audio"))
        assert caption is not None and audio is not None
        entries[words(caption)] = audio
    return entries


def heard(player: ET.Element) -> Wave:
    data = base64.b64decode(player.attrib["src"].removeprefix("data:audio/flac;base64,"))
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 16000
    return np.asarray(samples)


def open_log(run: Path) -> RunLog:
    return RunLog(run, max_steps=100, config={}, show_progress=False)


def test_clips_of_the_best_and_the_last_validation_can_be_heard(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.validation(validation(10, 1000, best=True))
        log.validation(validation(20, 2000, best=True))
        log.validation(validation(30, 3000, best=False))
    players = figures(page_of(tmp_path))
    assert list(players) == ["original", "best, step 20", "last, step 30"]
    for player, hertz in zip(players.values(), (300, 2000, 3000), strict=True):
        assert np.abs(heard(player) - tone(hertz)).max() < 1e-4
    with open_log(tmp_path) as log:  # a run that goes on
        log.validation(validation(40, 4000, best=True))
    players = figures(page_of(tmp_path))
    assert list(players) == ["original", "best, step 40"]


def test_eight_clips_at_most_and_any_sample(tmp_path: Path) -> None:
    names = tuple(f"<{n}>.wav" for n in range(11))
    bad = validation(10, 1000, True, names)
    broken = dataclasses.replace(bad.clips[0], restored=np.full(16000, np.nan, np.float32))
    with open_log(tmp_path) as log:
        log.validation(dataclasses.replace(bad, clips=(broken, *bad.clips[1:])))
    page = page_of(tmp_path)
    assert [words(h) for h in page.iter("h3")] == list(names[:8])


@pytest.mark.parametrize("damage", ["clips.json", "01.best.flac"])
def test_damaged_clips_are_left_out(tmp_path: Path, damage: str) -> None:
    with open_log(tmp_path) as log:
        log.validation(validation(10, 1000, best=True))
    (tmp_path / "clips" / damage).write_bytes(b"{nothing")
    page = page_of(tmp_path)
    assert not figures(page) and "Validation" in words(page)


def test_what_was_not_counted_yet_is_no_zero(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.progress(progress(10, None))
    page = page_of(tmp_path)
    assert "Codes used" not in words(page)
    assert {svg.attrib["data-name"] for svg in page.iter("svg")} == {
        *("losses/mel", "gradient_norms/generator", "learning_rate")
    }
    row = json.loads((tmp_path / "log.jsonl").read_text())
    assert (row["codes_used"], row["perplexity"]) == (None, None)
    with open_log(tmp_path) as log:
        log.progress(progress(20, 0))  # as runs recorded it before
        log.progress(progress(30, 40))
    svg = {svg.attrib["data-name"]: svg for svg in page_of(tmp_path).iter("svg")}["codes_used"]
    (line,) = (path.attrib["d"] for path in svg.iter("path") if "line" in path.attrib["class"])
    assert line.count("M") == 1 and line.endswith("h0")  # one point


def test_a_run_without_a_report_shows_no_time(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.validation(validation(3, 1000, best=True))
    text = words(page_of(tmp_path))
    assert "Steps 3" in text and "Time in training steps" not in text


def config_of(preset: str, settings: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    train = with_settings(recipe_for(PRESETS[preset]), settings)
    model = {**config_to_dict(PRESETS[preset]), **model}
    return {"preset": preset, "model": model, "train": dataclasses.asdict(train), "data": []}


def shown(run: Path, config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Values and defaults of the settings on the page."""
    (run / "config.json").write_text(json.dumps(config))
    entries = {}
    for row in page_of(run).findall(".//div[@class='settings']/div"):
        name, value = row.find("span"), row.find("b")
        assert name is not None and value is not None
        default = value.find("small")
        text = "" if default is None else words(default)
        assert (row.get("class") == "changed") == bool(text)
        entries[words(name)] = (value.text or "", text)
    return entries


def test_every_changed_setting_is_shown_beside_its_default(tmp_path: Path) -> None:
    settings = {
        "batch_size": 3,
        "ema_decay": 0.5,
        "crops": {"noise_snr_db": [1.0, 2.0]},
        "discriminators": {"preset": "none", "mrd": {}},
    }
    page = shown(tmp_path, config_of("lite", settings, {"latent_dim": 64}))
    changed = {name: pair for name, pair in page.items() if pair[1]}
    assert changed == {
        "batch_size": ("3", "default 16"),
        "ema_decay": ("0.5", "default 0.999"),
        "crops.noise_snr_db": ("1.0, 2.0", "default 5.0, 30.0"),
        "discriminators": ("mrd", "default mpd, spectral"),
        "model.latent_dim": ("64", "default 192"),
    }
    assert page["optimizer.learning_rate"] == ("0.001", "")


@pytest.mark.parametrize("preset", ["bigcodec", "lite", "bigcodec-base"])
def test_an_unchanged_preset_has_no_changes(tmp_path: Path, preset: str) -> None:
    page = shown(tmp_path, config_of(preset, {}, {}))
    assert not any(default for _, default in page.values())
    assert re.fullmatch(r"\d+", page["batch_size"][0])
