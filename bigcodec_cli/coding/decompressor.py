"""From a container to audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

import bcdc
from bigcodec_cli.audio.channels import ChannelJoiner, Samples, SampleSink, split_channels
from bigcodec_cli.audio.resampling import Grid, Resampler
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import Advance
from bigcodec_cli.files.containers import TokenSource, token_stretches
from bigcodec_models.codec import Codec

_WRITTEN_AT_ONCE = 1 << 21
"""Samples that are written together, all channels counted; bounds memory."""


class Decompressor:
    """Decodes a container, or samples `first` to `last` of it, into a sink.

    `sources` holds an iterator of tokens for each channel, which go through the codec; its samples
    come in by `take`. A part has exactly the samples that the whole has there.
    """

    def __init__(
        self,
        container: TokenSource,
        sink: SampleSink,
        progress: Advance = lambda _: None,
        span: tuple[int, int] | None = None,
        prior: bcdc.Prior | None = None,
    ) -> None:
        header = container.header
        self.container, self.channels, self._prior = container, header.channels, prior
        self._sink, self._progress = sink, progress
        first, last = span or (0, container.num_samples)
        self._grid = Grid(bcdc.MODEL_RATE, header.sample_rate)
        length = header.model_samples(container.num_samples)
        self._low, self._high, self._skip = _model_span(self._grid, first, last, length)
        self._left = last - first
        self._to_end = self._high == length
        window = self._grid.first_window(first)
        self._resampler = Resampler(self._grid, window) if self._grid.changes else None
        self._joiner = ChannelJoiner(self.channels)
        self._model_left = self._high - self.frames[0] * header.geometry.hop
        self._model_skip = self._low - self.frames[0] * header.geometry.hop
        self.sources = self.sources_of()

    def sources_of(self, first: int = 0, last: int | None = None) -> list[Iterator[bcdc.Tokens]]:
        """Like `sources`, with tokens from frame `first` on, those up to `last` decoded ahead."""
        stretches = token_stretches(self.container, self._prior, first, last)
        return split_channels(stretches, self.channels)

    @property
    def frames(self) -> tuple[int, int]:
        """The frames that are needed: for a whole file, all of them."""
        hop = self.container.header.geometry.hop
        return self._low // hop, -(-self._high // hop)

    @property
    def done(self) -> bool:
        """Whether every sample that is asked for has been written."""
        return self._left <= 0

    def take(self, channel: int, wave: Samples) -> None:
        """Write a channel's next samples (n,) at the model's rate, from frame `frames[0]` on.

        Raises:
            CliError: the samples are not finite.
            OSError: the sink cannot be written to.
        """
        if not np.isfinite(wave).all():
            raise CliError("the model gives samples that are not finite; it may be damaged")
        block = self._joiner.push(channel, wave)
        if block is None:
            return
        # The last frame may reach beyond the end of the recording.
        block = block[:, : self._model_left]
        self._model_left -= block.shape[1]
        skipped = min(self._model_skip, block.shape[1])
        self._model_skip -= skipped
        for samples in self._resampled(block[:, skipped:]):
            self._write(samples)

    def finish(self) -> None:
        """Write what is left, every source being at its end."""
        if self._resampler is not None and self._to_end:
            for samples in self._resampler.finish():
                self._write(samples)
        if self._left > 0:
            raise bcdc.CorruptError("the tokens give fewer samples than the file declares")

    def _resampled(self, block: Samples) -> Iterable[Samples]:
        return [block] if self._resampler is None else self._resampler.push(block)

    def _write(self, samples: Samples) -> None:
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        block = samples[:, skipped : skipped + max(self._left, 0)]
        step = max(1, _WRITTEN_AT_ONCE // self.container.header.restored_channels)
        for start in range(0, block.shape[1], step):
            piece = block[:, start : start + step]
            self._left -= piece.shape[1]
            self._sink.write(piece)
            self._progress(piece.shape[1] / self.container.header.sample_rate)


def _model_span(grid: Grid, first: int, last: int, length: int) -> tuple[int, int, int]:
    """Samples at the model's rate, of `length`, that samples `first` to `last` need; and how many
    samples of the result come before `first`."""
    if not grid.changes:
        return min(first, length), min(last, length), 0
    window = grid.first_window(first)
    stop = grid.input_stop(grid.first_window(max(last - 1, first)))
    skip = first - window * grid.window * grid.new_rate
    return min(grid.input_start(window), length), min(stop, length), skip


def decode_part(job: Decompressor, codec: Codec) -> None:
    """Decode what a `Decompressor` with a span needs, and no more.

    Raises:
        CorruptError: the tokens are impossible.
        OSError: the sink cannot be written to.
    """
    if not job.done:
        first, last = codec.needed_frames(job.frames)
        sources = job.sources_of(first, last)
        streams = [codec.decode_stream(source, job.frames, first) for source in sources]
        for waves in zip(*streams, strict=True):
            for channel, wave in enumerate(waves):
                job.take(channel, wave)
            if job.done:
                return
    job.finish()
