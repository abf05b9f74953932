"""The manual pages: up to date, complete, and without fault for `man`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bigcodec_cli.main import cli

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "man"


def test_they_are_those_of_the_commands(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "man_pages.py", tmp_path], check=True)
    generated = {page.name: page.read_text(encoding="utf-8") for page in tmp_path.iterdir()}
    kept = {page.name: page.read_text(encoding="utf-8") for page in FOLDER.iterdir()}
    assert kept == generated, "make docs"
    commands = {f"bigcodec-{name}.1" for name in cli.list_commands(click.Context(cli))}
    assert {"bigcodec.1", "bigcodec-models-pull.1", *commands} <= set(kept)


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_shows_them_without_a_warning() -> None:
    pages = sorted(FOLDER.iterdir())
    environment = os.environ | {"MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    command: list[str | Path] = ["man", "--warnings", "--local-file", *pages]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    shown = [line for line in run.stdout.splitlines() if line.lstrip().startswith("--output-dir")]
    assert len(shown) >= 2
    assert "143 after Ctrl-C and SIGTERM" in " ".join(run.stdout.split())
