"""A whole codec network: encoder, quantizer and decoder, with one interface for both families."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigcodec_models.architectures.bigcodec import BigCodecDecoder, BigCodecEncoder
from bigcodec_models.architectures.lite import LiteDecoder, LiteEncoder
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.layers.f0 import F0Tracker
from bigcodec_models.quantization.quantizer import Quantized, Quantizer


class F0Prediction(NamedTuple):
    """F0 of a training pass: logits (B, T, F0_BINS), and the tracker's tokens (B, T)."""

    logits: Tensor
    tokens: Tensor


class Reconstruction(NamedTuple):
    """The result of a training pass: the `wave` (B, 1, N), the quantizer's output, and the F0
    prediction of models with `predict_f0`."""

    wave: Tensor
    quantized: Quantized
    f0: F0Prediction | None = None


class CodecNetwork(nn.Module):
    """`encoder`: wave (B, 1, T*hop) to latent (B, dim, T); `quantizer`; `decoder`: the reverse.

    With `harmonics` there is also a `tracker`, which gives the F0 tokens of a wave.
    `codebook_loss` is that of training, "l1" or "l2".
    """

    def __init__(self, config: ModelConfig, codebook_loss: str = "l2") -> None:
        super().__init__()
        self.config = config
        self.encoder: LiteEncoder | BigCodecEncoder
        self.decoder: LiteDecoder | BigCodecDecoder
        self.tracker: F0Tracker | None = None
        if isinstance(config, LiteConfig):
            self.encoder, self.decoder = LiteEncoder(config), LiteDecoder(config)
            self.tracker = F0Tracker() if config.harmonics else None
        else:
            self.encoder, self.decoder = BigCodecEncoder(config), BigCodecDecoder(config)
        self.quantizer = Quantizer(config.latent_dim, config.quantizer, codebook_loss)

    def forward(self, wave: Tensor, use_predicted_f0: Tensor | None = None) -> Reconstruction:
        """Training pass over waves (B, 1, N), N a multiple of the hop.

        Where `use_predicted_f0`, bool (B,), is true, the excitation follows the F0 that the decoder
        predicts; elsewhere, and by default, that of the tracker.
        """
        quantized = self.quantizer(self.encoder(wave))
        f0 = self.f0_tokens(wave)
        if f0 is None or not self.predicts_f0:
            return Reconstruction(self._restored(quantized.latent, f0), quantized)
        assert isinstance(self.decoder, LiteDecoder)
        restored, logits = self.decoder.restore(quantized.latent, f0, use_predicted_f0)
        return Reconstruction(restored, quantized, F0Prediction(logits, f0))

    @property
    def predicts_f0(self) -> bool:
        """Whether the decoder can predict F0 tokens."""
        return isinstance(self.config, LiteConfig) and self.config.predict_f0

    def f0_tokens(self, wave: Tensor) -> Tensor | None:
        """F0 tokens (B, T) of a wave (B, 1, T*hop), or None for a model without harmonics."""
        if self.tracker is None:
            return None
        tokens: Tensor = self.tracker(wave.squeeze(1), self.config.hop)
        return tokens

    def encode(self, wave: Tensor, f0: str | None = None) -> Tensor:
        """Tokens of a wave in a single pass: (B, 1, T*hop) to int64 (B, T, K).

        `f0` is an F0 mode of the configuration, by default its first.
        """
        coded = (f0 or self.config.default_f0) == "coded"
        tokens = self.quantizer.encode(self.encoder(wave))
        f0_tokens = self.f0_tokens(wave) if coded else None
        return tokens if f0_tokens is None else torch.cat([tokens, f0_tokens.unsqueeze(-1)], dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """The wave of tokens in a single pass: int64 (B, T, K) to (B, 1, T*hop)."""
        codes, f0 = self.split(tokens)
        return self._restored(self.quantizer.decode(codes), f0)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T, K) to those of codebooks (B, T, N), and those of F0 (B, T) or None."""
        if tokens.shape[-1] == self.config.quantizer.num_codebooks:
            return tokens, None
        return tokens[..., :-1], tokens[..., -1]

    def _restored(self, latent: Tensor, f0: Tensor | None) -> Tensor:
        if isinstance(self.decoder, LiteDecoder):
            wave: Tensor = self.decoder(latent, f0)
            return wave
        wave = self.decoder(latent)
        return wave
