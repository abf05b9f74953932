"""Random rotation of phases before the discriminators."""

import math

import pytest
import torch
from torch import Tensor

from bigcodec_models.discriminators.config import PRESETS as DISCRIMINATORS
from bigcodec_models.losses.phase_rotation import PhaseRotation
from bigcodec_models.losses.spectral import MelSpectrogram
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import AdversarialConfig, TrainConfig


def noise(samples: int, waves: int = 2) -> Tensor:
    return 0.1 * torch.randn(waves, 1, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("samples", [1, 255, 256, 4000, 9600])
def test_without_phases_a_wave_stays_what_it_is(samples: int) -> None:
    wave = noise(samples)
    assert torch.allclose(PhaseRotation()(wave, torch.zeros(2, 17)), wave, atol=1e-6)


def test_phases_in_proportion_to_frequency_are_a_delay() -> None:
    wave = noise(8000)
    milliseconds = 2
    ramp = -2 * math.pi * torch.arange(17) * 500 * milliseconds / 1000
    delayed = PhaseRotation()(wave, ramp.expand(2, -1))
    inner = slice(1024, -1024)
    expected = wave.roll(16 * milliseconds, dims=-1)
    error = (delayed - expected)[..., inner].square().mean()
    assert error < 0.01 * expected.square().mean()  # frames move as one, their windows do not


def test_what_is_drawn_changes_a_wave_but_not_its_spectrum() -> None:
    torch.manual_seed(0)
    rotation, wave = PhaseRotation(), noise(16000)
    turned = rotation(wave, rotation.draw(2))
    assert (turned - wave).square().mean() > wave.square().mean()
    mel = MelSpectrogram(1024, 40)
    before, after = (mel(x.squeeze(1)).square().mean(1) for x in (wave, turned))
    assert torch.allclose(before, after, rtol=0.25)


def test_both_waves_of_a_pair_are_turned_alike() -> None:
    torch.manual_seed(0)
    loss = CodecLoss(
        TrainConfig(
            discriminators=DISCRIMINATORS["small"],
            adversarial=AdversarialConfig(rotate_phases=True),
        )
    )
    wave = noise(8000).requires_grad_()
    turned = loss._rotated(wave.detach(), wave)
    assert torch.equal(*turned) and not torch.allclose(turned[0], wave, atol=0.05)
    (gradient,) = torch.autograd.grad(turned[1].square().sum(), [wave])
    assert torch.isfinite(gradient).all() and gradient.abs().amin() > 0
