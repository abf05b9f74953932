"""A whole codec network: encoder, quantiser and decoder under one interface for both families."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigcodec_models.bigcodec import BigCodecDecoder, BigCodecEncoder
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.lite import LiteDecoder, LiteEncoder
from bigcodec_models.pitch import PitchTracker
from bigcodec_models.quantizer import Quantized, Quantizer


class Reconstruction(NamedTuple):
    """A training pass: `wave` (B, 1, N) and what the quantiser gave."""

    wave: Tensor
    quantized: Quantized


class CodecNetwork(nn.Module):
    """`encoder`: wave (B, 1, T*hop) to latent (B, dim, T); `quantizer`; `decoder`: the reverse.

    With `harmonics` a `tracker` beside them finds the pitch that the decoder is told.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: LiteEncoder | BigCodecEncoder
        self.decoder: LiteDecoder | BigCodecDecoder
        self.tracker: PitchTracker | None = None
        if isinstance(config, LiteConfig):
            self.encoder, self.decoder = LiteEncoder(config), LiteDecoder(config)
            self.tracker = PitchTracker() if config.harmonics else None
        else:
            self.encoder, self.decoder = BigCodecEncoder(config), BigCodecDecoder(config)
        self.quantizer = Quantizer(config.latent_dim, config.quantizer)

    def forward(self, wave: Tensor) -> Reconstruction:
        """Training pass over waves (B, 1, N), N a multiple of the hop."""
        quantized = self.quantizer(self.encoder(wave))
        return Reconstruction(self._restored(quantized.latent, self.pitch(wave)), quantized)

    def pitch(self, wave: Tensor) -> Tensor | None:
        """Tokens of pitch (B, T) of a wave (B, 1, T*hop), for a model that has any."""
        if self.tracker is None:
            return None
        tokens: Tensor = self.tracker(wave.squeeze(1), self.config.hop)
        return tokens

    def encode(self, wave: Tensor) -> Tensor:
        """Tokens of a wave in a single pass: (B, 1, T*hop) to int64 (B, T, K)."""
        tokens, pitch = self.quantizer.encode(self.encoder(wave)), self.pitch(wave)
        return tokens if pitch is None else torch.cat([tokens, pitch.unsqueeze(-1)], dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """The wave of tokens in a single pass: int64 (B, T, K) to (B, 1, T*hop)."""
        codes, pitch = self.split(tokens)
        return self._restored(self.quantizer.decode(codes), pitch)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T, K) as those of codebooks, and those of pitch (B, T)."""
        if self.tracker is None:
            return tokens, None
        return tokens[..., :-1], tokens[..., -1]

    def _restored(self, latent: Tensor, pitch: Tensor | None) -> Tensor:
        if isinstance(self.decoder, LiteDecoder):
            wave: Tensor = self.decoder(latent, pitch)
            return wave
        wave = self.decoder(latent)
        return wave
