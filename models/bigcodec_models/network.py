"""A whole codec network: encoder, quantiser and decoder under one interface for both families."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from bigcodec_models.bigcodec import BigCodecDecoder, BigCodecEncoder
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.lite import LiteDecoder, LiteEncoder
from bigcodec_models.quantizer import Quantized, Quantizer


class Reconstruction(NamedTuple):
    """A training pass: `wave` (B, 1, N), what the quantiser gave, and what the decoder read of
    pitch, if it does (see `LiteDecoder.restore`)."""

    wave: Tensor
    quantized: Quantized
    pitch: Tensor | None = None


class CodecNetwork(nn.Module):
    """`encoder`: wave (B, 1, T*hop) to latent (B, dim, T); `quantizer`; `decoder`: the reverse."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: LiteEncoder | BigCodecEncoder
        self.decoder: LiteDecoder | BigCodecDecoder
        if isinstance(config, LiteConfig):
            self.encoder, self.decoder = LiteEncoder(config), LiteDecoder(config)
        else:
            self.encoder, self.decoder = BigCodecEncoder(config), BigCodecDecoder(config)
        self.quantizer = Quantizer(config.latent_dim, config.quantizer)

    def forward(self, wave: Tensor) -> Reconstruction:
        """Training pass over waves (B, 1, N), N a multiple of the hop."""
        quantized = self.quantizer(self.encoder(wave))
        if isinstance(self.decoder, LiteDecoder):
            wave, pitch = self.decoder.restore(quantized.latent)
            return Reconstruction(wave, quantized, pitch)
        return Reconstruction(self.decoder(quantized.latent), quantized)
