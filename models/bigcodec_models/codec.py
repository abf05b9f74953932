"""The Python interface of the codec: waves to tokens, and tokens to waves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import AnyTokens, Array, Tokens, Wave
from bigcodec_models.config import SAMPLE_RATE, ModelConfig
from bigcodec_models.errors import ModelFileError
from bigcodec_models.inference.batching import Advance, run_streams
from bigcodec_models.inference.chunking import CHUNK_FRAMES, FrameRange
from bigcodec_models.inference.engine import Engine
from bigcodec_models.onnx.graph_set import GraphSet
from bigcodec_models.registry import find_builtin

if TYPE_CHECKING:
    from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo

PRECISIONS = ("float32", "bfloat16")
Data = TypeVar("Data", bound=npt.NDArray[np.generic])
Result = TypeVar("Result", Advance, "Piece[Tokens]", "Piece[Wave]")


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


class Codec:
    """A codec model ready for inference, in torch, or in ONNX Runtime if it is made of graphs.

    `config`, `info`, `fingerprint` (32 bytes) and `num_parameters` describe it; `hop` is the number
    of samples per frame. `engine` is "torch" or "onnx", `device` is named as in torch, and
    `side_by_side` tells whether many short waves beside each other are faster on it. `f0` is the F0
    mode in which it encodes, None for a model without F0, and `token_sizes` has the number of
    values of each token of a frame in that mode.
    """

    def __init__(
        self,
        model: LoadedModel | GraphSet,
        device: str = "cpu",
        precision: str = "float32",
        f0: str | None = None,
    ) -> None:
        self.config: ModelConfig = model.config
        self.info: ModelInfo = model.info
        self.fingerprint = model.fingerprint
        self.num_parameters = model.num_parameters
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        self.f0 = f0 or self.config.default_f0
        self.token_sizes = self.config.token_sizes_with(self.f0)
        self._engine = _engine_for(model, device, precision, self.f0)
        self.device, self.side_by_side = self._engine.device, self._engine.side_by_side
        self.engine = self._engine.name

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str = "cpu",
        precision: str = "float32",
        f0: str | None = None,
    ) -> Self:
        """Load a built-in model by name, or a model file or published checkpoint by its path.

        `device` is named as in torch: "cpu", "cuda", "cuda:N", "mps". `precision` "bfloat16"
        decodes less exactly, and faster where the device supports it; encoding always runs in
        float32. `f0` is one of the model's `config.f0_modes`, by default the first: with "coded"
        each frame has one more token, its F0. Decoding accepts tokens of every mode of the model.

        Raises:
            ModelFileError: no such built-in model or file, or the file is not a usable model.
            ValueError: unknown precision, or an F0 mode that the model does not know.
        """
        return cls(read_model(name_or_path), device, precision, f0)

    @property
    def hop(self) -> int:
        """Samples at 16 kHz per frame."""
        return self.config.hop

    @property
    def sample_rate(self) -> int:
        """Samples per second that `encode` expects and `decode` returns."""
        return SAMPLE_RATE

    def latents(self, wave: Wave) -> Wave:
        """The encoder's output before quantization: float32 (n,) to float32 (dim, ceil(n / hop)).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        rounds = self._encoder_rounds([[wave]], 1)
        dim = self.config.latent_dim
        pieces = [
            self._engine.to_numpy(latent[0, :dim])
            for result in rounds
            for latent in _raised(result).pieces
        ]
        empty = np.zeros((self.config.latent_dim, 0), dtype=np.float32)
        return np.concatenate([empty, *pieces], axis=1)

    def encode(self, wave: Wave) -> Tokens:
        """Tokens of a wave: float32 (n,) in [-1, 1] at 16 kHz to int64 (ceil(n / hop),).

        With K tokens a frame, K above 1, the shape is (ceil(n / hop), K).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        return self.encode_batch([wave])[0]

    def encode_batch(self, waves: Sequence[Wave], batch_size: int = 8) -> list[Tokens]:
        """The tokens that `encode` gives for each of many waves; see `encode_streams`.

        Raises:
            ValueError: a wave is not one-dimensional, or not finite.
        """
        pieces: list[list[Tokens]] = [[self._no_tokens()] for _ in waves]
        for piece in self.encode_streams(([wave] for wave in waves), batch_size):
            pieces[piece.index].append(_raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

    def encode_stream(self, waves: Iterable[Wave]) -> Iterator[Tokens]:
        """Tokens of a wave that comes in pieces (n,) of any length, as soon as they are complete.

        Joined they equal the tokens of `encode`, however the wave was cut: all coding uses one
        grid of chunks (see `inference.chunking`). Memory does not grow with the length.

        Raises:
            ValueError: a piece is not one-dimensional, or not finite.
        """
        for piece in self.encode_streams([waves]):
            if len(_raised(piece).data):
                yield piece.data

    def encode_streams(
        self, sources: Iterable[Iterable[Wave]], batch_size: int = 1
    ) -> Iterator[Piece[Tokens]]:
        """Tokens of many waves, each in pieces of any length, up to `batch_size` at the same time.

        When a source ends, the next one is opened. Pieces of one source come in order, those of
        different sources interleave. An exception of a source, or a ValueError about its data, ends
        only that source and comes with its last piece. On a CPU the tokens equal those of `encode`
        bit for bit; elsewhere they may differ where two codes are nearly equally close, since
        rounding depends on the size of the batch. Memory: about one window per open source.
        """
        for result in self._encoder_rounds(sources, batch_size):
            tokens = [self._no_tokens(), *(self._quantized(latent) for latent in result.pieces)]
            yield Piece(result.index, np.concatenate(tokens), result.last, result.error)

    def decode(self, tokens: AnyTokens, num_samples: int | None = None, start: int = 0) -> Wave:
        """The wave of tokens: int (T,) or (T, K) to float32 (num_samples,) at 16 kHz.

        K tells the F0 mode: without an F0 token, the model predicts F0 if it can.

        The result is the part of the whole wave from sample `start` on, exactly. `num_samples` is
        at most T * hop - start, which is the default. The expensive part of the decoder runs only
        for the frames of that part.

        Raises:
            ValueError: wrong shape, a token outside the codebook, or samples beyond the end.
        """
        length = len(tokens) * self.hop
        stop = length if num_samples is None else start + num_samples
        if not 0 <= start <= stop <= length:
            raise ValueError(f"{len(tokens)} tokens give {length} samples, not {start} to {stop}")
        frames = (start // self.hop, -(-stop // self.hop))
        pieces = self.decode_stream([tokens], frames) if stop > start else iter(())
        wave = np.concatenate([np.zeros(0, dtype=np.float32), *pieces])
        offset = start - frames[0] * self.hop
        return wave[offset : offset + stop - start]

    def decode_batch(self, tokens: Sequence[AnyTokens], batch_size: int = 8) -> list[Wave]:
        """The waves of many token sequences, T * hop samples each; see `decode_streams`.

        Raises:
            ValueError: wrong shape, or a token outside the codebook.
        """
        pieces: list[list[Wave]] = [[np.zeros(0, np.float32)] for _ in tokens]
        for piece in self.decode_streams(([table] for table in tokens), batch_size):
            pieces[piece.index].append(_raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

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
            if len(_raised(piece).data):
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

    def _encoder_rounds(
        self, sources: Iterable[Iterable[Wave]], batch_size: int
    ) -> Iterator[Advance]:
        frames = (self._sample_frames(source) for source in sources)
        return run_streams(self._engine.encoder, frames, batch_size)

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
            joined = np.concatenate([rest, _checked(wave)]) if len(rest) else _checked(wave)
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
            raise ValueError(f"tokens must be integers of shape {known}")
        if array.size and (array.min() < 0 or (array >= np.array(sizes)).any()):
            raise ValueError(f"tokens must be in [0, {' and '.join(map(str, sizes))})")
        return array.astype(np.int64)


def _engine_for(
    model: LoadedModel | GraphSet, device: str, precision: str, f0: str | None
) -> Engine:
    if isinstance(model, GraphSet):
        from bigcodec_models.onnx.engine import OnnxEngine

        if (device, precision) != ("cpu", "float32"):
            raise ValueError("graphs run on a CPU, in float32")
        return OnnxEngine(model, f0)
    from bigcodec_models.inference.torch_engine import TorchEngine

    return TorchEngine(model, device, precision == "bfloat16", f0)


def _raised(result: Result) -> Result:
    """The piece itself; raises its error if it has one."""
    if result.error is not None:
        raise result.error
    return result


def _checked(wave: Wave) -> Wave:
    samples = np.ascontiguousarray(wave, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"a wave must have one dimension, not {samples.ndim}")
    if not np.isfinite(samples).all():
        raise ValueError("the wave holds values that are not finite")
    return samples


def read_model(name_or_path: str | Path) -> LoadedModel:
    """Read a built-in model by name, or a model file or published checkpoint by its path.

    A `Path` is always a file; a string is first looked up among the built-in models, whose content
    is compared with what was shipped.

    Raises:
        ModelFileError: no such built-in model or file, or the file is not a usable model.
    """
    builtin = find_builtin(name_or_path) if isinstance(name_or_path, str) else None
    path = builtin.path if builtin is not None else Path(name_or_path)
    if not path.is_file():
        raise ModelFileError(f"{name_or_path}: no built-in model and no file of this name")
    model = _read_file(path)
    if builtin is not None:
        model.check_digest(path, builtin.digest)
    return model


def _read_file(path: Path) -> LoadedModel:
    from bigcodec_models.checkpoints.model_file import load_model
    from bigcodec_models.checkpoints.published import load_upstream

    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    # A torch checkpoint is a zip file, which begins with "PK".
    return load_upstream(path) if start == b"PK" else load_model(path)
