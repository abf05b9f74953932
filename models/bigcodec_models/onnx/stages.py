"""The stages of a network as modules that become graphs; docs/onnx.md has their interface."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.architectures.bigcodec import BigCodecDecoder, BigCodecEncoder
from bigcodec_models.architectures.lite import LiteDecoder, LiteEncoder
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import LiteConfig
from bigcodec_models.layers.attention import AttentionLayer, WindowedAttention, gathered
from bigcodec_models.layers.lstm import ResidualLSTM, find_recurrence

_EXAMPLE_FRAMES = 130
_SEARCHED_FRAMES = 13
"""So few that the search takes them at once, even with the largest codebook."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A module that becomes a graph: its inputs, and where the number of frames is.

    `inputs` are examples by name; `frames` maps an input to its axis of frames and the number of
    values per frame, and `outputs` are names.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    frames: dict[str, tuple[int, int]]
    outputs: tuple[str, ...]


def stages_of(network: CodecNetwork) -> dict[str, Stage]:
    """The stages of a network in evaluation mode, by the names in `graph_set.STAGES`."""
    for module in network.modules():
        if isinstance(module, AttentionLayer):
            module.overlapping = gathered
    if isinstance(network.encoder, LiteEncoder) and isinstance(network.decoder, LiteDecoder):
        for part in (network.encoder, network.decoder):
            part.embed = _ConvolutionAsProduct(part.embed)  # type: ignore[assignment]
    config = network.config
    hidden = {"hidden": torch.zeros(1, config.decoder_width, _EXAMPLE_FRAMES)}
    tokens = {"tokens": _tokens(config.quantizer.num_codebooks)}
    latents = {"latents": torch.zeros(1, config.latent_dim, _SEARCHED_FRAMES)}
    stages = {
        **_encoder_stages(network),
        "quantizer": Stage(
            module=_Quantizer(network),
            inputs=latents,
            frames={"latents": (2, 1)},
            outputs=("tokens",),
        ),
        "decoder_post": _decoder_post(network, hidden),
    }
    of_tokens = {"tokens": (1, 1)}
    if "coded" in config.f0_modes:
        stages["decoder_pre_f0"] = Stage(
            module=_DecoderPre(network),
            inputs={**tokens, "f0": _tokens(1)[..., 0]},
            frames={**of_tokens, "f0": (1, 1)},
            outputs=("hidden",),
        )
    if config.f0_modes != ("coded",):
        outputs = ("hidden", "f0") if config.f0_modes else ("hidden",)
        stages["decoder_pre"] = Stage(
            module=_DecoderPre(network), inputs=tokens, frames=of_tokens, outputs=outputs
        )
    stages |= _sequence_stage("decoder_sequence", network.decoder, config.decoder_width)
    return stages


def _tokens(columns: int) -> Tensor:
    return torch.zeros(1, _EXAMPLE_FRAMES, columns, dtype=torch.int64)


def _encoder_stages(network: CodecNetwork) -> dict[str, Stage]:
    encoder = network.encoder
    if isinstance(encoder, LiteEncoder):
        bins, width = encoder.embed.in_channels, encoder.config.encoder_width
        name, values, example = "spectra", 1, torch.zeros(1, bins, _EXAMPLE_FRAMES)
    else:
        width, values = encoder.config.encoder_channels[-1], encoder.config.hop
        name, example = "wave", torch.zeros(1, 1, _EXAMPLE_FRAMES * values)
    hidden = {"hidden": torch.zeros(1, width, _EXAMPLE_FRAMES)}
    return {
        "encoder_pre": Stage(
            module=_EncoderPre(encoder),
            inputs={name: example},
            frames={name: (2, values)},
            outputs=("hidden",),
        ),
        **_sequence_stage("encoder_sequence", encoder, width),
        "encoder_post": Stage(
            module=_EncoderPost(encoder),
            inputs=hidden,
            frames={"hidden": (2, 1)},
            outputs=("latents",),
        ),
    }


def _decoder_post(network: CodecNetwork, hidden: dict[str, Tensor]) -> Stage:
    outputs: tuple[str, ...] = ("wave",)
    if isinstance(network.config, LiteConfig):
        outputs = ("spectra", "filters") if network.config.harmonics else ("spectra",)
    return Stage(
        module=_DecoderPost(network.decoder),
        inputs=hidden,
        frames={"hidden": (2, 1)},
        outputs=outputs,
    )


