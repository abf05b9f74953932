"""The trainer: schedule, adversarial loop, resume, checkpoints; toy models, real speech."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_models import PRESETS, ModelFileError
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import load_model
from bigcodec_models.config_values import merged
from bigcodec_models.data.crops import CropSource, excerpts, scan
from bigcodec_models.errors import NonFiniteError, TrainingError
from bigcodec_models.training.checkpoint import Checkpoint, load_checkpoint
from bigcodec_models.training.codebook_usage import USAGE_WINDOW
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import TrainConfig, recipe_for, with_settings
from bigcodec_models.training.events import Callbacks, Progress, Validation
from bigcodec_models.training.layout import find_checkpoints, is_portable
from bigcodec_models.training.portable import load_portable, save_portable
from bigcodec_models.training.trainer import Trainer
from bigcodec_models.training.validation import Validator


@pytest.fixture(scope="module")
def folder(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little real speech at two rates."""
    root = tmp_path_factory.mktemp("data")
    wave, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(root / "one.wav", wave[:40000], 16000)
    soundfile.write(root / "two.flac", np.stack([wave, wave * 0.5], axis=1), 44100)
    return root


def source(folder: Path) -> CropSource:
    return CropSource(scan(folder), crop=8000, seed=4)


def config(preset: str, **changes: object) -> TrainConfig:
    small = {
        "batch_size": 2,
        "max_steps": 20,
        "log_every": 2,
        "crops": {"seconds": 0.5},
        "optimizer": {"warmup_steps": 4},
        "losses": {"mel_windows": [128, 512]},
        "codebook": {"replace_dead_codes_every": 3},
        "discriminators": {"preset": "small"},
        "adversarial": {"start_step": 0},
        "validation": {"seconds": 0.5},
    }
    return with_settings(recipe_for(PRESETS[preset]), merged(small, changes))


def train(preset: str, folder: Path, run: Path, steps: int, **changes: object) -> Trainer:
    chosen = config(preset, max_steps=steps, **changes)
    trainer = Trainer(PRESETS[preset], chosen, source(folder), run, "cpu")
    trainer.resume()
    trainer.run(Callbacks())
    return trainer


NO_REPLACEMENT = {"replace_dead_codes_every": 0}
FAMILIES = pytest.mark.parametrize("preset", ["toy", "toy-lite"])


@FAMILIES
def test_losses_fall(folder: Path, tmp_path: Path, preset: str) -> None:
    seen: list[Progress] = []
    chosen = config(
        preset,
        max_steps=30,
        optimizer={"learning_rate": 2e-3, "final_learning_rate": 1e-3},
        adversarial={"start_step": 24},
    )
    trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu")
    trainer.run(Callbacks(progress=seen.append))
    assert [progress.step for progress in seen] == list(range(2, 31, 2))
    assert seen[11].losses["mel"] < 0.95 * seen[0].losses["mel"]
    assert "adversarial" not in seen[11].losses and "adversarial" in seen[12].losses
    assert set(seen[12].gradient_norms) == {"generator", "discriminators"}
    assert all(math.isfinite(value) for p in seen for value in p.losses.values())
    assert all(0 <= p.data_wait <= 1 and p.steps_per_second > 0 for p in seen)


@pytest.mark.parametrize(
    ("preset", "optimizer"),
    [("toy", "adamw"), ("toy-lite", "adamw"), ("toy-harmonic", "muon"), ("toy-single", "muon")],
)
@pytest.mark.parametrize("cut", [3, 5])
def test_resuming_is_exact(
    folder: Path, tmp_path: Path, preset: str, optimizer: str, cut: int
) -> None:
    """Stopped before or after the discriminators began, between two of their steps or not."""
    options: dict[str, object] = {
        "adversarial": {"start_step": 3, "every": 2, "segment_seconds": 0.25},
        "optimizer": {"kind": optimizer},
        "losses": {"loudness_weight": 5.0},
    }
    whole = train(preset, folder, tmp_path / "whole", 8, **options)
    train(preset, folder, tmp_path / "cut", cut, **options)
    resumed = train(preset, folder, tmp_path / "cut", 8, **options)
    assert resumed.step == whole.step == 8
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(whole.ema[name], resumed.ema[name]), name
    for name, value in whole.codec_loss.state_dict().items():
        assert torch.equal(value, resumed.codec_loss.state_dict()[name]), name


