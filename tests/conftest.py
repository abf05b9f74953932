"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# As many processes as there are processors run tests at once, so each computes on one thread. Tests
# of two threads are 15 times as fast where these do not spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    """Under nohup and in background jobs SIGINT is ignored, which processes started by tests would
    inherit: Ctrl-C could not be tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def speech() -> Path:
    """A clip of real speech, 5.8 s, 16 kHz mono FLAC (LibriSpeech, CC BY 4.0)."""
    return ROOT / "examples" / "speech.flac"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden files of the models."""
    return ROOT / "tests" / "models" / "golden"


@pytest.fixture
def bigcodec(new_process: Run) -> Run:
    """Runs the command; some files of tests run it in this process instead."""
    return new_process


@pytest.fixture
def new_process(tmp_path: Path) -> Run:
    """Runs the real `bigcodec` command in `tmp_path`, with a model store of its own."""
    command = Path(sys.executable).parent / "bigcodec"

    def run(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIGCODEC_")}
        environment |= {"BIGCODEC_HOME": str(tmp_path / "home"), "COLUMNS": "120", **extra}
        return subprocess.run(
            [command, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
