"""Files with F0 tokens and without, from one set of weights, through every command."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_models import Codec
from bigcodec_models.config import F0_BINS, F0_MODES, PRESETS
from bigcodec_models.f0_scale import LOWEST, STEPS_AN_OCTAVE

Here = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[3]
PREDICTED = bcdc.Geometry(codebook_sizes=(1024,))
CODED = bcdc.Geometry(codebook_sizes=(1024, 154), f0=True)
GEOMETRIES = {None: PREDICTED, "predicted": PREDICTED, "coded": CODED}


@pytest.fixture
def clip(tmp_path: Path, speech: Path) -> Path:
    """Three seconds of real speech."""
    samples, rate = soundfile.read(speech, dtype="int16")
    soundfile.write(tmp_path / "clip.wav", samples[:48000], rate)
    return tmp_path / "clip.wav"


def options(f0: str | None) -> list[str]:
    return [] if f0 is None else ["--f0", f0]


def read(path: Path) -> bcdc.Container:
    return bcdc.read(path.read_bytes())


def test_models_format_and_specification_mean_the_same_tokens() -> None:
    text = (ROOT / "format" / "SPEC.md").read_text(encoding="utf-8")
    assert bcdc.F0_BINS == F0_BINS
    assert f"`{LOWEST:g} * 2^((n - 1) / {STEPS_AN_OCTAVE})` Hz" in text
    assert f"That codebook has {F0_BINS} entries" in text


@pytest.mark.parametrize("f0", [None, *F0_MODES])
def test_either_kind_goes_through_both_commands(
    bigcodec: Run, in_process: Run, tmp_path: Path, speech: Path, f0_model: Path, f0: str | None
) -> None:
    """And decompress needs no option; once by real processes."""
    model = ["--model", f0_model]
    run = bigcodec if f0 == "coded" else in_process
    packed = run("compress", speech, "-o", "a.bcdc", *model, *options(f0))
    assert packed.returncode == 0, packed.stderr
    restored = run("decompress", "a.bcdc", *model, "--pcm", "float")
    assert restored.returncode == 0, restored.stderr
    wave, _ = soundfile.read(speech, dtype="float32")
    codec, container = Codec.load(f0_model, f0=f0), read(tmp_path / "a.bcdc")
    assert container.header.geometry == GEOMETRIES[f0]
    tokens = codec.encode(wave)
    assert np.array_equal(container.tokens()[0], tokens.reshape(len(tokens), -1))
    restored, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.abs(restored - Codec.load(f0_model).decode(tokens, len(wave))).max() < 1e-4


@pytest.mark.parametrize("f0", F0_MODES)
def test_channels_and_parts(
    here: Here, tmp_path: Path, speech: Path, f0_model: Path, f0: str
) -> None:
    samples, _ = soundfile.read(speech, dtype="int16")
    soundfile.write(tmp_path / "a.flac", np.stack([samples, samples[::-1]], 1), 22050)
    model = ["--model", f0_model]
    assert here("compress", "a.flac", "--f0", f0, *model).code == 0
    assert read(tmp_path / "a.bcdc").header.geometry == GEOMETRIES[f0]
    assert here("decompress", "a.bcdc", *model).code == 0
    whole, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert (whole.shape, rate) == ((len(samples), 2), 22050)
    part = ["--start", "1.5", "--duration", "0.7", "-o", "part.wav"]
    assert here("decompress", "a.bcdc", *part, *model).code == 0
    restored, _ = soundfile.read(tmp_path / "part.wav", dtype="int16")
    first = round(1.5 * rate)
    assert np.array_equal(restored, whole[first : first + round(0.7 * rate)])


@pytest.mark.parametrize("f0", F0_MODES)
@pytest.mark.parametrize("samples", [0, 1])
def test_hardly_any_samples(
    here: Here, tmp_path: Path, f0_model: Path, f0: str, samples: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(samples), 16000)
    assert here("compress", "a.wav", "--f0", f0, "--model", f0_model).code == 0
    assert read(tmp_path / "a.bcdc").header.geometry == GEOMETRIES[f0]
    assert here("decompress", "-f", "a.bcdc", "--model", f0_model).code == 0
    assert soundfile.info(tmp_path / "a.wav").frames == samples


@pytest.mark.parametrize("f0", F0_MODES)
def test_stdin_is_coded_as_a_file_is(here: Here, clip: Path, f0_model: Path, f0: str) -> None:
    choice = ["--f0", f0, "--coder", "raw", "--model", f0_model]
    piped = here("compress", "-", *choice, stdin=clip.read_bytes())
    assert piped.code == 0, piped.stderr
    assert here("compress", clip, *choice).code == 0
    assert piped.stdout == clip.with_suffix(".bcdc").read_bytes()
    raw = here("decompress", "-", "--raw", "--model", f0_model, stdin=piped.stdout)
    assert raw.code == 0 and len(raw.stdout) == 2 * 48000


@pytest.mark.parametrize("size", ["1", "4"])
def test_one_batch_restores_both_kinds(
    here: Here, tmp_path: Path, speech: Path, f0_model: Path, size: str
) -> None:
    """Side by side through one model, to the very samples of each alone."""
    samples, rate = soundfile.read(speech, dtype="int16")
    names = [f"{index}.wav" for index in range(4)]
    for index, name in enumerate(names):
        soundfile.write(tmp_path / name, samples[: 9000 * (4 - index)], rate)
    model = ["--model", f0_model]
    compress = ["compress", *model, "--output-dir", "packed", "--batch-size", size]
    assert here(*compress, *names[::2], "--f0", "coded").code == 0
    assert here(*compress, *names[1::2], "--f0", "predicted").code == 0
    packed = [f"packed/{index}.bcdc" for index in range(4)]
    kinds = [read(tmp_path / name).header.geometry.f0 for name in packed]
    assert kinds == [True, False, True, False]
    together = ["decompress", *packed, *model, "--batch-size", size, "--output-dir"]
    assert here(*together, "together").code == 0
    for index, name in enumerate(packed):
        assert here("decompress", name, *model, "--output-dir", "alone").code == 0
        alone = (tmp_path / "alone" / f"{index}.wav").read_bytes()
        assert (tmp_path / "together" / f"{index}.wav").read_bytes() == alone


def test_info_tells_which_it_is(here: Here, tmp_path: Path, clip: Path, f0_model: Path) -> None:
    for f0, words in (("coded", "coded, the last codebook"), ("predicted", "not in the file")):
        assert here("compress", clip, "-o", f"{f0}.bcdc", "--f0", f0, "--model", f0_model).code == 0
        facts = json.loads(here("info", "--json", f"{f0}.bcdc").stdout)
        assert facts["f0_coded"] is (f0 == "coded")
        assert facts["codebook_sizes"] == list(GEOMETRIES[f0].codebook_sizes)
        assert f"  F0           {words}\n" in here("info", f"{f0}.bcdc").stdout.decode()
    assert (tmp_path / "predicted.bcdc").stat().st_size < (tmp_path / "coded.bcdc").stat().st_size
    assert here("models", "import", f0_model, "--name", "both").code == 0
    shown = json.loads(here("models", "show", "both", "--json").stdout)
    assert shown["f0_modes"] == ["predicted", "coded"]
    assert b'f0_modes     ["predicted", "coded"]' in here("models", "show", "both").stdout


@pytest.mark.parametrize("f0", F0_MODES)
def test_test_and_recover(
    here: Here, tmp_path: Path, speech: Path, f0_model: Path, f0: str
) -> None:
    model = ["--model", f0_model]
    assert here("compress", speech, "-o", "a.bcdc", "--f0", f0, "--coder", "raw", *model).code == 0
    deep = json.loads(here("test", "--deep", "--json", "a.bcdc", *model).stdout)
    assert deep["status"] == "ok" and deep["audio_decoded"] and deep["tokens_decoded"]
    data = bytearray((tmp_path / "a.bcdc").read_bytes())
    data[bcdc.read(bytes(data)).blocks[1].start + 20] ^= 0x40
    data[7] ^= 8  # the very flag, which recovery puts right
    (tmp_path / "bad.bcdc").write_bytes(data)
    assert here("test", "bad.bcdc").code == 1
    assert here("decompress", "a.bcdc", *model).code == 0
    ran = here("decompress", "--recover", "--json", "bad.bcdc", *model)
    assert ran.code == 1 and json.loads(ran.stdout)["lost_seconds"] == [[2.0, 4.0]]
    whole, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    restored, _ = soundfile.read(tmp_path / "bad.wav", dtype="int16")
    assert len(restored) == len(whole) and not restored[2 * rate : 4 * rate].any()
    assert np.array_equal(restored[:rate], whole[:rate])


@pytest.mark.parametrize("f0", F0_MODES)
def test_tokens_go_out_and_in_again(
    here: Here, tmp_path: Path, clip: Path, f0_model: Path, f0: str
) -> None:
    assert here("compress", clip, "-o", "a.bcdc", "--f0", f0, "--model", f0_model).code == 0
    data = (tmp_path / "a.bcdc").read_bytes()
    assert here("tokens", "extract", "a.bcdc").code == 0
    assert np.load(tmp_path / "a.npy").shape == (1, 240, GEOMETRIES[f0].codebooks)
    line = here("tokens", "extract", "a.bcdc", "-o", "-", "--format", "jsonl").stdout
    assert json.loads(line)["f0_coded"] is (f0 == "coded")
    (tmp_path / "b.jsonl").write_bytes(line)
    assert here("tokens", "pack", "b.jsonl").code == 0
    assert here("tokens", "pack", "a.npy", "-o", "c.bcdc", "--model", f0_model).code == 0
    assert (tmp_path / "b.bcdc").read_bytes() == (tmp_path / "c.bcdc").read_bytes() == data


def test_tokens_of_no_kind_are_refused(
    here: Here, tmp_path: Path, f0_model: Path, toy_model: Path
) -> None:
    for width in (2, 3):
        np.save(tmp_path / f"{width}.npy", np.zeros((1, 5, width), np.int32))
    ran = here("tokens", "pack", "3.npy", "--model", f0_model)
    assert ran.code == 1 and "3.npy: has 3 tokens a frame; the model takes 1 or 2" in ran.stderr
    ran = here("tokens", "pack", "2.npy", "--model", toy_model)
    assert ran.code == 1 and "2.npy: has 2 tokens a frame; the model takes 1\n" in ran.stderr
    record = {"model_fingerprint": "00" * 6, "sample_rate": 16000, "samples": 0, "hop": 200}
    for sizes, coded in (([1024], True), ([1024, 155], True), ([1024, 154], 1)):
        row = {**record, "codebook_sizes": sizes, "f0_coded": coded, "tokens": [[]]}
        (tmp_path / "a.jsonl").write_text(json.dumps(row))
        ran = here("tokens", "pack", "a.jsonl")
        assert ran.code == 1 and "a.jsonl: not a record of tokens" in ran.stderr


@pytest.mark.parametrize("f0", F0_MODES)
def test_a_mode_that_a_model_does_not_know_is_refused(
    here: Here, tmp_path: Path, clip: Path, toy_model: Path, f0: str
) -> None:
    refused = here("compress", clip, "--f0", f0, "--model", toy_model)
    words = f"--f0 {f0}: the model {toy_model} has no F0 tokens; leave --f0 out"
    assert (refused.code, refused.stderr) == (1, f"bigcodec: {words}\n")
    refused = here("compress", clip, "--f0", "guessed", "--model", toy_model)
    assert refused.code == 2 and "'guessed' is not one of 'predicted', 'coded'" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_a_model_that_can_only_code_it_says_so(
    here: Here, tmp_path: Path, clip: Path, harmonic_model: Path
) -> None:
    refused = here("compress", clip, "--f0", "predicted", "--model", harmonic_model)
    words = f"bigcodec: --f0 predicted: the model {harmonic_model} supports only coded\n"
    assert (refused.code, refused.stderr) == (1, words)
    for choice in ([], ["--f0", "coded"]):
        assert here("compress", "-f", clip, "--model", harmonic_model, *choice).code == 0
        geometry = read(tmp_path / "clip.bcdc").header.geometry
        assert geometry.f0 and geometry.codebook_sizes == (*geometry.codebook_sizes[:1], F0_BINS)


def test_the_shipped_model_has_a_prior_for_either_kind(
    here: Here, tmp_path: Path, clip: Path
) -> None:
    for choice, sizes in {"predicted": (8192,), "coded": (8192, F0_BINS)}.items():
        assert here("compress", "-f", clip, "--f0", choice).code == 0
        header = read(tmp_path / "clip.bcdc").header
        assert header.geometry.codebook_sizes == sizes
        assert header.coder is bcdc.Coder.PRIOR


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (dataclasses.replace(CODED, f0=False), "hop 200, codebook 1024 + 154"),
        (bcdc.Geometry(codebook_sizes=(1024, 155)), "hop 200, codebook 1024 + 155"),
        (bcdc.Geometry(codebook_sizes=(512,)), "hop 200, codebook 512"),
        (dataclasses.replace(CODED, hop=400), "hop 400, codebook 1024 + 154 (F0)"),
        (
            bcdc.Geometry(codebook_sizes=(1024, 1024, 154), f0=True),
            "hop 200, codebook 1024 + 1024 + 154 (F0)",
        ),
    ],
)
def test_tokens_that_the_model_does_not_make_are_refused(
    here: Here, tmp_path: Path, f0_model: Path, geometry: bcdc.Geometry, words: str
) -> None:
    fingerprint = Codec.load(f0_model).fingerprint[:6]
    header = bcdc.Header(fingerprint=fingerprint, sample_rate=16000, geometry=geometry)
    tokens = np.zeros((1, 4, geometry.codebooks), np.int32)
    (tmp_path / "a.bcdc").write_bytes(bcdc.write(header, tokens, 4 * geometry.hop))
    ran = here("decompress", "a.bcdc", "--model", f0_model)
    known = "hop 200, codebook 1024 or hop 200, codebook 1024 + 154 (F0)"
    message = f"bigcodec: a.bcdc: its model does not decode such tokens ({words}), only {known}\n"
    assert (ran.code, ran.stderr) == (1, message)
    assert not (tmp_path / "a.wav").exists()


def test_every_preset_has_the_geometry_of_its_mode() -> None:
    for config in PRESETS.values():
        for f0 in config.f0_modes or (None,):
            sizes = config.token_sizes_with(f0)
            assert (len(sizes) > 1 and sizes[-1] == bcdc.F0_BINS) == (f0 == "coded")
