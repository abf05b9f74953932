"""`bigcodec train` and `export` as a user runs them, on real speech."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import soundfile
import torch

from bigcodec_cli.training.log import read_log
from bigcodec_models import Codec
from bigcodec_models.checkpoints.model_file import load_model
from bigcodec_models.training.layout import find_checkpoints

Run = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ["batch_size=2", "crops.seconds=0.5", "losses.mel_windows=[128,512]", "log_every=2"]
QUICK += ["validation.seconds=0.5", "validation.every=4", "adversarial.start_step=2"]
QUICK += ["discriminators.preset=small"]


@pytest.fixture
def bigcodec(in_process: Run) -> Run:
    """Commands in this process, where a test does not name `new_process`."""
    return in_process


@pytest.fixture
def data(tmp_path: Path, speech: Path) -> Path:
    wave, _ = soundfile.read(speech, dtype="float32")
    folder = tmp_path / "speech data"
    folder.mkdir()
    soundfile.write(folder / "one.wav", wave[:40000], 16000)
    soundfile.write(folder / "two.flac", wave[40000:], 22050)
    return folder


def arguments(data: Path, run: str, *settings: str, preset: str = "toy-lite") -> list[str]:
    words = ["train", "--data", str(data), "--preset", preset, "--out", run]
    return words + [word for setting in (*QUICK, *settings) for word in ("--set", setting)]


def ok(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stderr
    return result


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Everything in the newest checkpoint, by file and name."""
    folder = find_checkpoints(run)[-1]
    return {
        f"{path.name}/{name}": tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in safetensors.torch.load_file(path).items()
    }


