"""Receptive fields of the parts of a network; exact chunking depends on them."""

from __future__ import annotations

from typing import NamedTuple

from bigcodec_models.config import BigCodecConfig, LiteConfig
from bigcodec_models.f0_scale import TAPS, tracker_receptive_field

_ACTIVATION = {
    "snake_beta": 5,  # alias-free: two filters of 12 taps at twice the rate
    "snake": 0,
}
_FIRST_CONV = _LAST_CONV = 3  # kernel 7


class ReceptiveField(NamedTuple):
    """Numbers of frames before and after a chunk on which its outputs depend."""

    left: int
    right: int


class ReceptiveFields(NamedTuple):
    """Receptive fields of the parts before and after the LSTM, in the encoder and the decoder."""

    encoder_pre: ReceptiveField
    encoder_post: ReceptiveField
    decoder_pre: ReceptiveField
    decoder_post: ReceptiveField


def receptive_fields(config: BigCodecConfig | LiteConfig) -> ReceptiveFields:
    """The receptive fields of a model, in frames."""
    return _lite(config) if isinstance(config, LiteConfig) else _bigcodec(config)


def _lite(config: LiteConfig) -> ReceptiveFields:
    half = config.kernel_size // 2
    # A frame's window reaches (n_fft - hop) / 2 samples beyond the hop on both sides.
    spectrum = -(-(config.n_fft // 2 - config.hop // 2) // config.hop)
    encoder_pre = spectrum + 1 + config.encoder_blocks * half
    latent = half
    overlap = -(-(config.n_fft // 2 - config.hop // 2) // (config.subframes * config.hop))
    decoder_post = config.decoder_blocks * half + overlap
    encoder_post = ReceptiveField(0, 0)
    past = future = latent
    if config.attention_lookahead:
        layers = config.lstm_layers
        reach = layers * (config.attention_window - 1), layers * config.attention_lookahead
        encoder_post = ReceptiveField(*reach)
        past, future = latent + reach[0], latent + reach[1]
    if config.predict_f0:
        # The F0 head's convolution, and the smoothing of its predictions.
        past, future = past + half + len(TAPS) // 2, future + half + len(TAPS) // 2
    if config.harmonics:
        encoder_pre = max(encoder_pre, tracker_receptive_field(config.hop))
        past, future = max(past, len(TAPS) // 2), max(future, len(TAPS) // 2)
        # The windows of the excitation, and those of the synthesis.
        decoder_post = max(decoder_post, 2 * overlap)
    return ReceptiveFields(
        ReceptiveField(encoder_pre, encoder_pre),
        encoder_post,
        ReceptiveField(past, future),
        ReceptiveField(decoder_post, decoder_post),
    )


def _bigcodec(config: BigCodecConfig) -> ReceptiveFields:
    activation = _ACTIVATION[config.activation]
    units = sum(2 * activation + 3 * dilation for dilation in config.dilations)
    around = activation + 1
    return ReceptiveFields(
        _encoder_pre(config, units),
        ReceptiveField(around, around),
        ReceptiveField(_FIRST_CONV, _FIRST_CONV),
        _decoder_post(config, units),
    )


def _encoder_pre(config: BigCodecConfig, units: int) -> ReceptiveField:
    """From the frames to the samples: `left` and `right` count values at the rate of each layer."""
    left = right = 0
    activation = _ACTIVATION[config.activation]
    for stride in reversed(config.encoder_strides):
        padding = (stride + 1) // 2
        left = left * stride + padding + activation + units
        right = right * stride + (stride - padding) + activation + units
    left, right = left + _FIRST_CONV, right + _FIRST_CONV
    return ReceptiveField(-(-left // config.hop), -(-right // config.hop))


def _decoder_post(config: BigCodecConfig, units: int) -> ReceptiveField:
    """From the samples to the frames: `left` and `right` count values at the rate of each layer."""
    activation = _ACTIVATION[config.activation]
    left = right = _LAST_CONV + activation
    # A frame's last sample needs one input more to the right than its first. With alias-free
    # activations the field already covers it: their outermost taps contribute less than double
    # precision can show, and a larger field would change the grid of the existing models.
    last = 0 if activation else 1
    for stride in reversed(config.decoder_strides):
        padding = (stride + 1) // 2
        left = (left + units + 2 * stride - 1 - padding) // stride + activation
        right = (right + units + padding - 1) // stride + last + activation
    return ReceptiveField(left, right)
