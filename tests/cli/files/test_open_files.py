"""More files than a process may have open."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")


@pytest.mark.parametrize("batch_size", [16, 1024])
def test_a_batch_works_through_all_of_them(
    tmp_path: Path, toy_model: Path, batch_size: int
) -> None:
    for index in range(150):
        soundfile.write(tmp_path / f"{index}.wav", np.zeros(800), 16000)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    program = Path(sys.executable).with_name("bigcodec")
    options = ["--model", str(toy_model), "--batch-size", str(batch_size), "--json"]
    for command, suffix in (("compress", "wav"), ("decompress", "bcdc")):
        ran = subprocess.run(
            [program, command, "-r", ".", "--output-dir", suffix, *options],
            cwd=tmp_path,
            env=os.environ | {"BIGCODEC_HOME": str(tmp_path / "home")},
            preexec_fn=limited,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        rows = [json.loads(line)["status"] for line in ran.stdout.splitlines()[:-1]]
        assert rows == ["ok"] * 150
