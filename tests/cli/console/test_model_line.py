"""What the default model is is said once to a user, on a terminal; results name the model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_cli.model_store.store import find_model

OnTerminal = Callable[..., Any]
Here = Callable[..., Any]


@pytest.fixture
def wave(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(8000) / 9), 16000)
    return "a.wav"


def test_once_a_user_and_never_cut(on_terminal: OnTerminal, tmp_path: Path, wave: str) -> None:
    first = on_terminal(60, "compress", wave)
    lines = first.text.replace("\r", "").splitlines()
    result = lines.pop()
    model = find_model("lite")
    assert model is not None and all(len(line) < 60 for line in lines) and len(lines) > 1
    assert " ".join(lines).startswith(f"model {model.name}: {model.summary}; ")
    assert result.startswith("a.wav: 0.50 s to ") and f" bytes by {model.name}, " in result
    again = on_terminal(60, "compress", wave, "-f")
    assert again.text.replace("\r", "").splitlines() == [result]
    ran = on_terminal(200, "compress", wave, "-f", "-v")
    assert ran.text.startswith(f"model {model.name}: ")


def test_not_with_a_model_that_is_named_nor_on_a_pipe(
    on_terminal: OnTerminal, here: Here, tmp_path: Path, wave: str, toy_model: Path
) -> None:
    named = on_terminal(60, "compress", wave, "--model", toy_model)
    (line,) = named.text.splitlines()
    assert line.startswith("a.wav: 0.50 s to ") and f" by {toy_model.name}, " in line
    piped = on_terminal(60, "compress", wave, "-o", "-", stdout=subprocess.DEVNULL)
    assert piped.code == 0 and "model" not in piped.text
    ran = here("compress", wave, "-f")  # stderr is a pipe here
    assert ran.code == 0 and len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_totals_and_json_name_it(here: Here, tmp_path: Path, wave: str, toy_model: Path) -> None:
    (tmp_path / "b.wav").write_bytes((tmp_path / wave).read_bytes())
    ran = here("compress", wave, "b.wav", "--json", "--model", toy_model)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row.get("model") for row in rows] == [toy_model.name, toy_model.name, None]
    assert f" bytes by {toy_model.name}, " in ran.stderr
