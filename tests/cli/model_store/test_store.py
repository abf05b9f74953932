"""The store of models: names that are refused, and processes that change it at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

Here = Callable[..., Any]

# Another process has half a second to come between reading the index and writing it.
REGISTER = """
import sys, time, types
from bigcodec_cli.model_store import store

read = store._index
def slow_index():
    rows = read()
    time.sleep(0.5)
    return rows

print("ready", flush=True)
sys.stdin.readline()
store._index = slow_index
info = types.SimpleNamespace(license="CC0-1.0")
model = types.SimpleNamespace(fingerprint=bytes(32), digest=bytes(32), info=info)
with store.locked():
    store.register(sys.argv[1], model, "nothing")
"""


def started(home: Path, *command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**os.environ, "BIGCODEC_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_register_at_once_lose_nothing(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    processes = [started(tmp_path, sys.executable, "-c", REGISTER, name) for name in names]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert sorted(json.loads((tmp_path / "models.json").read_text())) == names
    assert any("waiting for another process" in error for error in errors)


def test_two_imports_wait_their_turn(tmp_path: Path, toy_model: Path) -> None:
    """Both are held until both have read their file and want to write."""
    program = Path(sys.executable).parent / "bigcodec"
    with filelock.FileLock(tmp_path / ".lock"):
        processes = [
            started(tmp_path, program, "models", "import", toy_model, "--name", name)
            for name in ("one", "two")
        ]
        for process in processes:
            assert process.stderr is not None
            assert "waiting for another process" in process.stderr.readline()
        assert not (tmp_path / "models.json").exists()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert sorted(json.loads((tmp_path / "models.json").read_text())) == ["one", "two"]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".lock", "models.json", "one.safetensors", "two.safetensors"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lite", "is the name of a built-in model"),
        ("lite-4", "is the name of a built-in model"),
        ("LITE-4", "is the name of a built-in model"),
        ("lite-99", "reserved for models that come with the program"),
        ("Lite-007", "reserved for models that come with the program"),
        ("../lite", "a model name has letters"),
    ],
)
def test_names_that_are_not_to_be_had(
    here: Here, tmp_path: Path, toy_model: Path, name: str, words: str
) -> None:
    result = here("models", "import", toy_model, "--name", name)
    assert result.code == 1
    assert result.stderr.startswith(f"bigcodec: {name}: {words}") or words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_names_that_are_like_ours_may_be_had(here: Here, toy_model: Path) -> None:
    for name in ("lite-mine", "my-lite-2", "lite-2b", "elite"):
        assert here("models", "import", toy_model, "--name", name).code == 0
        assert here("models", "remove", "-y", name).code == 0


def test_a_folder_that_cannot_be_locked_is_said_in_one_line(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    (tmp_path / "home").write_text("a file is in the way")
    result = here("models", "import", toy_model, "--name", "mine")
    assert result.code == 1 and result.stderr.count("\n") == 1
    assert "cannot be locked" in result.stderr
