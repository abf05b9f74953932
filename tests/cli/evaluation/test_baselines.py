"""Baselines, with their real programs where these are installed."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigcodec_cli.evaluation.codecs.base import CodingError
from bigcodec_cli.evaluation.codecs.baselines import load_baseline
from bigcodec_cli.evaluation.codecs.neural import DAC, ENCODEC, Dac, Encodec
from bigcodec_cli.evaluation.codecs.programs import run_program
from bigcodec_cli.evaluation.config import BaselineError, BaselineName, parse_baselines
from bigcodec_cli.evaluation.packages import MissingError
from bigcodec_models.arrays import Wave

needs_opus = pytest.mark.skipif(not shutil.which("opusenc"), reason="opus-tools is not installed")
needs_codec2 = pytest.mark.skipif(not shutil.which("c2enc"), reason="codec2 is not installed")


def test_lists_of_baselines() -> None:
    parsed = parse_baselines("opus:6, codec2:1200,opus:6.0,encodec:1.5,dac:4,codec2:700C")
    names = ["opus:6", "codec2:1200", "encodec:1.5", "dac:4", "codec2:700C"]
    assert [str(name) for name in parsed] == names
    assert parse_baselines("") == []


@pytest.mark.parametrize(
    "text", ["opus", "opus:", "opus:5", "opus:x", "opus:300", "codec2:999", "mp3:32", "dac:0", ":"]
)
def test_unknown_baselines_are_named(text: str) -> None:
    with pytest.raises(BaselineError, match=text):
        parse_baselines(f"codec2:1200,{text}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opus:6", "opusenc is not installed (Debian: apt install opus-tools)"),
        ("codec2:1200", "c2enc is not installed (Debian: apt install codec2)"),
    ],
)
def test_missing_programs_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, words: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError) as caught:
        load_baseline(parse_baselines(name)[0])
    assert str(caught.value) == words


@needs_opus
def test_opus_goes_through_a_file(tmp_path: Path, wave: Wave) -> None:
    coded = load_baseline(BaselineName("opus", "24")).code(wave, tmp_path)
    assert coded.size == (tmp_path / "speech.opus").stat().st_size
    assert (tmp_path / "speech.opus").read_bytes()[:4] == b"OggS"
    assert 16 < coded.size * 8 / (len(wave) / 16) < 32
    assert coded.restored.shape == wave.shape
    assert np.corrcoef(coded.restored, wave)[0, 1] > 0.9
    assert abs(coded.delay) <= 16  # opusdec removes the delay of the codec
    assert coded.tokens is None


@needs_codec2
@pytest.mark.parametrize(("mode", "kbps"), [("2400", 2.4), ("1200", 1.2)])
def test_codec2_goes_through_a_file_and_8_khz(
    tmp_path: Path, wave: Wave, mode: str, kbps: float
) -> None:
    baseline = load_baseline(BaselineName("codec2", mode))
    coded = baseline.code(wave, tmp_path)
    assert "8 kHz" in baseline.info.description
    assert coded.size == (tmp_path / "speech.c2").stat().st_size
    assert coded.size * 8 / (len(wave) / 16) == pytest.approx(kbps, rel=0.05)
    assert coded.restored.shape == wave.shape
    spectrum = np.abs(np.fft.rfft(coded.restored))
    assert spectrum[len(spectrum) * 45 // 80 :].max() < 0.01 * spectrum.max()
    assert 160 <= coded.delay <= 480  # a frame or two of 20 ms, less the look-ahead
    levels = [
        np.abs(w[: len(w) // 800 * 800]).reshape(-1, 800).mean(1) for w in (wave, coded.restored)
    ]
    assert np.corrcoef(*levels)[0, 1] > 0.85


@needs_opus
def test_a_program_that_fails_is_a_coding_error(tmp_path: Path) -> None:
    with pytest.raises(CodingError, match="opusenc failed"):
        run_program(["opusenc", "--quiet", str(tmp_path / "none.wav"), str(tmp_path / "out")])
    with pytest.raises(CodingError, match="nowhere"):
        run_program([str(tmp_path / "nowhere")])


def save(network: Any, repository: str, cache: Path) -> None:
    """Put a model where transformers looks for a repository."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    network.save_pretrained(folder / "snapshots" / ("0" * 40))


def test_encodec_when_its_weights_are_here(huggingface: Path, tmp_path: Path, wave: Wave) -> None:
    transformers = importlib.import_module("transformers")
    with pytest.raises(MissingError, match=f"weights of {ENCODEC} are not on this machine"):
        Encodec(BaselineName("encodec", "1.5"))
    config = transformers.EncodecConfig(
        hidden_size=16, num_filters=4, num_lstm_layers=1, codebook_dim=16
    )
    save(transformers.EncodecModel(config), ENCODEC, huggingface)
    with pytest.raises(BaselineError, match="1.5, 3, 6, 12, 24"):
        Encodec(BaselineName("encodec", "2"))
    baseline = Encodec(BaselineName("encodec", "3"))
    coded = baseline.code(wave, tmp_path)
    assert baseline.info.token_rate == 4 * 75
    assert coded.tokens is not None and coded.tokens.shape == (225, 4)  # 3 s at 75 Hz
    assert coded.size == -(-225 * 4 * 10 // 8)
    assert coded.restored.shape == wave.shape
    assert "24000 Hz" in baseline.info.description


def test_dac_when_its_weights_are_here(huggingface: Path, tmp_path: Path, wave: Wave) -> None:
    transformers = importlib.import_module("transformers")
    with pytest.raises(MissingError, match=f"weights of {DAC} are not on this machine"):
        Dac(BaselineName("dac", "4"))
    config = transformers.DacConfig(
        encoder_hidden_size=4,
        decoder_hidden_size=32,
        n_codebooks=12,
        downsampling_ratios=(2, 4, 5, 8),
    )
    save(transformers.DacModel(config), DAC, huggingface)
    with pytest.raises(BaselineError, match="at most 6 kbit/s"):
        Dac(BaselineName("dac", "7"))
    baseline = Dac(BaselineName("dac", "1"))
    coded = baseline.code(wave, tmp_path)
    assert baseline.info.token_rate == 2 * 50
    assert coded.tokens is not None and coded.tokens.shape == (150, 2)
    assert coded.size == -(-150 * 2 * 10 // 8)
    assert coded.restored.shape == wave.shape
