"""The published architecture (paper section 2.1): mirrored convolutions around two LSTMs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigcodec_models.config import BigCodecConfig
from bigcodec_models.layers.activation import make_activation
from bigcodec_models.layers.sequence import sequence_layers
from bigcodec_models.layers.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d


class ResidualUnit(nn.Module):
    """Activation, dilated convolution, activation, pointwise convolution, plus the input."""

    def __init__(self, width: int, dilation: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            make_activation(activation, width),
            WeightNormConv1d(width, width, 7, padding=3 * dilation, dilation=dilation),
            make_activation(activation, width),
            WeightNormConv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, T) to the same shape."""
        output: Tensor = x + self.layers(x)
        return output


def _residual_units(width: int, config: BigCodecConfig) -> list[nn.Module]:
    return [ResidualUnit(width, dilation, config.activation) for dilation in config.dilations]


class BigCodecEncoder(nn.Module):
    """Wave (B, 1, T*hop) to latent (B, latent_dim, T)."""

    def __init__(self, config: BigCodecConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.encoder_channels
        layers: list[nn.Module] = [WeightNormConv1d(1, widths[0], 7, padding=3)]
        for stride, narrow, wide in zip(config.encoder_strides, widths, widths[1:], strict=False):
            layers += _residual_units(narrow, config)
            layers += [
                make_activation(config.activation, narrow),
                WeightNormConv1d(narrow, wide, 2 * stride, stride, padding=(stride + 1) // 2),
            ]
        self.frontend = nn.Sequential(*layers)
        self.lstm = nn.Sequential(*sequence_layers(widths[-1], config))
        self.project = nn.Sequential(
            make_activation(config.activation, widths[-1]),
            WeightNormConv1d(widths[-1], config.latent_dim, 3, padding=1),
        )

    def forward(self, wave: Tensor) -> Tensor:
        """Wave (B, 1, T*hop) to latent (B, latent_dim, T)."""
        return self.post_recurrence(self.lstm(self.pre_recurrence(wave)))

    def pre_recurrence(self, wave: Tensor) -> Tensor:
        """The part before the LSTM: (B, 1, T*hop) to (B, width, T)."""
        x: Tensor = self.frontend(wave)
        return x

    def post_recurrence(self, x: Tensor) -> Tensor:
        """The part after the LSTM: (B, width, T) to (B, latent_dim, T)."""
        latent: Tensor = self.project(x)
        return latent


class BigCodecDecoder(nn.Module):
    """Quantized latent (B, latent_dim, T) to wave (B, 1, T*hop) in [-1, 1]."""

    def __init__(self, config: BigCodecConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.decoder_channels
        self.embed = WeightNormConv1d(config.latent_dim, widths[0], 7, padding=3)
        self.lstm = nn.Sequential(*sequence_layers(widths[0], config))
        layers: list[nn.Module] = []
        for stride, wide, narrow in zip(config.decoder_strides, widths, widths[1:], strict=False):
            layers += [
                make_activation(config.activation, wide),
                WeightNormConvTranspose1d(wide, narrow, stride),
            ]
            layers += _residual_units(narrow, config)
        layers += [
            make_activation(config.activation, widths[-1]),
            WeightNormConv1d(widths[-1], 1, 7, padding=3),
            nn.Tanh(),
        ]
        self.backend = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        """Latent (B, latent_dim, T) to wave (B, 1, T*hop)."""
        return self.post_recurrence(self.lstm(self.pre_recurrence(latent)))

    def pre_recurrence(self, latent: Tensor) -> Tensor:
        """The part before the LSTM: (B, latent_dim, T) to (B, width, T)."""
        x: Tensor = self.embed(latent)
        return x

    def post_recurrence(self, x: Tensor) -> Tensor:
        """The part after the LSTM: (B, width, T) to wave (B, 1, T*hop)."""
        *layers, project, bound = self.backend
        for layer in layers:
            x = layer(x)
        with torch.autocast(x.device.type, enabled=False):
            wave: Tensor = bound(project(x.to(next(project.parameters()).dtype)))
        return wave
