"""The discriminators beside the published ones: sizes, shapes, reach, and what they look at.

The papers give no parameter counts and no receptive fields; those here are worked out from the
layer tables of the papers and of the code released with them, which each test names.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.config import ConfigError, build_dataclass
from bigcodec_models.discriminators.config import (
    PRESETS,
    SMALL,
    DiscriminatorsConfig,
    MultiPeriodConfig,
    MultiResolutionConfig,
    MultiScaleConfig,
    expand_presets,
)
from bigcodec_models.discriminators.layers import (
    BandDiscriminator,
    Discriminator,
    Features,
    SubDiscriminator,
    WeightNormConv2d,
)
from bigcodec_models.discriminators.registry import KINDS, build_discriminators
from bigcodec_models.discriminators.spectrogram import ComplexSpectrum
from bigcodec_models.discriminators.waveform import Pool

Layer = tuple[int, int, int, int]
"""Channels in and out, taps of the kernel, groups."""

# HiFi-GAN (arXiv 2010.05646, appendix; models.py), for each of three scales.
MULTI_SCALE: list[Layer] = [
    (1, 128, 15, 1),
    (128, 128, 41, 4),
    (128, 256, 41, 16),
    (256, 512, 41, 16),
    (512, 1024, 41, 16),
    (1024, 1024, 41, 16),
    (1024, 1024, 5, 1),
    (1024, 1, 3, 1),
]
# EnCodec (arXiv 2210.13438, figure 2; msstftd.py), for each of five scales. DAC's bands
# (arXiv 2306.06546; discriminator.py) have the same layers undilated, but one score for all five.
TIME_FREQUENCY: list[Layer] = [(2, 32, 27, 1), *[(32, 32, 27, 1)] * 3, (32, 32, 9, 1)]
SCORE: list[Layer] = [(32, 1, 9, 1)]
# MS-SB-CQT (arXiv 2311.14957, section 2.2; mssbcqtd.py): a layer for each octave before those.
OCTAVE: Layer = (2, 2, 27, 1)

PUBLISHED: dict[str, list[Layer]] = {
    "msd": MULTI_SCALE * 3,
    "msstft": (TIME_FREQUENCY + SCORE) * 5,
    "mrd": (TIME_FREQUENCY * 5 + SCORE) * 3,
    "mssbcqt": ([OCTAVE] * 8 + TIME_FREQUENCY + SCORE) * 3,
}


def built(kind: str, **settings: Any) -> Discriminator:
    config = type(SMALL[kind])(**settings)
    return KINDS[kind](config)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kind", "millions"), [("msd", 29.62), ("msstft", 0.47), ("mrd", 1.41), ("mssbcqt", 0.29)]
)
def test_default_sizes_are_the_published_ones(kind: str, millions: float) -> None:
    """With a bias and a gain of weight norm for each channel that comes out."""
    expected = sum(i // groups * o * taps + 2 * o for i, o, taps, groups in PUBLISHED[kind])
    assert parameters(built(kind)) == expected
    assert expected / 1e6 == pytest.approx(millions, abs=0.005)


def test_every_kind_can_be_chosen_and_has_a_small_size() -> None:
    fields = [field.name for field in dataclasses.fields(DiscriminatorsConfig)]
    assert list(KINDS) == list(SMALL) == fields
    for kind, small in SMALL.items():
        assert parameters(KINDS[kind](small)) < 2_000_000


def maps(kind: str, samples: int, **settings: Any) -> list[list[tuple[int, ...]]]:
    """Shapes of the feature maps of each sub-discriminator."""
    with torch.no_grad():
        outputs: list[Features] = built(kind, **settings)(torch.randn(2, 1, samples))
    return [[tuple(x.shape) for x in features] for features in outputs]


@pytest.mark.parametrize("samples", [2049, 4000])
def test_multi_scale_shapes(samples: int) -> None:
    expected = []
    for length in (samples, samples // 2 + 1, (samples // 2 + 1) // 2 + 1):
        lengths = [math.ceil(length / 2**i) for i in (0, 1, 2, 4, 6, 6, 6, 6)]
        channels = (16, 16, 32, 64, 128, 128, 128, 1)
        expected.append([(2, c, 1, n) for c, n in zip(channels, lengths, strict=True)])
    assert maps("msd", samples, width=16) == expected


@pytest.mark.parametrize("samples", [2049, 4000])
def test_complex_stft_shapes(samples: int) -> None:
    expected = []
    for size in (2048, 1024, 512, 256, 128):
        frames = 1 + (samples - size) // (size // 4)
        full = size // 2 + 1
        widths = [full, *[math.ceil(full / 2**i) for i in (1, 2, 3, 3, 3)]]
        expected.append([(2, c, frames, w) for c, w in zip((4,) * 5 + (1,), widths, strict=True)])
    assert maps("msstft", samples, width=4) == expected


@pytest.mark.parametrize("samples", [2049, 4000])
def test_multi_resolution_shapes(samples: int) -> None:
    """DAC's bands: up to a tenth, a quarter, a half, three quarters and all of the range."""
    shapes = maps("mrd", samples, width=4)
    ends = [(102, 256, 512, 768, 1025), (51, 128, 256, 384, 513), (25, 64, 128, 192, 257)]
    for features, size, tops in zip(shapes, (2048, 1024, 512), ends, strict=True):
        frames = 1 + samples // (size // 4)
        expected: list[tuple[int, ...]] = []
        for low, high in itertools.pairwise((0, *tops)):
            expected += [(2, 4, frames, math.ceil((high - low) / 2**i)) for i in (0, 1, 2, 3, 3)]
        last = sum(shape[3] for shape in expected[4::5])
        assert features == [*expected, (2, 1, frames, last)]


