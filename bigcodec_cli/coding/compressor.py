"""From audio to a container."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

import bcdc
from bigcodec_cli.audio.channels import ChannelJoiner, Samples, split_channels
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.audio.resampling import resample_stream
from bigcodec_cli.coding.verification import TokenDigest
from bigcodec_cli.console.progress import Advance
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_models.codec import Codec

_HELD_BLOCKS = 16
"""Blocks that are coded together, which is faster with the coder `prior`; what comes by a pipe goes
on at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """Choices of `compress` that change the bytes. Without a coder it is `prior` if there is one
    at hand, else `adaptive`."""

    coder: bcdc.Coder | None
    downmix: bool = False
    prior: bcdc.Prior | None = None


class Compressor:
    """Codes one recording into a container, channel by channel but all at the same pace.

    `sources` holds one iterator of waves at the model's rate a channel, for the codec to draw
    from; their tokens go back in by `take`. Memory does not grow with the length.

    Raises:
        ValueError: more channels or a higher rate than a container can hold, or tags too long; or
            a coder needs a prior that was not given.
    """

    def __init__(
        self,
        audio: AudioInput,
        codec: Codec,
        options: CompressOptions,
        out: BinaryIO,
        progress: Advance = lambda _: None,
    ) -> None:
        mixed = options.downmix and audio.channels > 1
        self.channels = 1 if mixed else audio.channels
        header = bcdc.Header(
            fingerprint=codec.fingerprint[:6],
            sample_rate=audio.rate,
            channels=self.channels,
            geometry=geometry_of(codec),
            tags=audio.tags,
        )
        self.header = bcdc.header_for(header, options.coder, options.prior)
        self.samples = 0
        self.digest = TokenDigest(self.channels)
        by_network = self.header.coder is bcdc.Coder.PRIOR
        hold = _HELD_BLOCKS if by_network and audio.frames is not None else 1
        self.writer = bcdc.Writer(out, self.header, options.prior, hold)
        self._joiner = ChannelJoiner(self.channels)
        self._progress = progress
        blocks = resample_stream(self._counted(audio.blocks, mixed), audio.rate, bcdc.MODEL_RATE)
        self.sources = split_channels(blocks, self.channels)

    @property
    def seconds(self) -> float:
        """Seconds of audio read so far."""
        return self.samples / self.header.sample_rate

    def take(self, channel: int, tokens: npt.NDArray[Any]) -> None:
        """Write a channel's next tokens, (n,) or (n, codebooks).

        Raises:
            OSError: the file cannot be written.
        """
        table = tokens.astype(np.int32).reshape(len(tokens), self.header.geometry.codebooks)
        block = self._joiner.push(channel, table)
        if block is not None:
            self.digest.update(block)
            self.writer.write(block)
            self._progress(block.shape[1] * self.header.geometry.hop / bcdc.MODEL_RATE)

    def finish(self) -> None:
        """Complete the container.

        Raises:
            OSError: the file cannot be written.
        """
        self.writer.finish(self.samples)

    def _counted(self, blocks: Iterable[Samples], mixed: bool) -> Iterator[Samples]:
        for block in blocks:
            self.samples += block.shape[1]
            yield block.mean(axis=0, keepdims=True, dtype=np.float32) if mixed else block
