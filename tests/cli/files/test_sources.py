"""Which inputs `--rm` removes, and what killed processes leave."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.coding.verification import read_back
from bigcodec_cli.files.atomic import AtomicOutput, SourceFile

Here = Callable[..., Any]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and links of POSIX")


def noise(path: Path, seconds: float = 0.3) -> Path:
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, round(16000 * seconds))
    soundfile.write(path, wave, 16000, format="WAV")
    return path


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("change", ["rewritten", "longer", "replaced", "removed", "touched"])
def test_a_source_that_changes_meanwhile_stays(
    here: Here, tmp_path: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    source = noise(tmp_path / "a.wav")
    other = noise(tmp_path / "other", 0.2).read_bytes()

    def changing(path: Path) -> bcdc.Container:
        if change == "rewritten":
            source.write_bytes(other)
        elif change == "longer":
            source.write_bytes(source.read_bytes() + b"more")
        elif change == "replaced":
            (tmp_path / "other").replace(source)
        elif change == "removed":
            source.unlink()
        else:
            os.utime(source, ns=(1, 1))
        return read_back(path)

    monkeypatch.setattr("bigcodec_cli.coding.compress_job.read_back", changing)
    ran = here("compress", "a.wav", "--rm", "--model", toy_model)
    assert ran.code == 1 and "a.wav: changed while it was read, and was not removed" in ran.stderr
    assert source.exists() == (change != "removed")
    assert bcdc.read((tmp_path / "a.bcdc").read_bytes()).num_samples == 4800


@pytest.mark.usefixtures("imported")
def test_links_are_not_followed_to_what_they_name(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    noise(tmp_path / "target.wav")
    (tmp_path / "a.wav").symlink_to("target.wav")
    ran = here("compress", "a.wav", "--rm", "--model", toy_model)
    assert ran.code == 0 and "a.wav: is no regular file, and was not removed" in ran.stderr
    assert (tmp_path / "a.wav").is_symlink() and (tmp_path / "target.wav").exists()
    assert (tmp_path / "a.bcdc").exists()


@pytest.mark.usefixtures("imported")
def test_formats_that_nobody_can_check_stay(here: Here, tmp_path: Path, toy_model: Path) -> None:
    soundfile.write(tmp_path / "a.sf", np.zeros(1600), 16000, format="IRCAM", subtype="PCM_16")
    ran = here("compress", "a.sf", "--rm", "--model", toy_model)
    assert ran.code == 0 and "a.sf: is of a format whose end cannot be checked" in ran.stderr
    assert (tmp_path / "a.sf").exists() and (tmp_path / "a.bcdc").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["decompress", "a.bcdc", "--start", "1"], "--rm removes what is restored in full"),
        (["decompress", "a.bcdc", "--duration", "1"], "--rm removes what is restored in full"),
        (["tokens", "extract", "a.bcdc"], "an array alone does not give the file back"),
    ],
)
def test_what_is_not_all_of_it_removes_nothing(
    here: Here, tmp_path: Path, packed: bytes, command: list[str], words: str
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    ran = here(*command, "--rm")
    assert ran.code == 2 and words in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.bcdc"]


def test_lines_of_tokens_give_the_file_back(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    assert here("tokens", "extract", "a.bcdc", "--format", "jsonl", "--rm").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
    assert here("tokens", "pack", "a.jsonl").code == 0
    container = bcdc.read((tmp_path / "a.bcdc").read_bytes())
    assert np.array_equal(container.tokens(), bcdc.read(packed).tokens())


def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path, graph_model: Path) -> None:
    """And nothing else: neither what a live process writes, nor files with like names."""
    noise(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    program = Path(sys.executable).with_name("bigcodec")
    command = [str(program), "compress", "--model", str(graph_model), "--output-dir", "out"]
    process = subprocess.Popen([*command, "b.wav"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    with (tmp_path / "b.wav").open("wb") as fifo:
        fifo.write((tmp_path / "a.wav").read_bytes()[:2000])
        fifo.flush()
        while not list(tmp_path.glob("out/.b.bcdc.bigcodec-*.tmp")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    live = AtomicOutput(tmp_path / "out" / "c.bcdc", overwrite=False)
    others = [".b.tmp", ".b.bcdc.0123abcd.tmp", "b.bigcodec-0123abcd.tmp", ".vimrc"]
    for name in others:
        (tmp_path / "out" / name).touch()
    assert subprocess.run([*command, "a.wav", "-q"], cwd=tmp_path).returncode == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.bcdc", live.temporary.name, *others}
    live.discard()


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize("machine", ["own", "other"])
def test_where_no_lock_tells_leftovers_must_be_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_locks: bool, machine: str
) -> None:
    """As on file systems of clusters, which other machines write to."""

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    live = AtomicOutput(tmp_path / "c", overwrite=False)
    own = live.temporary.name[-len("-01234567.tmp") :]
    name = ".a.bigcodec-0123abcd" + (own if machine == "own" else "-ffffffff.tmp")
    (tmp_path / name).touch()
    if not has_locks:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    for is_old in (False, True):
        if is_old:
            monkeypatch.setattr("bigcodec_cli.files.atomic._STALE_SECONDS", -1)
        monkeypatch.setattr("bigcodec_cli.files.atomic._swept", set())
        AtomicOutput(tmp_path / "b", overwrite=False).discard()
        is_gone = is_old or (has_locks and machine == "own")
        assert (tmp_path / name).exists() != is_gone
        assert live.temporary.exists() or (is_old and not has_locks)
    live.discard()


def test_an_output_that_was_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its creation and its lock."""
    lock, removed = fcntl.flock, list[Path]()

    def locking(descriptor: int, how: int) -> None:
        if not removed:
            removed.extend(tmp_path.glob(".*.tmp"))
            removed[0].unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", locking)
    source = SourceFile(noise(tmp_path / "a.wav"))
    output = AtomicOutput(tmp_path / "a", overwrite=False, source=source)
    assert removed and output.temporary.exists()
    output.commit()
    assert (tmp_path / "a").exists()
