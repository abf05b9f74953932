"""Each part of an adversarial recipe by itself on a fixed batch of real speech, and their sum."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bigcodec_models.architectures.network import Reconstruction
from bigcodec_models.config import PRESETS
from bigcodec_models.config_values import merged
from bigcodec_models.data.crops import CropSource, scan
from bigcodec_models.discriminators.config import SMALL
from bigcodec_models.discriminators.layers import Discriminator, Features
from bigcodec_models.discriminators.registry import KINDS
from bigcodec_models.errors import TrainingError
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.choices import ADVERSARIAL_LOSSES, STFT_WINDOWS, fft_size_for
from bigcodec_models.losses.spectral import MultiResolutionStftLoss
from bigcodec_models.quantization.quantizer import Quantized
from bigcodec_models.training.checkpoint import load_checkpoint
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import TrainConfig, recipe_for, with_settings
from bigcodec_models.training.events import Callbacks
from bigcodec_models.training.portable import load_portable, save_portable
from bigcodec_models.training.trainer import Trainer

CHANCE = {"least_squares": 0.5, "hinge": 2.0, "bce": 2 * math.log(2)}
"""The best loss of a score that knows nothing, for real and generated together."""

# One sub-discriminator of each small kind: enough to see that it learns.
ONE: dict[str, dict[str, Any]] = {
    "mpd": {"periods": (3,)},
    "msd": {"scales": 1},
    "spectral": {"fft_sizes": (512,)},
    "msstft": {"fft_sizes": (512,)},
    "mrd": {"fft_sizes": (512,)},
    "mssbcqt": {"bins_per_octave": (12,), "hops": (128,)},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Operators this small lose far more to threads waiting for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NONE = {"preset": "none"}

FIGURES = logging.getLogger(__name__)
"""What docs/training.md shows: `pytest --log-cli-level info`."""


class Batch(NamedTuple):
    """The two loudest crops of the clip, its peak at 1, and what is left below about 0.8 kHz."""

    real: Tensor
    blurred: Tensor


@pytest.fixture(scope="module")
def batch(speech: Path) -> Batch:
    wave = torch.from_numpy(soundfile.read(speech, dtype="float32")[0])
    crops = (wave / wave.abs().max()).unfold(0, 2100, 2100)
    real = crops[crops.square().mean(1).argsort(descending=True)[:2]].unsqueeze(1)
    return Batch(real, F.avg_pool1d(real, 9, 1, 4))


class Trained(NamedTuple):
    """A trained discriminator, the steps it took, and its first and last loss."""

    discriminator: Discriminator
    steps: int
    first: float
    last: float


def train_alone(
    kind: str, batch: Batch, loss: str = "least_squares", max_steps: int = 120
) -> Trained:
    """Train one sub-discriminator until its loss is 0.7 of what guessing gives."""
    torch.manual_seed(0)
    discriminator = KINDS[kind](dataclasses.replace(SMALL[kind], **ONE[kind]))
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=4e-3, betas=(0.8, 0.99))
    seen: list[float] = []
    while not seen or (seen[-1] > 0.7 * CHANCE[loss] and len(seen) < max_steps):
        both = [features[-1] for features in discriminator(torch.cat(batch))]
        losses = discriminator_loss([[x[:2]] for x in both], [[x[2:]] for x in both], loss)
        total = losses.real + losses.fake
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen.append(total.item())
    return Trained(discriminator, len(seen), seen[0], seen[-1])


def move(trained: Trained, start: Tensor, loss: str = "least_squares") -> list[float]:
    """The adversarial term of a free wave that a generator's gradient moves ten times."""
    trained.discriminator.requires_grad_(False)
    wave = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([wave], lr=4e-3)
    terms: list[float] = []
    for _ in range(11):
        term = generator_loss(trained.discriminator(wave), loss)
        optimizer.zero_grad()
        term.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        terms.append(term.item())
    return terms


