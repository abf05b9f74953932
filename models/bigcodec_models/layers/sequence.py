"""The sequence layer of a configuration."""

from __future__ import annotations

from torch import nn

from bigcodec_models.config import BigCodecConfig, ModelConfig
from bigcodec_models.layers.attention import WindowedAttention
from bigcodec_models.layers.lstm import ResidualLSTM


def sequence_layers(width: int, config: ModelConfig) -> list[nn.Module]:
    """The LSTM or the attention, (B, width, T) to the same shape; an empty list for neither."""
    layers = config.lstm_layers
    if not layers:
        return []
    dropout = config.lstm_dropout if isinstance(config, BigCodecConfig) else 0.0
    if config.sequence == "lstm":
        return [ResidualLSTM(width, layers, dropout)]
    heads, window = config.attention_heads, config.attention_window
    return [WindowedAttention(width, layers, heads, window, dropout)]
