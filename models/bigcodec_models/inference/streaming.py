"""Coding waves and tokens that come in pieces, many at the same time, in bounded memory. Loads no
torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import AnyTokens, Array, Tokens, Wave
from bigcodec_models.checkpoints.stored import ModelInfo
from bigcodec_models.config import ModelConfig
from bigcodec_models.inference.arguments import as_samples
from bigcodec_models.inference.batching import Advance, run_streams
from bigcodec_models.inference.chunking import CHUNK_FRAMES, FineGrid, FrameRange
from bigcodec_models.inference.engine import Engine

Data = TypeVar("Data", bound=npt.NDArray[np.generic])
Result = TypeVar("Result", Advance, "Piece[Tokens]", "Piece[Wave]")


_STEPS = 5
"""Steps in which the first part of the encoder goes through a chunk of a finer grid: with chunks of
two seconds 0.4 s, of which half of its receptive field of 64 frames is a multiple."""


@dataclasses.dataclass(frozen=True)
class Piece(Generic[Data]):
    """A completed part of one source: tokens when encoding, samples when decoding.

    `index` counts the sources from 0 in the order in which they were opened. `last` is true for
    exactly one piece of each source. `error` is the exception that ended the source, which only its
    last piece can have. `data` may be empty.
    """

    index: int
    data: Data
    last: bool
    error: Exception | None = None


class Facts(Protocol):
    """What a codec says of its model, whatever the model was read from."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def info(self) -> ModelInfo: ...

    @property
    def fingerprint(self) -> bytes: ...

    @property
    def num_parameters(self) -> int: ...


