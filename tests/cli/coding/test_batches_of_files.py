"""Short recordings are finished in batches: each gives the bytes that it gives alone, and none
suffers from another. With a model that has a prior, for which there are batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

import bcdc
from bcdc.blocks import block_check
from bcdc.prior_coder import NetworkCoder
from bigcodec_cli.coding.verification import read_back

Here = Callable[..., Any]
MODEL = ("--model", "lite-5")
SECONDS = (0.4, 1.5, 0.0, 2.3, 0.9)
NAMES = [f"{index}.wav" for index in range(len(SECONDS))]


@pytest.fixture
def clips(tmp_path: Path, speech: Path) -> Path:
    """Recordings of different lengths, the second in stereo, the third empty."""
    samples, rate = soundfile.read(speech, dtype="int16")
    for index, seconds in enumerate(SECONDS):
        clip = samples[10000 * index :][: round(seconds * rate)]
        soundfile.write(tmp_path / NAMES[index], np.stack([clip] * (1 + (index == 1)), 1), rate)
    return tmp_path


@pytest.fixture
def alone(here: Here, clips: Path) -> dict[str, bytes]:
    """What each recording gives when it is compressed alone."""
    for name in NAMES:
        assert here("compress", name, *MODEL, "-q", "--output-dir", "alone").code == 0
    return contents(clips / "alone")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(ran: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.stdout.splitlines()[:-1]]


@pytest.mark.parametrize("size", ["1", "3"])
def test_files_of_a_batch_are_those_compressed_alone(
    here: Here, clips: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """Byte by byte, and reported in the order of the inputs, though what cannot be opened fails
    before anything is finished."""
    assert bcdc.read(alone["3.bcdc"]).header.coder is bcdc.Coder.PRIOR
    (clips / "broken.wav").write_bytes(b"not audio")
    (clips / "out").mkdir()
    (clips / "out" / "old.bcdc").write_bytes(b"mine")
    (clips / "old.wav").write_bytes(b"skipped")
    together: list[tuple[int, int]] = []
    encode, decode = NetworkCoder.encode, NetworkCoder.decode_shapes

    def encoded(self: NetworkCoder, blocks: Sequence[bcdc.Tokens]) -> list[bytes]:
        together.append((len(blocks), 0))
        return encode(self, blocks)

    def decoded(self: NetworkCoder, payloads: Sequence[bytes], shapes: Any) -> list[bcdc.Tokens]:
        together.append((0, len(payloads)))
        return decode(self, payloads, shapes)

    monkeypatch.setattr(NetworkCoder, "encode", encoded)
    monkeypatch.setattr(NetworkCoder, "decode_shapes", decoded)
    names = [*NAMES[:2], "broken.wav", "old.wav", *NAMES[2:]]
    options = ["--output-dir", "out", "--json", "--skip-existing", "--batch-size", size]
    ran = here("compress", *names, *MODEL, *options)
    assert ran.code == 1
    assert [row["input"] for row in rows(ran)] == names
    assert [row["status"] for row in rows(ran)] == [
        *("ok", "ok", "failed", "skipped", "ok", "ok", "ok"),
    ]
    assert contents(clips / "out") == alone | {"old.bcdc": b"mine"}
    assert together[0] == (4, 0)  # the recording of 0 s has no block
    assert len(together) == 2 and together[1][1] >= 3  # what is smallest raw, needs no network


def impossible(data: bytes) -> bytes:
    """A container whose first payload stands for no tokens, every checksum being right."""
    block = bcdc.read(data).blocks[0]
    payload = b"\xff" * (block.end - block.start)
    check = block_check(payload, 0, block.short)
    return data[: block.start - 4] + check + payload + data[block.end :]


def cut(data: bytes) -> bytes:
    return data[:-3]


@pytest.mark.parametrize("damage", [impossible, cut])
def test_what_is_damaged_on_the_disk_fails_alone(
    here: Here,
    clips: Path,
    alone: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    def damaging(path: Path) -> bcdc.Container:
        if path.name.startswith(".3."):
            path.write_bytes(damage(path.read_bytes()))
        return read_back(path)

    monkeypatch.setattr("bigcodec_cli.coding.compress_job.read_back", damaging)
    ran = here("compress", *NAMES, *MODEL, "--output-dir", "out", "--json", "--rm")
    assert ran.code == 1 and "1 of 5 files failed" in ran.stderr
    failed = [row for row in rows(ran) if row["status"] == "failed"]
    assert [row["input"] for row in failed] == ["3.wav"]
    assert "what was written does not read back" in failed[0]["error"]
    assert contents(clips / "out") == {k: v for k, v in alone.items() if k != "3.bcdc"}
    assert [path.name for path in clips.glob("*.wav")] == ["3.wav"]


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("error", [None, MemoryError()])
def test_what_cannot_be_written_fails_alone(
    here: Here,
    clips: Path,
    alone: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    """Also where coding side by side, whatever the reason, is not possible: then one by one."""
    original = bcdc.Writer.__init__

    def faulty(self: bcdc.Writer, file: BinaryIO, *rest: Any, **more: Any) -> None:
        full = Path(file.name).name.startswith(".1.")
        original(self, Full(file) if full else file, *rest, **more)  # type: ignore[arg-type]

    def fails(*_: Any) -> None:
        raise error or AssertionError

    monkeypatch.setattr(bcdc.Writer, "__init__", faulty)
    if error is not None:
        monkeypatch.setattr(bcdc, "code_ahead", fails)
        monkeypatch.setattr(bcdc, "decode_ahead", fails)
    ran = here("compress", *NAMES, *MODEL, "--output-dir", "out", "--json")
    assert ran.code == 1
    assert [row["status"] for row in rows(ran)] == ["ok", "failed", "ok", "ok", "ok"]
    assert "1.wav: cannot write out/1.bcdc: No space left" in ran.stderr
    assert contents(clips / "out") == {k: v for k, v in alone.items() if k != "1.bcdc"}


def test_batches_end_at_a_number_of_files_or_a_length(
    here: Here, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And before a recording that is not short: it might take long."""
    events: list[str] = []
    original = bcdc.code_ahead

    def counting(writers: Sequence[bcdc.Writer]) -> None:
        events.append(str(len(writers)))
        original(writers)

    monkeypatch.setattr(bcdc, "code_ahead", counting)
    monkeypatch.setattr("bigcodec_cli.coding.compress_job._BATCH_FILES", 2)
    assert here("compress", *NAMES, *MODEL, "--output-dir", "two").code == 0
    assert events == ["2", "2"]  # the fifth is alone
    events.clear()
    monkeypatch.setattr("bigcodec_cli.coding.compress_job._BATCH_FILES", 32)
    monkeypatch.setattr("bigcodec_cli.coding.compress_job._BATCH_SECONDS", 2)
    monkeypatch.setattr("bigcodec_cli.coding.compress_job._SHORT_SECONDS", 2)
    order = ["0.wav", "4.wav", "3.wav", "2.wav", "1.wav"]  # 3.wav is not short, and so alone
    one_by_one = ("--batch-size", "1")
    assert here("compress", *order, *MODEL, "--output-dir", "long", *one_by_one).code == 0
    assert events == ["2", "2"]


def test_a_stop_leaves_no_temporary_files(
    here: Here, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> bcdc.Container:
        if path.name.startswith(".3."):
            raise KeyboardInterrupt
        return read_back(path)

    monkeypatch.setattr("bigcodec_cli.coding.compress_job.read_back", stopped)
    assert here("compress", *NAMES, *MODEL, "--output-dir", "out").code == 130
    assert contents(clips / "out") == {}
