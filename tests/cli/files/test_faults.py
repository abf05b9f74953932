"""What happens to real archives, done to real processes: signals, full disks, closed pipes."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile

import bcdc

Start = Callable[..., subprocess.Popen[bytes]]
Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses fifos, limits and prctl")
_DROP_FROM_BOUNDING_SET = 24
_OVERRIDES_OF_FILE_MODES = (1, 2)


def noise(path: Path, seconds: float) -> Path:
    wave = 0.2 * np.random.default_rng(1).standard_normal(round(seconds * 16000))
    soundfile.write(path, wave, 16000)
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the real command in `tmp_path`; whatever still runs at the end is killed."""
    program = Path(sys.executable).parent / "bigcodec"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIGCODEC_")}
    environment["BIGCODEC_HOME"] = str(tmp_path / "home")
    processes: list[subprocess.Popen[bytes]] = []

    def run(
        *arguments: str | Path,
        stdout: int = subprocess.PIPE,
        preexec_fn: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [program, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=preexec_fn,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def feed(stream: IO[bytes], path: Path) -> None:
    """Write a WAV to a pipe, its length unknown, without closing the pipe."""
    data = path.read_bytes()
    stream.write(data[:40] + b"\xff" * 4 + data[44:])
    stream.flush()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stopped_in_mid_file(start: Start, tmp_path: Path, model: Path) -> subprocess.Popen[bytes]:
    """A compress that has written part of its output and waits for more input."""
    noise(tmp_path / "a.wav", 9)
    (tmp_path / "out").mkdir()
    process = start("compress", "-", "--coder", "raw", "-o", "out/a.bcdc", "--model", model)
    assert process.stdin is not None
    feed(process.stdin, tmp_path / "a.wav")
    wait_for(lambda: any((tmp_path / "out").iterdir()) or process.poll() is not None)
    return process


@pytest.mark.parametrize(
    ("number", "code", "left"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 0), (9, -9, 1)]
)
def test_a_stopped_command_leaves_nothing_under_the_final_name(
    start: Start, tmp_path: Path, toy_model: Path, number: int, code: int, left: int
) -> None:
    process = stopped_in_mid_file(start, tmp_path, toy_model)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    left_behind = names(tmp_path / "out")
    assert "a.bcdc" not in left_behind and len(left_behind) == left  # kill -9 leaves a file


def test_a_killed_batch_goes_on_where_it_stopped(
    start: Start, bigcodec: Run, tmp_path: Path, graph_model: Path
) -> None:
    noise(tmp_path / "a.wav", 1)
    noise(tmp_path / "c.wav", 1.5)
    os.mkfifo(tmp_path / "b.wav")
    options = ["--output-dir", "out", "--model", str(graph_model)]
    process = start("compress", "a.wav", "b.wav", "c.wav", *options)
    with (tmp_path / "b.wav").open("wb") as fifo:
        feed(fifo, tmp_path / "a.wav")
        wait_for(lambda: len(names(tmp_path / "out")) == 2)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert names(tmp_path / "out") == ["a.bcdc"]
    written = (tmp_path / "out" / "a.bcdc").stat()
    (tmp_path / "b.wav").unlink()
    noise(tmp_path / "b.wav", 1)
    result = bigcodec("compress", "a.wav", "b.wav", "c.wav", "--skip-existing", *options)
    assert result.returncode == 0 and "1 of 3 files skipped" in result.stderr
    assert names(tmp_path / "out") == ["a.bcdc", "b.bcdc", "c.bcdc"]
    assert (tmp_path / "out" / "a.bcdc").stat() == written


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_full_disk_leaves_nothing(
    start: Start, tmp_path: Path, graph_model: Path, graph_packed: bytes, suffix: str
) -> None:
    (tmp_path / "a.bcdc").write_bytes(graph_packed)
    before = names(tmp_path)
    options = ["-o", f"out.{suffix}", "--model", str(graph_model)]
    process = start("decompress", "a.bcdc", *options, preexec_fn=limited(20_000))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"cannot write out.{suffix}".encode() in stderr and b"Traceback" not in stderr
    assert names(tmp_path) == before


@pytest.mark.parametrize("suffix", ["jsonl", "npz"])
def test_a_full_disk_ends_a_file_of_many(
    start: Start, tmp_path: Path, graph_packed: bytes, suffix: str
) -> None:
    """At once: nothing that follows could go into it."""
    (tmp_path / "a.bcdc").write_bytes(graph_packed)
    files = ["a.bcdc", *(f"{n}.bcdc" for n in range(9))]
    for name in files[1:]:
        (tmp_path / name).write_bytes(graph_packed)
    before = names(tmp_path)
    command = ["tokens", "extract", *files, "-o", f"all.{suffix}"]
    _, stderr = start(*command, preexec_fn=limited(5000)).communicate(timeout=120)
    assert stderr == f"bigcodec: all.{suffix}: cannot be written: File too large\n".encode()
    assert names(tmp_path) == before


def test_a_batch_goes_on_where_a_file_was_too_large_for_the_disk(
    start: Start, tmp_path: Path, graph_model: Path, graph_packed: bytes
) -> None:
    """It is named, the others are done, and every file has its row of JSON."""
    for name in ("a", "c"):
        noise(tmp_path / f"{name}.wav", 0.3)
    assert start("compress", "a.wav", "c.wav", "--model", str(graph_model)).wait(120) == 0
    (tmp_path / "b.bcdc").write_bytes(graph_packed)
    options = ["--output-dir", "out", "--json", "--model", str(graph_model)]
    files = ["a.bcdc", "b.bcdc", "c.bcdc"]
    streams = {"stdout": subprocess.PIPE, "preexec_fn": limited(20_000)}
    process = start("decompress", *files, *options, **streams)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1 and b"b.bcdc: cannot write out/b.wav: File too large" in stderr
    rows = [json.loads(line) for line in stdout.splitlines()[:-1]]
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert names(tmp_path / "out") == ["a.wav", "c.wav"]


def test_a_disk_without_any_room_fails_every_file(
    start: Start, tmp_path: Path, graph_model: Path
) -> None:
    """Outputs so short that they are first written when they are closed; nothing is left."""
    for name in "abc":
        noise(tmp_path / f"{name}.wav", 0.1)
    options = ["--output-dir", "out", "--model", str(graph_model)]
    files = ["a.wav", "b.wav", "c.wav"]
    process = start("compress", *files, *options, preexec_fn=limited(0))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1 and b"3 of 3 files failed" in stderr
    for name in files:
        assert f"{name}: cannot write out/{name[0]}.bcdc: File too large".encode() in stderr
    assert names(tmp_path / "out") == []


def without_privileges() -> None:
    """Root may read and write everything: give that up, in the child only."""
    for capability in _OVERRIDES_OF_FILE_MODES:
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def test_what_may_not_be_read_or_written(start: Start, tmp_path: Path, graph_model: Path) -> None:
    noise(tmp_path / "a.wav", 0.5)
    noise(tmp_path / "secret.wav", 0.5).chmod(0)
    (tmp_path / "fixed").mkdir(mode=0o555)
    for arguments, words in [
        (["secret.wav", "a.wav"], "secret.wav: cannot be read"),
        (["a.wav", "-f", "-o", "fixed/a.bcdc"], "cannot write fixed/a.bcdc: Permission denied"),
        (["a.wav", "--output-dir", "fixed/new"], "fixed/new: cannot be made"),
    ]:
        process = start(
            "compress", *arguments, "--model", graph_model, preexec_fn=without_privileges
        )
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1, stderr
        assert words.encode() in stderr and b"Traceback" not in stderr
    assert names(tmp_path / "fixed") == []
    assert (tmp_path / "a.bcdc").is_file()  # the readable one of the first command


def test_an_input_that_vanishes_fails_alone(
    start: Start, tmp_path: Path, graph_model: Path
) -> None:
    noise(tmp_path / "b.wav", 0.5)
    os.mkfifo(tmp_path / "a.wav")
    process = start("compress", "a.wav", "b.wav", "--model", graph_model)
    with (tmp_path / "a.wav").open("wb") as fifo:
        feed(fifo, tmp_path / "b.wav")
        (tmp_path / "b.wav").unlink()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"b.wav: no such file" in stderr and b"1 of 2 files failed" in stderr
    assert bcdc.read((tmp_path / "a.bcdc").read_bytes()).num_samples == 8000


def test_two_processes_write_the_same_output(
    start: Start, tmp_path: Path, graph_model: Path
) -> None:
    noise(tmp_path / "a.wav", 1)
    both = [start("compress", "-", "-o", "a.bcdc", "--model", graph_model) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        feed(process.stdin, tmp_path / "a.wav")
    wait_for(lambda: len(names(tmp_path)) == 3)  # each has its temporary file beside the input
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sum(b"a.bcdc: already exists" in error for error in errors) == 1
    assert names(tmp_path) == ["a.bcdc", "a.wav"]
    assert bcdc.read((tmp_path / "a.bcdc").read_bytes()).num_samples == 16000


def test_a_pipe_closed_by_its_reader_ends_the_command_quietly(
    start: Start, tmp_path: Path, graph_model: Path, graph_packed: bytes
) -> None:
    (tmp_path / "a.bcdc").write_bytes(graph_packed)
    process = start("decompress", "a.bcdc", "-o", "-", "--model", graph_model)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read(4) == b"RIFF"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_binary_data_do_not_go_to_a_terminal(start: Start, tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", 0.1)
    controller, terminal = pty.openpty()
    process = start("compress", "a.wav", "-o", "-", stdout=terminal)
    os.close(terminal)
    _, stderr = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == 2 and b"refusing to write binary data to a terminal" in stderr
