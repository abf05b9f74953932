"""`bigcodec train` in several processes, started by torchrun as a user starts it, against one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import soundfile
import torch

from bigcodec_models.training.layout import find_checkpoints

Here = Callable[..., Any]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
BIGCODEC = str(Path(sys.executable).with_name("bigcodec"))
SETTINGS = ["batch_size=4", "crops.seconds=0.5", "losses.mel_windows=[128,512]"]
SETTINGS += ["validation.seconds=0.5", "discriminators.preset=small"]
SETTINGS += ["adversarial.start_step=1", "adversarial.every=1"]
REPLACEMENT = 3  # codes that replace dead ones come from one process's latents
SETTINGS += [
    f"codebook.replace_dead_codes_every={REPLACEMENT}",
    "log_every=1",
    "optimizer.learning_rate=1e-3",
    "optimizer.warmup_steps=0",
]


@pytest.fixture
def data(tmp_path: Path, speech: Path) -> Path:
    wave, _ = soundfile.read(speech, dtype="float32")
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data" / "one.wav", wave[:40000], 16000)
    soundfile.write(tmp_path / "data" / "two.wav", wave[40000:], 16000)
    return tmp_path / "data"


def words(run: str, steps: int) -> list[str]:
    settings = [w for s in (*SETTINGS, f"max_steps={steps}") for w in ("--set", s)]
    return ["train", "--data", "data", "--preset", "toy-lite", "--out", run, *settings]


def train(here: Here, run: str, steps: int) -> str:
    """By one process, which is this one."""
    ran = here(*words(run, steps))
    assert ran.code == 0, ran.stderr
    return str(ran.stderr)


def train_together(folder: Path, run: str, steps: int) -> str:
    command = [*TORCHRUN, "--no-python", BIGCODEC, *words(run, steps)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["losses"] for row in rows if row["event"] == "progress"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    folder = find_checkpoints(run)[-1]
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_two_processes_train_as_one_does(here: Here, tmp_path: Path, data: Path) -> None:
    """The same losses step by step, of which all but the first depend on all gradients; begun by
    two and carried on by one."""
    train(here, "alone", 5)
    said = train_together(tmp_path, "both", 3)
    assert said.count("saved at step 3 in both") == 1
    assert "resumed both at step 3" in train(here, "both", 5)
    alone, both = losses(tmp_path / "alone"), losses(tmp_path / "both")
    assert len(alone) == len(both) == 5 and "adversarial" in alone[1]
    for step, (one, two) in enumerate(zip(alone, both, strict=True)):
        same = one.keys() - ({"vq"} if step >= REPLACEMENT else set())
        assert {k: two[k] for k in same} == pytest.approx({k: one[k] for k in same}, rel=5e-3)
    resumed, expected = weights(tmp_path / "both"), weights(tmp_path / "alone")
    for name in expected.keys() - {"quantizer.codebooks.0.codes"}:
        # AdamW's first steps take the sign of a gradient, however small it is.
        difference = (resumed[name] - expected[name]).norm()
        assert difference <= 0.02 * expected[name].norm() + 0.01, name
