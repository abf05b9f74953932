"""The Python interface of the codec: waves to tokens, and tokens to waves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import AnyTokens, Tokens, Wave
from bigcodec_models.checkpoints.stored import is_zip
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.errors import ModelFileError
from bigcodec_models.inference.arguments import (
    Given,
    f0_batch,
    latent_batch,
    split_tokens,
    split_waves,
)
from bigcodec_models.inference.engine import Engine
from bigcodec_models.inference.streaming import StreamingCodec, raised
from bigcodec_models.onnx.graph_set import GraphSet
from bigcodec_models.registry import find_builtin

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bigcodec_models.architectures.network import CodecNetwork
    from bigcodec_models.checkpoints.model_file import LoadedModel

PRECISIONS = ("float32", "bfloat16")

Floats = npt.NDArray[np.floating[Any]]


class Codec(StreamingCodec):
    """A codec model ready for inference, in torch, or in ONNX Runtime if it is made of graphs.

    `config`, `info`, `fingerprint` (32 bytes) and `num_parameters` describe it; `hop` is the number
    of samples per frame. `engine` is "torch" or "onnx", and `side_by_side` tells whether many short
    waves beside each other are faster on it. `f0` is the F0 mode in which it encodes, None for a
    model without F0, and `token_sizes` has the number of values of each token of a frame in that
    mode.

    Waves and tokens may be numpy arrays or tensors on any device, of one recording or of a batch;
    results are of the same kind, on the same device.
    """

    def __init__(
        self,
        model: LoadedModel | GraphSet,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        f0: str | None = None,
        gradients: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, not {precision!r}")
        f0 = f0 or model.config.default_f0
        model.config.token_sizes_with(f0)
        super().__init__(model, _engine_for(model, device, precision, f0), f0)
        self._differentiable: CodecNetwork | None = None
        if gradients:
            if isinstance(model, GraphSet):
                raise ValueError("graphs have no gradients")
            from bigcodec_models.inference.single_pass import differentiable_network

            self._differentiable = differentiable_network(model, self.device)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str | torch.device = "auto",
        precision: str = "float32",
        f0: str | None = None,
        gradients: bool = False,
    ) -> Self:
        """Load a built-in model by name, or a model file or published checkpoint by its path.

        `device` is named as in torch: "cpu", "cuda", "cuda:N", "mps"; "auto" is "cuda" if there is
        such a device, else "cpu". `precision` "bfloat16" decodes less exactly, and faster where the
        device supports it; encoding always runs in float32. `f0` is one of the model's
        `config.f0_modes`, by default the first: with "coded" each frame has one more token, its F0.
        Decoding accepts tokens of every mode of the model. With `gradients`, `embed` and
        `decode_latents` are differentiable; that takes the memory of a second network.

        Raises:
            ModelFileError: no such built-in model or file, or the file is not a usable model.
            ValueError: unknown precision or device, or an F0 mode that the model does not know.
        """
        return cls(read_model(name_or_path), device, precision, f0, gradients)

    def __repr__(self) -> str:
        *codes, last = map(str, self.token_sizes)
        codes.append(f"{last} (F0)" if self.f0 == "coded" else last)
        return (
            f"<{type(self).__name__} {self.info.name or 'unnamed'}: {self.sample_rate} Hz, "
            f"{self.frame_rate:g} frames/s of {' + '.join(codes)} codes, on {self.device}>"
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second that `encode` expects and `decode` returns."""
        return SAMPLE_RATE

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @overload
    def latents(self, wave: Tensor) -> Tensor: ...
    @overload
    def latents(self, wave: Floats) -> Wave: ...
    def latents(self, wave: Given) -> Any:
        """The encoder's output before quantization: (n,), (B, n) or (B, 1, n) to float32 (dim, T)
        or (B, dim, T), T = ceil(n / hop).

        Raises:
            ValueError: see `encode`.
        """
        (waves, form), dim = split_waves(wave), self.config.latent_dim
        pieces = [[np.zeros((dim, 0), np.float32)] for _ in waves]
        for result in self._encoder_rounds(([row] for row in waves), len(waves)):
            latents = (self._engine.to_numpy(latent[0, :dim]) for latent in raised(result).pieces)
            pieces[result.index].extend(latents)
        return form.joined([np.concatenate(parts, axis=1) for parts in pieces])

    @overload
    def encode(self, wave: Tensor) -> Tensor: ...
    @overload
    def encode(self, wave: Floats) -> Tokens: ...
    def encode(self, wave: Given) -> Any:
        """Tokens of a wave, or of a batch of equally long ones, at 16 kHz and with full scale 1.0.

        A wave (n,) gives int64 (T,), T = ceil(n / hop), or (T, K) with K tokens a frame, K above 1.
        A batch (B, n) or (B, 1, n) gives (B, T, K), also where K is 1.

        Raises:
            ValueError: another shape, integers, or samples that are not finite or far beyond 1.
        """
        waves, form = split_waves(wave)
        tokens = self.encode_batch(waves)
        if form.batched:
            tokens = [table.reshape(len(table), len(self.token_sizes)) for table in tokens]
        return form.joined(tokens)

    def encode_batch(self, waves: Sequence[Wave], batch_size: int = 8) -> list[Tokens]:
        """The tokens that `encode` gives for each of many waves (n,) of any lengths; see
        `encode_streams`.

        Raises:
            ValueError: a wave is not one-dimensional, or see `encode`.
        """
        pieces: list[list[Tokens]] = [[self._no_tokens()] for _ in waves]
        for piece in self.encode_streams(([wave] for wave in waves), batch_size):
            pieces[piece.index].append(raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

    @overload
    def decode(self, tokens: Tensor, num_samples: int | None = None, start: int = 0) -> Tensor: ...
    @overload
    def decode(self, tokens: AnyTokens, num_samples: int | None = None, start: int = 0) -> Wave: ...
    def decode(self, tokens: Given, num_samples: int | None = None, start: int = 0) -> Any:
        """The wave of tokens: int (T,) or (T, K) to float32 (num_samples,) at 16 kHz, and (B, T, K)
        to (B, num_samples).

        K tells the F0 mode: without an F0 token, the model predicts F0 if it can.

        The result is the part of the whole wave from sample `start` on, exactly. `num_samples` is
        at most T * hop - start, which is the default. The expensive part of the decoder runs only
        for the frames of that part.

        Raises:
            ValueError: wrong shape, a token outside the codebook, or samples beyond the end.
        """
        tables, form = split_tokens(tokens)
        length = len(tables[0]) * self.hop
        stop = length if num_samples is None else start + num_samples
        if not 0 <= start <= stop <= length:
            raise ValueError(
                f"{length // self.hop} frames give {length} samples, not {start} to {stop}"
            )
        if start or stop <= length - self.hop:
            return form.joined([self._decode_part(table, start, stop) for table in tables])
        return form.joined([wave[:stop] for wave in self.decode_batch(tables)])

    def _decode_part(self, tokens: AnyTokens, start: int, stop: int) -> Wave:
        """Samples `start` to `stop` of the wave of tokens (T,) or (T, K)."""
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
            pieces[piece.index].append(raised(piece).data)
        return [np.concatenate(parts) for parts in pieces]

    @property
    def network(self) -> CodecNetwork:
        """The network of `embed` and `decode_latents`, a torch module whose parameters may be
        trained. `encode` and `decode` have weights of their own, which stay as they are.

        Raises:
            ValueError: the codec was loaded without `gradients`.
        """
        if self._differentiable is None:
            raise ValueError("load the codec with gradients=True for a network to differentiate")
        return self._differentiable

    @overload
    def embed(self, tokens: Tensor) -> Tensor: ...
    @overload
    def embed(self, tokens: AnyTokens) -> Wave: ...
    def embed(self, tokens: Given) -> Any:
        """The vectors that the decoder gets for the codes of tokens: int (T,) or (T, K) to float32
        (dim, T), and (B, T, K) to (B, dim, T), which compare with `latents`. F0 tokens are left
        out.

        Raises:
            ValueError: wrong shape, or a token outside the codebook.
        """
        tables, form = split_tokens(tokens)
        import torch

        from bigcodec_models.inference.single_pass import embed_codes

        rows = np.stack([self._check_tokens(table) for table in tables])
        with self._single_pass() as network:
            batch = torch.from_numpy(rows).to(self.device)
            return form.of(embed_codes(network, network.split(batch)[0]))

    @overload
    def decode_latents(self, latents: Tensor, f0: Tensor | None = None) -> Tensor: ...
    @overload
    def decode_latents(self, latents: Floats, f0: AnyTokens | None = None) -> Wave: ...
    def decode_latents(self, latents: Given, f0: Given | None = None) -> Any:
        """The wave of latents such as those of `embed`: float (dim, T) to float32 (T * hop,), and
        (B, dim, T) to (B, T * hop), in a single pass, whose memory grows with T.

        `f0` are F0 tokens (T,) or (B, T), for models that take them: `tokens[..., -1]` where they
        are coded. Without them the model predicts F0 if it can.

        Raises:
            ValueError: wrong shape, or F0 tokens that are missing, superfluous or out of range.
        """
        batch, form = latent_batch(latents, self.config.latent_dim)
        pitch = None if f0 is None else f0_batch(f0, batch).to(self.device)
        from bigcodec_models.inference.single_pass import restore

        with self._single_pass() as network:
            return form.of(restore(network, batch.to(self.device), pitch))

    @contextlib.contextmanager
    def _single_pass(self) -> Iterator[CodecNetwork]:
        """The network for a single pass, and gradients only where it can give them."""
        import torch

        from bigcodec_models.inference.torch_engine import network_of

        if self._differentiable is not None:
            yield self._differentiable
            return
        with torch.no_grad():
            yield network_of(self._engine)


def _engine_for(
    model: LoadedModel | GraphSet, device: str | torch.device, precision: str, f0: str | None
) -> Engine:
    if isinstance(model, GraphSet):
        from bigcodec_models.onnx.engine import OnnxEngine

        if str(device) != "cpu" or precision != "float32":
            raise ValueError("graphs run on a CPU, in float32")
        return OnnxEngine(model, f0)
    from bigcodec_models.inference.torch_engine import TorchEngine

    return TorchEngine(model, device, precision == "bfloat16", f0)


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
    is_published = is_zip(path)  # before torch is loaded, which takes seconds
    from bigcodec_models.checkpoints.model_file import is_foreign, load_model
    from bigcodec_models.checkpoints.published import load_upstream

    return load_upstream(path) if is_published or is_foreign(path) else load_model(path)
