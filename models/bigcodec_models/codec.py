"""The codec as people use it from Python: waves to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigcodec_models.checkpoint_adapter import load_upstream
from bigcodec_models.config import SAMPLE_RATE, ModelConfig
from bigcodec_models.fingerprint import fingerprint
from bigcodec_models.model_file import (
    LoadedModel,
    ModelFileError,
    ModelInfo,
    build_network,
    load_model,
)
from bigcodec_models.registry import builtin_path
from bigcodec_models.streaming import CHUNK_FRAMES, StreamDecoder, StreamEncoder
from bigcodec_models.weight_norm import fold_weight_norm

Wave = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]


class Codec:
    """A codec model ready for inference.

    `config`, `info` and `fingerprint` (32 bytes) describe it; `hop` is its samples a token.
    """

    def __init__(self, model: LoadedModel, device: str = "cpu") -> None:
        self.config: ModelConfig = model.config
        self.info: ModelInfo = model.info
        self.fingerprint = fingerprint(model.tensors)
        self.device = torch.device(device)
        network = build_network(model)
        fold_weight_norm(network)
        self._network = network.to(self.device).requires_grad_(False)

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "cpu") -> Self:
        """Load a built-in model by name, or a file: ours, or a published checkpoint.

        Raises:
            ModelFileError: no such built-in model or file, or the file is not a usable model.
        """
        return cls(read_model(name_or_path), device)

    @property
    def hop(self) -> int:
        """Samples at 16 kHz a token."""
        return self.config.hop

    @property
    def sample_rate(self) -> int:
        """Samples per second that `encode` expects and `decode` gives."""
        return SAMPLE_RATE

    def latents(self, wave: Wave) -> Wave:
        """What the encoder gives before quantisation: float32 (n,) to (dim, ceil(n / hop)).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        pieces = [latent[0].cpu().numpy() for latent in self._latents([wave])]
        empty = np.zeros((self.config.latent_dim, 0), dtype=np.float32)
        return np.concatenate([empty, *pieces], axis=1)

    def encode(self, wave: Wave) -> Tokens:
        """Tokens of a wave: float32 (n,) in [-1, 1] at 16 kHz to int64 (ceil(n / hop),).

        With K codebooks, K above 1, the shape is (ceil(n / hop), K).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        return np.concatenate([self._no_tokens(), *self.encode_stream([wave])])

    def encode_stream(self, waves: Iterable[Wave]) -> Iterator[Tokens]:
        """Tokens of a wave that comes in pieces of any length, (n,) each, as they complete.

        Joined they are those of `encode`, however the wave was cut: everything goes over one
        grid of chunks (see `streaming`). Memory does not grow with the length.

        Raises:
            ValueError: a piece is not one-dimensional, or not finite.
        """
        for latent in self._latents(waves):
            with torch.inference_mode():
                tokens = self._network.quantizer.encode(latent)[0].cpu().numpy()
            yield tokens[:, 0] if self.config.quantizer.num_codebooks == 1 else tokens

    def decode(
        self, tokens: npt.NDArray[np.integer], num_samples: int | None = None, start: int = 0
    ) -> Wave:
        """The wave of tokens: int (T,) or (T, K) to float32 (num_samples,) at 16 kHz.

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

    def decode_stream(
        self,
        tokens: Iterable[npt.NDArray[np.integer]],
        frames: tuple[int, int | None] = (0, None),
    ) -> Iterator[Wave]:
        """Samples of tokens that come in pieces of any length, as they complete.

        Joined they are the T * hop samples of `decode`, however the tokens were cut; with
        `frames`, only the samples of that range of frames.

        Raises:
            ValueError: wrong shape, or a token outside the codebook.
        """
        stream = StreamDecoder(self._network, frames)
        for piece in tokens:
            table = self._check_tokens(piece)
            for rows in torch.split(table, CHUNK_FRAMES):
                yield from self._samples(stream, rows)
        yield from self._samples(stream, None)

    @torch.inference_mode()
    def _samples(self, stream: StreamDecoder, rows: Tensor | None) -> list[Wave]:
        if rows is None:
            pieces = stream.finish()
        else:
            pieces = stream.push(rows.t().unsqueeze(0).to(self.device))
        return [piece[0, 0].cpu().numpy() for piece in pieces]

    def _latents(self, waves: Iterable[Wave]) -> Iterator[Tensor]:
        stream = StreamEncoder(self._network)
        for wave in waves:
            samples = torch.from_numpy(_checked(wave))
            for piece in torch.split(samples, CHUNK_FRAMES * self.hop):
                with torch.inference_mode():
                    found = list(stream.push(piece.view(1, 1, -1).to(self.device)))
                yield from found
        with torch.inference_mode():
            found = list(stream.finish())
        yield from found

    def _no_tokens(self) -> Tokens:
        codebooks = self.config.quantizer.num_codebooks
        return np.zeros((0,) if codebooks == 1 else (0, codebooks), dtype=np.int64)

    def _check_tokens(self, tokens: npt.NDArray[np.integer]) -> Tensor:
        quantizer = self.config.quantizer
        array = np.asarray(tokens)
        if array.ndim == 1 and quantizer.num_codebooks == 1:
            array = array[:, None]
        if (
            array.dtype.kind not in "iu"
            or array.ndim != 2
            or array.shape[1] != quantizer.num_codebooks
        ):
            raise ValueError(f"tokens must be integers of shape (T, {quantizer.num_codebooks})")
        if array.size and (array.min() < 0 or array.max() >= quantizer.codebook_size):
            raise ValueError(f"tokens must be in [0, {quantizer.codebook_size})")
        return torch.from_numpy(array.astype(np.int64))


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
