"""Training in its first form: data, schedule, loop, resume; all on toy models and real speech."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_models import PRESETS
from bigcodec_models.config import ConfigError
from bigcodec_models.model_file import load_model
from bigcodec_models.training.checkpoint import find_checkpoints
from bigcodec_models.training.config import TrainConfig, recipe_for
from bigcodec_models.training.data import Clip, CropSource, DataError, scan
from bigcodec_models.training.loop import Progress, Trainer, TrainingError
from bigcodec_models.training.schedule import learning_rate


@pytest.fixture(scope="module")
def folder(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech at several rates, channel counts and formats, and files that are no audio."""
    root = tmp_path_factory.mktemp("data")
    wave, _ = soundfile.read(speech, dtype="float32")
    (root / "a").mkdir()
    soundfile.write(root / "a" / "one.wav", wave[:40000], 16000)
    soundfile.write(root / "a" / "two.flac", np.stack([wave, wave * 0.5], axis=1), 44100)
    soundfile.write(root / "short.ogg", wave[20000:24000], 8000)
    (root / "broken.wav").write_bytes(b"RIFF....WAVE")
    (root / "notes.txt").write_text("no audio")
    return root


def source(folder: Path, **options: int) -> CropSource:
    return CropSource(scan(folder), **{"crop": 8000, "seed": 4, **options})


def config(preset: str, **changes: object) -> TrainConfig:
    small = {
        "batch_size": 2,
        "crop_seconds": 0.5,
        "mel_windows": (128, 512),
        "log_every": 2,
        "revive_every": 3,
        "warmup_steps": 4,
    }
    return dataclasses.replace(recipe_for(PRESETS[preset]), **{**small, **changes})  # type: ignore[arg-type]


def train(preset: str, folder: Path, run: Path, steps: int, **changes: object) -> Trainer:
    chosen = config(preset, max_steps=steps, **changes)
    trainer = Trainer(PRESETS[preset], chosen, source(folder), run, "cpu")
    trainer.resume()
    trainer.run(lambda progress: None, lambda: False)
    return trainer


def test_scan_finds_what_is_readable_and_tells_the_rest(folder: Path) -> None:
    skipped: list[str] = []
    clips = scan(folder, lambda path, why: skipped.append(path.name))
    assert [clip.path.name for clip in clips] == ["one.wav", "two.flac", "short.ogg"]
    assert [clip.rate for clip in clips] == [16000, 44100, 8000]
    assert skipped == ["broken.wav"]


def test_folders_without_audio_are_refused(tmp_path: Path) -> None:
    for bad in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=str(bad)):
            scan(bad)


def test_crops_depend_on_seed_and_step_only(folder: Path) -> None:
    first, second = source(folder), source(folder, cache_bytes=0)
    assert first.batch(3, 4).shape == (4, 8000)
    assert np.array_equal(first.batch(3, 4), source(folder).batch(3, 4))
    assert not np.array_equal(first.batch(3, 4), first.batch(4, 4))
    assert not np.array_equal(first.batch(3, 4), source(folder, seed=5).batch(3, 4))
    # Crops read by seeking are those of the cache, but for 16-bit rounding and resampling edges.
    plain = CropSource(scan(folder / "a")[:1], crop=8000, seed=4)
    seeking = CropSource(scan(folder / "a")[:1], crop=8000, seed=4, cache_bytes=0)
    assert np.abs(plain.batch(0, 4) - seeking.batch(0, 4)).max() < 1e-4
    assert second.batch(3, 4).shape == (4, 8000)


def test_batches_go_on_from_any_step(folder: Path) -> None:
    batches = source(folder).batches(5, 2)
    expected = [source(folder).batch(step, 2) for step in (5, 6)]
    assert all(np.array_equal(next(batches), wanted) for wanted in expected)
    batches.close()


def test_crops_come_in_proportion_to_duration(folder: Path) -> None:
    loud = [Clip(path=folder / "a" / "one.wav", frames=40000, rate=16000)]
    crops = CropSource(loud, crop=4000, seed=1).batch(0, 200)
    starts = {crop.tobytes() for crop in crops}
    assert len(starts) > 190  # starts are spread, not always the same


def test_short_files_are_padded(folder: Path) -> None:
    only = [clip for clip in scan(folder) if clip.path.name == "short.ogg"]
    crop = CropSource(only, crop=16000, seed=0).batch(0, 1)[0]
    assert np.abs(crop[:8000]).max() > 0.01 and not crop[8000:].any()