@pytest.mark.parametrize("samples", [2049, 4000])
def test_constant_q_shapes(samples: int) -> None:
    expected = []
    for bins, hop in ((24, 256), (36, 128), (48, 128)):
        frames, full = 1 + samples // hop, 8 * bins
        widths = [full, full // 2, full // 4, full // 8, full // 8, full // 8]
        expected.append([(2, c, frames, w) for c, w in zip((4,) * 5 + (1,), widths, strict=True)])
    assert maps("mssbcqt", samples, width=4) == expected


def reach(part: nn.Module, shape: tuple[int, ...]) -> list[int]:
    """Extent, along each of the last axes, of the inputs that one score in the middle sees."""
    torch.manual_seed(0)
    seen = torch.randn(shape, requires_grad=True)
    score = part(seen)[-1]
    score[(0, 0, *(n // 2 for n in score.shape[2:]))].backward()
    assert seen.grad is not None
    touched = seen.grad[0].abs().sum(0).nonzero()
    return (touched.amax(0) - touched.amin(0) + 1).tolist()


def part_of(kind: str, index: int, **settings: Any) -> SubDiscriminator | BandDiscriminator:
    torch.manual_seed(0)
    part = built(kind, **settings).parts[index]
    assert isinstance(part, SubDiscriminator | BandDiscriminator)
    return part


@pytest.mark.parametrize(("index", "samples"), [(0, 3879), (1, 2 * 3878 + 4), (2, 4 * 3878 + 10)])
def test_reach_of_the_multi_scale_one(index: int, samples: int) -> None:
    """From its kernels and strides, doubled by each pooling over 4."""
    part = part_of("msd", index, width=16)
    assert reach(part, (1, 1, 3 * samples // 2)) == [samples]


def test_reach_of_the_multi_period_one() -> None:
    """566 rows of three samples, by kernels of 5 and strides of 3; one column."""
    part = part_of("mpd", 1, width=4, max_width=8)
    assert reach(part, (1, 1, 3000)) == [565 * 3 + 1]


@pytest.mark.parametrize(
    ("kind", "extent"),
    [
        ("spectral", [125, 125]),  # 5 x 5 four times, halving; 3 x 3 twice
        ("msstft", [21, 97]),  # frames: 3, then 3 dilated by 1, 2, 4, then 3 and 3
        ("mssbcqt", [21, 97]),
    ],
)
def test_reach_of_those_that_see_spectra(kind: str, extent: list[int]) -> None:
    """Frames and frequencies that one score depends on; `spectral` has them the other way."""
    part = part_of(kind, 0, width=4)
    part.front = nn.Identity()
    channels = 1 if kind == "spectral" else 2
    assert reach(part, (1, channels, 200, 240)) == extent


def test_reach_of_the_one_in_bands() -> None:
    """13 frames without dilation; no band sees another but in the score, 3 places wide."""
    part = part_of("mrd", 2, width=4)
    part.front = nn.Identity()
    frames, _ = reach(part, (1, 2, 40, 257))
    assert frames == 13
    spectrum = torch.randn(1, 2, 8, 257)
    changed = spectrum.clone()
    changed[..., 128:192] += 1  # the fourth band
    with torch.no_grad():
        before, after = part(spectrum), part(changed)
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert [i for i, value in enumerate(moved) if value] == [15, 16, 17, 18, 19, 25]


@pytest.mark.parametrize(("dilation", "groups"), [((4, 1), 1), ((2, 3), 2), ((1, 1), 4)])
def test_dilated_and_grouped_convolutions_in_either_layout(
    dilation: tuple[int, int], groups: int
) -> None:
    torch.manual_seed(0)
    layer = WeightNormConv2d(8, 4, (3, 9), (1, 2), dilation, groups)
    x = torch.randn(2, 8, 20, 30)
    padding = (dilation[0], 4 * dilation[1])
    expected = F.conv2d(x, layer.weight(), layer.bias, (1, 2), padding, dilation, groups)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    swapped = layer(x.transpose(2, 3), True).transpose(2, 3)
    assert swapped.shape == expected.shape and torch.allclose(swapped, expected, atol=1e-5)


def test_pooling_halves_by_means_of_four() -> None:
    assert Pool(1)(torch.arange(6.0).view(1, 1, 6)).tolist() == [[[[0.25, 1.5, 3.5, 2.25]]]]
    assert Pool(2)(torch.ones(1, 1, 64))[0, 0, 0, 2:-1].tolist() == [1] * 14


@pytest.mark.parametrize("centered", [True, False])
def test_complex_spectrum_is_that_of_scipy(speech: Path, centered: bool) -> None:
    wave = soundfile.read(speech, dtype="float64")[0][20000:23001]
    spectrum = ComplexSpectrum(512, centered)(torch.from_numpy(wave).float().view(1, 1, -1))[0]
    padded = np.pad(wave, 256, mode="reflect") if centered else wave
    window = scipy.signal.get_window("hann", 512)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::128]
    _, _, expected = scipy.signal.stft(
        padded, window="hann", nperseg=512, noverlap=384, boundary=None, padded=False
    )
    assert expected.shape[1] == len(frames) == spectrum.shape[1]
    expected = expected.T * window.sum() / np.linalg.norm(window)
    values = spectrum[0].double().numpy() + 1j * spectrum[1].double().numpy()
    assert np.abs(values - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_wave_shorter_than_the_window_has_one_frame() -> None:
    assert ComplexSpectrum(2048, centered=False)(torch.randn(1, 1, 2000)).shape == (1, 2, 1, 1025)


@pytest.mark.parametrize("kind", ["msd", "msstft", "mrd", "mssbcqt"])
def test_waves_do_not_mix_and_precision_is_single_in_front(kind: str) -> None:
    torch.manual_seed(0)
    discriminator = KINDS[kind](SMALL[kind])
    waves = 0.1 * torch.randn(3, 1, 2100)
    with torch.no_grad():
        together, alone = discriminator(waves), discriminator(waves[1:2])
        with torch.autocast("cpu", torch.bfloat16):
            for part in discriminator.parts:
                assert isinstance(part, SubDiscriminator | BandDiscriminator)
                if kind in ("msstft", "mrd"):
                    assert part.front(waves.bfloat16()).dtype == torch.float32
            half = discriminator(waves)
    for features, single, rounded in zip(together, alone, half, strict=True):
        for x, y, z in zip(features, single, rounded, strict=True):
            assert torch.allclose(x[1:2], y, atol=1e-5)
            assert x.shape == z.shape and bool(z.isfinite().all())


def config_of(table: Any) -> DiscriminatorsConfig:
    config: DiscriminatorsConfig = build_dataclass(DiscriminatorsConfig, expand_presets(table))
    return config


def state_names(table: Any) -> set[str]:
    return set(build_discriminators(config_of(table)).state_dict())


def test_names_in_checkpoints_stay() -> None:
    """Runs that were saved before there were other kinds must go on."""
    layers = [*(f"layers.{i}" for i in range(5)), "score"]
    tensors = ("bias", "weight_g", "weight_v")
    expected = {
        f"{kind}.parts.{part}.{layer}.{tensor}"
        for kind in ("mpd", "spectral")
        for part in range(5)
        for layer in layers
        for tensor in tensors
    }
    assert state_names({"preset": "small"}) == expected
    others = state_names({kind: {"size": "small"} for kind in ("mrd", "mssbcqt", "msd")})
    assert "mrd.parts.2.bands.4.1.weight_v" in others
    assert "mssbcqt.parts.1.front.layers.7.bias" in others
    assert "msd.parts.0.layers.6.weight_g" in others


def test_a_table_names_kinds_sizes_and_weights() -> None:
    table = {"mrd": {"size": "small", "weight": 0.25}, "mpd": {}, "msd": {"scales": 2, "width": 32}}
    chosen = config_of(table).chosen()
    assert list(chosen) == ["mpd", "msd", "mrd"]  # in the order of their definition
    assert chosen["mpd"] == MultiPeriodConfig()
    assert chosen["msd"] == MultiScaleConfig(scales=2, width=32)
    assert chosen["mrd"] == dataclasses.replace(SMALL["mrd"], weight=0.25)
    assert config_of({"mrd": {"size": "published"}}).mrd == MultiResolutionConfig()


def test_presets_can_be_changed() -> None:
    for name, preset in PRESETS.items():
        assert config_of({"preset": name}) == preset
    small = PRESETS["small"]
    assert small.mpd == SMALL["mpd"] and small.spectral == SMALL["spectral"]
    changed = config_of({"preset": "small", "mpd": {"weight": 2.0}, "mrd": {"width": 4}})
    assert small.mpd is not None
    assert changed == dataclasses.replace(
        small,
        mpd=dataclasses.replace(small.mpd, weight=2.0),
        mrd=MultiResolutionConfig(width=4),
    )


def test_a_size_keeps_the_weight() -> None:
    assert "weight" not in expand_presets({"mrd": {"size": "small"}})["mrd"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("small", "discriminators must be a table, not 'small'; discriminators.preset may be none"),
        ({"preset": "huge"}, "discriminators.preset must be one of none, published, small"),
        ({"preset": 3}, "discriminators.preset must be one of"),
        ({"mpq": {}}, "unknown setting 'mpq'; did you mean 'mpd'"),
        ({"mpd": 1}, "mpd must be a table, not 1"),
        ({"mpd": {"size": "large"}}, "discriminators.mpd.size must be one of published, small"),
        ({"mpd": {"widht": 3}}, "unknown setting 'mpd.widht'; did you mean 'mpd.width'"),
        ({"mpd": {"weight": "much"}}, "mpd.weight must be float, not 'much'"),
        ({"mpd": {"weight": 0}}, "mpd: weight must be above 0"),
        ({"mpd": {"weight": -1}}, "mpd: weight must be above 0"),
        ({"mrd": {"weight": math.nan}}, "mrd: weight must be above 0"),
        ({"mpd": {"weight": math.inf}}, "mpd: weight must be above 0"),
    ],
)
def test_other_tables_are_refused(table: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(table)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mpd", {"periods": []}),
        ("mpd", {"periods": [0]}),
        ("mpd", {"width": 0}),
        ("mpd", {"width": 64, "max_width": 32}),
        ("mpd", {"depth": 3}),
        ("spectral", {"fft_sizes": []}),
        ("spectral", {"fft_sizes": [130]}),
        ("spectral", {"fft_sizes": [8]}),
        ("spectral", {"max_width": 1 << 20}),
        ("msd", {"scales": 0}),
        ("msd", {"width": 24}),
        ("msstft", {"fft_sizes": []}),
        ("msstft", {"fft_sizes": [130]}),
        ("mrd", {"fft_sizes": [16]}),
        ("mrd", {"width": 0}),
        ("mssbcqt", {"hops": [256]}),
        ("mssbcqt", {"hops": [256, 128, 96]}),
        ("mssbcqt", {"octaves": 1}),
        ("mssbcqt", {"bins_per_octave": []}),
    ],
)
def test_bad_sizes_are_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config_of({kind: settings})


def test_gradients_reach_the_wave_through_every_front_end() -> None:
    for kind, small in SMALL.items():
        wave = (0.1 * torch.randn(1, 1, 2100)).requires_grad_()
        scores: list[Tensor] = [features[-1].sum() for features in KINDS[kind](small)(wave)]
        torch.stack(scores).sum().backward()  # type: ignore[no-untyped-call]
        assert wave.grad is not None and wave.grad.isfinite().all(), kind
        assert (wave.grad != 0).float().mean() > 0.95, kind
