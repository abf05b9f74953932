"""Around the command: closed streams, narrow encodings, damaged caches, long computations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

Here = Callable[..., Any]
PROGRAM = Path(sys.executable).with_name("bigcodec")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a line of sh, in which $bigcodec is the command."""

    def run(line: str, **extra: str) -> subprocess.CompletedProcess[bytes]:
        environment = os.environ | {"bigcodec": str(PROGRAM), "BIGCODEC_HOME": str(tmp_path)}
        environment |= extra
        return subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, check=False
        )

    return run


def silence(path: Path, title: str = "") -> None:
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        if title:
            file.title = title
        file.write(np.zeros(3200))


def test_closed_streams(shell: Any, tmp_path: Path, graph_model: Path, graph_packed: bytes) -> None:
    """Files are written as ever; what would go to a closed stream is refused."""
    silence(tmp_path / "a.wav")
    (tmp_path / "b.bcdc").write_bytes(graph_packed)
    model = f"--model {graph_model}"
    for closed in (">&-", "<&- >&- 2>&-"):
        ran = shell(f"$bigcodec compress -f a.wav {model} {closed}")
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "a.bcdc").read_bytes()[:4] == b"BCDC"
        assert shell(f"$bigcodec info a.bcdc --json {closed}").returncode == 0
    for line, words in [
        ("compress - <&-", "standard input is closed"),
        ("decompress - <&-", "standard input is closed"),
        (f"compress a.wav -o - {model} >&-", "standard output is closed"),
        (f"decompress b.bcdc -o - {model} >&-", "standard output is closed"),
        ("tokens extract b.bcdc -o - >&-", "standard output is closed"),
    ]:
        ran = shell(f"$bigcodec {line}")
        assert ran.returncode == 1, line
        assert words in ran.stderr.decode() and b"Traceback" not in ran.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_text_that_the_terminal_cannot_show(
    shell: Any, tmp_path: Path, graph_model: Path, encoding: str
) -> None:
    silence(tmp_path / "a.wav", title="Träume \u4e2d")
    assert shell(f"$bigcodec compress a.wav -o ä\u4e2d.bcdc --model {graph_model}").returncode == 0
    for command in ("info", "test", "info --json"):
        ran = shell(f"$bigcodec {command} ä\u4e2d.bcdc", PYTHONIOENCODING=encoding, LC_ALL="C")
        assert ran.returncode == 0 and ran.stdout, ran.stderr
        assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("either_model", ["toy"], indirect=True)
def test_damaged_caches_of_compiled_code(shell: Any, tmp_path: Path, either_model: Path) -> None:
    """Of the published architecture, which has kernels of every kind."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 8000), 16000)
    line = f"$bigcodec compress -f a.wav --model {either_model}"
    assert shell(line, NUMBA_CACHE_DIR="cache").returncode == 0
    expected = (tmp_path / "a.bcdc").read_bytes()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ran = shell(line, NUMBA_CACHE_DIR="cache")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "a.bcdc").read_bytes() == expected


BUSY = """
import pathlib, signal, sys, torch
from bigcodec_cli.console.interrupts import prompt_interrupts
torch.set_num_threads(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
a = torch.ones(9000, 9000)
with prompt_interrupts(lambda: pathlib.Path("temporary").unlink()):
    pathlib.Path("temporary").touch()
    a @ a  # half a minute or so, in which Python does not hear of signals
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_long_computation(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """By the exit code: had the computation been waited for, it would be another."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "temporary").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == code
    assert stderr == ("bigcodec: interrupted\n" if number == signal.SIGINT else "")
    assert not (tmp_path / "temporary").exists()
