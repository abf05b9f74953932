"""Configurations of the two model families, and the named presets.

Configurations are frozen dataclasses of plain numbers. They can be compared, stored as JSON in a
model file, and checked before any memory is allocated. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any

from bigcodec_models.config_values import (
    build_dataclass,
    check_choice,
    check_range,
    later_field,
    plain_values,
    setting,
)
from bigcodec_models.errors import ConfigError

__all__ = [
    "F0_MODES",
    "F0_BINS",
    "PRESETS",
    "SAMPLE_RATE",
    "BigCodecConfig",
    "ConfigError",
    "LiteConfig",
    "ModelConfig",
    "QuantizerConfig",
    "build_dataclass",
    "config_from_dict",
    "config_to_dict",
    "family_of",
]

SAMPLE_RATE = 16000
"""Samples per second of the waves of every model."""

F0_BINS = 154
"""Number of values of an F0 token: 0 is unvoiced, then steps of 25 cents from 55 to 494 Hz."""

F0_MODES = ("predicted", "coded")
"""F0 is predicted by the decoder from the other tokens, or has a token of its own in each frame."""

QUANTIZERS = ("vq", "ema", "fsq")
CODEBOOK_LOSSES = ("l1", "l2")
"""Distances between codes and latents: absolute, as in the paper, and squared, as released."""
SEQUENCES = ("lstm", "attention")
ACTIVATIONS = ("snake_beta", "snake")

_MAX_WIDTH = 8192
_MAX_CODES = 1 << 16
_MAX_LAYERS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Factorized quantizer (paper section 2.2).

    `kind` is the type of codebook: "vq" learns by gradient, "ema" by moving averages of the
    assigned latents (with `ema_decay`), "fsq" is a grid with `levels` values per axis, which also
    set `codebook_size` and `codebook_dim`. `num_codebooks` is the number of tokens per frame,
    except F0: residual stages, equally many in each of `groups` equal parts of the channels.
    With `l2_normalized_codes` the decoder gets L2-normalized codes, and the loss compares
    normalized vectors; the published models use the raw codes. It has no effect on "fsq".
    """

    codebook_size: int = setting(8192, "entries of each codebook; of fsq given by levels")
    codebook_dim: int = setting(8, "length of a code; of fsq given by levels")
    num_codebooks: int = setting(1, "tokens per frame: residual stages within groups")
    commitment: float = setting(0.25, "weight of the commitment loss")
    l2_normalized_codes: bool = setting(False, "codes of length 1", former=("unit_codes",))
    kind: str = later_field(
        "vq", "codes learn by gradient (vq), are averages (ema), or a grid (fsq)"
    )
    groups: int = later_field(1, "equal parts of the channels, with codebooks of their own")
    ema_decay: float = later_field(0.99, "decay of the averages of ema")
    levels: tuple[int, ...] = later_field((), "values along each axis of fsq")

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, QUANTIZERS)
        if self.kind == "fsq":
            self._take_levels()
        elif self.levels:
            raise ConfigError(f"levels are for kind fsq, not {self.kind}")
        check_range("codebook_size", self.codebook_size, 2, _MAX_CODES)
        check_range("codebook_dim", self.codebook_dim, 1, 512)
        check_range("num_codebooks", self.num_codebooks, 1, 32)
        check_range("commitment", self.commitment, 0.0, 100.0)
        check_range("ema_decay", self.ema_decay, 0.0, 0.999999)
        check_range("groups", self.groups, 1, 32)
        if self.num_codebooks % self.groups:
            raise ConfigError("num_codebooks must be a multiple of groups")

    def check_width(self, latent_dim: int) -> None:
        """Raise ConfigError if `groups` does not divide the channels of a latent."""
        if latent_dim % self.groups:
            raise ConfigError("latent_dim must be a multiple of the quantizer's groups")

    def _take_levels(self) -> None:
        check_range("number of levels", len(self.levels), 1, 16)
        for count in self.levels:
            check_range("levels", count, 3, 256)
        object.__setattr__(self, "codebook_size", math.prod(self.levels))
        object.__setattr__(self, "codebook_dim", len(self.levels))