def test_files_of_a_run_have_the_same_permissions(folder: Path, tmp_path: Path) -> None:
    """Those that the umask gives, whoever writes them: safetensors writes for the owner alone."""
    trainer = train("toy-lite", folder, tmp_path / "run", 1)
    checkpoint = load_checkpoint(trainer.run_folder)
    assert checkpoint is not None
    save_portable(tmp_path / "portable", checkpoint)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert len(files) > 6
    assert len({path.stat().st_mode for path in files}) == 1


def test_discriminators_step_as_often_as_configured(folder: Path, tmp_path: Path) -> None:
    chosen = config("toy-lite", adversarial={"every": 2, "start_step": 1})
    trainer = Trainer(PRESETS["toy-lite"], chosen, source(folder), tmp_path, "cpu")
    wave = torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1)
    stepped = ["discriminator_real" in trainer.train_step(wave) for _ in range(5)]
    assert stepped == [False, False, True, False, True]


def test_discriminators_see_a_segment_of_the_configured_length(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config("toy-lite", adversarial={"segment_seconds": 0.25, "every": 1})
    trainer = Trainer(PRESETS["toy-lite"], chosen, source(folder), tmp_path, "cpu")
    shown: list[torch.Tensor] = []
    discriminate = trainer.codec_loss.discriminate

    def record(wave: torch.Tensor) -> list[list[torch.Tensor]]:
        shown.append(wave.detach())
        return discriminate(wave)

    monkeypatch.setattr(trainer.codec_loss, "discriminate", record)
    wave = torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1)
    trainer.train_step(wave)
    trainer.train_step(wave)
    both, real, generated, _, later, _ = shown  # joined, real and generated, of two steps
    assert both.shape == (4, 1, 4000) and torch.equal(both, torch.cat([real, generated]))
    assert not torch.equal(real, later)
    assert any(torch.equal(part, real[0, 0]) for part in wave.unfold(2, 4000, 1)[0, 0])


@pytest.mark.parametrize("kind", ["vq", "ema"])
def test_a_frozen_encoder_keeps_its_tokens(folder: Path, tmp_path: Path, kind: str) -> None:
    plain = PRESETS["toy-lite"]
    model = dataclasses.replace(plain, quantizer=dataclasses.replace(plain.quantizer, kind=kind))
    chosen = config("toy-lite", max_steps=4, freeze_encoder=True, codebook=NO_REPLACEMENT)
    trainer = Trainer(model, chosen, source(folder), tmp_path, "cpu")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run(Callbacks())
    for name, value in trainer.network.state_dict().items():
        kept = name.startswith(("encoder.", "quantizer."))
        assert torch.equal(value, before[name]) == torch.equal(trainer.ema[name], value) == kept


def test_codebook_loss_l1_is_the_mean_absolute_distance(folder: Path, tmp_path: Path) -> None:
    chosen = config("toy", codebook={"loss": "l1"}, discriminators={"preset": "none"})
    trainer = Trainer(PRESETS["toy"], chosen, source(folder), tmp_path, "cpu")
    wave = torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1)
    network = trainer.network
    with torch.no_grad():
        quantized = network(wave).quantized
    codes = network.quantizer.codebooks[0].embed(quantized.tokens[..., 0])  # type: ignore[operator]
    expected = 1.25 * (codes - quantized.searched[0]).abs().mean()
    assert quantized.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_bfloat16_trains_and_quantises_in_single_precision(folder: Path, tmp_path: Path) -> None:
    for preset in ("toy", "toy-lite"):
        chosen = config(preset, precision="bfloat16")
        trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu")
        wave = torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1)
        report = trainer.train_step(wave)
        assert all(bool(torch.isfinite(value)) for value in report.values())
        with torch.autocast("cpu", torch.bfloat16):
            assert trainer.network(wave).quantized.latent.dtype == torch.float32


def test_a_stopped_run_saves_where_it_stood(folder: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    trainer = Trainer(PRESETS["toy-lite"], config("toy-lite"), source(folder), tmp_path, "cpu")
    trainer.run(Callbacks(lambda p: seen.append(p.step), should_stop=lambda: len(seen) >= 2))
    (folder,) = find_checkpoints(tmp_path)
    assert folder.name == "step-00000004"
    assert load_model(folder / "ema.safetensors").info.training["steps"] == 4


def test_newest_and_every_nth_checkpoints_are_kept(folder: Path, tmp_path: Path) -> None:
    train("toy-lite", folder, tmp_path, 6, checkpoints={"every_minutes": 1e-6, "keep_every": 3})
    names = ["step-00000003", "step-00000005", "step-00000006"]
    assert [path.name for path in find_checkpoints(tmp_path)] == names
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == names


def test_a_damaged_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    train("toy-lite", folder, tmp_path, 1)
    (checkpoint,) = find_checkpoints(tmp_path)
    for path in checkpoint.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelFileError, match="step-00000001"):
            train("toy-lite", folder, tmp_path, 2)
        path.write_bytes(content)


