"""`import bigcodec_cli as bigcodec`: files and arrays to containers and back, tokens, models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import bcdc
import bigcodec_cli as bigcodec
import bigcodec_models
from bigcodec_models import ModelFileError

Here = Callable[..., Any]


@pytest.fixture
def clip(here: Here, tmp_path: Path) -> Path:
    """A stereo recording of 1.3 s at 22.05 kHz."""
    samples = 0.1 * np.random.default_rng(4).standard_normal((28665, 2))
    soundfile.write(tmp_path / "a.wav", samples, 22050)
    return tmp_path / "a.wav"


def test_the_names_are_there_without_loading_anything() -> None:
    assert {*bigcodec.__all__, "__version__"} <= set(dir(bigcodec))
    assert all(getattr(bigcodec, name) is not None for name in bigcodec.__all__)
    with pytest.raises(AttributeError, match="module 'bigcodec_cli' has no attribute 'encode'"):
        _ = bigcodec.encode
    code = "import sys, bigcodec_cli; print({'torch', 'numpy', 'click'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.parametrize("options", [{}, {"coder": "raw"}, {"downmix": True}])
def test_the_bytes_are_those_of_the_command(
    here: Here, clip: Path, toy_model: Path, options: dict[str, Any]
) -> None:
    flags = ["--coder", "raw"] if "coder" in options else ["--downmix"] if options else []
    assert here("compress", clip, "-o", "a.bcdc", "--model", toy_model, *flags).code == 0
    expected = (clip.parent / "a.bcdc").read_bytes()
    samples, rate = soundfile.read(clip, dtype="float32")
    codec = bigcodec.Codec.load(toy_model)
    for audio in (clip, str(clip)):
        assert bigcodec.compress(audio, model=toy_model, **options) == expected
        assert bigcodec.compress(audio, model=codec, **options) == expected
    for kind in (np.float32, np.float64):
        array = samples.T.astype(kind)
        assert bigcodec.compress(array, rate, model=codec, **options) == expected
        tensor = torch.from_numpy(array)
        assert bigcodec.compress(tensor, rate, model=str(toy_model), **options) == expected


def test_equal_channels_are_coded_once_and_restored(
    here: Here, tmp_path: Path, toy_model: Path
) -> None:
    samples = np.tile(0.1 * np.random.default_rng(4).standard_normal((1, 9000)), (3, 1))
    samples = samples.astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples.T, 22050, subtype="FLOAT")
    assert here("compress", "a.wav", "--model", toy_model).code == 0
    data = bigcodec.compress(samples, 22050, model=toy_model)
    assert data == (tmp_path / "a.bcdc").read_bytes()
    assert (bcdc.read(data).header.channels, bcdc.read(data).header.restored_channels) == (1, 3)
    restored, _ = bigcodec.decompress(data, model=toy_model)
    assert restored.shape == (3, 9000) and (restored == restored[:1]).all()
    part, _ = bigcodec.decompress(data, start=0.1, duration=0.2, model=toy_model)
    assert np.array_equal(part, restored[:, 2205:6615])


def test_the_audio_is_that_of_the_command(here: Here, clip: Path, toy_model: Path) -> None:
    data = bigcodec.compress(clip, model=toy_model)
    (clip.parent / "a.bcdc").write_bytes(data)
    ran = here("decompress", "a.bcdc", "-o", "b.wav", "--pcm", "float", "--model", toy_model)
    assert ran.code == 0
    expected, rate = soundfile.read(clip.parent / "b.wav", dtype="float32")
    codec = bigcodec.Codec.load(toy_model)
    path = clip.parent / "a.bcdc"
    for container in (data, bytearray(data), memoryview(data), path, str(path)):
        audio = bigcodec.decompress(container, model=codec)
        assert audio.rate == rate == 22050 and audio.samples.dtype == np.float32
        assert np.array_equal(audio.samples, expected.T) and audio.samples.shape == (2, 28665)
    samples, _ = bigcodec.decompress(data, model=codec, start=0.5, duration=0.25)
    assert np.array_equal(samples, audio.samples[:, 11025:16538])
    samples, _ = bigcodec.decompress(data, model=codec, start=1.0)
    assert np.array_equal(samples, audio.samples[:, 22050:])


@pytest.mark.usefixtures("imported")
def test_models_of_the_store_are_found(here: Here, clip: Path, toy_model: Path) -> None:
    """By name, as the default, and by the fingerprint in a container."""
    entry = "my-toy-lite"
    data = bigcodec.compress(clip, model=entry)
    assert data == bigcodec.compress(clip, model=toy_model)
    restored = bigcodec.decompress(data)
    assert np.array_equal(restored.samples, bigcodec.decompress(data, model=toy_model).samples)
    assert bigcodec.Codec.load(entry).fingerprint == bigcodec.Codec.load(toy_model).fingerprint
    assert here("models", "default", entry).code == 0
    assert bigcodec.Codec.load().info.name == entry
    assert bigcodec.compress(clip) == data
    assert isinstance(bigcodec.Codec.load(), bigcodec_models.Codec)


def test_a_default_container_is_read_with_its_prior(here: Here, speech: Path) -> None:
    data = bigcodec.compress(speech)
    assert bcdc.read(data).header.coder is bcdc.Coder.PRIOR
    record = bigcodec.read_tokens(data)
    samples, rate = soundfile.read(speech, dtype="float32")
    codec = bigcodec.Codec.load()
    assert np.array_equal(record.tokens[0, :, 0], codec.encode(samples))
    assert (record.samples, record.header.sample_rate) == (len(samples), rate)
    assert record.frame_rate == codec.frame_rate and record.codebook_sizes == codec.token_sizes
    restored = bigcodec.decompress(data)
    assert np.array_equal(restored.samples, codec.decode(record.tokens, len(samples)))


def test_shards_are_read(here: Here, clip: Path, toy_model: Path) -> None:
    (clip.parent / "b.wav").write_bytes(clip.read_bytes())
    for name in ("all.jsonl", "all.npz"):
        extract = ["tokens", "extract", "a.wav", "b.wav", "-o", name, "--model", toy_model]
        assert here(*extract).code == 0
        first, second = bigcodec.read_shard(clip.parent / name)
        assert (first.id, second.id, second.file) == ("a", "b", "b.wav")
        expected = bigcodec.read_tokens(bigcodec.compress(clip, model=toy_model))
        assert np.array_equal(first.tokens, expected.tokens)
        assert first.header.geometry == expected.header.geometry
    np.savez(clip.parent / "bare.npz", x=np.zeros(3, int))
    with pytest.raises(bigcodec.CliError, match="bare.npz: x: is an array alone"):
        list(bigcodec.read_shard(clip.parent / "bare.npz"))


def test_a_model_is_loaded_once(
    clip: Path, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bigcodec.compress(clip, model=toy_model)
    monkeypatch.setattr(bigcodec_models.Codec, "__init__", None)
    assert bigcodec.compress(clip, model=toy_model) == data
    assert bigcodec.decompress(data, model=toy_model).rate == 22050
    toy_model.touch()  # it may be another now
    with pytest.raises(TypeError):
        bigcodec.compress(clip, model=toy_model)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros(100, np.int16), 16000), {}, "floating-point"),
        ((np.full(100, 3e4), 16000), {}, "full scale is 1.0"),
        ((np.full(100, np.nan), 16000), {}, "not finite"),
        ((np.zeros(100),), {}, "do not say their rate"),
        ((np.zeros(100), 0), {}, "sample rate must be between"),
        ((np.zeros((1000, 2)), 16000), {}, r"not \(1000, 2\); soundfile's.*samples\.T"),
        ((np.zeros((0, 100)), 16000), {}, "must have the shape"),
        (("a.wav", 16000), {}, "leave `rate` out"),
        (("a.wav",), {"coder": "zip"}, "unknown coder 'zip'"),
        (("a.wav",), {"device": "tpu"}, "device 'tpu' cannot be used"),
        (("a.wav",), {"f0": "coded"}, "F0"),
    ],
)
def test_misuse_is_a_value_error(
    clip: Path, toy_model: Path, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bigcodec.compress(*arguments, model=toy_model, **options)


@pytest.mark.parametrize("times", [(-1.0, None), (1.4, None), (0.0, -1.0), (float("nan"), None)])
def test_times_out_of_range(clip: Path, toy_model: Path, times: tuple[float, float | None]) -> None:
    data = bigcodec.compress(clip, model=toy_model)
    with pytest.raises(ValueError, match=r"within 0 and 1\.300 s"):
        bigcodec.decompress(data, start=times[0], duration=times[1], model=toy_model)


def test_bad_files_are_named(here: Here, clip: Path, toy_model: Path) -> None:
    folder, data = clip.parent, bigcodec.compress(clip, model=toy_model)
    (folder / "cut.wav").write_bytes(clip.read_bytes()[:44144])
    (folder / "cut.bcdc").write_bytes(data[:-9])
    (folder / "text.wav").write_bytes(b"no audio")
    for name, message in (
        ("cut.wav", r"cut\.wav: .*; 0\.50 s could be read"),
        ("text.wav", r"text\.wav: cannot be read as audio"),
        ("none.wav", r"none\.wav: no such file"),
    ):
        with pytest.raises(bigcodec.CliError, match=message):
            bigcodec.compress(folder / name, model=toy_model)
    for container, message in (
        (folder / "cut.bcdc", r"cut\.bcdc: the file ends inside"),
        (data[:-9], "the container: the file ends inside"),
        (b"RIFF" + bytes(50), "the container: not a .bcdc file"),
        (folder / "none.bcdc", r"none\.bcdc: no such file"),
    ):
        for read in (bigcodec.decompress, bigcodec.read_tokens):
            with pytest.raises(bigcodec.CliError, match=message):
                read(container)
    with pytest.raises(bigcodec.CliError, match="the container: needs the model with fingerprint"):
        bigcodec.decompress(data)
    with pytest.raises(bigcodec.CliError, match="^none: no such model or file"):
        bigcodec.Codec.load("none")
    with pytest.raises(bigcodec.CliError, match="^none: no such model or file"):
        bigcodec.decompress(data, model="none")
    with pytest.raises(ModelFileError, match=r"text\.wav"):
        bigcodec.Codec.load(folder / "text.wav")
    with pytest.raises(bigcodec.CliError, match="no prior for this model"):
        bigcodec.compress(clip, model=toy_model, coder="prior")