class _Streams:
    """The tokens of a model's streams."""

    quantizer: QuantizerConfig

    @property
    def f0_modes(self) -> tuple[str, ...]:
        """The members of `F0_MODES` that the model supports, the default first; may be empty."""
        return ()

    @property
    def default_f0(self) -> str | None:
        """The first of `f0_modes`, or None."""
        return next(iter(self.f0_modes), None)

    @property
    def token_sizes(self) -> tuple[int, ...]:
        """The number of values of each token of a frame, in the default F0 mode."""
        return self.token_sizes_with(self.default_f0)

    def token_sizes_with(self, f0: str | None) -> tuple[int, ...]:
        """The number of values of each token of a frame in an F0 mode (None for a model without).

        Raises:
            ConfigError: the model does not support the mode.
        """
        if f0 not in (self.f0_modes or (None,)):
            modes = ", ".join(self.f0_modes) or "no F0 mode"
            raise ConfigError(f"F0 cannot be {f0} with this model: it supports {modes}")
        sizes = (self.quantizer.codebook_size,) * self.quantizer.num_codebooks
        return (*sizes, F0_BINS) if f0 == "coded" else sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigCodecConfig(_Streams):
    """The published architecture: mirrored convolutions around two LSTMs (paper section 2.1).

    `encoder_width` is the width after the first convolution (doubled by each stride),
    `decoder_width` the width before the first transposed one (halved by each stride).
    Without LSTMs `lstm_layers` is 0; `lstm_dropout` acts between LSTM layers in training.
    `sequence` "attention" replaces them by as many layers of causal attention with
    `attention_heads` heads over `attention_window` frames; `lstm_dropout` then acts on the
    attention weights. `activation` "snake_beta" is alias-free, "snake" is not.
    """

    encoder_width: int = setting(48, "channels at first; each stride doubles them")
    encoder_strides: tuple[int, ...] = setting((2, 2, 2, 5, 5), "their product is the hop")
    latent_dim: int = setting(1024, "channels of a latent")
    decoder_width: int = setting(1536, "channels at first; each stride halves them")
    decoder_strides: tuple[int, ...] = setting((5, 5, 2, 2, 2), "have the same product")
    dilations: tuple[int, ...] = setting((1, 3, 9), "dilations of the residual units")
    lstm_layers: int = setting(2, "layers of the sequence model on either side; 0: none")
    lstm_dropout: float = setting(0.0, "dropout in the sequence model")
    quantizer: QuantizerConfig = QuantizerConfig()
    sequence: str = later_field("lstm", "lstm, or attention over a window")
    attention_heads: int = later_field(8, "heads of the attention")
    attention_window: int = later_field(160, "frames attended to, up to the own one")
    activation: str = later_field("snake_beta", "snake_beta, alias-free, or plain snake")

    def __post_init__(self) -> None:
        check_range("encoder_width", self.encoder_width, 1, _MAX_WIDTH)
        check_range("latent_dim", self.latent_dim, 1, _MAX_WIDTH)
        check_range("decoder_width", self.decoder_width, 1, _MAX_WIDTH)
        self.quantizer.check_width(self.latent_dim)
        check_range("lstm_layers", self.lstm_layers, 0, _MAX_LAYERS)
        check_range("lstm_dropout", self.lstm_dropout, 0.0, 0.999)
        for name in ("encoder_strides", "decoder_strides"):
            strides: tuple[int, ...] = getattr(self, name)
            check_range(f"number of {name}", len(strides), 1, 12)
            for stride in strides:
                check_range(name, stride, 1, 64)
        check_range("number of dilations", len(self.dilations), 1, 8)
        for dilation in self.dilations:
            check_range("dilations", dilation, 1, 256)
        if math.prod(self.encoder_strides) != math.prod(self.decoder_strides):
            raise ConfigError("encoder_strides and decoder_strides must have the same product")
        check_range("hop", self.hop, 1, 1 << 16)
        check_range("last encoder width", self.encoder_channels[-1], 1, _MAX_WIDTH)
        if self.decoder_width % (1 << len(self.decoder_strides)):
            raise ConfigError("decoder_width must be divisible by 2 once per decoder stride")
        _check_sequence(self, self.encoder_channels[-1], self.decoder_width)
        check_choice("activation", self.activation, ACTIVATIONS)

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.encoder_strides)

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Widths along the encoder: after the first convolution and after each stride."""
        return tuple(self.encoder_width << i for i in range(len(self.encoder_strides) + 1))

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Widths along the decoder: before the first stride and after each one."""
        return tuple(self.decoder_width >> i for i in range(len(self.decoder_strides) + 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteConfig(_Streams):
    """The small family of this project: STFT, ConvNeXt blocks at frame rate, inverse-STFT head.

    The head follows Vocos (arXiv 2306.00814). `hop` and `n_fft`, which is also the length of the
    window, are in samples; `n_fft` must be an even multiple of `hop`, so that the overlapping
    windows have a constant sum. `sequence` is as in `BigCodecConfig`.

    With `harmonics` each frame has an F0 token, and a second head of the decoder filters a harmonic
    excitation of that F0 (see `layers.f0`). With `predict_f0` the decoder predicts the F0 tokens
    from the others, so that a stream need not have them; this needs `attention_lookahead`, or no
    sequence layer. With `attention_lookahead` attention also covers that many frames after each
    frame, and has no state between chunks.

    After `reset_every` frames (0: never) the decoder resets the state of a stream: the phase of the
    excitation, and the state of the sequence layer if it has one (see `layers.state_reset`).
    The head generates `subframes` spectra per frame, with windows and hops shorter by that factor;
    the encoder then also gets such spectra.
    """

    hop: int = setting(200, "samples per frame")
    n_fft: int = setting(800, "samples of a window; an even multiple of hop")
    encoder_width: int = setting(256, "channels of the encoder")
    encoder_blocks: int = setting(4, "blocks of the encoder")
    latent_dim: int = setting(128, "channels of a latent")
    decoder_width: int = setting(384, "channels of the decoder")
    decoder_blocks: int = setting(7, "blocks of the decoder")
    expansion: int = setting(3, "how much wider a block is inside")
    kernel_size: int = setting(7, "frames of a block's convolution")
    lstm_layers: int = setting(2, "layers of the sequence model on either side; 0: none")
    quantizer: QuantizerConfig = QuantizerConfig(l2_normalized_codes=True)
    sequence: str = later_field("lstm", "lstm, or attention over a window")
    attention_heads: int = later_field(8, "heads of the attention")
    attention_window: int = later_field(160, "frames attended to, up to the own one")
    harmonics: bool = later_field(False, "the decoder filters harmonics of F0")
    reset_every: int = later_field(0, "frames between state resets; 0: never", former=("restart",))
    subframes: int = later_field(1, "spectra per frame from the decoder")
    attention_lookahead: int = later_field(0, "frames attended to after the own one")
    predict_f0: bool = later_field(False, "the decoder predicts F0; needs harmonics")

    def __post_init__(self) -> None:
        check_range("hop", self.hop, 1, 1 << 16)
        check_range("n_fft", self.n_fft, 4, 1 << 16)
        for name in ("encoder_width", "latent_dim", "decoder_width"):
            check_range(name, getattr(self, name), 1, _MAX_WIDTH)
        for name in ("encoder_blocks", "decoder_blocks", "lstm_layers"):
            check_range(name, getattr(self, name), 0, _MAX_LAYERS)
        check_range("expansion", self.expansion, 1, 16)
        check_range("kernel_size", self.kernel_size, 1, 63)
        if self.reset_every and not 1280 <= self.reset_every <= 1 << 20:
            raise ConfigError("reset_every must be 0, or between 1280 and 1048576 frames")
        if self.n_fft % (2 * self.hop) or self.n_fft < 4 * self.hop:
            raise ConfigError("n_fft must be an even multiple of hop, at least 4 times hop")
        if self.kernel_size % 2 == 0:
            raise ConfigError("kernel_size must be odd")
        check_range("subframes", self.subframes, 1, 16)
        if self.hop % self.subframes:
            raise ConfigError("hop must be a multiple of subframes")
        self.quantizer.check_width(self.latent_dim)
        _check_sequence(self, self.encoder_width, self.decoder_width)
        self._check_f0()

    def _check_f0(self) -> None:
        check_range("attention_lookahead", self.attention_lookahead, 0, 1 << 12)
        if self.attention_lookahead and (self.sequence != "attention" or not self.lstm_layers):
            raise ConfigError("attention_lookahead is for sequence = attention")
        if not self.predict_f0:
            return
        if not self.harmonics:
            raise ConfigError("predict_f0 needs harmonics")
        if self.lstm_layers and not self.attention_lookahead:
            raise ConfigError("predict_f0 needs attention_lookahead, or lstm_layers = 0")

    @property
    def f0_modes(self) -> tuple[str, ...]:
        """The members of `F0_MODES` that the model supports, the default first; may be empty."""
        if not self.harmonics:
            return ()
        return ("predicted", "coded") if self.predict_f0 else ("coded",)


ModelConfig = BigCodecConfig | LiteConfig


def _check_sequence(config: ModelConfig, *widths: int) -> None:
    check_choice("sequence", config.sequence, SEQUENCES)
    check_range("attention_window", config.attention_window, 1, 1 << 12)
    check_range("attention_heads", config.attention_heads, 1, 256)
    if config.sequence == "attention" and any(w % config.attention_heads for w in widths):
        raise ConfigError("attention_heads must divide the widths next to the quantizer")


_FAMILIES: dict[str, type[BigCodecConfig] | type[LiteConfig]] = {
    "bigcodec": BigCodecConfig,
    "lite": LiteConfig,
}

_TOY_LITE = LiteConfig(
    encoder_width=16,
    encoder_blocks=1,
    latent_dim=16,
    decoder_width=24,
    decoder_blocks=2,
    quantizer=QuantizerConfig(codebook_size=1024, l2_normalized_codes=True),
)

PRESETS: Mapping[str, ModelConfig] = types.MappingProxyType(
    {
        # The paper's two published models, exactly.
        "bigcodec": BigCodecConfig(),
        "bigcodec-base": BigCodecConfig(
            encoder_width=32,
            encoder_strides=(2, 4, 5, 5),
            latent_dim=128,
            decoder_width=512,
            decoder_strides=(5, 5, 4, 2),
            lstm_dropout=0.1,
        ),
        # Ablations of the paper, which does not give their widths: these are chosen here.
        "bigcodec-300m": BigCodecConfig(encoder_width=66, latent_dim=1280, decoder_width=2112),
        "bigcodec-small-enc": BigCodecConfig(encoder_width=10),
        "bigcodec-no-lstm": BigCodecConfig(encoder_width=64, decoder_width=2048, lstm_layers=0),
        # The architecture of the shipped models.
        "lite": LiteConfig(
            encoder_width=320,
            encoder_blocks=6,
            latent_dim=192,
            decoder_width=448,
            decoder_blocks=8,
            quantizer=QuantizerConfig(l2_normalized_codes=True),
            harmonics=True,
            reset_every=7680,
            subframes=2,
            sequence="attention",
            attention_window=65,
            attention_lookahead=64,
            predict_f0=True,
        ),
        # For tests: the same architectures at a size that trains in seconds.
        "toy": BigCodecConfig(
            encoder_width=2,
            latent_dim=16,
            decoder_width=64,
            quantizer=QuantizerConfig(codebook_size=1024),
        ),
        "toy-lite": _TOY_LITE,
        "toy-single": dataclasses.replace(
            _TOY_LITE,
            harmonics=True,
            subframes=2,
            sequence="attention",
            attention_heads=4,
            attention_window=9,
            attention_lookahead=8,
            predict_f0=True,
        ),
        "toy-harmonic": dataclasses.replace(_TOY_LITE, harmonics=True, subframes=2),
    }
)


def family_of(config: ModelConfig) -> str:
    """Name of the architecture family, as stored in model files."""
    return "lite" if isinstance(config, LiteConfig) else "bigcodec"


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """JSON-ready form of a configuration, with its family under `family`."""
    return {"family": family_of(config), **plain_values(config)}


def config_from_dict(data: Mapping[str, Any]) -> ModelConfig:
    """Inverse of `config_to_dict`.

    Raises:
        ConfigError: unknown family or field, wrong type, or a value out of range.
    """
    fields = dict(data)
    family = fields.pop("family", None)
    if family not in _FAMILIES:
        raise ConfigError(f"unknown model family {family!r}")
    config: ModelConfig = build_dataclass(_FAMILIES[family], fields)
    return config