def _sequence_stage(name: str, part: nn.Module, width: int) -> dict[str, Stage]:
    """The sequence layer of an encoder or decoder with its state, if it has one."""
    layer = find_recurrence(part)
    if layer is None:
        return {}
    hidden = torch.zeros(1, width, _EXAMPLE_FRAMES)
    frames = {"hidden": (2, 1)}
    if isinstance(layer, WindowedAttention):
        state, names = torch.zeros(len(layer.layers), 1, 3, width), ("keys", "values")
        frames |= {name: (2, 1) for name in names}
    else:
        assert isinstance(layer, ResidualLSTM)
        state, names = torch.zeros(layer.lstm.num_layers, 1, width), ("hidden_state", "cell_state")
    stage = Stage(
        module=_Sequence(part),
        # Copies: torch takes equal objects for one input.
        inputs={"hidden": hidden, **{name: state.clone() for name in names}},
        frames=frames,
        outputs=("output", *(f"next_{name}" for name in names)),
    )
    return {name: stage}


class _ConvolutionAsProduct(nn.Module):
    """A convolution of stride 1 as a matrix product: (B, in, T) to (B, out, T).

    ONNX Runtime rounds a product with constant weights in the same way on any number of threads,
    a convolution not.
    """

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.in_channels, self.kernel = convolution.in_channels, convolution.kernel_size[0]
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        frames, half = x.shape[2], self.kernel // 2
        padded = F.pad(x, (half, half)).transpose(1, 2)
        shifted = [padded[:, k : k + frames] for k in range(self.kernel)]
        columns = torch.stack(shifted, dim=3).flatten(2)
        return F.linear(columns, self.weight.flatten(1), self.bias).transpose(1, 2)


# The attributes of the modules have the names of those of the network, so that weights do too.


class _EncoderPre(nn.Module):
    def __init__(self, encoder: LiteEncoder | BigCodecEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        if isinstance(self.encoder, LiteEncoder):
            return self.encoder.from_spectrum(features)
        return self.encoder.pre_recurrence(features)


class _EncoderPost(nn.Module):
    def __init__(self, encoder: LiteEncoder | BigCodecEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, hidden: Tensor) -> Tensor:
        return self.encoder.post_recurrence(hidden)


class _Sequence(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        name = "encoder" if isinstance(part, LiteEncoder | BigCodecEncoder) else "decoder"
        self.name = name
        self.add_module(name, part)

    def forward(
        self, hidden: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = find_recurrence(self.get_submodule(self.name))
        assert isinstance(layer, ResidualLSTM | WindowedAttention)
        output, after = layer.step(hidden, (first, second))
        return output, after[0], after[1]


class _Quantizer(nn.Module):
    def __init__(self, network: CodecNetwork) -> None:
        super().__init__()
        self.quantizer = network.quantizer

    def forward(self, latents: Tensor) -> Tensor:
        return self.quantizer.encode(latents)


class _DecoderPre(nn.Module):
    def __init__(self, network: CodecNetwork) -> None:
        super().__init__()
        self.quantizer, self.decoder = network.quantizer, network.decoder

    def forward(self, tokens: Tensor, f0: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        latents = self.quantizer.decode(tokens)
        if not isinstance(self.decoder, LiteDecoder):
            return self.decoder.pre_recurrence(latents)
        hidden, predicted = self.decoder.frames_and_f0(latents, f0)
        return hidden if predicted is f0 or predicted is None else (hidden, predicted)


class _DecoderPost(nn.Module):
    def __init__(self, decoder: LiteDecoder | BigCodecDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, hidden: Tensor) -> Tensor | tuple[Tensor, ...]:
        """A wave, or the real and imaginary parts of the spectra of each head."""
        if isinstance(self.decoder, LiteDecoder):
            polar = map(self.decoder.magnitudes_and_phases, self.decoder.heads(hidden))
            return tuple(torch.stack([m * p.cos(), m * p.sin()], dim=-1) for m, p in polar)
        return self.decoder.post_recurrence(hidden)
