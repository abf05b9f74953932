"""What phones, browsers and cameras record, through the real ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.content import Content
from bigcodec_models.audio.media import demuxer_of
from bigcodec_models.audio.source import demuxer_for, open_source
from bigcodec_models.data.crops import read_mono
from bigcodec_models.data.index import scan
from bigcodec_models.errors import FfmpegError, FfmpegMissingError

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="needs ffmpeg"
)
Encode = Callable[..., Path]
SECONDS, RATE = 3, 16000


@pytest.fixture(scope="session")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of 440 Hz at half of full scale."""
    path = tmp_path_factory.mktemp("tone") / "tone.wav"
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE) / RATE)
    soundfile.write(path, wave, RATE)
    return path


@pytest.fixture
def encode(tmp_path: Path, tone: Path) -> Encode:
    """Encodes the tone by ffmpeg to a file of a name, with options before and for the output."""

    def encoded(name: str, *options: str, before: tuple[str, ...] = ()) -> Path:
        path = tmp_path / name
        command: list[str | Path] = ["ffmpeg", "-v", "error", *before, "-i", tone, *options, path]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    return encoded


def read(path: Path) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], str | None]:
    with open_source(path) as file:
        return np.concatenate(list(file.blocks())), file.fault


@pytest.mark.parametrize(
    ("name", "demuxer"),
    [
        ("a.m4a", "mov"),
        ("a.mp4", "mov"),
        ("a.mov", "mov"),
        ("a.3gp", "mov"),
        ("a.aac", "aac"),
        ("a.mkv", "matroska"),
        ("a.webm", "matroska"),
        ("a.wma", "asf"),
        ("a.avi", "avi"),
    ],
)
def test_the_tone_comes_out_of_every_format(encode: Encode, name: str, demuxer: str) -> None:
    codec = "libopus" if name == "a.webm" else "wmav2" if name in ("a.wma", "a.avi") else "aac"
    path = encode(name, "-c:a", codec)
    assert demuxer_for(path) == demuxer
    samples, fault = read(path)
    with open_source(path) as file:
        rate = file.rate
        assert file.channels == 1 and file.frames is None
        if demuxer in ("mov", "matroska"):
            assert file.doubt is None and file.seconds == pytest.approx(SECONDS, abs=0.1)
        else:
            assert file.doubt is not None and file.seconds is None
    assert fault is None
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.15)
    middle = samples[rate : 2 * rate, 0]
    assert np.abs(np.fft.rfft(middle)).argmax() == 440
    assert np.sqrt(np.mean(np.square(middle))) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_amr_from_frames(tmp_path: Path) -> None:
    """Frames of 12.2 kbit/s: 20 ms in a byte of header and 31 of bits (RFC 4867)."""
    frame = b"\x3c" + bytes(31)
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + 50 * frame)
    samples, fault = read(tmp_path / "a.amr")
    assert (samples.shape, fault) == ((8000, 1), None)


def test_channels_tags_and_names_that_look_like_options(encode: Encode, tmp_path: Path) -> None:
    tags = ("-metadata", "title=A tone", "-metadata", "track=7", "-metadata", "date=2026")
    path = encode("a.m4a", "-ac", "2", "-ar", "44100", *tags)
    odd = tmp_path / "-i http:%03d.m4a"
    path.rename(odd)
    with open_source(odd) as file:
        assert (file.rate, file.channels, file.remark) == (44100, 2, None)
        assert dict(file.tags) == {"title": "A tone", "tracknumber": "7", "date": "2026"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.m4a", ("-movflags", "faststart")), ("a.mkv", ("-c:a", "aac")), ("a.webm", ())],
)
def test_cut_short_at_any_byte(encode: Encode, name: str, options: tuple[str, ...]) -> None:
    path = encode(name, *options)
    content = path.read_bytes()
    for size in np.linspace(len(content) // 4, len(content) - 1, 9).astype(int):
        path.write_bytes(content[:size])
        samples, fault = read(path)
        assert fault is not None and len(samples) > 0, size
    path.write_bytes(content + content[:4000])
    assert read(path)[1] is not None


def test_a_broken_packet_is_named(encode: Encode) -> None:
    path = encode("a.mp4", "-movflags", "faststart")
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 600] = bytes(600)
    path.write_bytes(content)
    samples, fault = read(path)
    assert fault is not None and fault.startswith("cannot be read in full: ffmpeg: ")
    assert len(samples) > RATE


