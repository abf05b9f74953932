"""The commands on real files and real speech. `files/test_faults.py` and `test_examples.py`
start real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bcdc
from bcdc.blocks import block_check
from bigcodec_models import Codec

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bigcodec(in_process: Run) -> Run:
    """Commands in this process: most of these tests need no process of their own."""
    return in_process


def tone(path: Path, rate: int = 16000, channels: int = 1, samples: int = 8000) -> Path:
    time = np.arange(samples) / rate
    wave = 0.3 * np.sin(2 * np.pi * 300 * time)[:, None] * np.linspace(1, 0.5, channels)
    soundfile.write(os.fsencode(path), wave, rate)
    return path


def ok(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stderr
    return result


def check_failed(result: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_speech_goes_through(
    bigcodec: Run, tmp_path: Path, speech: Path, either_model: Path
) -> None:
    toy_model = either_model
    original, rate = soundfile.read(speech, dtype="float32")
    ok(bigcodec("compress", speech, "-o", "speech.bcdc", "--model", toy_model))
    ok(bigcodec("decompress", "speech.bcdc", "--model", toy_model))
    restored = soundfile.info(tmp_path / "speech.wav")
    assert (restored.samplerate, restored.frames, restored.channels) == (rate, len(original), 1)
    assert restored.subtype == "PCM_16"
    codec = Codec.load(toy_model)
    container = bcdc.read((tmp_path / "speech.bcdc").read_bytes())
    assert np.array_equal(container.tokens()[0, :, 0], codec.encode(original))
    assert container.header.fingerprint == codec.fingerprint[:6]
    expected = codec.decode(codec.encode(original), len(original))
    restored, _ = soundfile.read(tmp_path / "speech.wav", dtype="float32")
    assert np.abs(restored - expected.clip(-1, 1)).max() < 1e-4


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "samples"),
    [(".wav", 44100, 2, 10001), (".flac", 8000, 1, 3333), (".ogg", 48000, 3, 48000)],
)
def test_rate_channels_and_length_come_back(
    bigcodec: Run,
    tmp_path: Path,
    toy_model: Path,
    suffix: str,
    rate: int,
    channels: int,
    samples: int,
) -> None:
    tone(tmp_path / f"a{suffix}", rate, channels, samples)
    ok(bigcodec("compress", f"a{suffix}", "--model", toy_model))
    ok(bigcodec("decompress", "a.bcdc", "-o", "out.wav", "--model", toy_model))
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, samples)


@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples(bigcodec: Run, tmp_path: Path, toy_model: Path, samples: int) -> None:
    tone(tmp_path / "a.wav", samples=samples)
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    ok(bigcodec("decompress", "-f", "a.bcdc", "--model", toy_model))
    assert soundfile.info(tmp_path / "a.wav").frames == samples


def test_downmix_codes_one_channel(bigcodec: Run, tmp_path: Path, toy_model: Path) -> None:
    tone(tmp_path / "a.wav", channels=2)
    ok(bigcodec("compress", "a.wav", "--downmix", "--model", toy_model))
    container = bcdc.read((tmp_path / "a.bcdc").read_bytes())
    wave, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    mixed = wave.mean(axis=1, dtype=np.float32)
    assert container.header.channels == 1
    assert np.array_equal(container.tokens()[0, :, 0], Codec.load(toy_model).encode(mixed))


def test_bfloat16_restores_nearly_the_same(
    bigcodec: Run, tmp_path: Path, speech: Path, either_model: Path
) -> None:
    ok(bigcodec("compress", speech, "-o", "a.bcdc", "--model", either_model))
    decode = ("decompress", "a.bcdc", "--model", either_model, "--pcm", "float")
    ok(bigcodec(*decode, "-o", "plain.wav"))
    ok(bigcodec(*decode, "-o", "half.wav", "--precision", "bfloat16"))
    plain, _ = soundfile.read(tmp_path / "plain.wav")
    half, _ = soundfile.read(tmp_path / "half.wav")
    assert plain.shape == half.shape
    # Processors that multiply bfloat16 slowly round no more than the weights of the paper's LSTM.
    assert "lite" in either_model.name or not np.array_equal(plain, half)
    assert np.square(plain - half).sum() < 1e-2 * np.square(plain).sum()


def test_one_second_costs_at_most_32_bytes_beside_its_tokens(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    tone(tmp_path / "a.wav", samples=16000)
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    geometry = bcdc.read((tmp_path / "a.bcdc").read_bytes()).header.geometry
    extra = len(bytes.fromhex("08c801018008aaaa"))  # toys have a geometry to spell out
    tokens = (80 * sum(geometry.token_bits) + 7) // 8
    assert (tmp_path / "a.bcdc").stat().st_size - tokens - extra <= 32


def test_nothing_is_overwritten_without_force(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "a.bcdc").write_text("precious")
    check_failed(bigcodec("compress", "a.wav", "--model", toy_model), 1, "use -f to overwrite")
    assert (tmp_path / "a.bcdc").read_text() == "precious"
    ok(bigcodec("compress", "-f", "a.wav", "--model", toy_model))
    check_failed(bigcodec("decompress", "a.bcdc", "--model", toy_model), 1, "a.wav: already exists")
    (tmp_path / "a.wav").rename(tmp_path / "a")
    check_failed(bigcodec("compress", "-f", "a", "-o", "a", "--model", toy_model), 1, "also the")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.bcdc"]


def test_a_batch_goes_on_after_failures(bigcodec: Run, tmp_path: Path, toy_model: Path) -> None:
    tone(tmp_path / "a.wav")
    tone(tmp_path / "é \n.flac")
    (tmp_path / "text.wav").write_text("not audio")
    inputs = ["missing.wav", "text.wav", tmp_path, "a.wav", "é \n.flac", "a.wav"]
    result = bigcodec("compress", *inputs, "--output-dir", "new/out", "--model", toy_model)
    check_failed(result, 1, "missing.wav: no such file")
    assert "text.wav: cannot be read as audio" in result.stderr
    assert "is a folder" in result.stderr
    assert "belongs to another input already" in result.stderr
    assert "4 of 6 files failed" in result.stderr
    assert sorted(p.name for p in (tmp_path / "new/out").iterdir()) == ["a.bcdc", "é \n.bcdc"]


def test_samples_that_are_not_numbers_are_refused(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, np.nan, 0]), 16000, subtype="FLOAT")
    check_failed(bigcodec("compress", "a.wav", "--model", toy_model), 1, "not finite")
    assert not (tmp_path / "a.bcdc").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compress"], "Missing argument"),
        (["compress", "a.wav", "b.wav", "-o", "c"], "use --output-dir DIR"),
        (["decompress", "a", "-o", "c", "--output-dir", "d"], "exclude each other"),
        (["compress", "--coder", "zip", "a"], "Invalid value for '--coder'"),
        (["nothing"], "No such command"),
    ],
)
def test_wrong_usage_exits_2(bigcodec: Run, arguments: list[str], words: str) -> None:
    check_failed(bigcodec(*arguments), 2, words)


def test_a_missing_model_is_named_with_its_cure(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    tone(tmp_path / "a.wav")
    check_failed(bigcodec("compress", "a.wav", "--model", "nobody"), 1, "bigcodec models list")
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    fingerprint = Codec.load(toy_model).fingerprint[:6].hex()
    result = bigcodec("decompress", "-f", "a.bcdc")
    check_failed(result, 1, f"needs the model with fingerprint {fingerprint}")
    assert "models import" in result.stderr and "models pull" in result.stderr


def test_damaged_files_are_told_apart(bigcodec: Run, tmp_path: Path, toy_model: Path) -> None:
    tone(tmp_path / "a.wav")
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    good = (tmp_path / "a.bcdc").read_bytes()
    newer = good[:4] + bcdc.varint.check16(b"\x02" + good[7:18]) + b"\x02" + good[7:]
    answers = {
        good[:40]: "cut short",
        good[:50] + bytes([good[50] ^ 1]) + good[51:]: "is damaged",
        b"RIFF" + good: "not a .bcdc file",
        newer: "version 2 is not this reader's",
        good + b"x": "1 bytes follow",
    }
    for content, words in answers.items():
        (tmp_path / "bad.bcdc").write_bytes(content)
        for command in ("info", "decompress"):
            check_failed(bigcodec(command, "bad.bcdc"), 1, words)
    assert not (tmp_path / "bad.wav").exists()


def test_info_tells_what_is_there(bigcodec: Run, tmp_path: Path, toy_model: Path) -> None:
    tone(tmp_path / "a.wav", 22050, 2, 30000)
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    size = (tmp_path / "a.bcdc").stat().st_size
    facts = json.loads(ok(bigcodec("info", "--json", "a.bcdc")).stdout)
    expected = {"bytes": size, "sample_rate": 22050, "channels": 2, "samples": 30000, "model": None}
    assert {key: facts[key] for key in expected} == expected
    assert facts["kbps_on_disk"] == pytest.approx(size * 8 / (30000 / 22050) / 1000)
    tokens = bcdc.read((tmp_path / "a.bcdc").read_bytes()).tokens()
    counts = np.unique(tokens, return_counts=True)[1] / tokens.size
    assert facts["entropy_bits"] == pytest.approx(-(counts * np.log2(counts)).sum(), abs=2e-4)
    ok(bigcodec("models", "import", toy_model))
    text = ok(bigcodec("info", "a.bcdc")).stdout
    assert "my-toy" in text and "22050 Hz, 2 channel(s)" in text


def test_info_goes_on_after_a_failure(bigcodec: Run, tmp_path: Path, toy_model: Path) -> None:
    tone(tmp_path / "a.wav")
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    result = bigcodec("info", "--json", "a.wav", "a.bcdc")
    check_failed(result, 1, "a.wav: not a .bcdc file")
    assert json.loads(result.stdout)["file"] == "a.bcdc"


def test_models_are_imported_listed_shown_and_chosen(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    ok(bigcodec("models", "import", toy_model, "--name", "mine"))
    assert "mine" in ok(bigcodec("models", "list")).stdout
    facts = json.loads(ok(bigcodec("models", "show", "mine", "--json")).stdout)
    assert facts["fingerprint"] == Codec.load(toy_model).fingerprint.hex()
    assert facts["license"] == "CC0-1.0" and facts["training"] == {"steps": 0}
    ok(bigcodec("models", "default", "mine"))
    assert ok(bigcodec("models", "default")).stdout == "mine\n"
    tone(tmp_path / "a.wav")
    assert " bytes by mine, " in ok(bigcodec("compress", "a.wav")).stderr
    ok(bigcodec("decompress", "-f", "a.bcdc"))
    check_failed(
        bigcodec("compress", "-f", "a.wav", BIGCODEC_MODEL="other"), 1, "other: no such model"
    )


@pytest.mark.parametrize("name", ["lite", "lite-5", "../up", "a b", ".hidden", ""])
def test_bad_and_taken_model_names_are_refused(bigcodec: Run, toy_model: Path, name: str) -> None:
    result = bigcodec("models", "import", toy_model, "--name", name)
    if name:
        check_failed(result, 1, name)
    else:
        ok(result)  # an empty name means the one in the file


def test_two_models_cannot_share_a_name(bigcodec: Run, golden: Path, toy_model: Path) -> None:
    ok(bigcodec("models", "import", toy_model, "--name", "x"))
    ok(bigcodec("models", "import", toy_model, "--name", "x"))
    check_failed(
        bigcodec("models", "import", golden / "golden_release.pt", "--name", "x"),
        1,
        "another model has this name",
    )


def test_published_checkpoints_are_imported(
    bigcodec: Run, tmp_path: Path, golden: Path, speech: Path
) -> None:
    for layout in ("golden_release.pt", "golden_lightning.ckpt"):
        ok(bigcodec("models", "import", golden / layout, "--name", "published"))
        ok(bigcodec("compress", "-f", speech, "-o", "a.bcdc", "--model", "published"))
        facts = json.loads(ok(bigcodec("info", "--json", "a.bcdc")).stdout)
        assert facts["model"] == "published"


def test_bad_model_files_are_one_line(bigcodec: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 nothing")
    check_failed(bigcodec("models", "import", "bad.pt"), 1, "not a usable BigCodec checkpoint")
    check_failed(bigcodec("models", "import", "none.pt"), 1, "none.pt: no such file")
    check_failed(bigcodec("models", "show", "none"), 1, "none: no such model")
    check_failed(bigcodec("models", "default", "none"), 1, "none: no such model")


def test_every_command_has_help(bigcodec: Run) -> None:
    listed = ok(bigcodec("--help")).stdout
    for command in ("compress", "decompress", "info", "models", "train", "export"):
        assert f"  {command} " in listed
        assert "Usage: bigcodec" in ok(bigcodec(command, "--help")).stdout
    assert ok(bigcodec("--version")).stdout.startswith("bigcodec, version ")


def test_impossible_but_intact_containers_are_one_failed_file(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    """All checksums right, padding bits set: found only when tokens are decoded."""
    ok(bigcodec("models", "import", toy_model))
    geometry = bcdc.Geometry(codebook_sizes=(1024,))
    fingerprint = Codec.load(toy_model).fingerprint[:6]
    header = bcdc.Header(fingerprint=fingerprint, sample_rate=16000, geometry=geometry)
    data = bytearray(bcdc.write(header, np.zeros((1, 3, 1), np.int32), 600))
    block = bcdc.read(bytes(data)).blocks[0]
    data[block.start : block.end] = b"\xff" * (block.end - block.start)
    payload = bytes(data[block.start : block.end])
    data[block.start - 4 : block.start] = block_check(payload, 0, short=True)
    (tmp_path / "bad.bcdc").write_bytes(data)
    tone(tmp_path / "a.wav")
    ok(bigcodec("compress", "a.wav", "--model", toy_model))
    result = bigcodec("decompress", "bad.bcdc", "a.bcdc", "--output-dir", "out")
    check_failed(result, 1, "bad.bcdc: block 0: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_odd_names_and_files_are_failed_files(
    bigcodec: Run, tmp_path: Path, toy_model: Path
) -> None:
    tone(tmp_path / "a.wav")
    odd = tmp_path / os.fsdecode(b"not utf-8 \xff.wav")
    tone(odd)
    (tmp_path / "x.raw").write_bytes(bytes(100))
    inputs: list[str | Path] = ["x.raw", "n" * 300 + ".wav", odd, "a.wav"]
    result = bigcodec("compress", *inputs, "--output-dir", "out", "--model", toy_model)
    check_failed(result, 1, "2 of 4 files failed")
    assert len(list((tmp_path / "out").iterdir())) == 2
    check_failed(bigcodec("info", "/dev/zero"), 1, "/dev/zero: is not a regular file")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        to_socket = bigcodec("compress", "a.wav", "-f", "-o", "socket", "--model", toy_model)
        check_failed(to_socket, 1, "is not a regular file")


def test_tags_cannot_command_the_terminal(bigcodec: Run, tmp_path: Path) -> None:
    tags = (("title", "x\x1b]0;forged\x07\n  model  forged"), ("title", "second"))
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000, tags=tags)
    (tmp_path / "a.bcdc").write_bytes(bcdc.write(header, np.zeros((1, 0, 1), np.int32), 0))
    text = ok(bigcodec("info", "a.bcdc")).stdout
    assert "\x1b" not in text and "\n  model  forged" not in text and "second" in text
    facts = json.loads(ok(bigcodec("info", "--json", "a.bcdc")).stdout)
    assert facts["tags"] == [list(tag) for tag in tags]
