"""The encoder and the decoder of a network in torch, as pipelines over the grid of chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bigcodec_models.architectures.lite import LiteDecoder
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import LiteConfig, ModelConfig
from bigcodec_models.inference.chunking import Pipeline, chunks_a_window
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.layers.attention import WindowedAttention
from bigcodec_models.layers.f0 import phases
from bigcodec_models.layers.lstm import find_recurrence
from bigcodec_models.layers.recurrence import Recurrence
from bigcodec_models.layers.state_reset import excitation_phases


def encoder_pipeline(
    network: CodecNetwork, batched: bool = False, f0: str | None = None
) -> Pipeline:
    """Samples (1, 1, n * hop) to latents (1, dim, n).

    Where the F0 mode, by default the model's first, is "coded", F0 tokens are one more channel.
    """
    config: ModelConfig = network.config
    f0_coded = (f0 or config.default_f0) == "coded"
    fields, encoder = receptive_fields(config), network.encoder
    lstm = find_recurrence(encoder.lstm)

    def pre_recurrence(wave: Tensor) -> Tensor:
        x, f0 = encoder.pre_recurrence(wave), network.f0_tokens(wave) if f0_coded else None
        return x if f0 is None else torch.cat([x, f0.unsqueeze(1).to(x.dtype)], dim=1)

    def post_recurrence(x: Tensor) -> Tensor:
        if not f0_coded:
            return encoder.post_recurrence(x)
        return torch.cat([encoder.post_recurrence(x[:, :-1]), x[:, -1:]], dim=1)

    return Pipeline(
        pre_recurrence=pre_recurrence,
        lstm=lstm,
        post_recurrence=post_recurrence,
        receptive_fields=(fields.encoder_pre, fields.encoder_post),
        unit_in=config.hop,
        unit_out=1,
        batched=batched,
        has_f0=f0_coded,
        chunks_a_window=(chunks_a_window(config),) * 2,
        chunks_before=_chunks_before(lstm),
        scope=torch.inference_mode,
    )


def decoder_pipeline(network: CodecNetwork, batched: bool = False) -> Pipeline:
    """Tokens (1, K, n), int64, to samples (1, 1, n * hop)."""
    config: ModelConfig = network.config
    fields, decoder = receptive_fields(config), network.decoder
    lstm = find_recurrence(decoder.lstm)
    reset_every = config.reset_every if isinstance(config, LiteConfig) else 0

    def pre_recurrence(tokens: Tensor) -> Tensor:
        codes, f0 = network.split(tokens.transpose(1, 2))
        latent = network.quantizer.decode(codes)
        if isinstance(decoder, LiteDecoder):
            return decoder.pre_recurrence(latent, f0)
        return decoder.pre_recurrence(latent)

    return Pipeline(
        pre_recurrence=pre_recurrence,
        lstm=lstm,
        post_recurrence=decoder.post_recurrence,
        receptive_fields=(fields.decoder_pre, fields.decoder_post),
        unit_in=1,
        unit_out=config.hop,
        batched=batched,
        reset_every=reset_every,
        chunks_a_window=(chunks_a_window(config),) * 2,
        chunks_before=_chunks_before(lstm),
        scope=torch.inference_mode,
        has_f0=network.tracker is not None,
        bypass=lambda state, f0: excitation_phases(state, f0[:, 0].long(), reset_every, phases),
    )


def _chunks_before(lstm: Recurrence | None) -> Callable[[int], int] | None:
    return lstm.chunks_before if isinstance(lstm, WindowedAttention) else None