def test_what_is_no_audio_has_one_line(encode: Encode, tmp_path: Path) -> None:
    whole = encode("a.m4a").read_bytes()
    (tmp_path / "a.m4a").write_bytes(whole[: len(whole) // 2])  # its index is at the end
    with pytest.raises(FfmpegError, match="^ffmpeg: moov atom not found$"):
        open_source(tmp_path / "a.m4a")
    silent = encode("b.mp4", "-an", before=("-f", "lavfi", "-i", "testsrc=d=1:s=32x32"))
    with pytest.raises(FfmpegError, match="^holds no audio$"):
        open_source(silent)


def test_video_and_further_tracks_are_told(encode: Encode) -> None:
    before = ("-f", "lavfi", "-i", "testsrc=d=1:s=32x32:r=5")
    options = ("-map", "0", "-map", "1", "-map", "1", "-c:v", "mpeg4")
    with open_source(encode("a.mp4", *options, before=before)) as file:
        assert file.doubt == "holds video, which is not kept"
        assert file.remark == "holds 2 audio tracks; the first is read"
    with open_source(encode("b.mp4", "-map", "0", "-map", "0")) as file:
        assert file.doubt == "holds 2 audio tracks, of which the first is kept"


def test_a_program_that_dies_midway(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ffmpeg, ended by a wrapper when a part of the audio was given."""
    path = encode("a.m4a")
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("ffmpeg")
    (folder / "ffmpeg").write_text(
        f'#!/bin/sh\n"{real}" "$@" 2>/dev/null | head -c 80000\nexit 3\n'
    )
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    samples, fault = read(path)
    assert 0 < len(samples) < 20000
    assert fault == "cannot be read in full: ffmpeg ended with 3"


def test_without_ffmpeg_and_without_ffprobe(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = encode("a.m4a"), tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(shutil.which("ffmpeg") or "")
    monkeypatch.setenv("PATH", str(folder))
    with open_source(path) as file:
        assert (file.seconds, file.doubt) == (None, "cannot be checked for its end without ffprobe")
        assert sum(map(len, file.blocks())) >= SECONDS * RATE and file.fault is None
    (folder / "ffmpeg").unlink()
    with pytest.raises(FfmpegMissingError, match="needs ffmpeg, .*apt install ffmpeg"):
        open_source(path)


def test_training_reads_them_and_looks_again_for_ffmpeg(
    encode: Encode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(encode("a.m4a", "-ar", "44100"), data)
    (data / "b.wav").write_bytes((encode("b.wav")).read_bytes())
    index, reported = tmp_path / "index.json", list[tuple[Path, str]]()

    def skipped(path: Path, reason: str) -> None:
        reported.append((path, reason))

    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert [clip.name for clip in scan(data, index, skipped)] == ["b.wav"]
    assert [path.name for path, _ in reported] == ["a.m4a"] and "needs ffmpeg" in reported[0][1]
    clip, _ = scan(data, index, skipped)
    assert clip.sequential and len(reported) == 1
    assert clip.seconds == pytest.approx(SECONDS, abs=0.1)
    middle = read_mono(clip, RATE, RATE)
    assert len(middle) == RATE and np.abs(np.fft.rfft(middle)).argmax() == 440


def test_what_libsndfile_reads_stays_with_it(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"):
        soundfile.write(tmp_path / "a", wave, 16000, format=kind)
        assert demuxer_for(tmp_path / "a") is None, kind
    (tmp_path / "a").write_bytes(b"")
    with (tmp_path / "a").open("rb") as file:
        assert demuxer_of(Content(file, 0)) is None
