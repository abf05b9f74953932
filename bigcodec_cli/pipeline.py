"""From audio to a container and back: the one place that knows both packages."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

import bcdc
from bigcodec_cli.audio import Audio, AudioInput
from bigcodec_cli.containers import TokenSource, token_stretches
from bigcodec_cli.output import CliError
from bigcodec_cli.resampling import Grid, Resampler, resample_stream
from bigcodec_cli.samples import ChannelJoiner, Samples, SampleSink, split_channels
from bigcodec_models.codec import Codec
from bigcodec_models.config import ModelConfig

Progress = Callable[[float], None]


class VerifyError(CliError):
    """What was written does not read back as what was coded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """Choices of `compress` that change the bytes. Without a coder the smallest is taken, which
    holds everything back until the end. `prior` is for the coders that need one."""

    coder: bcdc.Coder | None
    downmix: bool = False
    prior: bcdc.Prior | None = None


def geometry_of(codec: Codec) -> bcdc.Geometry:
    """The geometry of the tokens that a codec makes."""
    return _geometry_with(codec.config, codec.f0)


def geometries_of(config: ModelConfig) -> tuple[bcdc.Geometry, ...]:
    """The geometries of tokens that a model decodes: one an F0 mode, the default first."""
    return tuple(_geometry_with(config, f0) for f0 in config.f0_modes or (None,))


def _geometry_with(config: ModelConfig, f0: str | None) -> bcdc.Geometry:
    sizes = config.token_sizes_with(f0)
    return bcdc.Geometry(hop=config.hop, codebook_sizes=sizes, f0=f0 == "coded")


class TokenDigest:
    """A digest of tokens (channels, n, codebooks) that does not depend on how they were cut."""

    def __init__(self, channels: int) -> None:
        self._hashes = [hashlib.blake2b() for _ in range(channels)]

    def update(self, tokens: bcdc.Tokens) -> None:
        """Take the next tokens."""
        for state, channel in zip(self._hashes, tokens, strict=True):
            state.update(np.ascontiguousarray(channel, "<i4").tobytes())

    def values(self) -> list[bytes]:
        """The digest of each channel."""
        return [state.digest() for state in self._hashes]


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
        progress: Progress = lambda _: None,
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
        if options.coder is not None:
            header = bcdc.header_for(header, options.coder, options.prior)
        self.header = header
        self.samples = 0
        self.digest = TokenDigest(self.channels)
        prior = options.prior if options.coder is None or options.coder.needs_prior else None
        self.writer = bcdc.Writer(out, header, prior, auto=options.coder is None)
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


