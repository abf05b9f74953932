"""`compress --latency`: how soon the bytes of a sound come, and that they are the same however."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.compressor import Compressor
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.coding.recording import recording_of_audio
from bigcodec_cli.model_store.headers import geometry_of

Here = Callable[..., Any]
BLOCK_BYTES = 265
"""A raw block of two seconds of lite-5: 160 tokens of 13 bits, length code and checksum."""


@pytest.fixture
def pcm(speech: Path) -> bytes:
    """Some seconds of speech as PCM, 16 bits, 16 kHz."""
    samples, _ = soundfile.read(speech, dtype="int16")
    return bytes(samples.tobytes())


def received(process: subprocess.Popen[bytes], count: int, seconds: float) -> bytes:
    """What a process writes, up to so many bytes or seconds."""
    data, end = b"", time.monotonic() + seconds
    assert process.stdout is not None
    while len(data) < count and time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.1)[0]:
            data += os.read(process.stdout.fileno(), count - len(data))
    return data


@pytest.mark.parametrize(("engine", "latency"), [("onnx", "2.3"), ("torch", "2.7")])
def test_a_block_is_written_while_its_input_goes_on(
    tmp_path: Path, pcm: bytes, engine: str, latency: str
) -> None:
    """Exactly so many seconds are fed, and no end: the block of the first two must come."""
    command = [sys.executable, "-m", "bigcodec_cli", "compress", "--raw", "--rate", "16000", "-"]
    fed = 2 * round(float(latency) * 16000)
    with subprocess.Popen(
        [*command, "--model", "lite-5", "--engine", engine, "--latency", latency],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "BIGCODEC_HOME": str(tmp_path)},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(pcm[:fed])
        process.stdin.flush()
        start = received(process, bcdc.HEADER_BYTES + BLOCK_BYTES, 300)
        assert len(start) == bcdc.HEADER_BYTES + BLOCK_BYTES
        process.stdin.write(pcm[fed:])
        process.stdin.close()
        container = bcdc.read(start + process.stdout.read())
    assert process.returncode == 0 and container.num_samples == len(pcm) // 2
    assert container.header.coder is bcdc.Coder.RAW


def seconds_before_the_first_block(latency: float | None) -> float:
    """How much audio the default model reads before it gives the first bytes of a sound, of a
    stream at 16 kHz that comes in tenths of a second."""
    encoder = AudioEncoder.load(CompressConfig(model="lite-5", device="cpu", latency=latency))
    out, read = io.BytesIO(), 0

    def blocks() -> Iterator[Samples]:
        nonlocal read
        while len(out.getvalue()) <= header:
            read += 1
            yield np.zeros((1, 1600), np.float32)

    audio = AudioInput(name="", rate=16000, channels=1, frames=None, blocks=blocks())
    geometry, fingerprint = geometry_of(encoder.codec), encoder.codec.fingerprint
    recording = recording_of_audio(audio, fingerprint, geometry, contextlib.ExitStack())
    compressor = Compressor(recording, out, encoder.coder, encoder.prior)
    header = len(out.getvalue())
    for piece in encoder.stream(encoder.codec, recording.sources, 1):
        compressor.take(piece.index, piece.data)
    return read / 10


@pytest.mark.parametrize(
    ("latency", "seconds"), [(None, 32.3), (2.3, 2.3), (4, 3.9), (8.3, 8.3), (20, 9.9)]
)
def test_how_long_it_takes(latency: float | None, seconds: float) -> None:
    """The figures of docs/performance.md."""
    assert seconds_before_the_first_block(latency) == seconds


@pytest.mark.parametrize("latency", ["2.3", "3", "9"])
def test_files_pipes_and_batches_give_the_same(
    here: Here, tmp_path: Path, f0_model: Path, pcm: bytes, latency: str
) -> None:
    samples = np.frombuffer(pcm * 2, np.int16)
    for name, length in (("a", 93_000), ("b", 12_345), ("c", 180_000)):
        soundfile.write(tmp_path / f"{name}.wav", samples[:length], 16000)
    options = ["--model", f0_model, "--latency", latency]
    assert here("compress", "a.wav", "b.wav", "c.wav", *options, "--output-dir", "many").code == 0
    for name in "abc":
        assert here("compress", f"{name}.wav", *options, "--batch-size", "1").code == 0
        alone = (tmp_path / f"{name}.bcdc").read_bytes()
        assert alone == (tmp_path / "many" / f"{name}.bcdc").read_bytes()
        piped = here("compress", "-", *options, stdin=(tmp_path / f"{name}.wav").read_bytes())
        assert piped.stdout == alone
        assert here("decompress", "-f", f"{name}.bcdc", "--model", f0_model).code == 0
        restored = soundfile.info(tmp_path / f"{name}.wav")
        assert restored.frames == bcdc.read(alone).num_samples


def test_other_rates_are_resampled_in_shorter_windows(
    here: Here, tmp_path: Path, f0_model: Path, pcm: bytes
) -> None:
    """Two seconds more, which a file cannot show; its tokens hardly change."""
    soundfile.write(tmp_path / "a.wav", np.frombuffer(pcm * 3, np.int16), 22_050)
    tokens = []
    for latency in ("4", "10"):
        options = ["--model", f0_model, "--latency", latency, "-f"]
        assert here("compress", "a.wav", *options).code == 0
        tokens.append(bcdc.read((tmp_path / "a.bcdc").read_bytes()))
    assert np.array_equal(tokens[0].tokens(), tokens[1].tokens())
    assert here("compress", "a.wav", "--model", f0_model, "--coder", "raw", "-f").code == 0
    usual = bcdc.read((tmp_path / "a.bcdc").read_bytes()).tokens()
    assert (usual == tokens[0].tokens()).mean() > 0.98


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--latency", "2.1"], "--latency 2.1: with --coder raw at least 2.2 s"),
        (["--latency", "8", "--coder", "adaptive"], "with --coder adaptive at least 8.2 s"),
    ],
)
def test_what_cannot_be_is_refused(
    here: Here, tmp_path: Path, f0_model: Path, options: list[str], words: str
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    ran = here("compress", "a.wav", "--model", f0_model, *options)
    assert ran.code == 1 and words in ran.stderr
    assert not (tmp_path / "a.bcdc").exists()
