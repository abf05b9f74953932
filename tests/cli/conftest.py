"""Models and audio for tests of the command line."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import bcdc
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.coding.compressor import Compressor
from bigcodec_cli.coding.recording import recording_of_audio
from bigcodec_cli.main import run
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.onnx.graph_set import GraphSet

ExportOnce = Callable[..., tuple[Path, Any, GraphSet]]


def save_toy(preset: str, folder: Path) -> Path:
    """A model file of a preset with random weights."""
    torch.manual_seed(11)
    config = PRESETS[preset]
    path = folder / f"{preset}.safetensors"
    info = ModelInfo(name=f"my-{preset}", license="CC0-1.0", training={"steps": 0})
    save_model(path, CodecNetwork(config).state_dict(), config, info)
    return path


@pytest.fixture(scope="session", params=["toy", "toy-lite"])
def either_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of each family in turn."""
    return save_toy(request.param, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, where the family does not matter."""
    return save_toy("toy-lite", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def f0_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file whose tokens may have F0 with them or not."""
    return save_toy("toy-single", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def harmonic_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file whose tokens always have F0 with them."""
    return save_toy("toy-harmonic", tmp_path_factory.mktemp("models"))


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command did in this process."""

    code: int
    stdout: bytes
    stderr: str


Here = Callable[..., Ran]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs a command in this process, in `tmp_path`: for what does not need one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIGCODEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("BIGCODEC_MODEL", raising=False)

    def started(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with CliRunner().isolation(input=stdin) as (stdout, stderr, _):
                code = run([str(argument) for argument in arguments])
                sys.stdout.flush()
                sys.stderr.flush()
                return Ran(code, stdout.getvalue(), stderr.getvalue().decode())
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    return started


@pytest.fixture
def imported(
    here: Here,
    toy_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The toy model is in the store, which lies outside of the folder of the test."""
    monkeypatch.setenv("BIGCODEC_HOME", str(tmp_path_factory.mktemp("home")))
    assert here("models", "import", toy_model).code == 0


@dataclasses.dataclass(frozen=True)
class Shown:
    """How a command ended, and what a terminal got of it: the lines as they were drawn."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What was drawn from the left edge on, bars each time anew."""
        return [line for line in self.text.replace("\n", "\r").split("\r") if line.strip()]


OnTerminal = Callable[..., Shown]


@pytest.fixture
def on_terminal(tmp_path: Path) -> OnTerminal:
    """Runs the real command in `tmp_path` with stderr, and stdout if it is not given, on a terminal
    that is so many columns wide; so is stdin if there is an `answer` to be typed."""
    command = Path(sys.executable).parent / "bigcodec"

    def started(
        columns: int,
        *arguments: str | Path,
        stdout: int | None = None,
        answer: bytes | None = None,
        **extra: str,
    ) -> Shown:
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BIGCODEC_", "COLUMNS"))}
        process = subprocess.Popen(
            [command, *map(str, arguments)],
            cwd=tmp_path,
            env={**kept, "BIGCODEC_HOME": str(tmp_path / "home"), **extra},
            stdin=subprocess.DEVNULL if answer is None else terminal,
            stdout=terminal if stdout is None else stdout,
            stderr=terminal,
        )
        os.close(terminal)
        os.write(controller, answer or b"")
        output = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while data := os.read(controller, 1 << 16):
                output += data
        os.close(controller)
        return Shown(process.wait(timeout=120), output.decode())

    return started


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def in_process(here: Here, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Called as the fixture `bigcodec` is, but in this process: starting another takes two
    seconds."""

    def called(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in extra.items():
                patch.setenv(name, value)
            ran = here(*arguments)
        text = ran.stdout.decode()
        return subprocess.CompletedProcess(list(arguments), ran.code, text, ran.stderr)

    return called


@pytest.fixture(scope="session")
def graph_model(export_once: ExportOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with its graphs beside it, for tests of processes: none of them loads torch,
    which takes seconds, as none does with the default model."""
    from bigcodec_models.onnx.export import write_archive

    path, _, graphs = export_once("single", PRESETS["toy-single"])
    folder = tmp_path_factory.mktemp("graph-model")
    write_archive(graphs, folder / "model.onnx.zip")
    return Path(shutil.copy(path, folder / "model.safetensors"))


@pytest.fixture(scope="session")
def packed(toy_model: Path) -> bytes:
    """A container of half a minute of noise, by the toy model."""
    return noise_by(toy_model)


@pytest.fixture(scope="session")
def graph_packed(graph_model: Path) -> bytes:
    """A container of half a minute of noise, by the model with graphs."""
    return noise_by(graph_model)


def noise_by(model: Path) -> bytes:
    wave = 0.2 * np.random.default_rng(1).standard_normal((1, 480_000))
    blocks = iter([wave.astype(np.float32)])
    audio = AudioInput(name="", rate=16000, channels=1, frames=480_000, blocks=blocks)
    codec, out = Codec.load(model), io.BytesIO()
    recording = recording_of_audio(
        audio, codec.fingerprint, geometry_of(codec), contextlib.ExitStack()
    )
    compressor = Compressor(recording, out, bcdc.Coder.RAW)
    for piece in codec.encode_streams(recording.sources):
        assert piece.error is None
        compressor.take(piece.index, piece.data)
    compressor.finish()
    return out.getvalue()
