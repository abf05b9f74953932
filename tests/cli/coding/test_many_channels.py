"""Recordings of so many channels that they wait for one another on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bigcodec_cli.audio.channels import ChannelJoiner, in_memory, split_channels
from bigcodec_cli.audio.spool import ArraySpool, Spooled
from bigcodec_cli.coding import pace
from bigcodec_cli.coding.pace import Pace, pace_of

Here = Callable[..., Any]


@pytest.mark.parametrize(
    ("channels", "rate", "seconds", "expected"),
    [
        (1, 768_000, None, Pace.FREE),
        (2, 48_000, 60, Pace.FREE),
        (2, 48_000, 61, Pace.LOCKSTEP),
        (8, 48_000, None, Pace.LOCKSTEP),
        (16, 48_000, 36_000, Pace.LOCKSTEP),
        (255, 16_000, 4, Pace.FREE),
        (255, 16_000, 5, Pace.SPOOLED),
        (64, 44_100, None, Pace.SPOOLED),
        (5, 768_000, 10, Pace.LOCKSTEP),
    ],
)
def test_pace(channels: int, rate: int, seconds: float | None, expected: Pace) -> None:
    assert pace_of(channels, rate, seconds) is expected


@settings(deadline=None)
@given(data=st.data())
def test_what_waits_on_disk_is_what_waits_in_memory(data: st.DataObject) -> None:
    """Arrays of any kind, split into channels that are read in any order, and joined."""
    channels, lengths = data.draw(st.integers(1, 4)), data.draw(st.lists(st.integers(0, 9)))
    rest = data.draw(st.sampled_from([(), (1,), (3,)]))
    kind = data.draw(st.sampled_from([np.float32, np.int32, np.int64]))
    most = data.draw(st.none() | st.integers(1, 5))
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 99, (channels, n, *rest)).astype(kind) for n in lengths]
    order = data.draw(st.permutations([c for c in range(channels) for _ in lengths]))
    with ArraySpool("input") as spool:
        for store in (in_memory, spool.put):
            sources = split_channels(blocks, channels, store)
            joiner, joined = ChannelJoiner(channels, store, most), list[Any]()
            for channel in order:
                joined += joiner.push(channel, next(sources[channel]))
            assert all(block.dtype == kind and 0 < block.shape[1] for block in joined)
            assert most is None or all(block.shape[1] <= most for block in joined)
            whole = np.concatenate([np.zeros((channels, 0, *rest), kind), *joined], axis=1)
            expected = np.concatenate([np.zeros((channels, 0, *rest), kind), *blocks], axis=1)
            assert np.array_equal(whole, expected)


def test_what_is_read_from_disk_can_be_written_to() -> None:
    with ArraySpool("input") as spool:
        spooled = spool.put(np.arange(6))
        part = np.asarray(spooled[2:5])
        part += 1
        assert part.tolist() == [3, 4, 5] and np.asarray(spooled).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> list[Spooled]:
    """Everything of two channels and more waits on disk; gives what was put there."""
    monkeypatch.setattr(pace, "_MOST_HELD", 0)
    monkeypatch.setattr(pace, "_MOST_LOCKSTEP_BYTES", 0)
    kept, put = [], ArraySpool.put

    def counted(spool: ArraySpool, array: Any) -> Spooled:
        kept.append(put(spool, array))
        return kept[-1]

    monkeypatch.setattr(ArraySpool, "put", counted)
    return kept


def test_files_are_the_same(
    here: Here, tmp_path: Path, toy_model: Path, spooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more channels than go through the model at once, by name and by pipe, whole and a part."""
    noise = 0.1 * np.random.default_rng(1).standard_normal((70_000, 11))
    soundfile.write(tmp_path / "a.wav", noise, 22050)
    commands = [
        ["compress", "a.wav", "-o", "{}.bcdc"],
        ["decompress", "{}.bcdc", "-o", "{}.wav"],
        ["decompress", "{}.bcdc", "--start", "1", "--duration", "1.3", "-o", "{}-part.wav"],
        ["tokens", "extract", "a.wav", "-o", "{}.npy"],
        ["test", "--deep", "{}.bcdc"],
    ]
    for name, most_held in (("disk", 0), ("memory", 1 << 24)):
        monkeypatch.setattr(pace, "_MOST_HELD", most_held)
        for command in commands:
            counted = len(spooled)
            ran = here(*(word.format(name) for word in command), "--model", toy_model)
            assert ran.code == 0, ran.stderr
            assert (len(spooled) > counted) == (name == "disk")
    for suffix in (".bcdc", ".wav", "-part.wav", ".npy"):
        disk, memory = (tmp_path / f"{name}{suffix}" for name in ("disk", "memory"))
        assert disk.read_bytes() == memory.read_bytes()
    data = (tmp_path / "disk.bcdc").read_bytes()
    wave = (tmp_path / "a.wav").read_bytes()
    assert here("compress", "-", "--model", toy_model, stdin=wave).stdout == data
    restored = here("decompress", "-", "--model", toy_model, stdin=data).stdout
    assert restored == (tmp_path / "disk.wav").read_bytes()


def test_a_full_disk_is_told(tmp_path: Path, toy_model: Path) -> None:
    """And nothing half-written is left; the other file of the batch goes on."""
    noise = 0.1 * np.random.default_rng(1).standard_normal((40_000, 3))
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    soundfile.write(tmp_path / "b.wav", noise[:, 0], 16000)
    code = (
        "import resource, sys; from bigcodec_cli.main import run; "
        "from bigcodec_cli.coding import pace; pace._MOST_HELD = pace._MOST_LOCKSTEP_BYTES = 0; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(run(sys.argv[1:]))"
    )
    command = ["compress", "a.wav", "b.wav", "--model", str(toy_model)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert "a.wav: its channels do not fit into" in ran.stderr
    assert "File too large; TMPDIR names another folder" in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"a.wav", "b.wav", "b.bcdc"}
    assert not (tmp_path / "a.bcdc").exists() and not list(tmp_path.glob(".*"))
