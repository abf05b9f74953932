"""Discriminators that travel beside a model file, from export to `train --init`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import soundfile
import torch

from bigcodec_models.checkpoints.discriminator_file import discriminator_file, load_discriminators
from bigcodec_models.discriminators.config import PRESETS as DISCRIMINATORS
from bigcodec_models.discriminators.registry import build_discriminators
from bigcodec_models.registry import builtin_models
from bigcodec_models.training.checkpoint import load_checkpoint

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ["batch_size=1", "crops.seconds=0.5", "losses.mel_windows=[128,512]", "max_steps=1"]
QUICK += ["validation.clips=0", "adversarial.start_step=0"]
TRAINING = Path(__file__).parents[3] / "training"


@pytest.fixture
def data(tmp_path: Path, speech: Path) -> Path:
    wave, _ = soundfile.read(speech, dtype="float32")
    folder = tmp_path / "data"
    folder.mkdir()
    for name, part in (("a", wave[:30000]), ("b", wave[30000:60000])):
        soundfile.write(folder / f"{name}.wav", part, 16000)
    return folder


def train(run: Run, data: Path, out: str, preset: str, *more: str) -> str:
    words = ["train", "--data", str(data), "--preset", "toy-lite", "--out", out]
    for setting in (*QUICK, f"discriminators.preset={preset}"):
        words += ["--set", setting]
    result = run(*words, *more)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_exported_discriminators_are_what_training_goes_on_with(
    in_process: Run, tmp_path: Path, data: Path
) -> None:
    train(in_process, data, "run", "small")
    exported = in_process("export", "run", "-o", "m.safetensors", "--discriminators")
    assert exported.returncode == 0, exported.stderr
    stored = load_discriminators(tmp_path / "m.discriminators.safetensors")
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None and stored.keys() == checkpoint.discriminators.keys()
    assert all(torch.equal(stored[k], v) for k, v in checkpoint.discriminators.items())
    still = ["--set", "adversarial.start_step=9"]  # so that they stay as they begin
    train(in_process, data, "next", "small", "--init", "m.safetensors", *still)
    begun = load_checkpoint(tmp_path / "next")
    assert begun is not None and begun.step == 1
    assert all(torch.equal(stored[k], v) for k, v in begun.discriminators.items())
    said = train(in_process, data, "other", "none", "--init", "m.safetensors")
    assert "discriminators are not" not in said


def test_others_begin_anew_and_damaged_ones_are_named(
    in_process: Run, tmp_path: Path, data: Path
) -> None:
    train(in_process, data, "run", "small")
    assert in_process("export", "run", "-o", "m.safetensors", "--half").returncode == 0
    beside = tmp_path / "m.discriminators.safetensors"
    assert not beside.exists()
    safetensors.torch.save_file({"mpd.other": torch.ones(3)}, beside)
    said = train(in_process, data, "fresh", "small", "--init", "m.safetensors")
    assert "its discriminators are not those of this run: new ones begin" in said
    beside.write_bytes(b"nothing like it")
    words = ["--out", "never", "--preset", "toy-lite", "--init", "m.safetensors"]
    failed = in_process("train", "--data", data, *words)
    assert failed.returncode == 1
    assert "m.discriminators.safetensors: cannot be read as discriminators" in failed.stderr


def test_a_run_without_discriminators_has_none_to_export(in_process: Run, data: Path) -> None:
    train(in_process, data, "run", "none")
    failed = in_process("export", "run", "-o", "m.safetensors", "--discriminators")
    assert failed.returncode == 1
    assert "run: was trained without discriminators; leave --discriminators out" in failed.stderr


@pytest.mark.skipif(not TRAINING.is_dir(), reason="not a checkout: packages leave training/ out")
def test_those_of_the_newest_shipped_model_are_in_the_checkout() -> None:
    """They are what training with the published ones goes on with."""
    shipped = builtin_models()[-1].path
    place = TRAINING / discriminator_file(shipped).name
    expected = build_discriminators(DISCRIMINATORS["published"]).state_dict()
    stored = load_discriminators(place)
    assert {k: v.shape for k, v in stored.items()} == {k: v.shape for k, v in expected.items()}
