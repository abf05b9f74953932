"""test, tokens, recover, output formats, completion, and the page that documents it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.reference import reference
from bigcodec_models import Codec

Here = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[3]


def damaged(data: bytes, *blocks: int) -> bytes:
    """One wrong byte in each of some blocks."""
    changed = bytearray(data)
    for index in blocks:
        changed[bcdc.read(data).blocks[index].start + 20] ^= 0x40
    return bytes(changed)


def test_good_files_are_good_without_their_model(here: Here, tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    ran = here("test", "a.bcdc")
    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout == b"a.bcdc: ok (checksums and tokens, 30.00 s)\n"
    assert here("test", "-", stdin=packed).stdout.startswith(b"stdin: ok")
    assert here("test", "-q", "a.bcdc").stdout == b""
    deep = here("test", "--deep", "a.bcdc")
    assert deep.code == 1 and "needs the model with fingerprint" in deep.stderr


def test_deep_decodes_the_audio(here: Here, tmp_path: Path, packed: bytes, toy_model: Path) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    ran = here("test", "--deep", "--model", toy_model, "--json", "a.bcdc")
    facts = json.loads(ran.stdout)
    assert facts["status"] == "ok" and facts["audio_decoded"] and facts["tokens_decoded"]


def test_bad_files_are_told_with_what_can_be_saved(
    here: Here, tmp_path: Path, packed: bytes
) -> None:
    (tmp_path / "good.bcdc").write_bytes(packed)
    (tmp_path / "bad.bcdc").write_bytes(damaged(packed, 3))
    ran = here("test", "bad.bcdc", "none.bcdc", "good.bcdc")
    assert ran.code == 1 and ran.stdout.startswith(b"good.bcdc: ok")
    assert "bad.bcdc: block 3 is damaged" in ran.stderr
    assert "'bigcodec decompress --recover' restores 28.00 of 30.00 s" in ran.stderr
    assert "2 of 3 files failed" in ran.stderr


def test_recover_restores_what_is_whole(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    (tmp_path / "bad.bcdc").write_bytes(damaged(packed, 5, 6, 9))
    options = ["--model", str(toy_model)]
    assert "--recover restores what is whole" in here("decompress", "bad.bcdc", *options).stderr
    assert here("decompress", "--recover", "a.bcdc", *options).code == 0
    ran = here("decompress", "--recover", "--json", "bad.bcdc", *options)
    assert ran.code == 1
    assert json.loads(ran.stdout)["lost_seconds"] == [[10.0, 14.0], [18.0, 20.0]]
    assert (
        "6.00 s of them silence for what is lost (seconds 10.00-14.00, 18.00-20.00)" in ran.stderr
    )
    whole, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    restored, _ = soundfile.read(tmp_path / "bad.wav", dtype="int16")
    assert len(restored) == len(whole)
    assert not restored[10 * rate : 14 * rate].any() and not restored[18 * rate : 20 * rate].any()
    assert np.array_equal(restored[: 9 * rate], whole[: 9 * rate])
    assert here("decompress", "--recover", "--rm", "bad.bcdc", *options).code == 2


@pytest.mark.parametrize("keep", [20, 200, 1500])
def test_recover_writes_a_valid_wav_of_a_truncated_file(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path, keep: int
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed[:keep])
    ran = here("decompress", "--recover", "a.bcdc", "--model", toy_model)
    if keep == 20:
        assert ran.code == 1 and "the data end inside the header" in ran.stderr
        return
    if keep == 200:
        assert ran.code == 1 and "nothing of it can be restored" in ran.stderr
        assert not (tmp_path / "a.wav").exists()
        return
    assert ran.code == 1 and "; the end is missing" in ran.stderr
    size = bcdc.read(packed).blocks[0].end - bcdc.read(packed).blocks[0].code
    whole = (keep - bcdc.read(packed).blocks[0].code) // size
    assert soundfile.info(tmp_path / "a.wav").frames == whole * 32000


def test_recover_refuses_what_is_no_container(here: Here, tmp_path: Path) -> None:
    (tmp_path / "a.bcdc").write_bytes(b"RIFF" + bytes(100))
    ran = here("decompress", "--recover", "a.bcdc")
    assert ran.code == 1 and "a.bcdc: not a .bcdc file" in ran.stderr


def test_tokens_go_out_and_in_again(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path
) -> None:
    container = bcdc.read(packed)
    (tmp_path / "a.bcdc").write_bytes(packed)
    assert here("tokens", "extract", "a.bcdc").code == 0
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.int32 and np.array_equal(array, container.tokens())
    ran = here("tokens", "extract", "a.bcdc", "-o", "-", "--format", "jsonl")
    record = json.loads(ran.stdout)
    assert record["tokens"] == container.tokens().tolist() and record["samples"] == 480_000
    (tmp_path / "b.jsonl").write_bytes(ran.stdout)
    assert here("tokens", "pack", "b.jsonl").code == 0
    assert here("tokens", "pack", "a.npy", "-o", "c.bcdc", "--model", toy_model).code == 0
    for name in ("b.bcdc", "c.bcdc"):
        again = bcdc.read((tmp_path / name).read_bytes())
        assert np.array_equal(again.tokens(), container.tokens())
        assert again.header.fingerprint == container.header.fingerprint
        assert again.num_samples == container.num_samples


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"[1, 2]\n", "not a record of tokens"),
        ("a.jsonl", b'{"hop": 200, "tokens": [[1]]}\n', "the record lacks 'codebook_sizes'"),
        ("a.jsonl", b"{}\n{}\n", "a.jsonl: 2: the record lacks 'tokens'"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "not a record of tokens"),
        ("a.npy", b"\x93NUMPY nothing", "not a .npy array"),
        ("a.npy", b"", "a.npy: "),
    ],
)
def test_bad_tokens_are_refused(
    here: Here, tmp_path: Path, toy_model: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    ran = here("tokens", "pack", name, "--model", toy_model)
    assert ran.code == 1 and words in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_arrays_of_objects_run_no_code(here: Here, tmp_path: Path, toy_model: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object))
    np.save(tmp_path / "b.npy", np.array([[[5000]]]))
    np.save(tmp_path / "c.npy", np.array([0.5, 1.0]))
    ran = here("tokens", "pack", "a.npy", "b.npy", "c.npy", "--model", toy_model)
    assert ran.code == 1 and "a.npy: not a .npy array" in ran.stderr
    assert "b.npy: a token is outside its codebook" in ran.stderr
    assert "c.npy: not an array of integers" in ran.stderr


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2",
        b"{'descr': '<i4', 'fortran_order': False, 'shape': " + b"(" * 9000,
        b"{'descr': [1], 'fortran_order': False, 'shape': (2,)}",
        b"{'descr': '<i4', 'fortran_order': 3, 'shape': (-1,)}",
        b"{'descr': '<i4', 'fortran_order': False, 'shape': (1 << 90,)}",
        b"{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387904, 9)}",
        b"{3: 4, 5: None}",
        b"\xff\xfe\x00",
    ],
)
def test_bad_array_headers_fail_alone(
    here: Here, tmp_path: Path, toy_model: Path, header: bytes
) -> None:
    np.save(tmp_path / "good.npy", np.zeros((1, 4, 1), np.int32))
    length = len(header).to_bytes(2, "little")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00" + length + header)
    ran = here("tokens", "pack", "bad.npy", "good.npy", "--output-dir", "o", "--model", toy_model)
    assert ran.code == 1 and "bad.npy: not a .npy array: " in ran.stderr
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["good.bcdc"]


@pytest.mark.parametrize("rate", [1, 200_000, 200_001, 768_000])
def test_rates_of_ogg_vorbis(bigcodec: Run, tmp_path: Path, graph_model: Path, rate: int) -> None:
    """It crashed above 200 kHz; a process of its own, so that a crash is an exit code."""
    fingerprint = Codec.load(graph_model).fingerprint[:6]
    geometry = bcdc.Geometry(codebook_sizes=(1024,))
    header = bcdc.Header(fingerprint=fingerprint, sample_rate=rate, geometry=geometry)
    tokens = np.zeros((1, 80, 1), np.int32)
    (tmp_path / "a.bcdc").write_bytes(bcdc.write(header, tokens, rate))
    ran = bigcodec("decompress", "a.bcdc", "-o", "a.ogg", "--model", graph_model)
    assert ran.returncode in (0, 1)
    if ran.returncode:
        assert f"ogg cannot hold 1 channels at {rate} Hz; use --format wav" in ran.stderr
    assert [path.name for path in tmp_path.glob("*a.ogg*")] == ["a.ogg"] * (1 - ran.returncode)


@pytest.mark.parametrize(
    ("name", "options", "subtype", "form"),
    [
        ("o.wav", [], "PCM_16", "WAV"),
        ("o.wav", ["--pcm", "24"], "PCM_24", "WAVEX"),
        ("o.wav", ["--pcm", "float"], "FLOAT", "WAV"),
        ("o.flac", [], "PCM_16", "FLAC"),
        ("o.flac", ["--pcm", "24"], "PCM_24", "FLAC"),
        ("o.ogg", [], "VORBIS", "OGG"),
        ("o.bin", ["--format", "flac"], "PCM_16", "FLAC"),
    ],
)
def test_output_formats(
    here: Here,
    tmp_path: Path,
    packed: bytes,
    toy_model: Path,
    name: str,
    options: list[str],
    subtype: str,
    form: str,
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    assert here("decompress", "a.bcdc", "-o", name, "--model", toy_model, *options).code == 0
    info = soundfile.info(tmp_path / name)
    assert (info.frames, info.samplerate, info.subtype) == (480_000, 16000, subtype)
    assert info.format == form
    if subtype == "PCM_16":
        here("decompress", "a.bcdc", "-o", "plain.wav", "--model", toy_model)
        plain, _ = soundfile.read(tmp_path / "plain.wav", dtype="int16")
        assert np.array_equal(soundfile.read(tmp_path / name, dtype="int16")[0], plain)


def test_models_are_removed(here: Here, toy_model: Path) -> None:
    assert here("models", "import", toy_model, "--name", "mine").code == 0
    assert here("models", "default", "mine").code == 0
    asked = here("models", "remove", "mine")
    assert asked.code == 1 and "-y does so where nobody can be asked" in asked.stderr
    assert here("models", "remove", "-y", "mine").code == 0
    assert b"mine" not in here("models", "list").stdout
    assert here("models", "default").stdout == b"lite\n"
    assert "mine: no such model" in here("models", "remove", "mine").stderr
    assert "cannot be removed" in here("models", "remove", "lite").stderr


def test_the_reference_page_is_that_of_the_commands() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "python -m bigcodec_cli.reference > docs/cli.md"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(here: Here, shell: str) -> None:
    script = here("completion", shell).stdout.decode()
    assert "_BIGCODEC_COMPLETE" in script
    environment = os.environ | {
        "_BIGCODEC_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "bigcodec decom",
        "COMP_CWORD": "1" if shell != "fish" else "decom",
    }
    program = Path(sys.executable).parent / "bigcodec"
    completions = subprocess.check_output([program], env=environment, text=True)
    assert "decompress" in completions and "compare" not in completions
