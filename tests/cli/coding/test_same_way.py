"""`eval`, `train-prior` and `tokens` code files the way `compress` and `decompress` do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.coding.verification import read_back
from bigcodec_cli.evaluation.codecs.base import CodingError
from bigcodec_cli.evaluation.codecs.bigcodec import Model
from bigcodec_cli.evaluation.metrics.waveform import load_wave
from bigcodec_cli.training.prior import token_sequences
from bigcodec_models.checkpoints.model_file import load_model, save_model
from bigcodec_models.data.index import scan

Here = Callable[..., Any]


@pytest.mark.parametrize("name", ["toy", "lite-5"])
def test_eval_hears_the_samples_that_decompress_writes(
    here: Here, tmp_path: Path, speech: Path, toy_model: Path, name: str
) -> None:
    """Sample by sample, full scale included: with one scale of 16-bit samples, not two."""
    samples, _ = soundfile.read(speech, dtype="float32")
    loud = samples[8000:40000] / np.abs(samples[8000:40000]).max()
    soundfile.write(tmp_path / "a.wav", loud, 16000, subtype="FLOAT")
    model = str(toy_model) if name == "toy" else name
    assert here("compress", "a.wav", "--model", model).code == 0
    assert here("decompress", "a.bcdc", "-o", "out.wav", "--model", model).code == 0
    written, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    folder = tmp_path / "eval"
    folder.mkdir()
    coded = Model(model, "cpu").code(load_wave(tmp_path / "a.wav").wave, folder)
    assert np.array_equal(coded.restored, written)
    assert (folder / "speech.bcdc").read_bytes() == (tmp_path / "a.bcdc").read_bytes()
    container = bcdc.read((tmp_path / "a.bcdc").read_bytes())
    assert coded.size == container.size and coded.tokens is not None
    assert len(coded.tokens) == container.frames


def test_a_model_that_gives_no_numbers_fails(
    here: Here, tmp_path: Path, speech: Path, toy_model: Path
) -> None:
    model = load_model(toy_model)
    tensors = dict(model.tensors)
    name = next(n for n in reversed(list(tensors)) if n.startswith("decoder") and "bias" in n)
    tensors[name] = tensors[name] + 3e38  # finite, as the file must be, but its output is not
    save_model(tmp_path / "broken.safetensors", tensors, model.config, model.info)
    options = ["--model", "broken.safetensors"]
    assert here("compress", speech, "-o", "a.bcdc", *options).code == 0
    ran = here("decompress", "a.bcdc", *options)
    assert ran.code == 1 and "a.bcdc: the model gives samples that are not finite" in ran.stderr
    assert not (tmp_path / "a.wav").exists()
    with pytest.raises(CodingError, match="not finite"):
        Model("broken.safetensors", "cpu")


@pytest.mark.parametrize("version", [0, 1])
def test_priors_are_fitted_to_the_tokens_of_compress(
    here: Here, tmp_path: Path, speech: Path, toy_model: Path, version: int
) -> None:
    """Stereo at another rate included; clips that cannot be read are left out."""
    samples, _ = soundfile.read(speech, dtype="float32")
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", samples[:24000], 16000)
    soundfile.write(tmp_path / "in" / "b.flac", np.stack([samples[:50000]] * 2, 1), 22050)
    clips = scan(tmp_path / "in")
    (tmp_path / "in" / "c.wav").write_bytes(b"was audio once")
    clips.append(type(clips[0])(path=tmp_path / "in" / "c.wav", frames=16000, rate=16000))
    config = CompressConfig(model=str(toy_model), coder="raw", downmix=True, verify=False)
    sequences = {
        clip.path.name: tokens
        for clip, tokens in token_sequences(AudioEncoder.load(config), clips, version)
    }
    assert sorted(sequences) == ["a.wav", "b.flac"]
    options = ["--downmix", "--model", toy_model, "--output-dir", "out"]
    assert here("compress", "in/a.wav", "in/b.flac", *options).code == 0
    for name, tokens in sequences.items():
        container = bcdc.read((tmp_path / "out" / f"{name[0]}.bcdc").read_bytes())
        assert np.array_equal(tokens, container.tokens()[0]) == (version == 0)
        assert abs(len(tokens) - container.frames) <= 0.12 * container.frames


def test_packed_tokens_are_verified_before_their_source_goes(
    here: Here, tmp_path: Path, packed: bytes, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bcdc").write_bytes(packed)
    assert here("tokens", "extract", "a.bcdc").code == 0

    def damaging(path: Path) -> bcdc.Container:
        path.write_bytes(path.read_bytes()[:-3])
        return read_back(path)

    pack = ["tokens", "pack", "a.npy", "-o", "b.bcdc", "--rm", "--model", toy_model]
    with monkeypatch.context() as patch:
        patch.setattr("bigcodec_cli.coding.compress_job.read_back", damaging)
        ran = here(*pack)
        assert ran.code == 1 and "what was written does not read back" in ran.stderr
    assert (tmp_path / "a.npy").exists() and not (tmp_path / "b.bcdc").exists()
    assert here(*pack).code == 0
    assert not (tmp_path / "a.npy").exists() and (tmp_path / "b.bcdc").exists()