def figures(trained: Trained, terms: list[float]) -> str:
    """Steps; the discriminator's loss, first and last; the generator's term, likewise."""
    values = (trained.first, trained.last, terms[0], terms[-1])
    return " ".join([str(trained.steps), *(f"{value:.2f}" for value in values)])


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_discriminator_learns_and_a_free_wave_lowers_its_term(kind: str, batch: Batch) -> None:
    """Real from blurred, alone; then the blurred wave moves, alone. Guessing never gets there."""
    trained = train_alone(kind, batch)
    assert trained.last <= 0.7 * CHANCE["least_squares"] < 0.5 * trained.first
    with torch.no_grad():
        real, blurred = (trained.discriminator(wave) for wave in batch)
    for features, blurred_features in zip(real, blurred, strict=True):
        assert features[-1].mean() > blurred_features[-1].mean() + 0.1
    terms = move(trained, batch.blurred)
    assert terms[-1] < 0.9 * terms[0]
    FIGURES.info("%s: %s", kind, figures(trained, terms))


@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
def test_every_adversarial_loss_teaches_both_sides(loss: str, batch: Batch) -> None:
    trained = train_alone("mpd", batch, loss)
    assert trained.last <= 0.7 * CHANCE[loss]
    terms = move(trained, batch.blurred, loss)
    assert terms[-1] < terms[0] - 0.05
    FIGURES.info("%s: %s", loss, figures(trained, terms))


def scored(*scores: float) -> list[Features]:
    """Sub-discriminators with one feature map and a constant score each."""
    return [[torch.full((2, 3), 5.0), torch.full((2, 1, 4), score)] for score in scores]


def test_hinge_losses_by_hand() -> None:
    loss = discriminator_loss(scored(2.0, 0.5), scored(-3.0, 0.25), "hinge")
    assert (loss.real.item(), loss.fake.item()) == (0.5, 1.25)
    assert generator_loss(scored(2.0, -0.5), "hinge").item() == -1.5


def test_cross_entropy_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 1, 9), 3 * torch.randn(2, 1, 9)
    loss = discriminator_loss([[real]], [[fake]], "bce")
    entropy = F.binary_cross_entropy_with_logits
    assert loss.real.item() == pytest.approx(entropy(real, torch.ones_like(real)).item())
    assert loss.fake.item() == pytest.approx(entropy(fake, torch.zeros_like(fake)).item())
    generator = generator_loss([[fake]], "bce").item()
    assert generator == pytest.approx(entropy(fake, torch.ones_like(fake)).item())


def test_weights_multiply_terms_by_hand() -> None:
    assert generator_loss(scored(3.0, 0.0), weights=[0.5, 10.0]).item() == 12.0
    real, fake = scored(0.0, 0.0), scored(0.0, 0.0)
    fake[0][0] += 1
    fake[1][0] += 2
    assert feature_matching_loss(real, fake, [0.5, 10.0]).item() == 20.5
    with pytest.raises(ValueError, match="zip"):
        generator_loss(fake, weights=[1.0])


def reconstruction(wave: Tensor) -> Reconstruction:
    """The output of a network: a wave, and a quantizer's loss of 0."""
    empty = torch.zeros(1)
    return Reconstruction(wave, Quantized(empty, empty, torch.zeros(()), (), ()))


def toy(**changes: Any) -> TrainConfig:
    small = {
        "batch_size": 2,
        "crops": {"seconds": 0.5},
        "losses": {"mel_windows": [128, 512]},
        "codebook": {"replace_dead_codes_every": 0},
        "adversarial": {"start_step": 0},
    }
    return with_settings(recipe_for(PRESETS["toy-lite"]), merged(small, changes))


def small_discriminators(**weights: float) -> dict[str, Any]:
    """A table of discriminators of the small size with these weights."""
    table = {kind: {"size": "small", "weight": weight} for kind, weight in weights.items()}
    return {"preset": "none", **table}


