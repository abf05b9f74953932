"""What `info`, `models` and shells list."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bcdc
from bigcodec_cli.training.plan import preset_names, recipe_names
from bigcodec_models.registry import builtin_models

Here = Callable[..., Any]
OnTerminal = Callable[..., Any]
Run = Callable[..., Any]

_BOLD = re.compile(r"\x1b\[[0-9]*m")


def test_info_of_many_files_is_a_table(here: Here, tmp_path: Path, packed: bytes) -> None:
    names = ["a.bcdc", f"{'long ' * 30}.bcdc", "c.bcdc"]
    for name in names:
        (tmp_path / name).write_bytes(packed)
    (tmp_path / "bad.bcdc").write_bytes(packed[:-1])
    ran = here("info", *names, "bad.bcdc")
    assert ran.code == 1 and ran.stderr.startswith("bigcodec: bad.bcdc: ")
    title, *rows, total = ran.stdout.decode().splitlines()
    assert title.split() == ["file", "duration", "channels", "size", "kbit/s", "model"]
    rate = len(packed) * 8 / 30 / 1000
    model = bcdc.read(packed).header.fingerprint.hex()
    for name, row in zip(names, rows, strict=True):
        size = f"{len(packed) / 1000:.2f} kB"
        assert row.startswith(name)
        assert row[len(name) :].split() == ["30.00", "s", "1", *size.split(), f"{rate:.3f}", model]
    assert total.split()[:4] == ["total", "of", "3", "1:30"] and total.split()[-1] == f"{rate:.3f}"
    detailed = here("info", "-v", *names[:1], *names[2:]).stdout.decode()
    assert detailed.count("  on disk  ") == 2 and "total" not in detailed
    assert detailed.index("on disk") < detailed.index("approximate")
    lines = here("info", "--json", *names).stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == names


def test_a_table_fits_a_terminal(on_terminal: OnTerminal, tmp_path: Path, packed: bytes) -> None:
    for name in ("a.bcdc", f"{'x' * 90}.bcdc"):
        (tmp_path / name).write_bytes(packed)
    shown = on_terminal(60, "info", "-r", ".", TERM="xterm")
    assert shown.code == 0 and all(len(_BOLD.sub("", line)) <= 60 for line in shown.lines)
    assert shown.text.count("x") >= 90


def test_models_are_listed_with_size_license_and_folder(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    assert here("models", "import", toy_model, "--name", "mine").code == 0
    text = here("models", "list").stdout.decode()
    assert "MIT" in text and "CC0-1.0" in text and "43.3 MB" in text
    assert text.splitlines()[-1] == f"imported models are in {tmp_path / 'home'}"
    rows = [json.loads(line) for line in here("models", "list", "--json").stdout.splitlines()]
    mine = rows[-1]
    assert mine["name"] == "mine" and not mine["default"] and rows[-2]["default"]
    assert mine["bytes"] == Path(mine["file"]).stat().st_size
    Path(mine["file"]).unlink()
    assert "missing" in here("models", "list").stdout.decode()


@pytest.mark.parametrize(("answer", "goes"), [(b"n\n", False), (b"y\n", True)])
def test_a_model_is_removed_after_a_question(
    on_terminal: OnTerminal, here: Here, toy_model: Path, answer: bytes, goes: bool
) -> None:
    assert here("models", "import", toy_model, "--name", "mine").code == 0
    shown = on_terminal(100, "models", "remove", "mine", answer=answer)
    assert "remove mine, " in shown.text and shown.code == (0 if goes else 1)
    assert (b"mine" in here("models", "list", "--json").stdout) is not goes


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("compress --model", ["lite", *(model.name for model in builtin_models()), "mine"]),
        ("decompress --model mi", ["mine"]),
        ("eval --model mi", ["mine"]),
        ("models remove mi", ["mine"]),
        ("models pull b", ["bigcodec"]),
        ("train --preset", preset_names()),
        ("train --config", recipe_names()),
        ("train --config mp", ["mpd-mrd"]),
    ],
)
def test_shells_are_offered_names(
    new_process: Run, here: Here, toy_model: Path, words: str, offered: list[str]
) -> None:
    assert here("models", "import", toy_model, "--name", "mine").code == 0
    count = len(words.split()) if words[-2:] in ("mi", "mp", " b") else len(words.split()) + 1
    ran = new_process(
        _BIGCODEC_COMPLETE="bash_complete", COMP_WORDS=f"bigcodec {words}", COMP_CWORD=str(count)
    )
    assert ran.stdout.split() == [f"plain,{name}" for name in offered]


def test_shells_are_offered_files_where_no_name_fits(new_process: Run) -> None:
    ran = new_process(
        _BIGCODEC_COMPLETE="bash_complete",
        COMP_WORDS="bigcodec compress --model ./my",
        COMP_CWORD="3",
    )
    assert ran.stdout.split() == ["file,./my"]
