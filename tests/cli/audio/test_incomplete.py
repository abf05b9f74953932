"""Recordings that are not whole: coded as far as they go, with a line and exit 1, and kept."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc

Here = Callable[..., Any]
SAMPLES = 80000


@pytest.fixture
def recordings(tmp_path: Path, speech: Path) -> dict[str, bytes]:
    """Five seconds of speech by kind of file."""
    samples, rate = soundfile.read(speech, dtype="int16", frames=SAMPLES)
    kinds = {"wav": "PCM_16", "flac": "PCM_16", "mp3": None, "opus": "OPUS", "aiff": "PCM_16"}
    for kind, subtype in kinds.items():
        container = "OGG" if kind == "opus" else kind.upper()
        soundfile.write(tmp_path / f"whole.{kind}", samples, rate, subtype, format=container)
    files = {kind: (tmp_path / f"whole.{kind}").read_bytes() for kind in kinds}
    for kind in kinds:
        (tmp_path / f"whole.{kind}").unlink()
    return files


def length(path: Path) -> int:
    return bcdc.read(path.read_bytes()).num_samples


def with_data_size(wav: bytes, size: int) -> bytes:
    place = wav.index(b"data") + 4
    return wav[:place] + struct.pack("<I", size) + wav[place + 4 :]


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "aiff"])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.usefixtures("imported")
def test_a_recording_cut_short_is_coded_and_kept(
    here: Here,
    tmp_path: Path,
    recordings: dict[str, bytes],
    toy_model: Path,
    kind: str,
    piped: bool,
) -> None:
    content = recordings[kind][: len(recordings[kind]) // 2]
    (tmp_path / f"a.{kind}").write_bytes(content)
    name = "stdin" if piped else f"a.{kind}"
    options = ["-o", "a.bcdc", "--model", toy_model] + ["--rm"] * (not piped)
    ran = here("compress", "-" if piped else name, *options, stdin=content)
    assert ran.code == 1
    (line,) = (line for line in ran.stderr.splitlines() if line.startswith("bigcodec: "))
    assert line.startswith(f"bigcodec: {name}: ") and line.endswith(" s are in a.bcdc")
    assert (tmp_path / f"a.{kind}").read_bytes() == content
    assert 0.3 * SAMPLES < length(tmp_path / "a.bcdc") < 0.7 * SAMPLES


@pytest.mark.parametrize("kind", ["flac", "mp3", "opus"])
@pytest.mark.parametrize("piped", [False, True])
def test_chains_are_coded_to_the_end(
    here: Here,
    tmp_path: Path,
    recordings: dict[str, bytes],
    toy_model: Path,
    kind: str,
    piped: bool,
) -> None:
    content = 2 * recordings[kind]
    (tmp_path / f"a.{kind}").write_bytes(content)
    name = "-" if piped else f"a.{kind}"
    ran = here("compress", name, "-o", "a.bcdc", "--model", toy_model, stdin=content)
    assert ran.code == 0, ran.stderr
    assert length(tmp_path / "a.bcdc") == 2 * SAMPLES


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize(
    ("size", "tail", "samples"),
    [
        (0, b"", SAMPLES),
        (0xFFFFFFFF, b"", SAMPLES),
        (2 * SAMPLES, b"LIST\x04\x00\x00\x00INFO", SAMPLES),
        (0, None, 0),
    ],
)
def test_wavs_that_were_not_completed(
    here: Here,
    tmp_path: Path,
    recordings: dict[str, bytes],
    toy_model: Path,
    piped: bool,
    size: int,
    tail: bytes | None,
    samples: int,
) -> None:
    """`tail` None: the header and nothing else."""
    wav = recordings["wav"]
    if tail is None:
        wav, tail = wav[: wav.index(b"data") + 8], b""
    content = with_data_size(wav, size) + tail
    (tmp_path / "a.wav").write_bytes(content)
    name = "-" if piped else "a.wav"
    ran = here("compress", name, "-o", "a.bcdc", "--model", toy_model, stdin=content)
    assert ran.code == 0, ran.stderr
    assert length(tmp_path / "a.bcdc") == samples


@pytest.mark.parametrize("piped", [False, True])
def test_samples_beyond_the_declared_size_are_named(
    here: Here, tmp_path: Path, recordings: dict[str, bytes], toy_model: Path, piped: bool
) -> None:
    content = with_data_size(recordings["wav"], SAMPLES)
    (tmp_path / "a.wav").write_bytes(content)
    name = "-" if piped else "a.wav"
    ran = here("compress", name, "-o", "a.bcdc", "--model", toy_model, stdin=content)
    assert ran.code == 1 and f"has {SAMPLES} bytes after its audio that are not read" in ran.stderr
    assert length(tmp_path / "a.bcdc") == SAMPLES // 2


@pytest.mark.usefixtures("imported")
def test_the_others_of_a_batch_go_on(
    here: Here, tmp_path: Path, recordings: dict[str, bytes], toy_model: Path
) -> None:
    (tmp_path / "a.flac").write_bytes(recordings["flac"][:-1000])
    (tmp_path / "b.flac").write_bytes(recordings["flac"])
    (tmp_path / "c.flac").write_bytes(recordings["flac"][:60])  # its header, and nothing else
    names = ["a.flac", "b.flac", "c.flac"]
    ran = here("compress", *names, "--rm", "--json", "--output-dir", "out", "--model", toy_model)
    rows = [json.loads(line) for line in ran.stdout.splitlines()[:-1]]
    assert ran.code == 1 and [row["status"] for row in rows] == ["failed", "ok", "failed"]
    assert rows[0]["bytes"] == (tmp_path / "out" / "a.bcdc").stat().st_size
    assert sorted(path.name for path in tmp_path.glob("*.flac")) == ["a.flac", "c.flac"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.bcdc", "b.bcdc"]


def test_flac_of_unknown_length_comes_by_a_pipe(
    here: Here, tmp_path: Path, recordings: dict[str, bytes], toy_model: Path
) -> None:
    flac = recordings["flac"]
    content = flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]
    assert soundfile.SoundFile(io.BytesIO(content)).frames > 1 << 40
    (tmp_path / "a.flac").write_bytes(content)
    for name in ("-", "a.flac"):
        ran = here("compress", name, "-f", "-o", "a.bcdc", "--model", toy_model, stdin=content)
        assert ran.code == 0, ran.stderr
        assert length(tmp_path / "a.bcdc") == SAMPLES


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(
    here: Here, tmp_path: Path, toy_model: Path, value: float
) -> None:
    wave = np.zeros(8000, np.float32)
    wave[5000] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    for arguments in (["compress", "a.wav"], ["compare", "a.wav", "a.wav"]):
        ran = here(*arguments, *(["--model", toy_model] * (arguments[0] == "compress")))
        assert ran.code == 1
        assert ran.stderr.endswith(
            "a.wav: holds samples that are not finite numbers; repair it first\n"
        )
    assert not (tmp_path / "a.bcdc").exists()


def test_eval_and_compare_go_as_far_as_the_recording(
    here: Here, tmp_path: Path, recordings: dict[str, bytes], toy_model: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(recordings["wav"])
    (tmp_path / "in" / "b.mp3").write_bytes(recordings["mp3"][: len(recordings["mp3"]) // 2])
    (tmp_path / "in" / "c.wav").write_bytes(recordings["wav"][:SAMPLES])
    options = ["--model", toy_model, "--metrics", "mcd", "--json", "out.json"]
    ran = here("eval", "in", *options)
    assert ran.code == 1 and ran.stderr.count(": was cut short: ") == 2
    evaluation = json.loads((tmp_path / "out.json").read_text())
    assert set(evaluation["unread"]) == {"b.mp3", "c.wav"}
    assert len(evaluation["codecs"][0]["per_file"]) == 3
    ran = here("compare", "in/a.wav", "in/c.wav", "--metrics", "mcd")
    assert ran.code == 1 and ran.stdout
    assert "in/c.wav: was cut short" in ran.stderr and "compared as far as it goes" in ran.stderr


def test_a_small_file_of_endless_silence_is_not_loaded(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(400_000), 16000)
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    monkeypatch.setattr("bigcodec_cli.audio.reader._MOST_AT_ONCE", 100_000)
    assert (tmp_path / "long.flac").stat().st_size * 64 < 400_000
    ran = here("compare", "a.wav", "long.flac", "--metrics", "mcd")
    assert ran.code == 1 and "long.flac: holds more than" in ran.stderr


@pytest.mark.parametrize("extra", [1, 3])
def test_raw_samples_that_end_within_one(
    here: Here, tmp_path: Path, toy_model: Path, extra: int
) -> None:
    raw = ["--raw", "--rate", "16000", "--channels", "2", "--model", toy_model, "-o", "a.bcdc"]
    ran = here("compress", "-", *raw, stdin=bytes(4 * 1600 + extra))
    assert ran.code == 1 and f"ends within a sample: {extra} bytes are left" in ran.stderr
    assert length(tmp_path / "a.bcdc") == 1600


def test_an_odd_data_size_is_padded(here: Here, tmp_path: Path, toy_model: Path) -> None:
    """Half a sample too many, and a byte of padding before the next chunk; by a pipe."""
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16000)
    wav = with_data_size((tmp_path / "a.wav").read_bytes(), 3201)
    content = wav + b"\0\0" + b"LIST\x04\0\0\0INFO"
    ran = here("compress", "-", "-o", "a.bcdc", "--model", toy_model, stdin=content)
    assert ran.code == 0, ran.stderr
    assert length(tmp_path / "a.bcdc") == 1600
