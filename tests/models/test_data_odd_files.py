"""Training data that libsndfile does not give in full: read as far as they go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from bigcodec_models.data import crops
from bigcodec_models.data.crops import scan


def write_wav(path: Path) -> Path:
    """3000 samples of noise."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 3000)
    soundfile.write(path, wave, 16000)
    return path


def test_wav_of_a_killed_recorder(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav")
    whole = crops.read_mono(scan(tmp_path)[0])
    content = path.read_bytes()
    place = content.index(b"data") + 4
    path.write_bytes(content[:place] + bytes(4) + content[place + 4 :])
    (clip,) = scan(tmp_path)
    assert (clip.frames, clip.sequential) == (3000, True)
    assert np.array_equal(crops.read_mono(clip), whole)
    assert np.array_equal(crops.read_mono(clip, 1000, 500), whole[1000:1500])


def test_flac_of_unknown_length(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 30000)
    soundfile.write(tmp_path / "a.flac", wave, 16000)
    whole = crops.read_mono(scan(tmp_path)[0])
    content = (tmp_path / "a.flac").read_bytes()
    unknown = content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]
    (tmp_path / "a.flac").write_bytes(unknown)
    index = tmp_path / "index.json"
    for _ in range(2):  # the second time from the index
        (clip,) = scan(tmp_path, index)
        assert (clip.frames, clip.sequential) == (30000, True)
    assert np.array_equal(crops.read_mono(clip, 9000, 16000), whole[9000:25000])


def test_a_file_cut_short_is_reported_and_used(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-2000])
    reports: list[tuple[Path, str]] = []
    (clip,) = scan(tmp_path, None, lambda *report: reports.append(report))
    assert clip.frames == 2000 and len(crops.read_mono(clip)) == 2000
    ((reported, reason),) = reports
    assert reported == path and reason.startswith("was cut short: 4000 of 6000 bytes")
    assert reason.endswith("; used as far as it goes")


def write_mp3(path: Path) -> bytes:
    """Six seconds of noise, silence and noise, at a variable rate, that begin with a Xing frame."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    wave[16000:80000] = 0
    soundfile.write(path, wave, 16000, bitrate_mode="VARIABLE", compression_level=0.3)
    content = path.read_bytes()
    assert b"Xing" in content[:64]
    return content


def test_mp3_without_a_header_is_counted(tmp_path: Path) -> None:
    content = write_mp3(tmp_path / "a.mp3")
    (declared,) = scan(tmp_path)
    second = content.index(content[:2], 2)
    (tmp_path / "a.mp3").write_bytes(content[second:])
    assert abs(soundfile.info(tmp_path / "a.mp3").frames - 96000) > 16000  # libsndfile's guess
    (clip,) = scan(tmp_path)
    assert clip.sequential and 0 <= clip.frames - declared.frames <= 2 * 1152
    assert len(crops.read_mono(clip, 90000, 4000)) == 4000


def test_mp3_that_was_cut_short_is_counted(tmp_path: Path) -> None:
    content = write_mp3(tmp_path / "a.mp3")
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 4])
    assert soundfile.info(tmp_path / "a.mp3").frames == 96000  # as its header says
    reports: list[str] = []
    (clip,) = scan(tmp_path, None, lambda _, reason: reports.append(reason))
    assert clip.frames < 40000 and clip.frames == len(crops.read_mono(clip))
    assert len(reports) == 1 and reports[0].startswith("was cut short: ")


def test_a_file_without_bytes_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    soundfile.write(tmp_path / "b.wav", np.full(8000, 0.1), 16000)
    reports = []
    (clip,) = scan(tmp_path, None, lambda path, reason: reports.append((path.name, reason)))
    assert clip.path.name == "b.wav" and reports == [("a.mp3", "the file is empty; left out")]
