"""Few bytes do not become gigabytes, hours, or much memory unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bcdc
import bigcodec_cli as bigcodec
from bcdc.blocks import is_short, seek_table, stored_block, trailer_check
from bcdc.header import write_header
from bcdc.varint import put_varint
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.containers import too_many_tokens, too_much_audio
from bigcodec_models import Codec

Here = Callable[..., Any]


def bomb(
    model: Path,
    seconds: int,
    rate: int = 16000,
    channels: int = 1,
    first: bytes = b"",
    **geometry: Any,
) -> bytes:
    """A container of blocks without any bytes, but for the first, every checksum right."""
    header = bcdc.Header(
        fingerprint=Codec.load(model).fingerprint[:6],
        sample_rate=rate,
        channels=channels,
        geometry=bcdc.Geometry(**{"codebook_sizes": (1024,)} | geometry),
        coder=bcdc.Coder.ADAPTIVE,
    )
    frames, full = header.frames_of(seconds * rate), header.block_frames
    blocks = [
        stored_block(
            b"" if index else first, index, header.full_block_bytes, is_short(index, frames, full)
        )
        for index in range(-(-frames // full))
    ]
    body = put_varint(seconds * rate) + bytes(2)
    body += b"".join(map(put_varint, seek_table([len(block) for block in blocks])))
    trailer = b"\0" + body + put_varint(len(body))[::-1]
    start = write_header(header)
    return start + b"".join(blocks) + trailer + trailer_check(start, trailer)


def test_a_gigabyte_from_few_bytes_is_told_first(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    """Of one channel at a high rate, and of five; and 452 bytes were enough for it."""
    for seconds, channels in ((560, 1), (120, 5)):
        data = bomb(toy_model, seconds, 768_000, channels)
        assert len(data) < 500 and bcdc.read(data).seconds == seconds
        (tmp_path / "bomb.bcdc").write_bytes(data)
        ran = here("decompress", "bomb.bcdc", "--model", toy_model)
        assert ran.code == 1 and "far too few for speech" in ran.stderr
        assert "--allow-long" in ran.stderr and not (tmp_path / "bomb.wav").exists()
        part = ["--start", "60", "--duration", "1", "-o", "part.wav", "-f"]
        assert here("decompress", "bomb.bcdc", "--model", toy_model, *part).code == 0


def test_over_an_hour_needs_allow_long_or_a_yes(
    here: Here, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.bcdc").write_bytes(bomb(toy_model, 3601, hop=200))
    options = ["decompress", "bomb.bcdc", "--model", toy_model, "--raw"]
    ran = here(*options)
    assert ran.code == 1 and "1.0 hours of audio" in ran.stderr
    monkeypatch.setattr("bigcodec_cli.coding.decompress_job.too_much_audio", lambda *_: "much")
    (tmp_path / "bomb.bcdc").write_bytes(bomb(toy_model, 2))
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        with monkeypatch.context() as patch:
            patch.setattr("bigcodec_cli.coding.decompress_job._asked_at_a_terminal", lambda _: True)
            ran = here(*options, stdin=answer)
        assert ran.code == code and "much; decode it? [y/N]" in ran.stderr
    assert here(*options, "-f", "--allow-long").code == 0


def test_tokens_without_number_are_not_decoded_unasked(
    here: Here, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """104 bytes took 72 seconds; two shapes, and damaged as well as whole. As many tokens as are
    free are decoded: fewer here, which takes less time."""
    monkeypatch.setattr("bigcodec_cli.files.containers._FREE_TOKENS", 1 << 12)
    for channels, hop in ((2, 4), (51, 100)):
        data = bomb(toy_model, 88, 16000, channels, hop=hop, codebook_sizes=(2,))
        assert len(data) < 150
        (tmp_path / "bomb.bcdc").write_bytes(data)
        ran = here("test", "--json", "bomb.bcdc")
        facts = json.loads(ran.stdout)
        assert ran.code == 1 and facts["status"] == "failed" and facts["error"] in ran.stderr
        assert "checksums are right, but not all is decoded" in facts["error"]
        assert facts["error"].endswith("use --allow-long")
        assert here("tokens", "extract", "bomb.bcdc").code == 1
        assert "--allow-long" in here("decompress", "--recover", "bomb.bcdc").stderr
        (tmp_path / "bomb.bcdc").write_bytes(data[:-4] + b"\0\0\0\0")
        assert here("test", "bomb.bcdc").stderr.endswith("last checksum does not match\n")
        assert "--allow-long" in here("decompress", "--recover", "bomb.bcdc").stderr


def test_what_is_not_decoded_to_its_end_is_decoded_as_far_as_is_free(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    data = bomb(toy_model, 88, 16000, 2, first=b"\xff" * 40, hop=4, codebook_sizes=(2,))
    assert bcdc.read(data).frames == 88 * 4000
    (tmp_path / "bomb.bcdc").write_bytes(data)
    ran = here("test", "bomb.bcdc")
    assert ran.code == 1 and "bomb.bcdc: block 0: its bytes stand for no tokens" in ran.stderr


def test_with_allow_long_they_are_decoded(
    here: Here, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigcodec_cli.files.containers._FREE_TOKENS", 0)
    (tmp_path / "bomb.bcdc").write_bytes(bomb(toy_model, 16))
    assert here("tokens", "extract", "bomb.bcdc").code == 1
    assert here("tokens", "extract", "bomb.bcdc", "--allow-long").code == 0
    assert np.load(tmp_path / "bomb.npy").shape == (1, 1280, 1)
    facts = json.loads(here("test", "--json", "bomb.bcdc", "--allow-long").stdout)
    assert facts["tokens_decoded"] and facts["note"] is None


@pytest.mark.parametrize("bits", [500, 700, 1040])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_speech_is_never_asked_about(bits: int, channels: int) -> None:
    """An hour and a hundred of them, at the bits a second and channel of our models."""
    for seconds in (5, 3601, 360_000):
        header = bcdc.Header(fingerprint=bytes(6), sample_rate=48000, channels=channels)
        size = 41 + bits * seconds * channels // 8
        assert too_much_audio(header, seconds * 48000, size) is None
        assert too_many_tokens(header, seconds * 80, size) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(("rate", "channels"), [(768_000, 5), (41_000, 100), (16_000, 102)])
def test_memory_stays_below_a_gigabyte(
    tmp_path: Path, toy_model: Path, rate: int, channels: int
) -> None:
    """57 bytes asked for 40 GB."""
    (tmp_path / "bomb.bcdc").write_bytes(bomb(toy_model, 8, rate, channels))
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    code = (
        "import re, sys; from bigcodec_cli.main import run; code = run(sys.argv[1:]); "
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]; "
        "print(code, int(peak) >> 10)"
    )
    command = ["decompress", "bomb.bcdc", "-o", "bomb.wav", "--model", str(toy_model)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    exit_code, megabytes = map(int, ran.stdout.split())
    assert exit_code == 0 and megabytes < 1000


def test_more_samples_a_second_than_the_limit_are_refused(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    data = bytearray(bomb(toy_model, 8, 16000, 100))
    data[14:17] = (768_000).to_bytes(3, "little")
    data[4:6] = bcdc.varint.check16(bytes(data[6:18]))
    (tmp_path / "bomb.bcdc").write_bytes(data)
    for command in (["info"], ["test"], ["decompress", "--model", str(toy_model)]):
        ran = here(*command, "bomb.bcdc")
        assert ran.code == 1 and "above the limit of 2^22 samples a second" in ran.stderr


def test_python_has_the_same_limits(toy_model: Path) -> None:
    data = bomb(toy_model, 88, 16000, 2, hop=4, codebook_sizes=(2,))
    for read in (bigcodec.read_tokens, bigcodec.decompress):
        with pytest.raises(CliError, match="tokens in .* if that is right, use allow_long=True"):
            read(data)
    short = bomb(toy_model, 2, hop=200)
    assert bigcodec.read_tokens(short).tokens.shape == (1, 160, 1)
    with pytest.raises(CliError, match="1.0 hours of audio"):
        bigcodec.decompress(bomb(toy_model, 3601, hop=200), model=toy_model)
