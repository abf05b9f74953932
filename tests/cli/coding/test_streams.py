"""Pipes, parts, batches and devices: one answer, however the data come and go."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.coding.compressor import Compressor
from bigcodec_cli.coding.recording import recording_of_audio
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models import Codec

Here = Callable[..., Any]


def noise(path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    generator = np.random.default_rng(int(seconds * 100) + channels)
    wave = 0.2 * generator.standard_normal((round(seconds * rate), channels))
    soundfile.write(path, wave, rate)
    return path


@pytest.fixture
def codec(toy_model: Path) -> Codec:
    return Codec.load(toy_model)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (8000, 1)])
def test_a_part_is_exactly_what_the_whole_has(
    here: Here, tmp_path: Path, toy_model: Path, rate: int, channels: int
) -> None:
    noise(tmp_path / "a.wav", 21.3, rate, channels)
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    model = ["--model", toy_model]
    assert here("decompress", "a.bcdc", "-o", "whole.wav", *model).code == 0
    whole, _ = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    for start, duration in [("0", 1), ("7.9", 0.3), ("0:16.05", 2), ("20", 9), ("21.3", 1)]:
        options = ["--start", start, "--duration", str(duration), *model]
        assert here("decompress", "-f", "a.bcdc", "-o", "part.wav", *options).code == 0
        part, _ = soundfile.read(tmp_path / "part.wav", dtype="int16")
        first = round(float(start.removeprefix("0:")) * rate)
        assert np.array_equal(part, whole[first : first + round(duration * rate)])
    failed = here("decompress", "-f", "a.bcdc", "-o", "part.wav", "--start", "22", *model)
    assert failed.code == 1 and "is 21.300 s long; --start lies beyond" in failed.stderr


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_give_the_same_bytes(
    here: Here, tmp_path: Path, toy_model: Path, batch: int
) -> None:
    for index, (seconds, rate, channels) in enumerate(
        [(1.0, 16000, 1), (9.0, 8000, 2), (0.0, 16000, 1), (5.1, 44100, 3), (0.01, 16000, 1)]
    ):
        noise(tmp_path / f"{index}.wav", seconds, rate, channels)
    (tmp_path / "3b.wav").write_bytes(b"not audio")
    names = [f"{name}.wav" for name in ("0", "1", "2", "3", "3b", "4")]
    for size, folder in ((1, "one"), (batch, "many")):
        options = ["--batch-size", str(size), "--output-dir", folder, "--model", toy_model]
        ran = here("compress", *names, *options)
        assert ran.code == 1 and "1 of 6 files failed" in ran.stderr
        packed = [f"{folder}/{index}.bcdc" for index in range(5)]
        options[3] = f"{folder}/out"
        assert here("decompress", *packed, *options).code == 0
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert (
            path.read_bytes()
            == (tmp_path / "many" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_long_files_of_several_channels_keep_pace(
    here: Here, tmp_path: Path, toy_model: Path, codec: Codec
) -> None:
    """Above a minute they are coded by themselves, so that no channel runs ahead."""
    noise(tmp_path / "a.wav", 61, 16000, 2)
    noise(tmp_path / "b.wav", 1)
    assert here("compress", "b.wav", "a.wav", "--model", toy_model).code == 0
    tokens = bcdc.read((tmp_path / "a.bcdc").read_bytes()).tokens()
    wave, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    for channel in (0, 1):
        assert np.array_equal(tokens[channel, :, 0], codec.encode(wave[:, channel]))


def test_output_begins_before_the_input_ends(codec: Codec) -> None:
    out, sizes = io.BytesIO(), list[int]()

    def blocks() -> Iterator[Samples]:
        for _ in range(30):
            sizes.append(len(out.getvalue()))
            yield np.zeros((2, 44100), np.float32)

    audio = AudioInput(name="", rate=44100, channels=2, frames=None, blocks=blocks())
    recording = recording_of_audio(
        audio, codec.fingerprint, geometry_of(codec), contextlib.ExitStack()
    )
    compressor = Compressor(recording, out, bcdc.Coder.RAW)
    for piece in codec.encode_streams(recording.sources, 2):
        compressor.take(piece.index, piece.data)
    compressor.finish()
    container = bcdc.read(out.getvalue())
    assert container.num_samples == 30 * 44100
    # A window of the resampler and one of the model: after that, output follows input.
    per_second = container.payload_bytes / 30
    assert sizes[-1] > 14 * per_second and sizes[20] > 4 * per_second


def test_pipes_give_what_files_give(here: Here, tmp_path: Path, toy_model: Path) -> None:
    model = ["--model", toy_model]
    data = noise(tmp_path / "a.wav", 6.5, 22050, 2).read_bytes()
    assert here("compress", "a.wav", *model).code == 0
    packed = (tmp_path / "a.bcdc").read_bytes()
    assert here("compress", "-", *model, stdin=data).stdout == packed
    assert here("compress", "-", "-o", "b.bcdc", *model, stdin=data).stdout == b""
    assert (tmp_path / "b.bcdc").read_bytes() == packed
    assert here("compress", "a.wav", "-o", "-", *model).stdout == packed
    unknown = data[:40] + b"\xff" * 4 + data[44:]
    assert here("compress", "-", *model, stdin=unknown).stdout == packed
    soundfile.write(tmp_path / "a.flac", *soundfile.read(tmp_path / "a.wav", dtype="int16"))
    flac = (tmp_path / "a.flac").read_bytes()
    assert here("compress", "-", *model, stdin=flac).stdout == packed
    raw = ["--raw", "--rate", "22050", "--channels", "2"]
    assert here("compress", "-", *raw, *model, stdin=data[44:]).stdout == packed

    assert here("decompress", "a.bcdc", "-o", "out.wav", *model).code == 0
    restored = (tmp_path / "out.wav").read_bytes()
    assert here("decompress", "-", *model, stdin=packed).stdout == restored
    assert here("decompress", "-", "--raw", *model, stdin=packed).stdout == restored[44:]
    flac = here("decompress", "-", "--format", "flac", *model, stdin=packed).stdout
    wave, _ = soundfile.read(io.BytesIO(flac), dtype="int16")
    assert np.array_equal(wave, soundfile.read(tmp_path / "out.wav", dtype="int16")[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compress", "a.wav", "--device", "gpu"], "is not one of auto, cpu"),
        (["compress", "-", "--json"], "would both go to stdout"),
        (["compress", "-", "a.wav"], "'-' (stdin) goes alone"),
        (["compress", "-", "--raw"], "give its --rate"),
        (["compress", "a.wav", "--rate", "8000"], "describe --raw input only"),
        (["decompress", "a", "--start", "soon"], "'soon' is no time"),
        (["decompress", "a", "--format", "flac", "--pcm", "float"], "FLAC holds integers only"),
    ],
)
def test_options_that_make_no_sense(here: Here, arguments: list[str], words: str) -> None:
    ran = here(*arguments)
    assert ran.code == 2 and words in ran.stderr


@pytest.mark.parametrize("device", ["cuda:77", "mps"])
def test_a_device_that_is_not_there(here: Here, tmp_path: Path, device: str) -> None:
    noise(tmp_path / "a.wav", 0.1)
    ran = here("compress", "a.wav", "--device", device)
    assert ran.code == 1 and f"--device {device}: " in ran.stderr


def peak_kilobytes(*arguments: str | Path) -> int:
    """Peak resident memory of a command, by the kernel's own count."""
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    program = Path(sys.executable).parent / "bigcodec"
    command = [sys.executable, "-c", code, str(program), *map(str, arguments)]
    return int(subprocess.check_output(command, env=os.environ | {"OMP_NUM_THREADS": "1"}))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_memory_does_not_grow_with_the_length(tmp_path: Path, toy_model: Path) -> None:
    """Two channels of four minutes are 30 MB of samples; in one command for both directions."""
    noise(tmp_path / "short.wav", 20, 16000, 2)
    noise(tmp_path / "long.wav", 240, 16000, 2)
    for command, suffix in (("compress", "wav"), ("decompress", "bcdc")):
        peaks = [
            peak_kilobytes(command, tmp_path / f"{name}.{suffix}", "-q", "-f", "--model", toy_model)
            for name in ("short", "long")
        ]
        assert peaks[1] - peaks[0] < 20_000
