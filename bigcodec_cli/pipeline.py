"""From audio to a container and back: the one place that knows both packages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

import bcdc
from bigcodec_cli.audio import Audio, Samples, resample
from bigcodec_models.codec import Codec

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """Choices of `compress` that change the bytes."""

    coder: bcdc.Coder
    downmix: bool = False


def geometry_of(codec: Codec) -> bcdc.Geometry:
    """The token geometry of a model."""
    quantizer = codec.config.quantizer
    sizes = (quantizer.codebook_size,) * quantizer.num_codebooks
    return bcdc.Geometry(hop=codec.hop, codebook_sizes=sizes)


def compress(
    audio: Audio,
    codec: Codec,
    options: CompressOptions,
    out: BinaryIO,
    progress: Progress = lambda _: None,
) -> None:
    """Encode audio, each channel by itself, and write a container.

    `progress` is told of the seconds of audio done since it was last called.

    Raises:
        ValueError: more channels than a container can hold.
        OSError: the file cannot be written.
    """
    samples = audio.samples
    if options.downmix and samples.shape[0] > 1:
        samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
    count = samples.shape[1]
    header = bcdc.Header(
        fingerprint=codec.fingerprint[:6],
        sample_rate=audio.rate,
        channels=samples.shape[0],
        geometry=geometry_of(codec),
        coder=options.coder,
    )
    length = header.model_samples(count)
    share = 1 / samples.shape[0]
    tokens = np.stack(
        [
            _encode(resample(wave, audio.rate, bcdc.MODEL_RATE, length), codec, share, progress)
            for wave in samples
        ]
    )
    with bcdc.Writer(out, header) as writer:
        writer.write(tokens)
        writer.finish(count)


def decompress(
    container: bcdc.Container, codec: Codec, progress: Progress = lambda _: None
) -> Audio:
    """Decode every channel, at the original rate and length.

    `progress` is told of the seconds of audio done since it was last called.

    Raises:
        CorruptError: the tokens are impossible.
    """
    rate, count = container.header.sample_rate, container.num_samples
    length = container.header.model_samples(count)
    share = 1 / container.header.channels
    waves = [
        resample(_decode(tokens, codec, share, progress)[:length], bcdc.MODEL_RATE, rate, count)
        for tokens in container.tokens()
    ]
    return Audio(np.stack(waves), rate)


def _encode(wave: Samples, codec: Codec, share: float, progress: Progress) -> bcdc.Tokens:
    """Tokens (T, K) of a wave (n,) at the model's rate."""
    pieces: list[bcdc.Tokens] = [np.zeros((0, codec.config.quantizer.num_codebooks), np.int32)]
    for tokens in codec.encode_stream([wave]):
        pieces.append(tokens.astype(np.int32).reshape(len(tokens), -1))
        progress(share * len(tokens) * codec.hop / bcdc.MODEL_RATE)
    return np.concatenate(pieces)


def _decode(tokens: bcdc.Tokens, codec: Codec, share: float, progress: Progress) -> Samples:
    """The wave (T * hop,) of tokens (T, K)."""
    pieces = [np.zeros(0, np.float32)]
    for wave in codec.decode_stream([tokens]):
        pieces.append(wave)
        progress(share * len(wave) / bcdc.MODEL_RATE)
    return np.concatenate(pieces)
