"""Names of inputs and outputs: odd ones, ones that collide, ones from a list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

Here = Callable[..., Any]


def silence(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(800), 16000, format="WAV")
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_an_input_that_fails_gives_its_output_name_back(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    (tmp_path / "u.txt").write_text("a transcript")
    (tmp_path / "u.md").mkdir()
    silence(tmp_path / "u.wav")
    options = ["--output-dir", "o", "--model", toy_model]
    ran = here("compress", "u.txt", "u.md", "u.wav", *options)
    assert ran.code == 1 and "2 of 3 files failed" in ran.stderr
    assert names(tmp_path / "o") == ["u.bcdc"]
    ran = here("compress", "-f", "u.wav", "u.wav", *options)
    assert "belongs to another input already" in ran.stderr


@pytest.mark.parametrize("mark", ["\r", "\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_line_breaks_in_names_do_not_cut_messages(
    here: Here, tmp_path: Path, toy_model: Path, mark: str
) -> None:
    name = f"one{mark}two.wav"
    (tmp_path / name).write_bytes(b"no audio")
    ran = here("compress", name, "--model", toy_model)
    shown = f"one{mark!r}two.wav".replace("'", "")
    assert ran.code == 1
    (line,) = (line for line in ran.stderr.splitlines() if line.startswith("bigcodec: "))
    assert line.startswith(f"bigcodec: {shown}: cannot be read as audio: ")
    (tmp_path / name).unlink()
    silence(tmp_path / name)
    assert here("compress", name, "--model", toy_model).code == 0
    ran = here("compress", name, "--model", toy_model)
    assert f"{shown.removesuffix('wav')}bcdc: already exists" in ran.stderr


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lists_written_on_windows(
    here: Here, tmp_path: Path, toy_model: Path, mark: str, end: str, last: bool
) -> None:
    lines = [silence(tmp_path / f"ä {index}.wav").name for index in range(3)]
    text = mark + end.join(lines) + end * last
    (tmp_path / "list.txt").write_bytes(text.encode())
    ran = here("compress", "--filelist", "list.txt", "--output-dir", "o", "--model", toy_model)
    assert ran.code == 0, ran.stderr
    assert len(names(tmp_path / "o")) == 3


def test_a_carriage_return_in_a_name_of_a_list_is_kept(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    """Where not every line has one, it is no line end of Windows."""
    silence(tmp_path / "a\r")
    silence(tmp_path / "b.wav")
    (tmp_path / "list.txt").write_bytes(b"a\r\nb.wav\n")
    ran = here("compress", "--filelist", "list.txt", "--output-dir", "o", "--model", toy_model)
    assert ran.code == 0, ran.stderr


def test_folders_with_the_same_file_names_do_not_collide(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    for name in ("d1/a.wav", "d1/deep/b.wav", "d2/a.wav", "c.wav"):
        silence(tmp_path / name)
    options = ["--model", toy_model, "--output-dir"]
    assert here("compress", "-r", "d1", "d2/", "c.wav", *options, "many").code == 0
    assert names(tmp_path / "many") == ["c.bcdc", "d1/a.bcdc", "d1/deep/b.bcdc", "d2/a.bcdc"]
    assert here("compress", "-r", "d1", "c.wav", *options, "one").code == 0
    assert names(tmp_path / "one") == ["a.bcdc", "c.bcdc", "deep/b.bcdc"]


def test_folders_are_walked_through_links_and_without_hidden_files(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    """Links that lead in a circle too; `._a.wav` is what macOS leaves on other disks."""
    for name in ("in/a.wav", "in/deep/b.wav", "elsewhere/c.wav", "in/.trash/d.wav", "in/._a.wav"):
        silence(tmp_path / name)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    ran = here("compress", "-r", "in", "--output-dir", "o", "--model", toy_model)
    assert ran.code == 0, ran.stderr
    assert names(tmp_path / "o") == ["a.bcdc", "deep/b.bcdc", "link/c.bcdc"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "a.wav"], "No such command 'encode'. Did you mean 'compress'?"),
        (["decode", "a.wav"], "No such command 'decode'. Did you mean 'decompress'?"),
        (["comprss", "a.wav"], "No such command 'comprss'. Did you mean 'compress'?"),
        (["evaluate", "."], "No such command 'evaluate'. Did you mean 'eval'?"),
        (["frobnicate"], "No such command 'frobnicate'.\n"),
        (["compress", "a.wav", "x.bcdc"], "x.bcdc: no such file; to name the output: -o x.bcdc"),
        (["decompress", "a.bcdc", "x.wav"], "x.wav: no such file; to name the output: -o x.wav"),
        (["compress", "a.wav", "--coder", "prio"], "'prio' is not one of 'auto', 'raw'"),
    ],
)
def test_wrong_turns(here: Here, tmp_path: Path, arguments: list[str], words: str) -> None:
    silence(tmp_path / "a.wav")
    ran = here(*arguments)
    assert ran.code == 2 and words in ran.stderr


def test_a_container_is_no_audio_and_audio_no_container(
    here: Here, tmp_path: Path, packed: bytes
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    ran = here("compress", "a.bcdc", "-o", "b.bcdc")
    assert ran.code == 1
    assert ran.stderr.endswith("a.bcdc: is a .bcdc file; 'bigcodec decompress' restores it\n")
    silence(tmp_path / "a.wav")
    ran = here("decompress", "a.wav", "-o", "b.wav")
    assert ran.code == 1 and "a.wav: not a .bcdc file" in ran.stderr


@pytest.mark.usefixtures("imported")
def test_one_output_by_two_names_is_one_output(here: Here, tmp_path: Path, toy_model: Path) -> None:
    """Else the second would replace the first, whose source is gone with --rm."""
    silence(tmp_path / "d" / "a.wav")
    silence(tmp_path / "d" / "a.aif")
    (tmp_path / "link").symlink_to("d")
    options = ["-f", "--rm", "--model", toy_model]
    for other in (f"{tmp_path}/d/a.aif", "link/a.aif", "d/../d/a.aif"):
        ran = here("compress", "d/a.wav", other, *options)
        assert ran.code == 1 and "belongs to another input already" in ran.stderr
        assert (tmp_path / "d" / "a.aif").exists()
        silence(tmp_path / "d" / "a.wav")


@pytest.mark.usefixtures("imported")
def test_an_output_of_a_part_keeps_its_name(here: Here, tmp_path: Path, toy_model: Path) -> None:
    """What a recording that was cut short gave is not replaced by the next input of that name."""
    silence(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-500])
    silence(tmp_path / "a.aif")
    ran = here("compress", "-f", "a.wav", "a.aif", "--model", toy_model)
    assert ran.code == 1 and "a.aif: its output a.bcdc belongs to another input" in ran.stderr
