"""What becomes of odd audio: each kind has one answer, and it is written down here."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import bcdc

Here = Callable[..., Any]
Wave = npt.NDArray[np.float32]
TAGS = {"title": "Träume", "artist": "N. N.", "comment": "two\nlines", "date": "2024"}


@pytest.fixture
def there_and_back(here: Here, tmp_path: Path, toy_model: Path) -> Callable[..., Wave]:
    """Samples (n, channels) of a file that went through both commands."""

    def through(name: str, *options: str) -> Wave:
        model = ["--model", str(toy_model)]
        assert here("compress", name, "-o", "x.bcdc", "-f", *model).code == 0
        ran = here("decompress", "x.bcdc", "-f", "-o", "x.wav", *options, *model)
        assert ran.code == 0, ran.stderr
        wave: Wave = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)[0]
        return wave

    return through


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "samples"),
    [
        (16000, 1, "PCM_U8", 5000),
        (96000, 1, "PCM_24", 96000),
        (48000, 8, "PCM_16", 20000),
        (8000, 2, "ULAW", 4000),
        (11025, 1, "FLOAT", 1),
        (44100, 2, "PCM_16", 0),
        (192000, 1, "PCM_16", 100),
        (300, 1, "PCM_16", 1000),
    ],
)
def test_any_rate_depth_and_channel_count(
    there_and_back: Callable[..., Wave],
    tmp_path: Path,
    rate: int,
    channels: int,
    subtype: str,
    samples: int,
) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (samples, channels))
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype=subtype)
    restored = there_and_back("a.wav")
    assert restored.shape == (samples, channels)
    assert soundfile.info(tmp_path / "x.wav").samplerate == rate


@pytest.mark.parametrize("level", [0.0, 0.9, -1.0])
def test_silence_and_constants(
    there_and_back: Callable[..., Wave], tmp_path: Path, level: float
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16000, level), 16000, subtype="FLOAT")
    restored = there_and_back("a.wav", "--pcm", "float")
    assert restored.shape == (16000, 1) and np.isfinite(restored).all()


def test_samples_beyond_full_scale_are_coded_as_they_are(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    """A file that clips on playing is no reason to clip what is coded."""
    wave = 3 * np.sin(np.arange(16000) / 5).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", wave, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", wave.clip(-1, 1), 16000, subtype="FLOAT")
    tokens = []
    for name in ("loud", "cut"):
        assert here("compress", f"{name}.wav", "--model", toy_model).code == 0
        tokens.append(bcdc.read((tmp_path / f"{name}.bcdc").read_bytes()).tokens())
    assert not np.array_equal(tokens[0], tokens[1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("piped", [False, True])
def test_numbers_that_are_none_are_refused(
    here: Here, tmp_path: Path, toy_model: Path, value: float, piped: bool
) -> None:
    wave = np.zeros(100_000)
    wave[90_000] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    data = (tmp_path / "a.wav").read_bytes() if piped else b""
    source = "-" if piped else "a.wav"
    ran = here("compress", source, "-o", "a.bcdc", "--model", toy_model, stdin=data)
    assert ran.code == 1 and "samples that are not finite numbers; repair it" in ran.stderr
    assert not (tmp_path / "a.bcdc").exists()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_tags_are_carried_through(here: Here, tmp_path: Path, toy_model: Path, suffix: str) -> None:
    model = ["--model", str(toy_model)]
    with soundfile.SoundFile(tmp_path / f"a.{suffix}", "w", 16000, 1) as file:
        for name, text in TAGS.items():
            setattr(file, name, text)
        file.write(np.zeros(1000))
    assert here("compress", f"a.{suffix}", *model).code == 0
    assert dict(bcdc.read((tmp_path / "a.bcdc").read_bytes()).header.tags) == TAGS
    for out in ("wav", "flac", "ogg"):
        assert here("decompress", "a.bcdc", "-o", f"out.{out}", *model).code == 0
        with soundfile.SoundFile(tmp_path / f"out.{out}") as file:
            assert {name: getattr(file, name) for name in TAGS} == TAGS


def test_a_tag_too_long_is_left_out_and_told(here: Here, tmp_path: Path, toy_model: Path) -> None:
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 16000, 1) as file:
        file.title, file.comment = "kept", "x" * 70_000
        file.write(np.zeros(1000))
    ran = here("compress", "a.flac", "--model", toy_model)
    assert ran.code == 0 and "a tag is too long" in ran.stderr
    assert bcdc.read((tmp_path / "a.bcdc").read_bytes()).header.tags == (("title", "kept"),)


def test_formats_that_cannot_hold_the_audio_say_so(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 9)), 16000)
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    ran = here("decompress", "a.bcdc", "-o", "o.flac", "--model", toy_model)
    assert ran.code == 1 and "flac cannot hold 9 channels at 16000 Hz" in ran.stderr
    assert not (tmp_path / "o.flac").exists()


def test_floats_of_another_scale_are_refused(here: Here, tmp_path: Path, toy_model: Path) -> None:
    """16-bit numbers in a file of floats; what is loud is coded."""
    wave = 0.5 * np.sin(np.arange(4000) / 9)
    for name, factor in (("wrong.wav", 32767), ("loud.wav", 20)):
        soundfile.write(tmp_path / name, factor * wave, 16000, subtype="FLOAT")
    ran = here("compress", "wrong.wav", "loud.wav", "--model", toy_model)
    assert (
        ran.code == 1 and "wrong.wav: samples reach 16383.5 where full scale is 1.0" in ran.stderr
    )
    assert [path.name for path in tmp_path.glob("*.bcdc")] == ["loud.bcdc"]


WRITE_BEYOND_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from bigcodec_cli.audio.pcm import Encoding
from bigcodec_cli.audio.writer import AudioForm, open_sink
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
kind, wave = sys.argv[1], np.random.default_rng(0).uniform(-1, 1, (1, 160000)).astype(np.float32)
form = AudioForm(kind=kind, encoding=Encoding.S16, rate=16000, channels=1, frames=160000)
try:
    sink = open_sink(Path("out"), form)
    sink.write(wave)
    sink.finish()
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("limit", [20, 20_000])
def test_a_file_that_cannot_grow_is_told_in_the_words_of_the_system(
    tmp_path: Path, kind: str, limit: int
) -> None:
    command = [sys.executable, "-c", WRITE_BEYOND_LIMIT, kind, str(limit)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (os.strerror(errno.EFBIG) + "\n", "")
