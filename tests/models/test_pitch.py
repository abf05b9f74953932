"""Pitch: the tracker against tones and speech, tones against their sum, decoders that have one."""

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
from bigcodec_models import PRESETS
from bigcodec_models.config import ConfigError, LiteConfig, QuantizerConfig, config_to_dict
from bigcodec_models.context import contexts_of
from bigcodec_models.lite import LiteDecoder, PitchReadout
from bigcodec_models.network import CodecNetwork
from bigcodec_models.pitch import HIGHEST, LOWEST, PHASE_UNITS, PitchTracker, smoothed, tone
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.objective import Objective

HOP = 200


def track(wave: Tensor) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = PitchTracker()(wave.view(1, -1), HOP)[0].double().numpy()
    return found


def cents(found: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    error: npt.NDArray[np.float64] = 1200 * np.abs(np.log2(found / true))
    return error


@pytest.mark.parametrize("hertz", [62.0, 110.0, 233.0, 380.0])
def test_the_tracker_finds_the_pitch_of_a_glide(hertz: float) -> None:
    seconds = torch.arange(24_000) / 16_000
    pitch = hertz * torch.exp2(0.15 * seconds)
    phase = math.tau * torch.cumsum(pitch.double() / 16_000, 0)
    wave = torch.stack([torch.cos(k * phase) / k for k in range(1, 12)]).sum(dim=0)
    found = track(wave)[4:-4]
    assert cents(found, pitch[100::HOP].double().numpy()[4:-4]).max() < 12


def test_the_tracker_finds_no_pitch_in_silence_and_little_in_noise() -> None:
    assert not track(torch.zeros(16_000)).any()
    noise = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    assert np.mean(track(noise) > 0) < 0.1


def test_a_missing_fundamental_is_found_all_the_same() -> None:
    phase = math.tau * 120 * torch.arange(16_000) / 16_000
    wave = torch.stack([torch.cos(k * phase) for k in range(3, 9)]).sum(dim=0)
    assert cents(track(wave)[5:-5], np.full(70, 120.0)).max() < 12


def test_the_tracker_agrees_with_another_method_on_speech(speech: Path) -> None:
    """WORLD's Harvest, which calls more frames voiced; a few octaves differ."""
    try:
        world = load_extension("pyworld", "pyworld")
    except MissingError:
        pytest.skip("pyworld is not installed")
    wave, rate = soundfile.read(speech)
    found = track(torch.from_numpy(wave).float())
    period = 1000 * HOP / 2 / rate
    theirs, times = world.harvest(wave, rate, frame_period=period)
    theirs = world.stonemask(wave, theirs, times, rate)[1::2][: len(found)]
    both = (theirs > 0) & (found > 0)
    error = cents(found[both], theirs[both])
    assert both.sum() > 150
    assert np.median(error) < 20
    assert np.mean(error > 300) < 0.1


def test_a_tone_is_the_sum_of_its_harmonics() -> None:
    step = torch.tensor([[1.5, 1.62, 2.7, 5.9]], dtype=torch.float64)
    phase = (step.cumsum(dim=1) - step) % 1
    found = tone(phase, step, HOP)
    assert found.shape == (1, 4 * HOP)
    ramp = torch.arange(HOP, dtype=torch.float64) / HOP
    for frame in range(4):
        count = int(0.48 * HOP / float(step[0, frame]))
        angle = math.tau * (phase[0, frame] + step[0, frame] * ramp)
        expected = torch.stack([torch.cos(k * angle) for k in range(1, count + 1)]).sum(dim=0)
        piece = found[0, frame * HOP : (frame + 1) * HOP]
        torch.testing.assert_close(piece, expected, atol=1e-8, rtol=0)


def test_smoothing_weighs_by_voicing_and_keeps_integers() -> None:
    steps = torch.tensor([[7, 7, 7, 900, 7, 7, 7, 7]])
    assert smoothed(steps, torch.tensor([[255, 255, 255, 1, 255, 255, 255, 255]])).max() < 9
    constant = torch.full((1, 5), PHASE_UNITS)
    assert torch.equal(smoothed(constant, torch.ones_like(constant)), constant)
    random = torch.Generator().manual_seed(1)
    steps = torch.randint(1, 6 * PHASE_UNITS, (2, 50), generator=random)
    voicing = torch.randint(1, 256, (2, 50), generator=random)
    whole = smoothed(steps, voicing)
    torch.testing.assert_close(
        smoothed(steps.double(), voicing.double()).floor(), whole.double(), atol=1, rtol=0
    )


def test_phases_go_on_from_piece_to_piece() -> None:
    steps = torch.randint(1, 6 * PHASE_UNITS, (1, 300), generator=torch.Generator().manual_seed(2))
    whole = LiteDecoder.source(steps)
    before = int(steps[:, :123].sum()) % PHASE_UNITS
    parts = [LiteDecoder.source(steps[:, :123]), LiteDecoder.source(steps[:, 123:], before)]
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert whole[:, 0].min() >= 0 and whole[:, 0].max() < 1


def test_the_readout_stays_within_its_range() -> None:
    config = LiteConfig(latent_dim=16)
    readout = PitchReadout(config)
    with torch.no_grad():
        steps, _ = readout(1e4 * torch.randn(1, 16, 100))
    hertz = steps * 16_000 / HOP
    assert LOWEST - 0.01 <= float(hertz.min()) and float(hertz.max()) <= HIGHEST + 0.01
    whole, voicing = readout.whole(1e4 * torch.randn(1, 16, 100))
    assert whole.dtype == voicing.dtype == torch.int64
    assert 1 <= int(voicing.min()) and int(voicing.max()) <= 255


def test_the_wave_has_the_pitch_that_the_codes_say() -> None:
    """Noise head silenced, filter set to one: what is left is the tone."""
    torch.manual_seed(3)
    decoder = LiteDecoder(PRESETS["toy-tone"]).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for head, level in ((decoder.head, -20.0), (decoder.filter, 0.0)):
            head.weight.zero_()
            head.bias.zero_()
            head.bias[: len(head.bias) // 2] = level
        decoder.pitch.output.weight.zero_()
        decoder.pitch.output.bias[0] = 0.0
        wave = decoder(torch.randn(1, 16, 80))[0, 0]
    pitch = math.sqrt(LOWEST * HIGHEST)
    assert cents(track(wave)[5:-5], np.full(70, pitch)).max() < 12


def test_a_generator_learns_the_pitch_of_a_wave() -> None:
    """The pitch loss alone, through the codes, on one batch; it reaches the encoder."""
    torch.manual_seed(4)
    network = CodecNetwork(PRESETS["toy-tone"])
    train = dataclasses.replace(
        TrainConfig(), mel_windows=(512,), mel_weight=0.0, vq_weight=0.0, discriminators="none"
    )
    objective = Objective(train)
    pitches = torch.tensor([90.0, 140.0, 220.0, 330.0]).view(-1, 1, 1)
    phase = math.tau * pitches * torch.arange(4000) / 16_000
    wave = torch.stack([0.1 * torch.cos(k * phase) for k in range(1, 8)]).sum(dim=0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        found = objective.generator_losses(wave, network(wave), None)
        optimizer.zero_grad()
        found["total"].backward()
        optimizer.step()
        losses.append(float(found["pitch"].detach()))
    gradient = network.encoder.embed.weight.grad
    assert gradient is not None and gradient.abs().max() > 0
    assert losses[-1] < 0.5 * losses[0]


def test_models_without_harmonics_are_what_they_were() -> None:
    plain = PRESETS["toy-lite"]
    assert "harmonics" not in config_to_dict(plain)
    assert CodecNetwork(plain)(torch.zeros(1, 1, 4000)).pitch is None
    assert not any("filter" in name for name in CodecNetwork(plain).state_dict())
    shallow = LiteConfig(decoder_blocks=0, kernel_size=1, harmonics=True)
    assert contexts_of(shallow).decoder_back == (4, 4)
    assert contexts_of(shallow).decoder_front == (3, 3)


def test_harmonics_go_with_one_codebook_only() -> None:
    with pytest.raises(ConfigError, match="one codebook"):
        LiteConfig(harmonics=True, quantizer=QuantizerConfig(num_codebooks=2))