def test_a_budget_is_for_the_whole_command(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    start = time.monotonic()
    words = [*arguments(data, "run", "budget.adversarial_from=0"), "--budget", "20s"]
    result = ok(bigcodec(*words))
    assert time.monotonic() - start < 40
    rows = read_log(tmp_path / "run" / "log.jsonl")
    last = [row for row in rows if row["event"] == "progress"][-1]
    assert "adversarial" in last["losses"] and last["expected_steps"] < 600_000
    assert "to max_steps" not in result.stderr
    (checkpoint,) = find_checkpoints(tmp_path / "run")[-1:]
    assert json.loads((checkpoint / "state.json").read_text())["train"]["budget"]["seconds"] == 20


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_a_new_process_goes_on_bit_for_bit(
    bigcodec: Run, new_process: Run, tmp_path: Path, data: Path, preset: str
) -> None:
    often = ["log_every=1", "validation.every=2", "adversarial.start_step=1"]
    ok(bigcodec(*arguments(data, "whole", *often, "max_steps=4", preset=preset)))
    first = ok(bigcodec(*arguments(data, "cut", *often, "max_steps=2", preset=preset)))
    assert "to go on" not in first.stderr
    result = ok(new_process("train", "--out", "cut", "--set", "max_steps=4"))
    assert "resumed cut at step 2" in result.stderr
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert set(whole) == set(cut) and any("discriminators" in name for name in cut)
    for name in whole:
        assert torch.equal(whole[name], cut[name]), name
    steps = [row["step"] for row in read_log(tmp_path / "cut" / "log.jsonl")]
    assert steps == [1, 2, 2, 3, 4, 4]


def test_the_folder_of_a_run_holds_what_is_documented(
    bigcodec: Run, tmp_path: Path, data: Path
) -> None:
    result = ok(bigcodec(*arguments(data, "run", "max_steps=4")))
    run = tmp_path / "run"
    assert (
        "validating on excerpts of 1 files" in result.stderr
        and "saved at step 4 in run" in result.stderr
        and result.stderr.endswith("next: bigcodec export run -o run.safetensors\n")
    )
    config = json.loads((run / "config.json").read_text())
    assert config["preset"] == "toy-lite" and config["train"]["batch_size"] == 2
    assert config["data"] == [[str(data), None]]
    assert "<svg" in (run / "summary.html").read_text()
    assert load_model(run / "best.safetensors").info.training["steps"] == 4
    names = {path.name for path in run.iterdir()}
    assert {"checkpoints", "config.json", "index.json", "log.jsonl", "summary.html"} <= names


def test_typed_as_short_as_possible(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    """The paper's model: it begins, says what it will take here, names lite, and stops in time."""
    result = ok(
        bigcodec(
            "train", "--data", data, "--max-time", "15s", "--set", "model.encoder_width=2",
            "--set", "model.latent_dim=16", "--set", "model.decoder_width=32",
            "--set", "batch_size=1", "--set", "discriminators.preset=small",
        )
    )  # fmt: skip
    first, *_, pace = [line for line in result.stderr.splitlines() if "this CPU" in line]
    assert re.match(
        r"bigcodec has \S+[kM] parameters: on this CPU about \d\.\d GB of memory and ", first
    )
    assert pace.startswith("about ") and " s a step on this CPU, " in pace
    assert all(line.endswith("; --preset lite is made for a CPU") for line in (first, pace))
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("bigcodec-")
    assert len(find_checkpoints(run)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_leave_cleanly(tmp_path: Path, data: Path, number: int) -> None:
    process = start(tmp_path, *arguments(data, "run"))
    wait_for(lambda: (tmp_path / "run" / "log.jsonl").exists(), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    (checkpoint,) = find_checkpoints(tmp_path / "run")
    assert "to go on: bigcodec train --out run" in errors
    assert f"saved at step {int(checkpoint.name.removeprefix('step-'))}" in errors


def test_a_killed_run_goes_on_from_its_last_save(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    process = start(tmp_path, *arguments(data, "run", "checkpoints.every_minutes=0.002"))
    wait_for(lambda: len(find_checkpoints(tmp_path / "run")) == 2, process)
    process.kill()
    process.communicate(timeout=60)
    step = int(find_checkpoints(tmp_path / "run")[-1].name.removeprefix("step-"))
    result = ok(bigcodec("train", "--out", "run", "--set", f"max_steps={step + 3}"))
    assert f"resumed run at step {step}" in result.stderr
    leftovers = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert all(re.fullmatch(r"step-\d{8}", name) for name in leftovers)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "bigcodec"), *words]
    return subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def test_settings_come_from_file_and_options_in_this_order(
    bigcodec: Run, tmp_path: Path, data: Path
) -> None:
    (tmp_path / "my.toml").write_text(
        'preset = "toy-lite"\nbatch_size = 3\nseed = 5\nmax_steps = 1\n'
        "[optimizer]\nwarmup_steps = 7\nbeta1 = 0.5\n[model]\nlatent_dim = 8\n"
    )
    words = ["--set", "seed=6", "--set", "discriminators.preset=none"]
    words += ["--set", "optimizer.beta1=0.6"]
    ok(bigcodec("train", "--data", data, "--config", "my.toml", "--out", "r", *words))
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert (config["train"]["batch_size"], config["train"]["seed"]) == (3, 6)
    optimizer = config["train"]["optimizer"]
    assert (optimizer["warmup_steps"], optimizer["beta1"], optimizer["beta2"]) == (7, 0.6, 0.99)
    assert config["model"]["latent_dim"] == 8 and config["preset"] == "toy-lite"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "toy"], "Missing option '--data'"),
        (["--data", "speech data", "--preset", "huge"], "no preset 'huge'"),
        (
            ["--data", "speech data", "--set", "speed=1"],
            "unknown setting 'speed'; did you mean 'seed'?",
        ),
        (
            ["--data", "speech data", "--set", "learning_rate=1"],
            "did you mean 'optimizer.learning_rate'?",
        ),
        (
            ["--data", "speech data", "--set", "discriminator_start_step=1"],
            "mean 'adversarial.start_step'?",
        ),
        (["--data", "speech data", "--set", "latent_dim=8"], "did you mean 'model.latent_dim'?"),
        (
            ["--data", "speech data", "--set", "unit_codes=true"],
            "'model.quantizer.l2_normalized_codes'?",
        ),
        (
            ["--data", "speech data", "--set", "model.latent_dims=8"],
            "model: unknown setting 'latent_dims'",
        ),
        (["--data", "speech data", "--set", "seed"], "must be KEY=VALUE"),
        (["--data", "speech data", "--set", "seed=x"], "seed must be int"),
        (["--data", "speech data", "--set", "model.latent_dim=0"], "latent_dim must be between"),
        (["--data", "speech data", "--set", "model=3"], "expected a table"),
        (["--data", "speech data", "--set", "crops=3"], "crops must be a table"),
        (["--data", "speech data", "--max-time", "soon"], "is no duration"),
        (["--data", "d=0.5", "--data", "e=0.5", "--data", "f"], "must leave some"),
    ],
)
def test_wrong_usage_is_reported_before_the_first_step(
    bigcodec: Run, data: Path, words: list[str], message: str
) -> None:
    result = bigcodec("train", *words)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "none"], "none: no such folder"),
        (["--data", ".", "--config", "none.toml"], "none.toml: cannot be read"),
        (["--data", ".", "--init", "nobody"], "nobody: no such model or file"),
        (["--data", ".", "--set", "crops.noise_probability=0.5"], "no folder of noise"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    bigcodec: Run, tmp_path: Path, data: Path, words: list[str], message: str
) -> None:
    before = sorted(tmp_path.iterdir())
    result = bigcodec("train", "--preset", "toy-lite", "--out", "runs/r", *words)
    assert result.returncode == 1, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_runs_cannot_change_their_nature(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    ok(bigcodec(*arguments(data, "run", "max_steps=1")))
    for words, message in (
        (["--preset", "toy"], "holds a run of preset 'toy-lite'"),
        (["--init", "lite"], "--init begins a new one"),
        (["--set", "model.latent_dim=4"], "the model of a run cannot change"),
    ):
        result = bigcodec("train", "--out", "run", *words)
        assert result.returncode == 2 and message in result.stderr, result.stderr


def test_fine_tuning_begins_with_published_weights(
    bigcodec: Run, tmp_path: Path, data: Path, golden: Path
) -> None:
    shape = ["encoder_width=2", "encoder_strides=[2,4,5,5]", "latent_dim=12", "decoder_width=32"]
    shape += ["decoder_strides=[5,5,4,2]", "quantizer.codebook_size=300"]
    words = arguments(data, "run", "max_steps=1", "optimizer.learning_rate=1e-12", preset="toy")
    words += ["--set", "optimizer.final_learning_rate=0", "--set", "optimizer.weight_decay=0"]
    words += ["--set", "codebook.replace_dead_codes_every=100"]
    words += [word for setting in shape for word in ("--set", f"model.{setting}")]
    result = ok(bigcodec(*words, "--init", golden / "golden_lightning.ckpt"))
    assert "from " in result.stderr and "new ones begin" in result.stderr
    tuned = load_model(find_checkpoints(tmp_path / "run")[-1] / "model.safetensors")
    start = Codec.load(golden / "golden_release.pt")
    assert tuned.info.training["init"] == "golden_lightning"
    ok(bigcodec("export", "run", "-o", "m.safetensors", "--name", "tuned"))
    wave, _ = soundfile.read(data / "one.wav", dtype="float32")
    latents = Codec.load(tmp_path / "m.safetensors").latents(wave)
    assert abs(latents - start.latents(wave)).max() < 1e-4
    wrong = bigcodec(*arguments(data, "other"), "--init", golden / "golden_release.pt")
    assert wrong.returncode == 1 and "does not fit this preset" in wrong.stderr
    assert not (tmp_path / "other").exists()


def test_a_run_moves_between_machines(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    ok(bigcodec(*arguments(data, "here", "max_steps=3")))
    ok(bigcodec("export", "here", "--portable", "-o", "parcel"))
    assert bigcodec("export", "here", "--portable", "-o", "parcel").returncode == 1
    again = [*arguments(data, "there", "max_steps=5"), "--init", "parcel"]
    result = ok(bigcodec(*again))
    assert "not exact" in result.stderr and "saved at step 5" in result.stderr
    assert "resumed there at step 5" in ok(bigcodec(*again)).stderr  # the very same command
    model = load_model(find_checkpoints(tmp_path / "there")[-1] / "ema.safetensors")
    assert model.info.training["inexact_resumes"] == 1


def test_export_makes_model_files(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    ok(bigcodec(*arguments(data, "run", "max_steps=4")))
    ok(bigcodec("export", "run", "-o", "full.safetensors"))
    ok(bigcodec("export", "run", "-o", "half.safetensors", "--half", "--best", "--name", "x"))
    assert bigcodec("export", "run", "-o", "full.safetensors").returncode == 1
    half = load_model(tmp_path / "half.safetensors")
    assert half.info.name == "x" and half.info.training["steps"] == 4
    assert {tensor.dtype for tensor in half.tensors.values()} == {torch.float16}
    empty = bigcodec("export", ".", "-o", "none.safetensors")
    assert empty.returncode == 1 and "holds no checkpoint" in empty.stderr
