"""From audio to a container and back: the one place that knows both packages."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

import numpy as np

import bcdc
from bigcodec_cli.audio import MODEL_RATE, Audio, resample
from bigcodec_models.codec import Codec


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


def compress(audio: Audio, codec: Codec, options: CompressOptions, out: BinaryIO) -> None:
    """Encode audio, each channel by itself, and write a container.

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
    length = model_samples(count, audio.rate)
    waves = (resample(wave, audio.rate, MODEL_RATE, length) for wave in samples)
    tokens = np.stack([codec.encode(wave).reshape(-1, header.geometry.codebooks) for wave in waves])
    with bcdc.Writer(out, header) as writer:
        writer.write(tokens)
        writer.finish(count)


def decompress(container: bcdc.Container, codec: Codec) -> Audio:
    """Decode every channel, at the original rate and length.

    Raises:
        CorruptError: the tokens are impossible.
    """
    rate, count = container.header.sample_rate, container.num_samples
    length = model_samples(count, rate)
    waves = [
        resample(codec.decode(tokens, length), MODEL_RATE, rate, count)
        for tokens in container.tokens()
    ]
    return Audio(np.stack(waves), rate)


def model_samples(count: int, rate: int) -> int:
    """Samples at the model's rate that `count` samples at `rate` become (SPEC section 5.2)."""
    return -(-count * MODEL_RATE // rate)
