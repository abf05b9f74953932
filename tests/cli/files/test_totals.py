"""The line that ends a batch, and its object of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_cli.files.totals import duration_text, size_text

Here = Callable[..., Any]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", np.zeros(8000), 16000)
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    return tmp_path


def test_a_batch_ends_with_a_line(here: Here, clips: Path, toy_model: Path) -> None:
    model = ["--model", toy_model]
    ran = here("compress", "0.wav", "1.wav", "bad.wav", *model)
    size = r"\d+ bytes by toy-lite\.safetensors"
    line = rf"2 files, 1\.00 s of audio to {size}, \d+\.\d\d kbit/s, \d+\.\dx real time"
    lines = ran.stderr.splitlines()
    assert re.fullmatch(line, lines[-3]) and lines[-2] == "bigcodec: 1 of 3 files failed:"
    ran = here("decompress", "0.bcdc", "1.bcdc", *model, "-f")
    line = line.replace("audio to", "audio from").replace(size, r"\d+ bytes")
    assert re.fullmatch(line, ran.stderr.splitlines()[-1])
    ran = here("tokens", "extract", "0.bcdc", "1.bcdc")
    assert re.fullmatch(line, ran.stderr.splitlines()[-1])
    for arguments in (["-q", "0.wav", "1.wav"], ["0.wav"]):
        assert "real time" not in here("compress", "-f", *arguments, *model).stderr


@pytest.mark.usefixtures("imported")
def test_a_batch_ends_with_an_object(here: Here, clips: Path, toy_model: Path) -> None:
    names = ["0.wav", "1.wav", "2.wav", "bad.wav"]
    sizes = sum((clips / name).stat().st_size for name in ("0.wav", "2.wav"))
    (clips / "1.bcdc").touch()
    ran = here("compress", *names, "--json", "--rm", "--skip-existing", "--model", toy_model)
    *rows, last = map(json.loads, ran.stdout.splitlines())
    assert [row["status"] for row in rows] == ["ok", "skipped", "ok", "failed"]
    total = last["total"]
    assert total.pop("elapsed") > 0
    assert total == {
        "files": 2,
        "failed": 1,
        "skipped": 1,
        "seconds": 1.0,
        "bytes_in": sizes,
        "bytes_out": sum((clips / name).stat().st_size for name in ("0.bcdc", "2.bcdc")),
    }


def test_sizes_and_durations() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.00 kB", 25_140: "25.1 kB", 999_400: "999 kB"}
    sizes |= {999_600: "1.00 MB", 2_500_000_000: "2.50 GB", 7 * 10**15: "7000 TB"}
    assert {count: size_text(count) for count in sizes} == sizes
    durations = {0.0: "0.00 s", 9.25: "9.25 s", 59.999: "1:00", 195.4: "3:15", 3723.0: "1:02:03"}
    assert {seconds: duration_text(seconds) for seconds in durations} == durations
