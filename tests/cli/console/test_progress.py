"""Bars as a terminal shows them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bigcodec_cli.console.progress import as_many_as_fit, clock_text

OnTerminal = Callable[..., Any]
_BAR = re.compile(r"^compress +(\d+)%\|.*\| (\d)/3 files(?:, (\d+:\d\d) of audio)? \[\S+\]$")


def test_the_bar_of_a_batch_moves_within_files(
    on_terminal: OnTerminal, tmp_path: Path, toy_model: Path
) -> None:
    chance, columns = np.random.default_rng(0), 60
    for name, seconds in {"a": 40, "b": 40, "c": 3}.items():
        wave = chance.uniform(-0.3, 0.3, seconds * 16000)
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
    options = ["a.wav", "b.wav", "c.wav", "--model", toy_model]
    shown = on_terminal(columns, "compress", *options)
    assert shown.code == 0, shown.text
    bars = [match for line in shown.lines if (match := _BAR.match(line.strip()))]
    assert all(len(line) <= columns for line in shown.lines if line.startswith("compress"))
    percentages = [int(match[1]) for match in bars]
    assert percentages[0] == 0 and percentages == sorted(percentages) and percentages[-1] >= 90
    assert any(match[2] == "0" and match[3] for match in bars)
    quiet = on_terminal(columns, "compress", *options, "-f", "-q")
    assert quiet.code == 0 and quiet.text == ""


def test_the_bar_of_a_long_file_fits(
    on_terminal: OnTerminal, tmp_path: Path, toy_model: Path
) -> None:
    name = f"{'a long name of a {recording} ' * 5}.wav"
    soundfile.write(tmp_path / name, np.random.default_rng(0).uniform(-1, 1, 1_000_000), 16000)
    shown = on_terminal(60, "compress", name, "-o", "a.bcdc", "--model", toy_model)
    assert shown.code == 0, shown.text
    bars = [line for line in shown.lines if "s of audio [" in line]
    assert bars and all(len(line) <= 60 and line.startswith("a long na…") for line in bars)


def test_parts_fit_whole() -> None:
    parts = ["2.50 steps/s", "2 min left", "mel 3.9"]
    assert as_many_as_fit(parts, 23) == "2.50 steps/s"
    assert as_many_as_fit(parts, 24) == "2.50 steps/s, 2 min left"
    assert as_many_as_fit(parts, 5) == ""
    assert [clock_text(seconds) for seconds in (0, 59.9, 75, 3723)] == [
        "0:00",
        "0:59",
        "1:15",
        "1:02:03",
    ]
