"""Baselines that are neural codecs of transformers, if their weights are on this machine."""

from __future__ import annotations

import abc
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigcodec_cli.evaluation.codecs.base import CodecInfo, Coded
from bigcodec_cli.evaluation.codecs.programs import aligned
from bigcodec_cli.evaluation.config import BaselineError, BaselineName
from bigcodec_cli.evaluation.local_models import load_local
from bigcodec_cli.evaluation.metrics.waveform import change_rate
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE

ENCODEC = "facebook/encodec_24khz"
DAC = "descript/dac_16khz"


class _NeuralBaseline(abc.ABC):
    """Sample rates, lengths, and tokens packed at fixed width, which both have in common."""

    def __init__(self, name: BaselineName, repository: str, network: Any) -> None:
        self._network, config = network, network.config
        self._rate, self._hop = int(config.sampling_rate), math.prod(_ratios(config))
        self._bits = math.ceil(math.log2(config.codebook_size))
        self._codebook_kbps = self._rate / self._hop * self._bits / 1000
        self._codebooks = max(1, round(float(name.rate) / self._codebook_kbps))
        resampled = "" if self._rate == SAMPLE_RATE else f", resampled to {self._rate} Hz and back"
        self.info = CodecInfo(
            name=str(name),
            is_bigcodec=False,
            description=f"{repository} through transformers, {self._codebooks} codebooks"
            f"{resampled}; the size is that of its tokens at fixed width, without a container",
            token_rate=self._codebooks * self._rate / self._hop,
        )

    @torch.inference_mode()
    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `CodecUnderTest`."""
        path = folder / "tokens.bin"
        start = time.perf_counter()
        samples = change_rate(wave, SAMPLE_RATE, self._rate)
        padded = np.pad(samples, (0, -len(samples) % self._hop))
        codes = self._encode(torch.from_numpy(padded)[None, None])
        encoded = time.perf_counter()
        path.write_bytes(_packed(codes.numpy(), self._bits))
        written = time.perf_counter()
        restored = self._decode(codes).reshape(-1).numpy()[: len(samples)]
        restored = change_rate(restored, self._rate, SAMPLE_RATE)
        decoded = time.perf_counter()
        size, times = path.stat().st_size, (encoded - start, decoded - written)
        coded = aligned(wave, restored, size, *times)
        return dataclasses.replace(coded, tokens=codes.numpy().T)

    @abc.abstractmethod
    def _encode(self, wave: Tensor) -> Tensor:
        """Codes (K, T) of a wave (1, 1, n)."""

    @abc.abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """The wave of codes (K, T)."""


class Encodec(_NeuralBaseline):
    """EnCodec at 24 kHz (arXiv 2210.13438).

    Raises:
        MissingError: transformers or the weights are not on this machine.
        BaselineError: it has no such bit rate.
    """

    def __init__(self, name: BaselineName) -> None:
        network = load_local(ENCODEC, "EncodecModel")
        rates = [float(rate) for rate in network.config.target_bandwidths]
        self._kbps = float(name.rate)
        if self._kbps not in rates:
            known = ", ".join(f"{rate:g}" for rate in rates)
            raise BaselineError(f"{name}: EnCodec has the rates {known}")
        super().__init__(name, ENCODEC, network)

    def _encode(self, wave: Tensor) -> Tensor:
        codes: Tensor = self._network.encode(wave, bandwidth=self._kbps).audio_codes[0, 0]
        return codes

    def _decode(self, codes: Tensor) -> Tensor:
        wave: Tensor = self._network.decode(codes[None, None], [None]).audio_values
        return wave


class Dac(_NeuralBaseline):
    """The Descript Audio Codec at 16 kHz (arXiv 2306.06546).

    Raises:
        MissingError: transformers or the weights are not on this machine.
        BaselineError: it has no such bit rate.
    """

    def __init__(self, name: BaselineName) -> None:
        network = load_local(DAC, "DacModel")
        super().__init__(name, DAC, network)
        codebooks = network.config.n_codebooks
        if self._codebooks > codebooks:
            raise BaselineError(
                f"{name}: this model has at most {codebooks * self._codebook_kbps:g} kbit/s"
            )

    def _encode(self, wave: Tensor) -> Tensor:
        codes: Tensor = self._network.encode(wave, n_quantizers=self._codebooks).audio_codes[0]
        return codes

    def _decode(self, codes: Tensor) -> Tensor:
        wave: Tensor = self._network.decode(audio_codes=codes[None]).audio_values
        return wave


def _ratios(config: Any) -> list[int]:
    """Strides of the encoder, whose product is its hop."""
    ratios = getattr(config, "upsampling_ratios", None) or config.downsampling_ratios
    return [int(ratio) for ratio in ratios]


def _packed(codes: np.ndarray[Any, np.dtype[np.int64]], bits: int) -> bytes:
    """Codes as fields of `bits` bits."""
    shifts = np.arange(bits)
    return np.packbits((codes[..., None] >> shifts & 1).astype(np.uint8)).tobytes()
