"""The codec as people use it from Python: waves to tokens and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.model_file import (
    LoadedModel,
    ModelInfo,
    build_network,
    load_model,
)
from bigcodec_models.checkpoints.published import load_upstream
from bigcodec_models.config import SAMPLE_RATE, ModelConfig
from bigcodec_models.errors import ModelFileError
from bigcodec_models.inference.batching import Advance, run_streams
from bigcodec_models.inference.chunking import CHUNK_FRAMES, FrameRange
from bigcodec_models.inference.prepare import pipelines, prepare
from bigcodec_models.registry import builtin_path

PRECISIONS = ("float32", "bfloat16")
Array = TypeVar("Array", bound=npt.NDArray[np.generic])
Wave = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]
TokenArray = npt.NDArray[np.integer]


Result = TypeVar("Result", Advance, "Piece[Tokens]", "Piece[Wave]")


@dataclasses.dataclass(frozen=True)
class Piece(Generic[Array]):
    """A completed part of one source: tokens when encoding, samples when decoding.

    `index` counts the sources from 0 in the order in which they were taken. `last` is true of
    exactly one piece a source; `error` is what the source raised, and None in all but such a
    last piece. `data` may be empty.
    """

    index: int
    data: Array
    last: bool
    error: Exception | None = None


class Codec:
    """A codec model ready for inference.

    `config`, `info`, `fingerprint` (32 bytes) and `num_parameters` describe it; `hop` is its
    samples a token. `f0` is the F0 mode of what it encodes, None for a model without any, and
    `token_sizes` how many values each token of a frame has in that mode.
    """

    def __init__(
        self,
        model: LoadedModel,
        device: str = "cpu",
        precision: str = "float32",
        f0: str | None = None,
    ) -> None:
        self.config: ModelConfig = model.config
        self.info: ModelInfo = model.info
        self.fingerprint = fingerprint(model.tensors)
        self.num_parameters = sum(tensor.numel() for tensor in model.tensors.values())
        self.device = torch.device(device)
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        self.f0 = f0 or self.config.default_f0
        self.token_sizes = self.config.token_sizes_with(self.f0)
        half = precision == "bfloat16"
        self._network = prepare(build_network(model), self.device, half)
        self._encoder, self._decoder = pipelines(self._network, self.device, half, self.f0)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str = "cpu",
        precision: str = "float32",
        f0: str | None = None,
    ) -> Self:
        """Load a built-in model by name, or a file: ours, or a published checkpoint.

        `device` is torch's name of it: "cpu", "cuda", "cuda:N", "mps". `precision` "bfloat16"
        decodes less exactly, where that is faster; encoding is in float32 always. `f0` is one of
        the model's `config.f0_modes`, by default the first: with "coded" each frame has one more
        token, its F0. Decoding takes tokens of every mode of the model.

        Raises:
            ModelFileError: no such built-in model or file, or the file is not a usable model.
            ValueError: unknown precision, or an F0 mode that the model does not know.
        """
        return cls(read_model(name_or_path), device, precision, f0)

    @property
    def hop(self) -> int:
        """Samples at 16 kHz a token."""
        return self.config.hop

    @property
    def sample_rate(self) -> int:
        """Samples per second that `encode` expects and `decode` gives."""
        return SAMPLE_RATE

    def latents(self, wave: Wave) -> Wave:
        """The encoder's output before quantization: float32 (n,) to (dim, ceil(n / hop)).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        rounds = self._encoder_rounds([[wave]], 1)
        dim = self.config.latent_dim
        pieces = [
            latent[0, :dim].cpu().numpy() for result in rounds for latent in _raised(result).pieces
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
        """Tokens of many waves, those that `encode` gives of each; see `encode_streams`.

        Raises:
            ValueError: a wave is not one-dimensional, or not finite.
        """
        pieces: list[list[Tokens]] = [[self._no_tokens()] for _ in waves]
        for piece in self.encode_streams(([wave] for wave in waves), batch_size):
            pieces[piece.index].append(_raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

    def encode_stream(self, waves: Iterable[Wave]) -> Iterator[Tokens]:
        """Tokens of a wave that comes in pieces of any length, (n,) each, as they complete.

        Joined they are those of `encode`, however the wave was cut: everything goes over one
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
        """Tokens of many waves, each in pieces of any length, up to `batch_size` side by side.

        A source is opened when its turn comes; when one ends, the next is taken. Pieces of one
        source come in order, those of different sources interleave. What a source raises, or a
        ValueError about its data, ends that source alone and comes in its last piece. Tokens are
        bit for bit those of `encode` on a CPU; elsewhere they may differ in near-ties, where
        kernels round by the size of the batch. Memory: about one window a source.
        """
        for result in self._encoder_rounds(sources, batch_size):
            tokens = [self._no_tokens(), *(self._quantized(latent) for latent in result.pieces)]
            yield Piece(result.index, np.concatenate(tokens), result.last, result.error)

    def decode(self, tokens: TokenArray, num_samples: int | None = None, start: int = 0) -> Wave:
        """The wave of tokens: int (T,) or (T, K) to float32 (num_samples,) at 16 kHz.

        K says which F0 mode they are of: without the F0 token, a model that can predicts it.

        `num_samples` is at most T * hop - start, and that by default. With `start` the result is
        exactly what the whole wave has from that sample on; the expensive part of the decoder
        runs over what is asked for only.

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

    def decode_batch(self, tokens: Sequence[TokenArray], batch_size: int = 8) -> list[Wave]:
        """The waves of many token sequences, T * hop samples of each; see `decode_streams`.

        Raises:
            ValueError: wrong shape, or a token outside the codebook.
        """
        pieces: list[list[Wave]] = [[np.zeros(0, np.float32)] for _ in tokens]
        for piece in self.decode_streams(([table] for table in tokens), batch_size):
            pieces[piece.index].append(_raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

    def decode_stream(
        self,
        tokens: Iterable[TokenArray],
        frames: tuple[int, int | None] = (0, None),
        first: int = 0,
    ) -> Iterator[Wave]:
        """Samples of tokens that come in pieces of any length, as they complete.

        Joined they are the T * hop samples of `decode`, however the tokens were cut; with
        `frames`, only the samples of that range of frames, and tokens after `needed_frames` are
        not asked for. The tokens are those from frame `first` on.

        Raises:
            ValueError: wrong shape, a token outside the codebook, or `first` is too late.
        """
        needed = self.needed_frames(frames)[0]
        if first > needed:
            raise ValueError(f"tokens are needed from frame {needed} on, not {first}")
        for piece in self._decoder_pieces([tokens], 1, frames, needed - first):
            if len(_raised(piece).data):
                yield piece.data

    def needed_frames(self, frames: tuple[int, int | None]) -> tuple[int, int | None]:
        """The range of frames whose tokens `decode_stream` takes, for the samples of `frames`.

        With an LSTM it begins at 0; with attention, or neither, near what is asked for. Its end
        may lie beyond that of the tokens.
        """
        return self._decoder.needed(frames)

    def decode_streams(
        self, sources: Iterable[Iterable[TokenArray]], batch_size: int = 1
    ) -> Iterator[Piece[Wave]]:
        """Samples of many token sequences side by side, as `encode_streams` does for waves."""
        yield from self._decoder_pieces(sources, batch_size, (0, None))

    def _encoder_rounds(
        self, sources: Iterable[Iterable[Wave]], batch_size: int
    ) -> Iterator[Advance]:
        frames = (self._sample_frames(source) for source in sources)
        return run_streams(self._encoder, frames, self.device, batch_size)

    def _decoder_pieces(
        self,
        sources: Iterable[Iterable[TokenArray]],
        batch_size: int,
        frames: FrameRange,
        skipped: int = 0,
    ) -> Iterator[Piece[Wave]]:
        tables = (self._token_frames(source, skipped) for source in sources)
        for result in run_streams(self._decoder, tables, self.device, batch_size, frames):
            waves = [piece[0, 0].cpu().numpy() for piece in result.pieces]
            wave = np.concatenate([np.zeros(0, np.float32), *waves])
            yield Piece(result.index, wave, result.last, result.error)

    @torch.inference_mode()
    def _quantized(self, latent: Tensor) -> Tokens:
        dim = self.config.latent_dim
        codes = self._network.quantizer.encode(latent[:, :dim])
        f0 = latent[:, dim:].long().transpose(1, 2)
        tokens: Tokens = torch.cat([codes, f0], dim=-1)[0].cpu().numpy()
        return tokens[:, 0] if len(self.token_sizes) == 1 else tokens

    def _sample_frames(self, waves: Iterable[Wave]) -> Iterator[Tensor]:
        """Whole frames (1, 1, n * hop), the last one filled up with zeros."""
        rest = np.zeros(0, np.float32)
        for wave in waves:
            joined = np.concatenate([rest, _checked(wave)]) if len(rest) else _checked(wave)
            whole = len(joined) // self.hop * self.hop
            rest = joined[whole:].copy()
            for piece in torch.split(torch.from_numpy(joined[:whole]), CHUNK_FRAMES * self.hop):
                if len(piece):
                    yield piece.view(1, 1, -1)
        if len(rest):
            yield torch.from_numpy(np.pad(rest, (0, self.hop - len(rest)))).view(1, 1, -1)

    def _token_frames(self, tables: Iterable[TokenArray], skipped: int) -> Iterator[Tensor]:
        """Tokens as (1, K, n), the first `skipped` frames left out."""
        for table in tables:
            some = self._check_tokens(table)[skipped:]
            skipped = max(0, skipped - len(table))
            for rows in torch.split(some, CHUNK_FRAMES):
                if len(rows):
                    yield rows.t().unsqueeze(0)

    def _no_tokens(self) -> Tokens:
        kinds = len(self.token_sizes)
        return np.zeros((0,) if kinds == 1 else (0, kinds), dtype=np.int64)

    def _check_tokens(self, tokens: npt.NDArray[np.integer]) -> Tensor:
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
        return torch.from_numpy(array.astype(np.int64))


def _raised(result: Result) -> Result:
    """Return the piece, or raise its error if it has one."""
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
    """Read a built-in model by name, or a file: ours, or a published checkpoint.

    A `Path` is always a file; a text that names a built-in model is that model.

    Raises:
        ModelFileError: no such built-in model or file, or the file is not a usable model.
    """
    named = builtin_path(name_or_path) if isinstance(name_or_path, str) else None
    path = named or Path(name_or_path)
    if not path.is_file():
        raise ModelFileError(f"{name_or_path}: no built-in model and no file of this name")
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    # A torch checkpoint is a zip file; anything else is taken for one of ours.
    return load_upstream(path) if start == b"PK" else load_model(path)