def test_a_run_weighs_each_discriminator_as_configured(batch: Batch) -> None:
    torch.manual_seed(0)
    table = small_discriminators(mrd=0.25, mpd=3)
    codec_loss = CodecLoss(toy(discriminators=table, adversarial={"loss": "bce"}))
    seen = (batch.real, batch.blurred)
    losses = codec_loss.generator_losses(batch.real, reconstruction(batch.blurred), seen)
    adversarial = matching = torch.zeros(())
    discriminators = dict(codec_loss.discriminators.items())
    assert set(discriminators) == {"mrd", "mpd"}
    for kind, weight in (("mrd", 0.25), ("mpd", 3.0)):
        real, fake = discriminators[kind](batch.real), discriminators[kind](batch.blurred)
        adversarial = adversarial + weight * generator_loss(fake, "bce")
        matching = matching + weight * feature_matching_loss(real, fake)
    assert losses["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-5)
    assert losses["feature_matching"].item() == pytest.approx(matching.item(), rel=1e-5)
    learning = codec_loss.discriminator_losses(batch.real, batch.blurred)
    alone = discriminator_loss(
        codec_loss.discriminate(batch.real), codec_loss.discriminate(batch.blurred), "bce"
    )
    assert learning["discriminator_real"].item() == pytest.approx(alone.real.item(), rel=1e-5)
    assert learning["discriminator_fake"].item() == pytest.approx(alone.fake.item(), rel=1e-5)


def test_further_losses_are_off_until_they_have_a_weight(batch: Batch) -> None:
    output = reconstruction(batch.blurred)
    codec_loss = CodecLoss(toy(discriminators=NONE))
    plain = codec_loss.generator_losses(batch.real, output, None)
    assert plain.keys() == {"mel", "vq"}
    without = codec_loss.weighted_sum(plain)
    weights = {"wave_l1_weight": 2.0, "wave_l2_weight": 3.0, "stft_weight": 0.5}
    weights["loudness_weight"] = 7.0
    codec_loss = CodecLoss(toy(discriminators=NONE, losses=weights))
    losses = codec_loss.generator_losses(batch.real, output, None)
    difference = batch.blurred - batch.real
    assert losses["wave_l1"].item() == pytest.approx(difference.abs().mean().item())
    assert losses["wave_l2"].item() == pytest.approx(difference.square().mean().item())
    extra = 2 * losses["wave_l1"] + 3 * losses["wave_l2"] + 0.5 * losses["stft"]
    extra = extra + 7 * losses["loudness"]
    assert codec_loss.weighted_sum(losses).item() == pytest.approx((without + extra).item())


def magnitudes(wave: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """By scipy: Hann, a fifth of the window apart, centered in an FFT of the next power of two."""
    size = fft_size_for(window)
    left = (size - window) // 2
    taps = np.pad(scipy.signal.get_window("hann", window), (left, size - window - left))
    transform = scipy.signal.ShortTimeFFT(taps, window // 5, 16000, mfft=size)
    padded = np.pad(wave, size // 2, mode="reflect")
    starts = range(0, len(wave) + 1, window // 5)
    frames = np.stack([padded[start : start + size] for start in starts])
    power = np.abs(np.fft.rfft(frames * transform.win)) ** 2
    result: npt.NDArray[Any] = np.sqrt(np.maximum(power, 1e-7))
    return result


def test_stft_loss_is_its_formula(batch: Batch) -> None:
    loss = MultiResolutionStftLoss()(batch.blurred[:, 0], batch.real[:, 0]).item()
    terms = []
    for real, blurred in zip(batch.real[:, 0].numpy(), batch.blurred[:, 0].numpy(), strict=True):
        for window in STFT_WINDOWS:
            target, other = (magnitudes(x.astype(float), window) for x in (real, blurred))
            convergence = np.linalg.norm(target - other) / np.linalg.norm(target)
            terms.append(convergence + np.abs(np.log(target) - np.log(other)).mean())
    assert loss == pytest.approx(np.mean(terms), rel=1e-3)
    assert [fft_size_for(n) for n in (*STFT_WINDOWS, 512, 513)] == [256, 512, 1024, 512, 1024]


def test_stft_loss_of_silence_is_finite_and_of_equals_nothing(batch: Batch) -> None:
    loss = MultiResolutionStftLoss()
    assert loss(batch.real[:, 0], batch.real[:, 0]).item() == 0
    silence = torch.zeros(2, 4000, requires_grad=True)
    total = loss(silence, torch.zeros(2, 4000)) + loss(silence, torch.randn(2, 4000))
    total.backward()
    assert total.isfinite() and silence.grad is not None and silence.grad.isfinite().all()


@pytest.mark.parametrize("name", ["wave_l1", "wave_l2", "stft"])
def test_each_further_loss_alone_brings_a_free_wave_nearer(name: str, batch: Batch) -> None:
    weights = {"mel_weight": 0.0, "vq_weight": 0.0, f"{name}_weight": 1.0}
    codec_loss = CodecLoss(toy(discriminators=NONE, losses=weights))
    wave = nn.Parameter(batch.blurred.clone())
    optimizer = torch.optim.Adam([wave], lr=2e-3)
    seen: list[float] = []
    for _ in range(25):
        losses = codec_loss.generator_losses(batch.real, reconstruction(wave), None)
        total = codec_loss.weighted_sum(losses)
        assert torch.equal(total, losses[name])
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen.append(losses[name].item())
    assert seen[-1] < 0.85 * seen[0]
    FIGURES.info("%s: %s", name, f"{seen[0]:.4f} {seen[-1]:.4f}")


@pytest.fixture(scope="module")
def folder(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    soundfile.write(root / "one.wav", soundfile.read(speech, dtype="float32")[0][:40000], 16000)
    return root


def train(folder: Path, run: Path, steps: int, **changes: Any) -> Trainer:
    source = CropSource(scan(folder), crop=8000, seed=4)
    trainer = Trainer(PRESETS["toy-lite"], toy(max_steps=steps, **changes), source, run, "cpu")
    trainer.resume()
    trainer.run(Callbacks())
    return trainer


MIXED: dict[str, Any] = {
    "discriminators": small_discriminators(mrd=0.5, mssbcqt=2),
    "adversarial": {"loss": "hinge", "segment_seconds": 0.25, "rotate_phases": True},
    "losses": {"stft_weight": 1.0, "loudness_weight": 2.0, "wave_l1_weight": 0.1},
}


def test_a_mixed_recipe_resumes_exactly_and_travels(folder: Path, tmp_path: Path) -> None:
    whole = train(folder, tmp_path / "whole", 4, **MIXED)
    train(folder, tmp_path / "cut", 2, **MIXED)
    resumed = train(folder, tmp_path / "cut", 4, **MIXED)
    expected = {**whole.network.state_dict(), **whole.codec_loss.state_dict()}
    state = {**resumed.network.state_dict(), **resumed.codec_loss.state_dict()}
    assert expected.keys() == state.keys() and any("mssbcqt.parts.1.front" in n for n in state)
    assert all(torch.equal(value, state[name]) for name, value in expected.items())
    checkpoint = load_checkpoint(tmp_path / "cut")
    assert checkpoint is not None and checkpoint.train == resumed.config
    assert checkpoint.train.discriminators.chosen().keys() == {"mrd", "mssbcqt"}
    save_portable(tmp_path / "portable", checkpoint)
    portable = load_portable(tmp_path / "portable")
    assert portable.train == checkpoint.train
    assert portable.discriminators.keys() == checkpoint.discriminators.keys()
    resumed.start_from(portable.weights, portable.ema, portable.discriminators, 4)


def test_weights_may_change_on_resume_and_kinds_may_not(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path, 1, **MIXED)
    table = small_discriminators(mrd=0.1, mssbcqt=1)
    later = {**MIXED, "discriminators": table, "adversarial": {"loss": "bce"}}
    assert train(folder, tmp_path, 2, **later).step == 2
    others = (
        small_discriminators(mrd=1),
        {**small_discriminators(mrd=1), "mssbcqt": {}},
        small_discriminators(mrd=1, mpd=1),
    )
    for other in others:
        with pytest.raises(TrainingError, match="discriminators at hand"):
            train(folder, tmp_path, 3, **{**MIXED, "discriminators": other})
