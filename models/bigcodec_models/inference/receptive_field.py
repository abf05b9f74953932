"""How far each part of a network looks to either side: what exact chunking rests on."""

from __future__ import annotations

from typing import NamedTuple

from bigcodec_models.config import BigCodecConfig, LiteConfig
from bigcodec_models.layers.f0 import TAPS, PitchTracker

_ACTIVATION = {
    "snake_beta": 5,  # alias-free: two filters of 12 taps at twice the rate
    "snake": 0,
}
_FIRST_CONV = _LAST_CONV = 3  # kernel 7


class Context(NamedTuple):
    """Frames before and after a chunk that its outputs depend on."""

    left: int
    right: int


class Contexts(NamedTuple):
    """Contexts of the four parts that have any: before and after the LSTM, on each side."""

    encoder_front: Context
    encoder_back: Context
    decoder_front: Context
    decoder_back: Context


def contexts_of(config: BigCodecConfig | LiteConfig) -> Contexts:
    """Contexts of a model, in frames."""
    return _lite(config) if isinstance(config, LiteConfig) else _bigcodec(config)


def _lite(config: LiteConfig) -> Contexts:
    half = config.kernel_size // 2
    # A frame's window reaches (n_fft - hop) / 2 samples beyond the hop on both sides.
    spectrum = -(-(config.n_fft // 2 - config.hop // 2) // config.hop)
    front = spectrum + 1 + config.encoder_blocks * half
    latent = half
    made = -(-(config.n_fft // 2 - config.hop // 2) // (config.subframes * config.hop))
    back = config.decoder_blocks * half + made
    encoder_back = Context(0, 0)
    past = future = latent
    if config.attention_lookahead:
        layers = config.lstm_layers
        reach = layers * (config.attention_window - 1), layers * config.attention_lookahead
        encoder_back = Context(*reach)
        past, future = latent + reach[0], latent + reach[1]
    if config.predict_f0:
        # The F0 head's convolution, and the smoothing of what it predicts.
        past, future = past + half + len(TAPS) // 2, future + half + len(TAPS) // 2
    if config.harmonics:
        front = max(front, PitchTracker.context(config.hop))
        past, future = max(past, len(TAPS) // 2), max(future, len(TAPS) // 2)
        back = max(back, 2 * made)  # the tone's windows, and those of what is made of it
    return Contexts(Context(front, front), encoder_back, Context(past, future), Context(back, back))


def _bigcodec(config: BigCodecConfig) -> Contexts:
    activation = _ACTIVATION[config.activation]
    units = sum(2 * activation + 3 * dilation for dilation in config.dilations)
    around = activation + 1
    return Contexts(
        _encoder_front(config, units),
        Context(around, around),
        Context(_FIRST_CONV, _FIRST_CONV),
        _decoder_back(config, units),
    )


def _encoder_front(config: BigCodecConfig, units: int) -> Context:
    """Walks from the frames back to the samples, at each rate in its own unit."""
    left = right = 0
    activation = _ACTIVATION[config.activation]
    for stride in reversed(config.encoder_strides):
        padding = (stride + 1) // 2
        left = left * stride + padding + activation + units
        right = right * stride + (stride - padding) + activation + units
    left, right = left + _FIRST_CONV, right + _FIRST_CONV
    return Context(-(-left // config.hop), -(-right // config.hop))


def _decoder_back(config: BigCodecConfig, units: int) -> Context:
    """Walks from the samples back to the frames."""
    activation = _ACTIVATION[config.activation]
    left = right = _LAST_CONV + activation
    # A frame's last sample needs one input more to the right than its first. The outermost taps of
    # the alias-free filters, below double precision, leave room for it, and the grid that those
    # models have stays as it is.
    last = 0 if activation else 1
    for stride in reversed(config.decoder_strides):
        padding = (stride + 1) // 2
        left = (left + units + 2 * stride - 1 - padding) // stride + activation
        right = (right + units + padding - 1) // stride + last + activation
    return Context(left, right)
