"""From a container to audio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

import bcdc
from bigcodec_cli.audio.channels import (
    ChannelJoiner,
    Samples,
    SampleSink,
    Store,
    in_memory,
    split_channels,
)
from bigcodec_cli.audio.resampling import Grid, Resampler
from bigcodec_cli.coding.pace import Pace
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.console.progress import Advance
from bigcodec_cli.files.containers import TokenSource, token_stretches
from bigcodec_models.codec import Codec

_WRITTEN_AT_ONCE = 1 << 21
"""Samples that are written together, all channels counted; bounds memory."""


class Decompressor:
    """Decodes a container, or samples `first` to `last` of it, into a sink.

    `sources` holds an iterator of tokens for each channel, which go through the codec; its samples
    come in by `take`. A part has exactly the samples that the whole has there. `pace` is that of
    the channels, and `store` keeps what one has and others do not have yet.
    """

    def __init__(
        self,
        container: TokenSource,
        sink: SampleSink,
        progress: Advance = lambda _: None,
        span: tuple[int, int] | None = None,
        prior: bcdc.Prior | None = None,
        store: Store = in_memory,
    ) -> None:
        header = container.header
        self.container, self.channels, self._prior = container, header.channels, prior
        self._sink, self._progress, self._store = sink, progress, store
        first, last = span or (0, container.num_samples)
        grid = Grid(bcdc.MODEL_RATE, header.sample_rate)
        length = header.model_samples(container.num_samples)
        low, high, skip = _model_span(grid, first, last, length)
        self.frames = low // header.geometry.hop, -(-high // header.geometry.hop)
        """The frames that are needed: for a whole file, all of them."""
        self._left = last - first
        start = self.frames[0] * header.geometry.hop
        self._waves = [
            _ChannelWave(grid, first, (low - start, high - start), (skip, last - first))
            for _ in range(self.channels)
        ]
        most = max(1, _WRITTEN_AT_ONCE // header.restored_channels)
        self._joiner = ChannelJoiner(self.channels, store, most)
        self.sources = self.sources_of()

    def sources_of(self, first: int = 0, last: int | None = None) -> list[Iterator[bcdc.Tokens]]:
        """Like `sources`, with tokens from frame `first` on, those up to `last` decoded ahead."""
        stretches = token_stretches(self.container, self._prior, first, last)
        return split_channels(stretches, self.channels, self._store)

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
        for samples in self._waves[channel].push(wave):
            for block in self._joiner.push(channel, samples):
                self._left -= block.shape[1]
                self._sink.write(block)
            seconds = len(samples) / self.container.header.sample_rate
            self._progress(seconds / self.channels)

    def finish(self) -> None:
        """Check that every source has given all.

        Raises:
            CorruptError: one has not.
        """
        if self._left > 0:
            raise bcdc.CorruptError("the tokens give fewer samples than the file declares")


class _ChannelWave:
    """One channel on its way from the model's rate to the recording's.

    Of its samples at the model's rate those in `used` count; of the result, which begins with the
    resampling window of sample `first`, `skip` are left out, and `length` are given.
    """

    def __init__(
        self, grid: Grid, first: int, used: tuple[int, int], result: tuple[int, int]
    ) -> None:
        self._skip, self._end = used
        self._result_skip, self._left = result
        window = grid.first_window(first)
        self._resampler = Resampler(grid, window) if grid.changes else None

    def push(self, wave: Samples) -> Iterator[Samples]:
        """Take samples (n,); gives those of the result that they complete."""
        wave = wave[: self._end]  # the last frame may reach beyond the end of the recording
        self._end -= len(wave)
        skipped = min(self._skip, len(wave))
        self._skip -= skipped
        yield from map(self._cut, self._resampled(wave[skipped:]))
        if self._resampler is not None and self._end == 0 and self._left:
            yield from map(self._cut, (piece[0] for piece in self._resampler.finish()))

    def _resampled(self, wave: Samples) -> Iterable[Samples]:
        if self._resampler is None:
            return [wave]
        return (piece[0] for piece in self._resampler.push(wave[None]))

    def _cut(self, samples: Samples) -> Samples:
        skipped = min(self._result_skip, len(samples))
        self._result_skip -= skipped
        kept = samples[skipped : skipped + self._left]
        self._left -= len(kept)
        return kept


def _model_span(grid: Grid, first: int, last: int, length: int) -> tuple[int, int, int]:
    """Samples at the model's rate, of `length`, that samples `first` to `last` need; and how many
    samples of the result come before `first`."""
    if not grid.changes:
        return min(first, length), min(last, length), 0
    window = grid.first_window(first)
    stop = grid.input_stop(grid.first_window(max(last - 1, first)))
    skip = first - window * grid.window * grid.new_rate
    return min(grid.input_start(window), length), min(stop, length), skip


def decode_part(job: Decompressor, codec: Codec, pace: Pace) -> None:
    """Decode what a `Decompressor` with a span needs, and no more.

    Raises:
        CorruptError: the tokens are impossible.
        OSError: the sink cannot be written to.
    """
    if not job.done:
        first, last = codec.needed_frames(job.frames)
        sources = job.sources_of(first, last)
        channels = enumerate(codec.decode_stream(source, job.frames, first) for source in sources)
        groups = [[*channels]] if pace is Pace.LOCKSTEP else ([channel] for channel in channels)
        for group in groups:
            numbers, streams = zip(*group, strict=True)
            for waves in zip(*streams, strict=True):
                for channel, wave in zip(numbers, waves, strict=True):
                    job.take(channel, wave)
    job.finish()
