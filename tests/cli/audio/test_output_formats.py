"""What is written is what the suffix says, and a suffix that cannot be written is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.audio.pcm import Encoding
from bigcodec_cli.audio.writer import KINDS, SUFFIXES, AudioForm, is_streamed, open_sink
from bigcodec_cli.console.messages import CliError

Here = Callable[..., Any]
WRITTEN = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_what_its_suffix_says(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path, suffix: str
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    ran = here("decompress", "a.bcdc", "-o", f"x{suffix}", "--model", toy_model)
    assert ran.code == 0, ran.stderr
    if suffix not in WRITTEN:
        assert (tmp_path / f"x{suffix}").stat().st_size == 2 * 480_000
        return
    info = soundfile.info(tmp_path / f"x{suffix}")
    assert (info.format, info.subtype) == WRITTEN[suffix]
    assert (info.samplerate, info.channels, info.frames) == (16000, 1, 480_000)


def test_a_folder_and_a_pipe_of_opus(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    options = ["--format", "opus", "--model", toy_model]
    assert here("decompress", "a.bcdc", "--output-dir", "o", *options).code == 0
    assert soundfile.info(tmp_path / "o" / "a.opus").subtype == "OPUS"
    ran = here("decompress", "-", *options, stdin=packed)
    assert soundfile.info(io.BytesIO(ran.stdout)).frames == 480_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [5512, 16000, 22050, 44100, 96000])
def test_tones_of_every_rate_come_back(tmp_path: Path, kind: str, rate: int) -> None:
    """Resampled where a kind does not know the rate; as long as before, and at the same pitch."""
    seconds, path = 3, tmp_path / "x"
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(seconds * rate) / rate).astype(np.float32)
    form = AudioForm(
        kind=kind, encoding=Encoding.S16, rate=rate, channels=1, frames=len(wave), tags=()
    )
    with contextlib.closing(open_sink(path, form)) as sink:
        for start in range(0, len(wave), 7000):
            sink.write(wave[None, start : start + 7000])
        sink.finish()
    if kind == "raw":
        assert path.stat().st_size == 2 * len(wave)
        return
    samples, written = soundfile.read(path)
    assert len(samples) == -(-len(wave) * written // rate)
    assert written == rate or (kind in ("opus", "mp3") and written >= min(rate, 48000))
    middle = samples[written : 2 * written]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert np.sqrt(np.mean(np.square(middle))) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    form = AudioForm(kind="mp3", encoding=Encoding.S16, rate=16000, channels=3, frames=16000)
    with pytest.raises(CliError, match="mp3 cannot hold 3 channels at 16000 Hz; use --format wav"):
        open_sink(tmp_path / "x", form)
    for kind in ("mp3", "opus", "flac"):
        empty = dataclasses.replace(form, kind=kind, channels=1, frames=0)
        with pytest.raises(CliError, match="cannot hold a recording without samples"):
            open_sink(tmp_path / "x", empty)
    assert not (tmp_path / "x").exists() and is_streamed("wav") and not is_streamed("mp3")


def test_formats_of_a_recording_without_samples(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    for kind in ("mp3", "opus", "flac"):
        ran = here("decompress", "a.bcdc", "-o", f"a.{kind}", "--model", toy_model)
        assert ran.code == 1 and "cannot hold a recording without samples" in ran.stderr
    assert here("decompress", "a.bcdc", "-o", "a.ogg", "--model", toy_model).code == 0
    assert soundfile.info(tmp_path / "a.ogg").frames == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bcdc", "a.ogg", "a.wav"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("decompress a.bcdc -o x.m4a", "cannot write .m4a; what can be written: .wav .flac"),
        ("decompress a.bcdc -o x.mp3 --format wav", "-o x.mp3 and --format wav contradict"),
        ("decompress a.bcdc -o x.wav --raw", "-o x.wav and --format raw contradict"),
        (
            "tokens extract a.bcdc -o x.pt",
            "cannot write .pt; what can be written: .npy",
        ),
        ("tokens extract a.bcdc -o x.npy --format jsonl", "contradict"),
        ("tokens pack a.npy -o x.npy", "what is written is .bcdc, not .npy; -o x.bcdc"),
        ("compress a.flac -o out/x.WAV", "what is written is .bcdc, not .wav; -o x.bcdc"),
        ("compress a.flac -o x.m4a", "what is written is .bcdc, not .m4a; -o x.bcdc"),
    ],
)
def test_other_suffixes_are_refused(here: Here, tmp_path: Path, command: str, words: str) -> None:
    ran = here(*command.split())
    assert ran.code == 2 and words in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_named_needs_no_suffix(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    options = ["--model", toy_model]
    assert here("decompress", "a.bcdc", "-o", "x.s16", "--raw", *options).code == 0
    assert (tmp_path / "x.s16").stat().st_size == 2 * 480_000
    assert here("decompress", "a.bcdc", "-o", "x", *options).code == 0
    assert soundfile.info(tmp_path / "x").format == "WAV"
    assert here("tokens", "extract", "a.bcdc", "-o", "t", "--format", "jsonl").code == 0
    assert bcdc.read(packed).num_samples == 480_000 and b'"tokens"' in (tmp_path / "t").read_bytes()


def test_no_decoder_speaks_where_stereo_mp3_is_read_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], speech: Path
) -> None:
    wave, _ = soundfile.read(speech, frames=42222, dtype="float32")  # as libmpg123 speaks of
    both = np.stack([wave, wave])
    form = AudioForm(
        kind="mp3", encoding=Encoding.S16, rate=16000, channels=2, frames=len(wave), tags=()
    )
    with contextlib.closing(open_sink(tmp_path / "x.mp3", form)) as sink:
        sink.write(both)
        sink.finish()
    assert capfd.readouterr() == ("", "")
