"""Signal processing against truths that do not come from itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from bigcodec_models.architectures.lite import LiteDecoder, LiteEncoder
from bigcodec_models.config import LiteConfig
from bigcodec_models.kernels.low_pass import LOW_PASS
from bigcodec_models.layers.activation import AliasFreeSnakeBeta
from bigcodec_models.losses.mel_scale import hertz_to_mel, mel_filters
from bigcodec_models.losses.spectral import MelSpectrogram, MultiScaleMelLoss, magnitudes


def test_filter_is_a_half_band_low_pass() -> None:
    taps = np.array(LOW_PASS)
    assert abs(taps.sum() - 1) < 1e-6
    attenuation = 2.285 * 5 * math.pi * 4 * 0.3 + 7.95  # Kaiser's estimate for the half-width
    window = scipy.signal.windows.kaiser(12, 0.1102 * (attenuation - 8.7))
    designed = window * np.sinc((np.arange(12) - 5.5) / 2)
    assert np.abs(taps - designed / designed.sum()).max() < 1e-7
    frequency, response = scipy.signal.freqz(taps, worN=512)
    gain = np.abs(response)
    assert gain[frequency < 0.15 * math.pi].min() > 0.98
    assert gain[frequency > 0.95 * math.pi].max() < 0.02
    assert abs(gain[256] - 0.5) < 0.1  # the cutoff, a quarter of the sample rate


def test_activation_without_its_sine_is_nearly_the_identity() -> None:
    activation = AliasFreeSnakeBeta(3)
    with torch.no_grad():
        activation.beta.fill_(30.0)
    time = torch.arange(400) / 400
    wave = torch.sin(2 * math.pi * torch.tensor([3.0, 10, 20])[:, None] * time).unsqueeze(0)
    assert (activation(wave) - wave).abs()[..., 12:-12].max() < 0.01


def test_activation_of_a_constant_is_the_formula() -> None:
    activation = AliasFreeSnakeBeta(2)
    with torch.no_grad():
        activation.alpha.copy_(torch.tensor([0.3, -0.2]))
        activation.beta.copy_(torch.tensor([-0.5, 0.4]))
    x = 0.7
    expected = [
        x + math.sin(math.exp(a) * x) ** 2 / math.exp(b) for a, b in [(0.3, -0.5), (-0.2, 0.4)]
    ]
    result = activation(torch.full((1, 2, 50), x))
    assert torch.allclose(result, torch.tensor(expected).view(1, 2, 1).expand_as(result), atol=1e-5)


def test_mel_scale_has_its_known_points() -> None:
    assert hertz_to_mel(1000) == 15
    assert hertz_to_mel(6400) == pytest.approx(42)
    assert hertz_to_mel(200 / 3) == pytest.approx(1)


def test_mel_filters_have_unit_area_and_cover_the_band() -> None:
    filters = mel_filters(2048, 80)
    area = filters.sum(axis=0) * 8000 / 1024
    assert np.allclose(area[20:], 1, atol=0.03)
    assert (filters.sum(axis=1)[2:-1] > 0).all()


def test_mel_spectrogram_sees_a_tone_where_it_is() -> None:
    time = torch.arange(16000) / 16000
    spectrum = MelSpectrogram(1024, 80)(torch.sin(2 * math.pi * 1000 * time)[None])
    assert spectrum.shape == (1, 16000 // 256 + 1, 80)
    centre = np.linspace(0, hertz_to_mel(8000), 82)[1:-1]
    assert abs(centre[int(spectrum[0, 30].argmax())] - 15) < 0.6


def test_mel_loss_is_zero_for_equals_and_grows_with_noise() -> None:
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(2, 8000)
    loss = MultiScaleMelLoss()
    steps = [float(loss(wave + level * torch.randn(2, 8000), wave)) for level in (0, 0.01, 0.1)]
    assert steps[0] == 0 and 0 < steps[1] < steps[2]


def test_mel_loss_halves_are_one_decade_apart() -> None:
    """Ten times the amplitude is one in log10, at each of seven scales."""
    wave = 0.01 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1)) + 0.02
    noisy = wave + 0.01 * torch.sin(torch.arange(8000) * 0.9)
    assert float(MultiScaleMelLoss()(10 * noisy, noisy)) == pytest.approx(7, abs=0.1)


def test_loudness_counts_what_is_loud_for_more() -> None:
    """The same relative error, in a loud half and in one that is 40 dB below it."""
    random = torch.Generator().manual_seed(4)
    wave = 0.3 * torch.randn(1, 16000, generator=random)
    wave[:, 8000:] *= 0.01
    result = []
    for half in (slice(8000), slice(8000, None)):
        other = wave.clone()
        other[:, half] *= 1.5
        result.append(MultiScaleMelLoss().distances(other, wave))
    assert float(result[0].log) == pytest.approx(float(result[1].log), rel=0.1)
    assert result[0].loudness > 3 * result[1].loudness > 0
    assert [float(term) for term in MultiScaleMelLoss().distances(wave, wave)] == [0, 0]


@pytest.mark.parametrize("size", [32, 64])
def test_magnitudes_have_the_gradient_of_the_plain_ones(size: int) -> None:
    window = torch.hann_window(size, dtype=torch.float64)
    random = torch.Generator().manual_seed(size)
    wave = torch.randn(2, 5 * size + 7, dtype=torch.float64, generator=random, requires_grad=True)
    plain = torch.fft.rfft(wave.unfold(1, size, size // 4) * window).abs()
    result = magnitudes(wave, window)
    torch.testing.assert_close(result, plain)
    weights = torch.randn(plain.shape, dtype=torch.float64, generator=random)
    gradients = [torch.autograd.grad((m * weights).sum(), wave)[0] for m in (result, plain)]
    torch.testing.assert_close(*gradients)


def test_magnitudes_of_silence_have_no_gradient() -> None:
    wave = torch.zeros(1, 256, requires_grad=True)
    magnitudes(wave, torch.hann_window(64)).sum().backward()  # type: ignore[no-untyped-call]
    assert wave.grad is not None and not wave.grad.any()


@pytest.mark.parametrize("subframes", [1, 2, 4])
def test_inverse_stft_undoes_the_stft(subframes: int) -> None:
    config = LiteConfig(subframes=subframes)
    encoder, decoder = LiteEncoder(config), LiteDecoder(config)
    wave = torch.randn(1, 200 * 37)
    size, step = 800 // subframes, 200 // subframes
    margin = (size - step) // 2
    padded = torch.nn.functional.pad(wave, (margin, margin))
    frames = padded.unfold(1, size, step) * decoder.window
    restored = decoder.overlap_add(frames)
    assert restored.shape == wave.shape
    assert (restored - wave).abs().max() < 1e-4
    spectrum = encoder.spectrum(wave.unsqueeze(1))
    magnitude = torch.fft.rfft(frames).abs()
    if subframes == 1:
        assert torch.allclose(spectrum.exp().transpose(1, 2), magnitude, atol=1e-3)
        return
    short = spectrum[:, 401:].exp().transpose(1, 2).reshape(1, 37 * subframes, -1)
    assert torch.allclose(short, magnitude[..., ::2], atol=1e-3)