class Decompressor:
    """Decodes a container, or samples `first` to `last` of it, into a sink.

    `sources` holds one iterator of tokens a channel, for the codec to draw from; its samples go
    back in by `take`. A part is, sample by sample, what the whole has there.
    """

    def __init__(
        self,
        container: TokenSource,
        sink: SampleSink,
        progress: Progress = lambda _: None,
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
        """Whether every sample that is wanted has been written."""
        return self._left <= 0

    def take(self, channel: int, wave: Samples) -> None:
        """Write a channel's next samples (n,) at the model's rate, from frame `frames[0]` on.

        Raises:
            OSError: the sink cannot be written to.
        """
        block = self._joiner.push(channel, wave)
        if block is None:
            return
        # The last frame may reach beyond the end of the recording.
        block = block[:, : self._model_left]
        self._model_left -= block.shape[1]
        skipped = min(self._model_skip, block.shape[1])
        self._model_skip -= skipped
        for made in self._resampled(block[:, skipped:]):
            self._write(made)

    def finish(self) -> None:
        """Write what is left, every source being at its end."""
        if self._resampler is not None and self._to_end:
            for made in self._resampler.finish():
                self._write(made)
        if self._left > 0:
            raise bcdc.CorruptError("the tokens give fewer samples than the file declares")

    def _resampled(self, block: Samples) -> Iterable[Samples]:
        return [block] if self._resampler is None else self._resampler.push(block)

    def _write(self, samples: Samples) -> None:
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        wanted = samples[:, skipped : skipped + max(self._left, 0)]
        if wanted.shape[1]:
            self._left -= wanted.shape[1]
            self._sink.write(wanted)
            self._progress(wanted.shape[1] / self.container.header.sample_rate)


def _model_span(grid: Grid, first: int, last: int, length: int) -> tuple[int, int, int]:
    """Samples at the model's rate, of `length`, that samples `first` to `last` need; and how many
    samples of the result come before `first`."""
    if not grid.changes:
        return min(first, length), min(last, length), 0
    window = grid.first_window(first)
    stop = grid.input_stop(grid.first_window(max(last - 1, first)))
    skip = first - window * grid.window * grid.new_rate
    return min(grid.input_start(window), length), min(stop, length), skip


def read_back(path: Path) -> bcdc.Container:
    """Read a container that was just written.

    Raises:
        VerifyError: it is not whole.
        OSError: it cannot be read.
    """
    try:
        return bcdc.read(path.read_bytes())
    except bcdc.BcdcError as error:
        raise VerifyError(f"what was written does not read back: {error}") from error


def verify_container(
    container: bcdc.Container,
    digest: TokenDigest,
    samples: int,
    prior: bcdc.Prior | None = None,
) -> None:
    """Compare a container with what was coded. `prior` may be one too many.

    Raises:
        VerifyError: it differs.
    """
    found = TokenDigest(len(digest.values()))
    try:
        needed = prior if container.header.coder.needs_prior else None
        for tokens in token_stretches(container, needed):
            found.update(tokens)
    except bcdc.BcdcError as error:
        raise VerifyError(f"what was written does not read back: {error}") from error
    if found.values() != digest.values() or container.num_samples != samples:
        raise VerifyError("what was written does not read back as what was coded")


def compress(
    audio: Audio,
    codec: Codec,
    options: CompressOptions,
    out: BinaryIO,
    progress: Progress = lambda _: None,
) -> None:
    """Encode audio held in memory, each channel by itself, and write a container.

    `progress` is told of the seconds of audio done since it was last called.

    Raises:
        ValueError: more channels than a container can hold.
        OSError: the file cannot be written.
    """
    source = AudioInput(
        name="",
        rate=audio.rate,
        channels=audio.samples.shape[0],
        frames=audio.samples.shape[1],
        blocks=iter([audio.samples]),
    )
    job = Compressor(source, codec, options, out, progress)
    for piece in codec.encode_streams(job.sources, job.channels):
        if piece.error is not None:
            raise piece.error
        job.take(piece.index, piece.data)
    job.finish()


class _Memory:
    def __init__(self, channels: int) -> None:
        self.blocks: list[Samples] = [np.zeros((channels, 0), np.float32)]

    def write(self, samples: Samples) -> None:
        self.blocks.append(samples)


def decompress(
    container: TokenSource,
    codec: Codec,
    progress: Progress = lambda _: None,
    span: tuple[int, int] | None = None,
    prior: bcdc.Prior | None = None,
) -> Audio:
    """Decode every channel, at the original rate and length; or samples of a `span` of it.

    `progress` is told of the seconds of audio done since it was last called.

    Raises:
        CorruptError: the tokens are impossible.
    """
    memory = _Memory(container.header.channels)
    job = Decompressor(container, memory, progress, span, prior)
    decode_part(job, codec) if span else _decode_whole(job, codec)
    return Audio(np.concatenate(memory.blocks, axis=1), container.header.sample_rate)


def _decode_whole(job: Decompressor, codec: Codec) -> None:
    for piece in codec.decode_streams(job.sources, job.channels):
        if piece.error is not None:
            raise piece.error
        job.take(piece.index, piece.data)
    job.finish()


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