class StreamingCodec:
    """The part of `Codec` that works on streams; see there for its attributes."""

    def __init__(self, model: Facts, engine: Engine, f0: str | None) -> None:
        self.config: ModelConfig = model.config
        self.info: ModelInfo = model.info
        self.fingerprint = model.fingerprint
        self.num_parameters = model.num_parameters
        self.f0 = f0
        self.token_sizes = self.config.token_sizes_with(self.f0)
        self._engine = engine
        self.engine = engine.name
        self.device, self.side_by_side = engine.device, engine.side_by_side

    @property
    def hop(self) -> int:
        """Samples at 16 kHz per frame."""
        return self.config.hop

    def encode_stream(self, waves: Iterable[Wave]) -> Iterator[Tokens]:
        """Tokens of a wave that comes in pieces (n,) of any length, as soon as they are complete.

        Joined they equal the tokens of `encode`, however the wave was cut: all coding uses one
        grid of chunks (see `inference.chunking`). Memory does not grow with the length.

        Raises:
            ValueError: a piece is not one-dimensional, or see `encode`.
        """
        for piece in self.encode_streams([waves]):
            if len(raised(piece).data):
                yield piece.data

    def encode_streams(
        self,
        sources: Iterable[Iterable[Wave]],
        batch_size: int = 1,
        grid: FineGrid | None = None,
    ) -> Iterator[Piece[Tokens]]:
        """Tokens of many waves, each in pieces of any length, up to `batch_size` at the same time.

        When a source ends, the next one is opened. Pieces of one source come in order, those of
        different sources interleave. An exception of a source, or a ValueError about its data, ends
        only that source and comes with its last piece. On a CPU the tokens equal those of `encode`
        bit for bit; elsewhere they may differ where two codes are nearly equally close, since
        rounding depends on the size of the batch. Memory: about one window per open source.

        On a finer `grid` (of `fine_grid`) tokens follow the samples sooner. They are the same
        however a wave is cut and whatever is coded beside it, but not quite those of `encode`: they
        differ where codes are nearly equally close, and more where the grid has less lookahead than
        the model.
        """
        for result in self._encoder_rounds(sources, batch_size, grid):
            tokens = [self._no_tokens(), *(self._quantized(latent) for latent in result.pieces)]
            yield Piece(result.index, np.concatenate(tokens), result.last, result.error)

    def decode_stream(
        self,
        tokens: Iterable[AnyTokens],
        frames: tuple[int, int | None] = (0, None),
        first: int = 0,
    ) -> Iterator[Wave]:
        """Samples of tokens that come in pieces of any length, as soon as they are complete.

        Joined they equal the T * hop samples of `decode`, however the tokens were cut. With
        `frames`, a range of frames, only their samples are computed, and no tokens after
        `needed_frames(frames)` are read. The first of `tokens` belongs to frame `first`.

        Raises:
            ValueError: wrong shape, a token outside the codebook, or `first` is after the first
                frame of `needed_frames(frames)`.
        """
        needed = self.needed_frames(frames)[0]
        if first > needed:
            raise ValueError(f"tokens must start at frame {needed} or before, not at {first}")
        for piece in self._decoder_pieces([tokens], 1, frames, needed - first):
            if len(raised(piece).data):
                yield piece.data

    def needed_frames(self, frames: tuple[int, int | None]) -> tuple[int, int | None]:
        """The range of frames whose tokens `decode_stream` needs for the samples of `frames`.

        It begins at 0 for a model with an LSTM that is never reset, and shortly before `frames`
        for others. Its end may lie beyond that of the tokens.
        """
        return self._engine.decoder.needed(frames)

    def decode_streams(
        self, sources: Iterable[Iterable[AnyTokens]], batch_size: int = 1
    ) -> Iterator[Piece[Wave]]:
        """Samples of many token sequences, as `encode_streams` gives tokens of many waves."""
        yield from self._decoder_pieces(sources, batch_size, (0, None))

    def least_lookahead(self, chunk: int) -> int:
        """How many frames after the end of a chunk of `chunk` frames the encoder on a finer grid
        must have."""
        step = _step(chunk)
        # What is between the two parts comes in steps, perhaps not at the end of a chunk.
        return self._engine.encoder.receptive_fields[0].right + (step - 1 if chunk % step else 0)

    def fine_grid(self, chunk: int, frames: int) -> FineGrid:
        """A grid on which `chunk` frames at a time are encoded, with the most lookahead with which
        the tokens of a chunk are there once `frames` frames after it have been read.

        Raises:
            ValueError: the model needs more frames; see `least_lookahead`.
        """
        first, second = self._engine.encoder.receptive_fields
        least, step = self.least_lookahead(chunk), _step(chunk)
        if frames < least:
            raise ValueError(f"the model needs at least {least} frames after a chunk")
        rest = min(second.right, (frames - least) // step * step)
        return FineGrid(chunk=chunk, step=step, lookahead=first.right + rest)

    def _encoder_rounds(
        self, sources: Iterable[Iterable[Wave]], batch_size: int, grid: FineGrid | None = None
    ) -> Iterator[Advance]:
        frames = (self._sample_frames(source) for source in sources)
        encoder = self._engine.encoder if grid is None else self._engine.encoder.on(grid)
        return run_streams(encoder, frames, batch_size)

    def _decoder_pieces(
        self,
        sources: Iterable[Iterable[AnyTokens]],
        batch_size: int,
        frames: FrameRange,
        skipped: int = 0,
    ) -> Iterator[Piece[Wave]]:
        tables = (self._token_frames(source, skipped) for source in sources)
        for result in run_streams(self._engine.decoder, tables, batch_size, frames):
            waves = [self._engine.to_numpy(piece[0, 0]) for piece in result.pieces]
            wave = np.concatenate([np.zeros(0, np.float32), *waves])
            yield Piece(result.index, wave, result.last, result.error)

    def _quantized(self, latents: Array) -> Tokens:
        tokens = self._engine.quantize(latents)
        return tokens[:, 0] if len(self.token_sizes) == 1 else tokens

    def _sample_frames(self, waves: Iterable[Wave]) -> Iterator[Array]:
        """Whole frames (1, 1, n * hop), the last one padded with zeros."""
        at_once = CHUNK_FRAMES * self.hop
        rest = np.zeros(0, np.float32)
        for wave in waves:
            joined = np.concatenate([rest, _one_wave(wave)]) if len(rest) else _one_wave(wave)
            whole = len(joined) // self.hop * self.hop
            rest = joined[whole:].copy()
            for start in range(0, whole, at_once):
                piece = joined[start : min(start + at_once, whole)]
                yield self._engine.from_numpy(piece[None, None])
        if len(rest):
            padded = np.pad(rest, (0, self.hop - len(rest)))
            yield self._engine.from_numpy(padded[None, None])

    def _token_frames(self, tables: Iterable[AnyTokens], skipped: int) -> Iterator[Array]:
        """Tokens (1, K, n), without the first `skipped` frames."""
        for table in tables:
            frames = self._check_tokens(table)[skipped:]
            skipped = max(0, skipped - len(table))
            for start in range(0, len(frames), CHUNK_FRAMES):
                rows = frames[start : start + CHUNK_FRAMES]
                yield self._engine.from_numpy(np.ascontiguousarray(rows.T)[None])

    def _no_tokens(self) -> Tokens:
        kinds = len(self.token_sizes)
        return np.zeros((0,) if kinds == 1 else (0, kinds), dtype=np.int64)

    def _check_tokens(self, tokens: AnyTokens) -> Tokens:
        """Tokens (T,) or (T, K) of any F0 mode, as int64 (T, K)."""
        array = np.asarray(tokens)
        if array.ndim == 1:
            array = array[:, None]
        config = self.config
        layouts = {
            len(sizes): sizes for sizes in map(config.token_sizes_with, config.f0_modes or (None,))
        }
        sizes = layouts.get(array.shape[1]) if array.ndim == 2 else None
        if array.dtype.kind not in "iu" or sizes is None:
            known = " or ".join(f"(T, {width})" for width in layouts)
            raise ValueError(
                f"tokens must be integers of shape {known}, or (B, T, K) for a batch, "
                f"not {array.dtype} of shape {array.shape}"
            )
        if array.size and (array.min() < 0 or (array >= np.array(sizes)).any()):
            raise ValueError(f"tokens must be in [0, {' and '.join(map(str, sizes))})")
        return array.astype(np.int64)


def _step(chunk: int) -> int:
    return max(1, chunk // _STEPS)


def raised(result: Result) -> Result:
    """The piece itself; raises its error if it has one."""
    if result.error is not None:
        raise result.error
    return result


def _one_wave(wave: Wave) -> Wave:
    samples = as_samples(wave)
    if samples.ndim != 1:
        raise ValueError(f"a wave must have one dimension, not {samples.ndim}")
    return samples