def test_gain_stays_below_full_scale(folder: Path) -> None:
    crops = source(folder, gain_db=30).batch(0, 40)
    assert np.abs(crops).max() <= 0.9901
    assert np.ptp([np.abs(crop).max() for crop in crops]) > 0.5


def test_learning_rate_follows_the_published_schedule() -> None:
    recipe = recipe_for(PRESETS["bigcodec"])
    assert learning_rate(0, recipe) == pytest.approx(1e-5)
    assert learning_rate(500, recipe) == pytest.approx(1e-5 + 9e-5 / 4)
    assert learning_rate(1000, recipe) == pytest.approx(1e-4)
    assert learning_rate(251_000, recipe) == pytest.approx(5.5e-5)
    assert learning_rate(10**9, recipe) == pytest.approx(1e-5)
    cosine = dataclasses.replace(recipe, decay="cosine")
    assert learning_rate(251_000, cosine) == pytest.approx(5.5e-5)
    assert learning_rate(126_000, cosine) > learning_rate(126_000, recipe)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"beta1": 1.0},
        {"decay": "steps"},
        {"mel_windows": ()},
        {"mel_windows": (30,)},
        {"crop_seconds": 0.1},
        {"final_learning_rate": 1.0},
        {"seed": -1},
        {"vq_weight": -1.0},
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(TrainConfig(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_losses_fall(folder: Path, tmp_path: Path, preset: str) -> None:
    seen: list[Progress] = []
    chosen = config(preset, max_steps=40, learning_rate=2e-3, final_learning_rate=1e-3)
    trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu")
    trainer.run(seen.append, lambda: False)
    assert [progress.step for progress in seen] == list(range(2, 41, 2))
    assert seen[-1].losses["mel"] < 0.8 * seen[0].losses["mel"]
    assert all(math.isfinite(value) for p in seen for value in p.losses.values())


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_resuming_is_exact(folder: Path, tmp_path: Path, preset: str) -> None:
    whole = train(preset, folder, tmp_path / "whole", 8)
    train(preset, folder, tmp_path / "cut", 4)
    cut = train(preset, folder, tmp_path / "cut", 8)
    assert cut.step == whole.step == 8
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, cut.network.state_dict()[name]), name
        assert torch.equal(whole.ema[name], cut.ema[name]), name


def test_a_stopped_run_saves_where_it_stood(folder: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    trainer = Trainer(PRESETS["toy-lite"], config("toy-lite"), source(folder), tmp_path, "cpu")
    trainer.run(lambda progress: seen.append(progress.step), lambda: len(seen) >= 2)
    (folder_found,) = find_checkpoints(tmp_path)
    assert folder_found.name == "step-00000004"
    assert load_model(folder_found / "ema.safetensors").info.training["steps"] == 4


def test_only_the_newest_checkpoints_are_kept(folder: Path, tmp_path: Path) -> None:
    train("toy-lite", folder, tmp_path, 6, checkpoint_minutes=1e-6)
    assert [p.name for p in find_checkpoints(tmp_path)] == ["step-00000005", "step-00000006"]
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {
        "step-00000005",
        "step-00000006",
    }


def test_a_run_of_another_model_is_not_continued(folder: Path, tmp_path: Path) -> None:
    train("toy-lite", folder, tmp_path, 1)
    with pytest.raises(TrainingError, match="another model configuration"):
        train("toy", folder, tmp_path, 2)


def test_a_loss_that_is_not_finite_stops_before_the_step(folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(PRESETS["toy-lite"], config("toy-lite"), source(folder), tmp_path, "cpu")
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    with pytest.raises(TrainingError, match="not finite"):
        trainer.train_step(torch.full((2, 1, 8000), math.nan))
    assert trainer.step == 0
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_codes_never_drawn_move_onto_live_latents(
    folder: Path, tmp_path: Path, preset: str
) -> None:
    chosen = config(preset, revive_every=1)
    trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu")
    trainer.train_step(torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1))
    codes = trainer.network.quantizer.codebooks[0].codes.detach()  # type: ignore[operator]
    assert len(torch.unique(codes, dim=0)) <= 80 + trainer.last_codes_used
    assert trainer.last_codes_used >= 1