def test_a_run_of_another_model_is_not_continued(folder: Path, tmp_path: Path) -> None:
    train("toy-lite", folder, tmp_path, 1)
    with pytest.raises(TrainingError, match="another model configuration"):
        train("toy", folder, tmp_path, 2)
    with pytest.raises(TrainingError, match="discriminators at hand"):
        train("toy-lite", folder, tmp_path, 2, discriminators={"preset": "none"})


def test_a_loss_that_is_not_finite_stops_before_the_step(folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(PRESETS["toy-lite"], config("toy-lite"), source(folder), tmp_path, "cpu")
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    discriminators = {k: v.clone() for k, v in trainer.codec_loss.state_dict().items()}
    with pytest.raises(NonFiniteError):
        trainer.train_step(torch.full((2, 1, 8000), math.nan))
    assert trainer.step == 0
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    assert all(
        torch.equal(v, discriminators[k]) for k, v in trainer.codec_loss.state_dict().items()
    )


def test_a_generator_that_fails_after_the_discriminators_stepped_is_not_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved, its discriminators would do that step twice."""
    trainer = train("toy-lite", folder, tmp_path, 2)
    trainer.config = dataclasses.replace(trainer.config, max_steps=4)
    bad = torch.tensor(math.nan, requires_grad=True)
    monkeypatch.setattr(trainer.codec_loss.mel, "forward", lambda *_: bad)
    with pytest.raises(TrainingError, match="the last checkpoint stands"):
        trainer.run(Callbacks())
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.step == 2
    again = train("toy-lite", folder, tmp_path, 3)
    whole = train("toy-lite", folder, tmp_path.with_name("whole"), 3)
    for name, value in whole.codec_loss.state_dict().items():
        assert torch.equal(value, again.codec_loss.state_dict()[name]), name


def test_what_a_killed_save_left_is_removed(folder: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / "step-00000009.partial"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    train("toy-lite", folder, tmp_path, 1)
    assert [path.name for path in leftover.parent.iterdir()] == ["step-00000001"]


def test_a_run_whose_loss_is_not_finite_is_saved_and_reported(folder: Path, tmp_path: Path) -> None:
    chosen = config("toy-lite", max_steps=6)
    trainer = Trainer(PRESETS["toy-lite"], chosen, source(folder), tmp_path, "cpu")

    def poison(_: Progress) -> None:
        with torch.no_grad():
            trainer.network.state_dict()["decoder.head.bias"][0] = math.nan

    with pytest.raises(TrainingError, match=r"step 2: .* not finite; the state is saved"):
        trainer.run(Callbacks(progress=poison))
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step-00000002"]


@FAMILIES
def test_codes_never_used_move_onto_live_latents(folder: Path, tmp_path: Path, preset: str) -> None:
    chosen = config(preset, codebook={"replace_dead_codes_every": 1})
    trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu")
    trainer.train_step(torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1))
    codes = trainer.network.quantizer.codebooks[0].codes.detach()  # type: ignore[operator]
    assert len(torch.unique(codes, dim=0)) <= 80 + trainer.usage.used
    assert 1 <= trainer.usage.perplexity <= trainer.usage.used + 1e-6


def test_the_published_recipe_moves_no_code_and_still_counts_them(
    folder: Path, tmp_path: Path
) -> None:
    assert recipe_for(PRESETS["bigcodec"]).codebook.replace_dead_codes_every == 0
    rates = {"learning_rate": 1e-9, "final_learning_rate": 1e-9}
    chosen = config("toy", codebook=NO_REPLACEMENT, optimizer=rates)
    trainer = Trainer(PRESETS["toy"], chosen, source(folder), tmp_path, "cpu")
    before = trainer.ema["quantizer.codebooks.0.codes"].clone()
    trainer.step = USAGE_WINDOW - 1
    trainer.train_step(torch.from_numpy(source(folder).batch(0, 2)).unsqueeze(1))
    assert torch.allclose(trainer.ema["quantizer.codebooks.0.codes"], before, atol=1e-6)
    assert trainer.usage.used >= 1
    trainer.save()
    resumed = Trainer(PRESETS["toy"], chosen, source(folder), tmp_path, "cpu")
    assert resumed.resume()
    assert resumed.usage.used == trainer.usage.used


def test_a_run_too_short_for_an_interval_is_validated_at_its_end(
    folder: Path, tmp_path: Path
) -> None:
    seen: list[Validation] = []
    blip = ("blip", np.full(100, 0.5, dtype=np.float32))
    validator = Validator([blip], torch.device("cpu"))
    chosen = config("toy-lite", max_steps=2, validation={"every": 1000})
    trainer = Trainer(PRESETS["toy-lite"], chosen, source(folder), tmp_path, "cpu", validator)
    trainer.run(Callbacks(validation=seen.append))
    assert [validation.step for validation in seen] == [2]
    assert seen[0].stoi is None and math.isfinite(seen[0].mel)


@FAMILIES
def test_validation_measures_the_average_and_keeps_the_best(
    folder: Path, tmp_path: Path, preset: str
) -> None:
    seen: list[Validation] = []
    clips = excerpts(scan(folder), 4, 1.5)
    chosen = config(preset, max_steps=6, validation={"every": 2})
    validator = Validator(clips, torch.device("cpu"))
    trainer = Trainer(PRESETS[preset], chosen, source(folder), tmp_path, "cpu", validator)
    trainer.run(Callbacks(validation=seen.append))
    assert [validation.step for validation in seen] == [2, 4, 6]
    best = min(seen, key=lambda validation: validation.mel)
    distances = [validation.mel for validation in seen]
    assert [validation.best for validation in seen] == [
        mel < min([math.inf, *distances[:i]]) for i, mel in enumerate(distances)
    ]
    saved = load_model(tmp_path / "best.safetensors")
    assert saved.info.training["steps"] == best.step
    assert saved.info.training["best_mel"] == pytest.approx(best.mel)
    network, weights = trainer.network, trainer.ema
    again = validator.measure(network, weights, 6, math.inf)
    assert again.mel == pytest.approx(seen[-1].mel)
    assert network.training
    for clip in again.clips:
        assert clip.original.shape == clip.restored.shape
    assert again.stoi is not None and -1 <= again.stoi <= 1


def test_portable_checkpoints_carry_a_run(folder: Path, tmp_path: Path) -> None:
    trainer = train("toy-lite", folder, tmp_path / "run", 3)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    files = save_portable(tmp_path / "portable", checkpoint)
    assert is_portable(tmp_path / "portable") and not is_portable(tmp_path / "run")
    assert all(file.stat().st_size <= 15 << 20 for file in files)
    loaded = load_portable(tmp_path / "portable")
    assert (loaded.step, loaded.model, loaded.train) == (3, checkpoint.model, checkpoint.train)
    for part in ("weights", "ema", "discriminators"):
        saved = getattr(checkpoint, part)
        assert set(getattr(loaded, part)) == set(saved)
        for name, value in getattr(loaded, part).items():
            assert torch.equal(value, saved[name].bfloat16().float()), name
    other = Trainer(PRESETS["toy-lite"], trainer.config, source(folder), tmp_path / "b", "cpu")
    other.start_from(loaded.weights, loaded.ema, loaded.discriminators, loaded.step, loaded.facts)
    assert other.step == 3
    (tmp_path / "portable" / "piece-00.safetensors").unlink()
    with pytest.raises(ModelFileError, match="damaged portable checkpoint"):
        load_portable(tmp_path / "portable")


def test_portable_lite_is_small_and_large_tensors_are_cut(tmp_path: Path) -> None:
    model = PRESETS["lite"]
    train_config = recipe_for(model)
    weights = CodecNetwork(model).state_dict()
    large = {"large": torch.arange(24 << 20, dtype=torch.float32).view(-1, 1024)}
    discriminators = CodecLoss(train_config).discriminators.state_dict()
    for extra, limit in ((discriminators, 96 << 20), (large, 140 << 20)):
        checkpoint = Checkpoint(
            step=1,
            model=model,
            train=train_config,
            weights=weights,
            ema=weights,
            discriminators=extra,
            optimizer={},
            facts={},
        )
        files = save_portable(tmp_path / str(limit), checkpoint)
        assert all(file.stat().st_size <= 15 << 20 for file in files)
        assert sum(file.stat().st_size for file in files) <= limit
    loaded = load_portable(tmp_path / str(limit)).discriminators["large"]
    assert torch.equal(loaded, large["large"].bfloat16().float())
