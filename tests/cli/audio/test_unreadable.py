"""Files that the system cannot read to their end: its words, one line, and the source stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc

Run = Callable[..., subprocess.CompletedProcess[str]]
REASON = os.strerror(errno.EIO)
RATE, SECONDS = 48000, 40
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs a C compiler"
)
FAILING_READ = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t read(int fd, void *buffer, size_t size) {
    ssize_t (*next)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    const char *name = getenv("FAILING_NAME");
    char link[64], target[4096] = "";
    off_t at = lseek(fd, 0, SEEK_CUR), stop = atol(getenv("FAILING_AT"));
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (at < 0 || readlink(link, target, sizeof target - 1) < 0 || !strstr(target, name))
        return next(fd, buffer, size);
    if (at >= stop) { errno = EIO; return -1; }
    return next(fd, buffer, at + (off_t)size > stop ? (size_t)(stop - at) : size);
}
"""


@pytest.fixture(scope="session")
def failing_read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes `read` of one file fail beyond a byte, as a bad disk does."""
    folder = tmp_path_factory.mktemp("failing")
    (folder / "read.c").write_text(FAILING_READ)
    command: list[Any] = [
        "cc",
        "-shared",
        "-fPIC",
        "-o",
        folder / "read.so",
        folder / "read.c",
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return folder / "read.so"


def error_of(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command prints beside that on its model."""
    (line,) = (line for line in ran.stderr.splitlines() if not line.startswith("model "))
    return line


@pytest.mark.parametrize(
    ("kind", "coded"), [("wav", True), ("au", True), ("flac", False), ("mp3", False)]
)
def test_a_bad_disk_is_named(
    new_process: Run, tmp_path: Path, toy_model: Path, failing_read: Path, kind: str, coded: bool
) -> None:
    assert new_process("models", "import", toy_model).returncode == 0  # or --rm is refused
    source = tmp_path / f"bad.{kind}"
    soundfile.write(source, np.random.default_rng(0).uniform(-0.5, 0.5, RATE * SECONDS), RATE)
    readable = source.stat().st_size * 2 // 3
    assert readable > 1 << 17
    ran = new_process(
        "compress", source, "-o", "a.bcdc", "--rm", "--model", "my-toy-lite",
        LD_PRELOAD=str(failing_read), FAILING_NAME=source.name, FAILING_AT=str(readable),
    )  # fmt: skip
    assert ran.returncode == 1 and source.exists()
    assert REASON in error_of(ran) and "System error" not in ran.stderr
    assert (tmp_path / "a.bcdc").exists() == coded
    if coded:
        seconds = bcdc.read((tmp_path / "a.bcdc").read_bytes()).seconds
        assert SECONDS / 2 < seconds < SECONDS * 2 / 3


@pytest.mark.parametrize("command", ["info", "compress"])
@pytest.mark.parametrize("piped", [False, True])
def test_an_input_that_fails_at_once_is_named(
    new_process: Run, tmp_path: Path, graph_model: Path, command: str, piped: bool
) -> None:
    arguments: list[Any] = [command, "-" if piped else "/proc/self/mem"]
    if command.endswith("compress"):
        arguments += ["-o", "out", "--model", graph_model]
    with open("/proc/self/mem" if piped else os.devnull, "rb") as stdin:
        environment = {**os.environ, "BIGCODEC_HOME": str(tmp_path / "home")}
        ran = subprocess.run(
            [Path(sys.executable).parent / "bigcodec", *map(str, arguments)],
            cwd=tmp_path, env=environment, stdin=stdin, capture_output=True, text=True,
        )  # fmt: skip
    assert ran.returncode == 1 and error_of(ran).endswith(REASON)
    assert not (tmp_path / "out").exists()
