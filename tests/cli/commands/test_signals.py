"""Every kind of command ends with 130 after Ctrl-C and 143 after SIGTERM, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# Each waits: for the rest of its input, for a fifo to be opened, or for the store's lock.
BOTH = (signal.SIGINT, signal.SIGTERM)
WAITING = [
    (["info", "-"], BOTH),
    (["test", "-"], BOTH),
    (["tokens", "extract", "-", "-o", "out.npy"], BOTH),
    (["models", "default", "lite-4"], BOTH),
    (["compress", "--filelist", "-"], BOTH),
    (["decompress", "-", "-o", "out.wav"], BOTH[1:]),  # these two have much to import
    (["compare", "fifo", "fifo"], BOTH[:1]),
    (["tokens", "extract", "fifo", "none.wav", "-o", "out.npz"], BOTH[1:]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "home").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with filelock.FileLock(tmp_path / "home" / ".lock"):
        yield tmp_path


def settled(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has a handler for SIGTERM and sleeps, its imports behind it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    caught = int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1
    return bool(caught) and fields["State"].startswith("S")


@pytest.mark.parametrize(("arguments", "numbers"), WAITING)
def test_signals_end_every_command_with_their_code(
    folder: Path, arguments: list[str], numbers: tuple[int, ...]
) -> None:
    processes = [started(folder, arguments) for _ in numbers]
    for process in processes:
        wait_until_settled(process)
    for process, number in zip(processes, numbers, strict=True):
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert b"Traceback" not in stderr
    assert sorted(path.name for path in folder.iterdir()) == ["fifo", "home"]
    assert [path.name for path in (folder / "home").iterdir()] == [".lock"]


def started(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [Path(sys.executable).parent / "bigcodec", *arguments],
        cwd=folder,
        env={**os.environ, "BIGCODEC_HOME": str(folder / "home")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_until_settled(process: subprocess.Popen[bytes]) -> None:
    """Wait until it has slept for a while."""
    end, times = time.monotonic() + 60, 0
    while times < 10:
        assert process.poll() is None and time.monotonic() < end
        times = times + 1 if settled(process) else 0
        time.sleep(0.02)
