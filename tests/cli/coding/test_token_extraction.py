"""Tokens of many recordings in one file, straight from audio, and back into containers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_models import Codec

Here = Callable[..., Any]


def write_noise(path: Path, seconds: float, channels: int = 1, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(int(seconds * 1000) + channels)
    soundfile.write(path, 0.1 * random.standard_normal((int(seconds * rate), channels)), rate)


@pytest.fixture
def clips(here: Here, tmp_path: Path, toy_model: Path) -> Path:
    """Three recordings: mono, stereo at 44.1 kHz deeper down, and a container."""
    write_noise(tmp_path / "in" / "a.wav", 0.5)
    write_noise(tmp_path / "in" / "deep er" / "b.flac", 0.25, 2, 44100)
    write_noise(tmp_path / "in" / "c.wav", 0.3)
    assert here("compress", "in/c.wav", "--model", toy_model).code == 0
    return tmp_path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_becomes_lines_by_id(here: Here, clips: Path, toy_model: Path) -> None:
    (clips / "in" / "bad.wav").write_bytes(b"no audio")
    ran = here("tokens", "extract", "-r", "in", "-o", "all.jsonl", "--model", toy_model)
    assert ran.code == 1 and "bad.wav: cannot be read as audio" in ran.stderr
    rows = rows_of(clips / "all.jsonl")
    assert [row["id"] for row in rows] == ["a", "c", "deep er/b"]  # c.wav has a container
    assert [row["file"] for row in rows] == ["in/a.wav", "in/c.bcdc", "in/deep er/b.flac"]
    assert {row["frame_rate"] for row in rows} == {80.0}
    assert {row["vocabulary_size"] for row in rows} == {1024}
    assert [row["sample_rate"] for row in rows] == [16000, 16000, 44100]
    assert [np.array(row["tokens"]).shape for row in rows] == [(1, 40, 1), (1, 24, 1), (2, 20, 1)]
    codec, wave = Codec.load(toy_model), soundfile.read(clips / "in" / "a.wav")[0]
    assert rows[0]["tokens"] == [codec.encode(wave)[:, None].tolist()]
    assert rows[1]["tokens"] == bcdc.read((clips / "in/c.bcdc").read_bytes()).tokens().tolist()


def test_every_kind_of_file_holds_the_same(here: Here, clips: Path, toy_model: Path) -> None:
    inputs = ["in/a.wav", "in/deep er/b.flac", "in/c.bcdc"]
    for name in ("all.jsonl", "all.npz", "again.npz"):
        ran = here("tokens", "extract", *inputs, "-o", name, "--model", toy_model)
        assert ran.code == 0 and re.search(r"3 files, 1\.05 s of audio", ran.stderr)
    rows = rows_of(clips / "all.jsonl")
    with np.load(clips / "all.npz") as archive:
        assert archive.files == [*(row["id"] for row in rows), "_records"]
        assert json.loads(bytes(archive["_records"])) == [
            {key: value for key, value in row.items() if key != "tokens"} for row in rows
        ]
        for row in rows:
            assert archive[row["id"]].dtype == np.int32
            assert archive[row["id"]].tolist() == row["tokens"]
    assert (clips / "all.npz").read_bytes() == (clips / "again.npz").read_bytes()
    out = here("tokens", "extract", *inputs, "-o", "-", "--format", "jsonl", "--model", toy_model)
    assert out.stdout == (clips / "all.jsonl").read_bytes()
    out = here("tokens", "extract", *inputs, "--output-dir", "each", "--model", toy_model)
    assert out.code == 0
    assert np.load(clips / "each" / "b.npy").tolist() == rows[1]["tokens"]


@pytest.mark.parametrize("width", ["1", "3"])
def test_the_order_is_that_of_the_inputs(
    here: Here, tmp_path: Path, toy_model: Path, width: str
) -> None:
    """Short ones are done before the long one, and the container at once."""
    for name, seconds in (("long", 9.0), ("b", 0.2), ("c", 0.1)):
        write_noise(tmp_path / f"{name}.wav", seconds)
    assert here("compress", "c.wav", "--model", toy_model).code == 0
    names = ["long.wav", "none.wav", "c.bcdc", "b.wav"]
    options = ["--model", toy_model, "--batch-size", width]
    assert here("tokens", "extract", *names, "-o", "all.jsonl", *options).code == 1
    assert [row["id"] for row in rows_of(tmp_path / "all.jsonl")] == ["long", "c", "b"]


@pytest.mark.parametrize("name", ["all.jsonl", "all.npz"])
def test_pack_gives_the_files_back(here: Here, clips: Path, toy_model: Path, name: str) -> None:
    assert here("tokens", "extract", "-r", "in", "-o", name, "--model", toy_model).code == 0
    ran = here("tokens", "pack", name, "--output-dir", "out", "-v")
    assert ran.code == 0 and f"{name}: deep er/b: 0.25 s to" in ran.stderr
    files = sorted(p.relative_to(clips / "out").as_posix() for p in clips.rglob("out/**/*.bcdc"))
    assert files == ["a.bcdc", "c.bcdc", "deep er/b.bcdc"]
    assert (clips / "out/c.bcdc").read_bytes() == (clips / "in/c.bcdc").read_bytes()
    b = bcdc.read((clips / "out/deep er/b.bcdc").read_bytes())
    assert (b.header.channels, b.header.sample_rate, b.num_samples) == (2, 44100, 11025)
    assert here("tokens", "pack", name).code == 0  # beside it
    assert (clips / "a.bcdc").read_bytes() == (clips / "out/a.bcdc").read_bytes()


def test_arrays_of_python_are_packed(here: Here, tmp_path: Path, toy_model: Path) -> None:
    """`numpy.savez` of what `Codec.encode` gives, and each shape alone."""
    tokens = Codec.load(toy_model).encode(np.zeros(1600, np.float32))
    shapes = {"a": tokens, "b": tokens[:, None], "c/d": tokens[None, :, None]}
    np.savez(tmp_path / "all.npz", allow_pickle=False, **shapes)
    model = ["--model", toy_model]
    assert here("tokens", "pack", "all.npz", "--output-dir", "out", *model).code == 0
    assert "does not name its model" in here("tokens", "pack", "all.npz").stderr
    for name, array in shapes.items():
        packed = bcdc.read((tmp_path / "out" / f"{name}.bcdc").read_bytes())
        assert np.array_equal(packed.tokens()[0, :, 0], tokens) and packed.num_samples == 1600
        np.save(tmp_path / "one.npy", array)
        assert here("tokens", "pack", "one.npy", "-f", *model).code == 0
        one = (tmp_path / "one.bcdc").read_bytes()
        assert one == (tmp_path / "out" / f"{name}.bcdc").read_bytes()
    np.save(tmp_path / "one.npy", np.zeros((1, 1, 1, 1), int))
    assert "has shape (1, 1, 1, 1), not" in here("tokens", "pack", "one.npy", "-f", *model).stderr


@pytest.mark.parametrize("id", ["../x", "/x", "a/../../x", "", "a\\b", "c:x", "a//b", "."])
def test_ids_do_not_lead_out_of_the_folder(
    here: Here, clips: Path, toy_model: Path, id: str
) -> None:
    inputs = ["in/a.wav", "in/c.bcdc", "-o", "all.jsonl"]
    assert here("tokens", "extract", *inputs, "--model", toy_model).code == 0
    first, second = rows_of(clips / "all.jsonl")
    lines = [json.dumps(first | {"id": id}), json.dumps(second | {"id": "good"})]
    (clips / "all.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    before = set(clips.parent.rglob("*.bcdc"))
    ran = here("tokens", "pack", "all.jsonl", "--output-dir", "out/deep")
    assert ran.code == 1 and "its id cannot be the name of a file" in ran.stderr
    assert set(clips.parent.rglob("*.bcdc")) - before == {clips / "out/deep/good.bcdc"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["extract", "in/a.wav", "-o", "x.pt"], 2, "cannot write .pt; what can be written: .npy"),
        (["extract", "in/a.wav", "in/c.wav", "-o", "x.npy"], 2, "-o FILE.jsonl or FILE.npz"),
        (["extract", "in/a.wav", "in/a.wav", "-o", "x.npz"], 1, "in/a.wav: two inputs would have"),
        (["extract", "in/a.wav", "-o", "x.jsonl", "--rm"], 2, "do not give audio back"),
        (["extract", "in/c.bcdc", "in/c.bcdc", "-o", "x.jsonl", "--rm"], 2, "theirs alone"),
        (["extract", "in/a.wav", "in/c.wav", "-o", "old.npz"], 1, "already exists; use -f"),
        (["pack", "two.jsonl", "-o", "x.bcdc"], 2, "holds 2 recordings; use --output-dir"),
        (["pack", "two.jsonl", "--rm"], 2, "--rm removes inputs of one recording"),
        (["pack", "old.npz"], 1, "old.npz: not a .npz file: File is not a zip file"),
        (["pack", "none.npz"], 1, "none.npz: no such file"),
        (["pack", "none.jsonl"], 1, "bigcodec: none.jsonl: no such file"),
        (["pack", "blank.jsonl"], 1, "bigcodec: blank.jsonl: holds no recordings"),
        (["pack", "in/a.wav"], 1, "bigcodec: in/a.wav: not a .npy array"),
    ],
)
def test_wrong_turns(here: Here, clips: Path, arguments: list[str], code: int, words: str) -> None:
    (clips / "old.npz").write_bytes(b"mine")
    (clips / "two.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    (clips / "blank.jsonl").write_text("\n", encoding="utf-8")
    before = sorted(clips.rglob("*"))
    ran = here("tokens", *arguments)
    assert ran.code == code and words in " ".join(ran.stderr.split())
    assert sorted(clips.rglob("*")) == before and (clips / "old.npz").read_bytes() == b"mine"


def test_what_exists_is_skipped_without_a_model(here: Here, clips: Path) -> None:
    (clips / "all.npz").write_bytes(b"mine")
    inputs = ["in/a.wav", "in/c.wav", "-o", "all.npz", "--skip-existing", "--model", "none"]
    ran = here("tokens", "extract", *inputs)
    assert ran.code == 0 and "all.npz exists; nothing was done" in ran.stderr


def test_a_recording_that_was_cut_is_said_to_be(here: Here, clips: Path, toy_model: Path) -> None:
    whole = (clips / "in" / "a.wav").read_bytes()
    (clips / "cut.wav").write_bytes(whole[:8044])
    inputs = ["cut.wav", "in/c.bcdc", "-o", "all.jsonl"]
    ran = here("tokens", "extract", *inputs, "--model", toy_model)
    assert ran.code == 1 and re.search(r"cut\.wav: .*; 0\.25 s are in all\.jsonl", ran.stderr)
    assert [row["samples"] for row in rows_of(clips / "all.jsonl")] == [4000, 4800]


def test_a_shard_of_nothing_is_not_made(here: Here, tmp_path: Path, toy_model: Path) -> None:
    for name in ("all.jsonl", "all.npz"):
        ran = here("tokens", "extract", "a.wav", "b.wav", "-o", name, "--model", toy_model)
        assert ran.code == 1 and "2 of 2 files failed" in ran.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_shard_is_no_more_readable_than_its_sources(
    here: Here, clips: Path, toy_model: Path
) -> None:
    (clips / "in" / "a.wav").chmod(0o640)
    (clips / "in" / "c.wav").chmod(0o604)
    inputs = ["in/a.wav", "in/c.wav", "-o", "all.npz", "--model", toy_model]
    assert here("tokens", "extract", *inputs).code == 0
    assert (clips / "all.npz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("records", [b"[" * 5000, b"3", b"[3, {}]", b'[{"id": "a", "hop": 0}]'])
def test_archives_with_bad_records_fail(
    here: Here, tmp_path: Path, toy_model: Path, records: bytes
) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3, int), _records=np.frombuffer(records, np.uint8))
    ran = here("tokens", "pack", "a.npz")
    assert ran.code == 1
    assert re.search("_records cannot be read|does not name its model|lacks", ran.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_archives_with_bad_arrays_fail_alone(here: Here, tmp_path: Path, toy_model: Path) -> None:
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "a.npz", bad=objects, float=np.zeros(3), good=np.zeros(3, int))
    ran = here("tokens", "pack", "a.npz", "--output-dir", "out", "--model", toy_model)
    assert ran.code == 1 and "a.npz: bad is not a .npy array" in ran.stderr
    assert "a.npz: float: not an array of integers" in ran.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.bcdc"]
