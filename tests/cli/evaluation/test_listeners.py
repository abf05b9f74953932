"""Metrics by models of others that listen: DistillMOS, and words by a speech recognizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bigcodec_cli.evaluation.config import parse_metrics, with_recognizer
from bigcodec_cli.evaluation.metrics.compute import QualityMetrics
from bigcodec_models.arrays import Wave

Run = Callable[..., subprocess.CompletedProcess[str]]


def noisy(wave: Wave, level: float) -> Wave:
    noise = np.random.default_rng(3).normal(0, level, len(wave))
    return np.asarray(wave + noise, np.float32)


def test_distillmos_falls_with_noise_and_not_with_level(wave: Wave) -> None:
    pytest.importorskip("xls_r_sqa")
    metrics = QualityMetrics(["distillmos"])
    assert not metrics.missing

    def value(restored: Wave) -> float:
        values, failed = metrics.compute(wave, restored)
        assert not failed, failed
        return values["distillmos"]

    clean, some, much = value(wave), value(noisy(wave, 0.01)), value(noisy(wave, 0.1))
    assert 5 >= clean > some > much >= 1
    assert value(0.1 * wave) == pytest.approx(clean, abs=1e-3)
    assert metrics.compute_without_original(wave)[0]["distillmos"] == clean
    assert "silent" in metrics.compute(wave, np.zeros_like(wave))[1]["distillmos"]
    assert "torchaudio" not in sys.modules


def test_distillmos_prints_nothing(wave: Wave, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xls_r_sqa")
    QualityMetrics(["distillmos"]).compute(wave, wave)
    assert capfd.readouterr() == ("", "")


LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]


@pytest.fixture(scope="session")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small wav2vec 2.0 with a CTC head and random weights, in the files of transformers."""
    pytest.importorskip("jiwer")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("recognizer")
    vocabulary = {letter: number for number, letter in enumerate(LETTERS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(LETTERS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_words_are_the_same_in_the_same_wave(wave: Wave, recognizer: Path) -> None:
    metrics = QualityMetrics(["wer"], recognizer)
    assert not metrics.missing
    assert metrics.compute(wave, wave) == ({"wer": 0.0}, {})
    other = metrics.compute(wave, wave[::-1].copy())[0]["wer"]
    some = metrics.compute(wave, np.concatenate([wave[:24000], wave[:24000]]))[0]["wer"]
    assert other > some > 0
    assert metrics.compute_without_original(wave) == ({}, {})


def test_words_of_faster_whisper(wave: Wave, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("jiwer")
    folder = os.environ.get("BIGCODEC_TEST_WHISPER")
    if folder is None:
        pytest.skip("BIGCODEC_TEST_WHISPER does not name the folder of a model of faster-whisper")
    metrics = QualityMetrics(["wer"], Path(folder))
    assert not metrics.missing
    assert metrics.compute(wave, wave) == ({"wer": 0.0}, {})
    assert 0 < metrics.compute(wave, wave[: len(wave) // 2])[0]["wer"] < 100
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_recognizer_is_one_line(tmp_path: Path, wave: Wave) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("transformers")
    metrics = QualityMetrics(["wer", "mel"], tmp_path)
    reason = metrics.missing["wer"].reason
    assert reason.startswith(f"{tmp_path}: no speech recognizer") and "\n" not in reason
    assert set(metrics.compute(wave, wave)[0]) == {"mel"}


def test_words_are_counted_only_with_a_recognizer() -> None:
    assert "wer" not in parse_metrics("") and "distillmos" in parse_metrics("")
    assert parse_metrics("wer,stoi") == ("stoi", "wer")
    assert with_recognizer(("stoi",), None) == ("stoi",)
    assert with_recognizer(("stoi",), Path("m")) == ("stoi", "wer")
    assert with_recognizer(("wer",), Path("m")) == ("wer",)
    assert "needs --asr DIR" in QualityMetrics(["wer"]).missing["wer"].reason


def test_compare_says_what_is_left_out(in_process: Run, tmp_path: Path, wave: Wave) -> None:
    soundfile.write(tmp_path / "a.wav", wave, 16000)
    done = in_process("compare", "a.wav", "a.wav", "--metrics", "mel,wer")
    assert done.returncode == 0 and "Mel ↓" in done.stdout and "wer" not in done.stdout
    assert done.stderr == "left out: wer: it needs --asr DIR, the folder of a speech recognizer\n"
    absent = in_process("compare", "a.wav", "a.wav", "--asr", "nowhere")
    assert absent.returncode == 2 and "nowhere" in absent.stderr
