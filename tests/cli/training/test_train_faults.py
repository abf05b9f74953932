"""`bigcodec train` where a start fails, a clip cannot be read, or a checkpoint is damaged."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_cli.training.log import read_log
from bigcodec_models.training.layout import find_checkpoints

Run = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ["batch_size=2", "crops.seconds=0.5", "losses.mel_windows=[128,512]", "log_every=1"]
QUICK += ["validation.seconds=0.5", "discriminators.preset=none"]


@pytest.fixture
def bigcodec(in_process: Run) -> Run:
    """Commands in this process."""
    return in_process


@pytest.fixture
def data(tmp_path: Path, speech: Path) -> Path:
    wave, _ = soundfile.read(speech, dtype="float32")
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data" / "one.wav", wave[:40000], 16000)
    soundfile.write(tmp_path / "data" / "two.wav", wave[40000:], 16000)
    return tmp_path / "data"


def arguments(*settings: str, out: str = "run") -> list[str]:
    words = ["train", "--data", "data", "--preset", "toy-lite", "--out", out]
    return words + [word for setting in (*QUICK, *settings) for word in ("--set", setting)]


def damaged(path: Path) -> Path:
    """A FLAC file whose header is whole and whose frames are not."""
    content = bytearray(path.read_bytes())
    content[100:] = bytes(len(content) - 100)
    path.write_bytes(content)
    return path


def unreadable(folder: Path, wave: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Path:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "bad.flac", wave, 16000)
    return damaged(folder / "bad.flac")


def test_a_first_step_that_fails_leaves_nothing(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in ("runs/deep/run", "empty"):
        result = bigcodec(*arguments("losses.mel_weight=1e38", "max_steps=2", out=out))
        assert result.returncode == 1 and "nothing is saved" in result.stderr, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_what_was_in_a_folder_before_stays(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    result = bigcodec(*arguments("losses.mel_weight=1e38", "max_steps=2"))
    assert result.returncode == 1
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_step_that_fails_later_keeps_the_run(bigcodec: Run, tmp_path: Path, data: Path) -> None:
    assert bigcodec(*arguments("max_steps=1")).returncode == 0
    result = bigcodec(*arguments("losses.mel_weight=1e38", "max_steps=2"))
    assert result.returncode == 1 and "not finite" in result.stderr
    assert [path.name for path in find_checkpoints(tmp_path / "run")] == ["step-00000001"]


def test_one_unreadable_validation_clip_is_passed_over(
    bigcodec: Run, tmp_path: Path, data: Path, speech: Path
) -> None:
    wave, _ = soundfile.read(speech, dtype="float32")
    bad = unreadable(tmp_path / "held", wave[:20000])
    alone = bigcodec(*arguments("max_steps=1", out="alone"), "--validation", "held")
    assert alone.returncode == 0, alone.stderr
    assert f"{bad.name}: " in alone.stderr
    assert "no clip to validate on can be read: the run goes without validation" in alone.stderr
    assert not (tmp_path / "alone" / "best.safetensors").exists()
    soundfile.write(tmp_path / "held" / "good.wav", wave[:20000], 16000)
    beside = bigcodec(*arguments("max_steps=1", out="beside"), "--validation", "held")
    assert beside.returncode == 0, beside.stderr
    assert f"{bad.name}: " in beside.stderr and "without validation" not in beside.stderr
    assert (tmp_path / "beside" / "best.safetensors").exists()


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "optimizer.safetensors"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    bigcodec: Run, tmp_path: Path, data: Path, name: str
) -> None:
    for steps in ("1", "2"):
        assert bigcodec(*arguments(f"max_steps={steps}")).returncode == 0
    older, newer = find_checkpoints(tmp_path / "run")
    (newer / name).write_bytes((newer / name).read_bytes()[:99])
    result = bigcodec(*arguments("max_steps=3"))
    assert result.returncode == 0, result.stderr
    assert newer.name in result.stderr and "the checkpoint before it is used" in result.stderr
    assert "resumed run at step 1" in result.stderr
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000001", "step-00000002.damaged", "step-00000003"]
    reports = (r for r in read_log(tmp_path / "run" / "log.jsonl") if r["event"] == "progress")
    assert [row["step"] for row in reports] == [1, 2, 3]


def test_a_run_without_any_whole_checkpoint_is_refused(
    bigcodec: Run, tmp_path: Path, data: Path
) -> None:
    assert bigcodec(*arguments("max_steps=1")).returncode == 0
    (folder,) = find_checkpoints(tmp_path / "run")
    (folder / "ema.safetensors").unlink()
    result = bigcodec(*arguments("max_steps=2"))
    assert result.returncode == 1 and "ema.safetensors" in result.stderr
    assert "Traceback" not in result.stderr
    assert folder.is_dir() and (tmp_path / "run" / "log.jsonl").exists()


def test_another_run_begins_with_the_newest_whole_checkpoint(
    bigcodec: Run, tmp_path: Path, data: Path
) -> None:
    for steps in ("1", "2"):
        assert bigcodec(*arguments(f"max_steps={steps}")).returncode == 0
    newer = find_checkpoints(tmp_path / "run")[-1]
    (newer / "model.safetensors").write_bytes(b"")
    result = bigcodec(*arguments("max_steps=1", out="other"), "--init", "run")
    assert result.returncode == 0, result.stderr
    assert "the checkpoint before it is used" in result.stderr
    assert newer.is_dir()  # nothing is renamed in a run that is only read
