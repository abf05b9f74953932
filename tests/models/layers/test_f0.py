"""F0: the tracker against tones and speech, the excitation against its sum, decoders with F0."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from torch import Tensor

from bigcodec_cli.evaluation.packages import MissingError, load_extension
from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.lite import LiteDecoder
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import F0_BINS, LiteConfig, config_to_dict
from bigcodec_models.f0_scale import (
    HIGHEST,
    LOWEST,
    PHASE_UNITS,
    STEPS_AN_OCTAVE,
    tracker_receptive_field,
)
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.layers.f0 import (
    F0Tracker,
    harmonic_excitation,
    phase_increments,
    phases,
)

HOP = 200


STEP = 1200 / STEPS_AN_OCTAVE


def track(wave: Tensor) -> npt.NDArray[np.float64]:
    """Hertz of each frame, 0 where it is unvoiced."""
    tokens = F0Tracker()(wave.view(1, -1), HOP)[0].numpy()
    assert 0 <= tokens.min() and tokens.max() < F0_BINS
    return np.where(tokens > 0, LOWEST * 2 ** ((tokens - 1) / STEPS_AN_OCTAVE), 0.0)


def token(hertz: float) -> int:
    return 1 + round(STEPS_AN_OCTAVE * math.log2(hertz / LOWEST))


def cents(
    estimate: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    error: npt.NDArray[np.float64] = 1200 * np.abs(np.log2(estimate / target))
    return error


@pytest.mark.parametrize("hertz", [62.0, 110.0, 233.0, 380.0])
def test_the_tracker_finds_the_pitch_of_a_glide(hertz: float) -> None:
    seconds = torch.arange(24_000) / 16_000
    pitch = hertz * torch.exp2(0.15 * seconds)
    phase = math.tau * torch.cumsum(pitch.double() / 16_000, 0)
    wave = torch.stack([torch.cos(k * phase) / k for k in range(1, 12)]).sum(dim=0)
    estimate = track(wave)[4:-4]
    assert cents(estimate, pitch[100::HOP].double().numpy()[4:-4]).max() <= STEP


def test_the_tracker_finds_no_pitch_in_silence_and_little_in_noise() -> None:
    assert not track(torch.zeros(16_000)).any()
    noise = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    assert np.mean(track(noise) > 0) < 0.1


def test_a_missing_fundamental_is_found_all_the_same() -> None:
    phase = math.tau * 120 * torch.arange(16_000) / 16_000
    wave = torch.stack([torch.cos(k * phase) for k in range(3, 9)]).sum(dim=0)
    assert cents(track(wave)[5:-5], np.full(70, 120.0)).max() <= STEP


def test_the_tracker_agrees_with_another_method_on_speech(speech: Path) -> None:
    """WORLD's Harvest, which calls more frames voiced; a few octaves differ."""
    try:
        world = load_extension("pyworld", "pyworld")
    except MissingError:
        pytest.skip("pyworld is not installed")
    wave, rate = soundfile.read(speech)
    estimate = track(torch.from_numpy(wave).float())
    period = 1000 * HOP / 2 / rate
    reference, times = world.harvest(wave, rate, frame_period=period)
    reference = world.stonemask(wave, reference, times, rate)[1::2][: len(estimate)]
    both = (reference > 0) & (estimate > 0)
    error = cents(estimate[both], reference[both])
    assert both.sum() > 150
    assert np.median(error) < 20
    assert np.mean(error > 300) < 0.1


def test_a_tone_is_the_sum_of_its_harmonics() -> None:
    step = torch.tensor([[1.5, 1.62, 2.7, 5.9]], dtype=torch.float64)
    phase = (step.cumsum(dim=1) - step) % 1
    estimate = harmonic_excitation(phase, step, HOP)
    assert estimate.shape == (1, 4 * HOP)
    ramp = torch.arange(HOP, dtype=torch.float64) / HOP
    for frame in range(4):
        count = int(0.48 * HOP / float(step[0, frame]))
        angle = math.tau * (phase[0, frame] + step[0, frame] * ramp)
        expected = torch.stack([torch.cos(k * angle) for k in range(1, count + 1)]).sum(dim=0)
        piece = estimate[0, frame * HOP : (frame + 1) * HOP]
        torch.testing.assert_close(piece, expected, atol=1e-8, rtol=0)


def test_frames_far_away_change_nothing() -> None:
    random = torch.Generator().manual_seed(5)
    wave = torch.randn(1, 100 * HOP, generator=random).cumsum(dim=1) / 50
    reach = tracker_receptive_field(HOP)
    other = wave.clone()
    other[:, : (50 - reach) * HOP] = 0.0
    other[:, (51 + reach) * HOP :] = 0.3
    assert F0Tracker()(wave, HOP)[0, 50] == F0Tracker()(other, HOP)[0, 50]


def test_a_source_is_a_mean_over_voiced_neighbours() -> None:
    steady = torch.full((1, 20), token(110.0))
    assert len(set(phase_increments(steady, HOP)[0].tolist())) == 1
    assert abs(float(phase_increments(steady, HOP)[0, 0]) / PHASE_UNITS - 110 * HOP / 16_000) < 0.01
    gaps = steady.clone()
    gaps[0, [3, 4, 12]] = 0
    assert torch.equal(phase_increments(gaps, HOP), phase_increments(steady, HOP))
    rising = torch.arange(40, 60).view(1, -1)
    assert (phase_increments(rising, HOP).diff() > 0).all()


