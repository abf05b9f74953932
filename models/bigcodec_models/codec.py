"""The codec as people use it from Python: waves to tokens and back."""

from __future__ import annotations

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
        return self._latent(wave)[0].cpu().numpy()

    def encode(self, wave: Wave) -> Tokens:
        """Tokens of a wave: float32 (n,) in [-1, 1] at 16 kHz to int64 (ceil(n / hop),).

        With K codebooks, K above 1, the shape is (ceil(n / hop), K).

        Raises:
            ValueError: `wave` is not one-dimensional, or not finite.
        """
        tokens = self._network.quantizer.encode(self._latent(wave))[0].cpu().numpy()
        return tokens[:, 0] if self.config.quantizer.num_codebooks == 1 else tokens

    def decode(self, tokens: npt.NDArray[np.integer], num_samples: int | None = None) -> Wave:
        """The wave of tokens: int (T,) or (T, K) to float32 (num_samples,) at 16 kHz.

        `num_samples` is at most T * hop, and that by default.

        Raises:
            ValueError: wrong shape, a token outside the codebook, or too many samples wanted.
        """
        table = self._check_tokens(tokens)
        length = table.shape[0] * self.hop
        wanted = length if num_samples is None else num_samples
        if not 0 <= wanted <= length:
            raise ValueError(f"{table.shape[0]} tokens give {length} samples, not {wanted}")
        if not table.shape[0]:
            return np.zeros(0, dtype=np.float32)
        with torch.inference_mode():
            latent = self._network.quantizer.decode(table.unsqueeze(0).to(self.device))
            wave: Wave = self._network.decoder(latent)[0, 0, :wanted].cpu().numpy()
        return wave

    def _latent(self, wave: Wave) -> Tensor:
        samples = np.asarray(wave, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"a wave must have one dimension, not {samples.ndim}")
        if not np.isfinite(samples).all():
            raise ValueError("the wave holds values that are not finite")
        if not len(samples):
            return torch.zeros(1, self.config.latent_dim, 0)
        padded = np.pad(samples, (0, -len(samples) % self.hop))
        with torch.inference_mode():
            latent: Tensor = self._network.encoder(
                torch.from_numpy(padded).view(1, 1, -1).to(self.device)
            )
        return latent

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


def read_model(name_or_path: str | Path) -> LoadedModel:
    """Read a built-in model by name, or a file: ours, or a published checkpoint.

    Raises:
        ModelFileError: no such built-in model or file, or the file is not a usable model.
    """
    path = builtin_path(str(name_or_path)) or Path(name_or_path)
    if not path.is_file():
        raise ModelFileError(f"{name_or_path}: no built-in model and no file of this name")
    with path.open("rb") as file:
        start = file.read(2)
    # A torch checkpoint is a zip file; anything else is taken for one of ours.
    return load_upstream(path) if start == b"PK" else load_model(path)
