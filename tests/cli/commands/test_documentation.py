"""The examples of docs/python.md and of the README's section on Python, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def blocks_of(text: str) -> Iterator[tuple[str, str]]:
    """The language of each block of code, and its content."""
    yield from BLOCK.findall(text)


def program_of(text: str) -> tuple[str, list[str]]:
    """One program of all examples of a page, and the lines that it is to print: those of comments
    after a print, and those of blocks without a language."""
    parts, lines = [], list[str]()
    for language, content in blocks_of(text):
        if language == "python":
            parts.append(content)
            lines += PRINTED.findall(content)
        elif language == "sh":
            parts.append(
                f"import subprocess; subprocess.run(['sh', '-ec', {content!r}], check=True)"
            )
        else:
            lines += content.splitlines()
    return "\n".join(parts), lines


def run(program: str, folder: Path) -> list[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIGCODEC_")}
    environment |= {"PATH": path, "BIGCODEC_HOME": str(folder / "home")}
    environment["CUDA_VISIBLE_DEVICES"] = ""  # so that all numbers are those of a CPU
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path, speech: Path) -> Path:
    """A folder with speech.wav, 16 bits at 16 kHz."""
    samples, rate = soundfile.read(speech, dtype="int16")
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    return tmp_path


def test_the_examples_on_python_print_what_they_say(folder: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    program, lines = program_of(text)
    assert run(program, folder) == lines
    assert len(lines) > 15 and len(list(blocks_of(text))) > 15


def test_the_readme_s_example_in_python_runs(folder: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Python\n")[2].partition("\n## ")[0]
    program, lines = program_of(section)
    assert "bigcodec.compress(" in program and run(program, folder) == lines


def test_examples_that_are_wrong_are_found(folder: Path) -> None:
    program, lines = program_of("```python\nprint(1 + 1)  # 3\n```\n")
    assert lines == ["3"] and run(program, folder) == ["2"]
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(program_of("```python\n1 / 0\n```\n")[0], folder)