def test_without_any_pitch_a_source_still_moves() -> None:
    steps = phase_increments(torch.zeros(1, 10, dtype=torch.int64), HOP)
    assert steps.dtype == torch.int64 and (steps > 0).all()


def test_phases_go_on_from_piece_to_piece() -> None:
    steps = torch.randint(1, 6 * PHASE_UNITS, (1, 300), generator=torch.Generator().manual_seed(2))
    whole = phases(steps)
    before = int(steps[:, :123].sum()) % PHASE_UNITS
    parts = [phases(steps[:, :123]), phases(steps[:, 123:], before)]
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert whole[:, 0].min() >= 0 and whole[:, 0].max() < 1


def log_magnitudes(decoder: LiteDecoder, head: torch.nn.Linear) -> torch.Tensor:
    """The biases of a head that are of log magnitudes: (subframes, size / 2 + 1)."""
    return head.bias.view(decoder.config.subframes, -1)[:, : decoder.size // 2 + 1]


@pytest.mark.parametrize("hertz", [70.0, 140.0, 300.0])
def test_a_wave_has_the_pitch_that_its_tokens_say(hertz: float) -> None:
    """With the other head silenced and a flat harmonic head, the excitation remains."""
    torch.manual_seed(3)
    decoder = LiteDecoder(PRESETS["toy-harmonic"]).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for head, level in ((decoder.head, -20.0), (decoder.filter, 0.0)):
            head.weight.zero_()
            head.bias.zero_()
            log_magnitudes(decoder, head)[:] = level
        wave = decoder(torch.randn(1, 16, 80), torch.full((1, 80), token(hertz)))[0, 0]
    assert cents(track(wave)[8:-8], np.full(64, hertz)).max() <= 1.5 * STEP


def test_tokens_of_pitch_survive_the_codec(speech: Path) -> None:
    wave, _ = soundfile.read(speech, dtype="float32")
    torch.manual_seed(6)
    network = CodecNetwork(PRESETS["toy-harmonic"])
    model = LoadedModel(
        config=network.config, info=ModelInfo(name="", license=""), tensors=network.state_dict()
    )
    codec = Codec(model)
    tokens = codec.encode(wave)
    assert tokens.shape == (-(-len(wave) // HOP), 2)
    assert codec.config.token_sizes == (1024, F0_BINS)
    padded = np.pad(wave, (0, -len(wave) % HOP))
    assert np.array_equal(tokens[:, 1], F0Tracker()(torch.from_numpy(padded)[None], HOP)[0])
    assert codec.decode(tokens, len(wave)).shape == wave.shape
    tokens[5, 1] = F0_BINS
    with pytest.raises(ValueError, match="154"):
        codec.decode(tokens)


def test_a_fresh_decoder_begins_with_the_tone() -> None:
    torch.manual_seed(2)
    decoder = LiteDecoder(PRESETS["toy-harmonic"]).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        wave = decoder(torch.randn(1, 16, 80), torch.full((1, 80), token(150.0)))[0, 0]
        log_magnitudes(decoder, decoder.filter)[:] = -20.0
        rest = decoder(torch.randn(1, 16, 80), torch.full((1, 80), token(150.0)))[0, 0]
    assert wave.square().mean() > 10 * rest.square().mean()
    assert cents(track(wave)[8:-8], np.full(64, 150.0)).max() <= 1.5 * STEP


def test_the_filter_and_what_a_pitch_stands_for_are_learnt() -> None:
    torch.manual_seed(4)
    network = CodecNetwork(PRESETS["toy-harmonic"])
    wave = torch.sin(math.tau * 150 * torch.arange(4000) / 16_000).view(1, 1, -1)
    network(wave).wave.square().mean().backward()
    for name in ("filter", "pitch"):
        gradient = getattr(network.decoder, name).weight.grad
        assert gradient is not None and gradient.abs().max() > 0


def test_models_without_harmonics_are_what_they_were() -> None:
    plain = PRESETS["toy-lite"]
    assert "harmonics" not in config_to_dict(plain)
    network = CodecNetwork(plain)
    assert network.f0_tokens(torch.zeros(1, 1, 4000)) is None
    assert plain.token_sizes == (1024,)
    assert not any("filter" in name or "pitch" in name for name in network.state_dict())
    shallow = LiteConfig(decoder_blocks=0, encoder_blocks=0, kernel_size=1, harmonics=True)
    assert receptive_fields(shallow).decoder_post == (4, 4)
    assert receptive_fields(shallow).decoder_pre == (3, 3)
    assert receptive_fields(shallow).encoder_pre == (10, 10)
    finer = receptive_fields(dataclasses.replace(shallow, subframes=2))
    assert (finer.decoder_post, finer.encoder_pre) == ((2, 2), (10, 10))
    assert pytest.approx(494, abs=1) == HIGHEST
