"""From a recording's tokens to a container."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy.typing as npt

import bcdc
from bigcodec_cli.audio.channels import ChannelJoiner
from bigcodec_cli.coding.recording import Recording
from bigcodec_cli.coding.verification import TokenDigest
from bigcodec_cli.console.progress import Advance

_HELD_BLOCKS = 16
"""Blocks that are coded together, which is faster with the coder `prior`; what comes by a pipe goes
on at once."""


class Compressor:
    """Codes one recording into a container.

    The tokens of `recording.sources` come in by `take`. Memory does not grow with the length.

    Raises:
        ValueError: a coder needs a prior that was not given.
    """

    def __init__(
        self,
        recording: Recording,
        out: BinaryIO,
        coder: bcdc.Coder | None = None,
        prior: bcdc.Prior | None = None,
        progress: Advance = lambda _: None,
    ) -> None:
        self._recording, self._progress = recording, progress
        self.header = bcdc.header_for(recording.header, coder, prior)
        self.digest = TokenDigest(self.header.channels)
        by_network = self.header.coder is bcdc.Coder.PRIOR
        hold = _HELD_BLOCKS if by_network and recording.seconds is not None else 1
        self.writer = bcdc.Writer(out, self.header, prior, hold)
        self._joiner = ChannelJoiner(self.header.channels, recording.store)

    @property
    def samples(self) -> int:
        """Samples of each channel that were read so far, at the recording's rate."""
        return self._recording.samples()

    @property
    def seconds(self) -> float:
        """Seconds of audio that were read so far."""
        return self.samples / self.header.sample_rate

    def take(self, channel: int, tokens: npt.NDArray[Any]) -> None:
        """Write a channel's next tokens, (n,) or (n, codebooks).

        Raises:
            OSError: the file cannot be written.
        """
        table = tokens.reshape(len(tokens), self.header.geometry.codebooks)
        for block in self._joiner.push(channel, table):
            self.digest.update(block)
            self.writer.write(block)
        seconds = len(tokens) * self.header.geometry.hop / bcdc.MODEL_RATE
        self._progress(seconds / self.header.channels)

    def finish(self) -> None:
        """Complete the container.

        Raises:
            OSError: the file cannot be written.
        """
        self.writer.finish(self.samples)
