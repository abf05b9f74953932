"""Discriminators and adversarial losses, against numbers that the published code gave.

`tests/models/golden/make_train_golden.py` wrote those numbers, and says how.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.published import adapt, name_pairs
from bigcodec_models.config import ConfigError
from bigcodec_models.discriminators.config import (
    PRESETS,
    DiscriminatorsConfig,
    MultiPeriodConfig,
    SpectralConfig,
)
from bigcodec_models.discriminators.layers import Features
from bigcodec_models.discriminators.published import adapt_discriminators, parameter_name
from bigcodec_models.discriminators.registry import build_discriminators
from bigcodec_models.discriminators.spectrogram import Magnitude, SpectralDiscriminator
from bigcodec_models.discriminators.waveform import Fold, MultiPeriodDiscriminator
from bigcodec_models.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from bigcodec_models.losses.spectral import MultiScaleMelLoss
from bigcodec_models.training.codec_loss import CodecLoss
from bigcodec_models.training.config import TrainConfig
from bigcodec_models.training.optimizers import clipped_gradients

THINNING = 37


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Operators this small lose far more to threads waiting for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Golden(NamedTuple):
    """The golden files: weights by published name, arrays, and values."""

    weights: dict[str, Tensor]
    arrays: dict[str, npt.NDArray[Any]]
    values: dict[str, Any]


class Step(NamedTuple):
    """The golden step as this project's modules compute it."""

    fake: Tensor
    tokens: Tensor
    losses: dict[str, float]
    adversarial_before_update: float
    gradients: dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def reference(golden: Path) -> Golden:
    with np.load(golden / "train_golden.npz") as arrays:
        return Golden(
            torch.load(golden / "train_golden.pt", weights_only=True),
            dict(arrays),
            json.loads((golden / "train_golden.json").read_text()),
        )


def load_discriminators(reference: Golden) -> nn.ModuleDict:
    widths = reference.values["widths"]
    config = DiscriminatorsConfig(
        mpd=MultiPeriodConfig(
            width=widths["mpd"]["channels"], max_width=widths["mpd"]["max_downsample_channels"]
        ),
        spectral=SpectralConfig(
            width=widths["mstft"]["channels"], max_width=widths["mstft"]["max_downsample_channels"]
        ),
    )
    discriminators = build_discriminators(config)
    discriminators.load_state_dict(adapt_discriminators(reference.weights))
    return discriminators


def load_generator(reference: Golden) -> tuple[CodecNetwork, dict[str, str]]:
    """The network with the golden weights, and its names by the published ones."""
    parts = ("CodecEnc.", "generator.")
    tensors, config = adapt({k: v for k, v in reference.weights.items() if k.startswith(parts)})
    network = CodecNetwork(config)
    network.load_state_dict(tensors)
    return network, dict(name_pairs(config))


def wave(reference: Golden, name: str) -> Tensor:
    return torch.from_numpy(reference.arrays[name]).unsqueeze(1)


def gradient_norms(module: nn.Module) -> dict[str, float]:
    norms: dict[str, float] = {}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        norms[name] = parameter.grad.norm().item()
    return norms


def train_discriminators(
    discriminators: nn.ModuleDict, real: Tensor, fake: Tensor
) -> tuple[dict[str, float], dict[str, float]]:
    """Losses and gradient norms; then the update that the golden step makes."""
    outputs = [[f for d in discriminators.values() for f in d(wave)] for wave in (real, fake)]
    loss = discriminator_loss(outputs[0], outputs[1])
    (loss.real + loss.fake).backward()  # type: ignore[no-untyped-call]
    norms = gradient_norms(discriminators)
    nn.utils.clip_grad_norm_(discriminators.parameters(), 1.0)
    torch.optim.AdamW(discriminators.parameters(), lr=1e-3, betas=(0.8, 0.9)).step()
    return {"d_real": loss.real.item(), "d_fake": loss.fake.item()}, norms


def generator_losses(
    discriminators: nn.ModuleDict, real: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    with torch.no_grad():
        mpd_real, spectral_real = (d(real) for d in discriminators.values())
    mpd_fake, spectral_fake = (d(fake) for d in discriminators.values())
    return {
        "mel": MultiScaleMelLoss()(fake.squeeze(1), real.squeeze(1)),
        "adv": generator_loss(mpd_fake + spectral_fake),
        "fm_mpd": feature_matching_loss(mpd_real, mpd_fake),
        "fm_spec": feature_matching_loss(spectral_real, spectral_fake),
    }


@pytest.fixture(scope="module")
def step(reference: Golden) -> Step:
    discriminators = load_discriminators(reference)
    network, _ = load_generator(reference)
    real = wave(reference, "real")
    generated = network(real)
    fake: Tensor = generated.wave
    before = generator_losses(discriminators, real, fake.detach())["adv"].item()
    losses, norms = train_discriminators(discriminators, real, fake.detach())
    discriminators.requires_grad_(False)
    parts = generator_losses(discriminators, real, fake) | {"vq": generated.quantized.loss}
    parts["total"] = sum(parts.values(), 14 * parts["mel"])
    parts["total"].backward()
    return Step(
        fake=fake.detach(),
        tokens=generated.quantized.tokens,
        losses=losses | {name: value.item() for name, value in parts.items()},
        adversarial_before_update=before,
        gradients={"discriminators": norms, "generator": gradient_norms(network)},
    )


@pytest.mark.parametrize("kind", ["mpd", "spectral"])
@pytest.mark.parametrize("name", ["real", "fake"])
def test_feature_maps_match_the_published_ones(reference: Golden, kind: str, name: str) -> None:
    with torch.no_grad():
        outputs = load_discriminators(reference)[kind](wave(reference, name))
    expected = {k: v for k, v in reference.arrays.items() if k.startswith(f"{kind}_{name}.")}
    assert len(expected) == sum(len(features) for features in outputs) == 30
    for part, features in enumerate(outputs):
        for index, feature in enumerate(features):
            values = feature.flatten()[:: 1 if index == 5 else THINNING].numpy()
            published = expected[f"{kind}_{name}.{part}.{index}"]
            assert values.shape == published.shape
            assert np.abs(values - published).max() < 1e-4 * np.abs(published).max()


def test_generated_wave_matches_the_published_one(reference: Golden, step: Step) -> None:
    assert np.array_equal(step.tokens[..., 0].numpy(), reference.arrays["tokens"])
    assert np.abs(step.fake[:, 0].numpy() - reference.arrays["fake"]).max() < 1e-5


def test_every_loss_matches_the_published_one(reference: Golden, step: Step) -> None:
    assert step.losses == pytest.approx(reference.values["losses"], rel=1e-3)


def test_golden_step_would_show_a_missing_update(reference: Golden, step: Step) -> None:
    published = reference.values["losses"]["adv"]
    assert step.adversarial_before_update != pytest.approx(published, rel=5e-3)


def test_discriminator_gradients_match_the_published_ones(reference: Golden, step: Step) -> None:
    published = reference.values["gradients"]["discriminators"]
    expected = {parameter_name(name): norm for name, norm in published.items()}
    assert len(expected) == 180
    assert step.gradients["discriminators"] == pytest.approx(expected, rel=1e-3)


def test_generator_gradients_match_the_published_ones(reference: Golden, step: Step) -> None:
    names = load_generator(reference)[1]
    published = reference.values["gradients"]["generator"]
    expected = {names[name]: norm for name, norm in published.items()}
    assert step.gradients["generator"] == pytest.approx(expected, rel=1e-3)


def test_the_trainers_step_takes_the_published_losses_in_the_published_order(
    reference: Golden,
) -> None:
    codec_loss = CodecLoss(TrainConfig(discriminators=PRESETS["none"]))
    codec_loss.discriminators = load_discriminators(reference)
    optimizer = torch.optim.AdamW(codec_loss.parameters(), lr=1e-3, betas=(0.8, 0.9))
    network, _ = load_generator(reference)
    real = wave(reference, "real")
    output = network(real)
    first = codec_loss.discriminator_losses(real, output.wave)
    clipped_gradients(first["total"], codec_loss.parameters(), clip_norm=1.0)
    optimizer.step()
    second = codec_loss.generator_losses(real, output, (real, output.wave))
    second["total"] = codec_loss.weighted_sum(second)
    published = reference.values["losses"]
    expected = {
        "discriminator_real": published["d_real"],
        "discriminator_fake": published["d_fake"],
        "mel": published["mel"],
        "vq": published["vq"],
        "adversarial": published["adv"],
        "feature_matching": published["fm_mpd"] + published["fm_spec"],
        "total": published["total"],
    }
    losses = {name: value.item() for name, value in {**first, **second}.items()}
    assert losses == pytest.approx(expected, rel=1e-3)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_default_sizes_are_the_published_ones() -> None:
    assert parameter_count(MultiPeriodDiscriminator(MultiPeriodConfig())) == 10_284_730
    assert parameter_count(SpectralDiscriminator(SpectralConfig())) == 11_311_210


def test_small_preset_stays_small() -> None:
    assert parameter_count(build_discriminators(PRESETS["small"])) < 3_000_000


@pytest.mark.parametrize("samples", [12, 4000, 4001, 4619])
def test_multi_period_shapes(samples: int) -> None:
    config = MultiPeriodConfig(width=2, max_width=16)
    outputs = MultiPeriodDiscriminator(config)(torch.randn(2, 1, samples))
    assert len(outputs) == 5
    for period, features in zip(config.periods, outputs, strict=True):
        rows = [math.ceil(math.ceil(samples / period) / 3**i) for i in (1, 2, 3, 4, 4)]
        expected = [(2, c, r, period) for c, r in zip((2, 8, 16, 16, 16), rows, strict=True)]
        expected.append((2, 1, rows[-1] + 1, period))
        assert [tuple(f.shape) for f in features] == expected


@pytest.mark.parametrize("samples", [1025, 4000, 4001])
def test_spectral_shapes(samples: int) -> None:
    config = SpectralConfig(width=2, max_width=24)
    outputs = SpectralDiscriminator(config)(torch.randn(2, 1, samples))
    assert len(outputs) == 5
    for size, features in zip(config.fft_sizes, outputs, strict=True):
        full = (size // 2 + 1, 1 + samples // (size // 4))
        maps = [tuple(math.ceil(n / 2**i) for n in full) for i in (1, 2, 3, 4, 4, 4)]
        expected = [(2, c, *m) for c, m in zip((2, 4, 8, 16, 24, 1), maps, strict=True)]
        assert [tuple(f.shape) for f in features] == expected


def test_fold_reflects_the_end() -> None:
    folded = Fold(3)(torch.arange(7.0).view(1, 1, 7))
    assert folded.tolist() == [[[[0, 1, 2], [3, 4, 5], [6, 5, 4]]]]


def test_magnitudes_are_bounded_and_have_finite_gradients() -> None:
    silence = torch.zeros(1, 1, 4096, requires_grad=True)
    quiet = Magnitude(2048)(silence)
    quiet.sum().backward()
    assert silence.grad is not None and silence.grad.isfinite().all()
    loud = Magnitude(2048)(torch.sin(torch.arange(4096.0)).view(1, 1, -1))
    assert quiet.max().item() == pytest.approx(math.sqrt(1e-7))
    assert loud.max().item() == pytest.approx(math.sqrt(1e3))


def test_magnitudes_stay_in_single_precision_under_autocast() -> None:
    noise = torch.randn(1, 1, 512)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Magnitude(128)(noise), Magnitude(128)(noise.float()))
        assert Magnitude(128)(noise.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("discriminator.discriminators.4.convs.3.0.weight_v", "mpd.parts.4.layers.3.weight_v"),
        ("discriminator.discriminators.0.output_conv.bias", "mpd.parts.0.score.bias"),
        (
            "spec_discriminator.model.disc_2.model.layer_4.0.weight_g",
            "spectral.parts.2.layers.4.weight_g",
        ),
        ("spec_discriminator.model.disc_1.model.layer_5.bias", "spectral.parts.1.score.bias"),
        ("discriminator.weight", None),
        ("spec_discriminator.model.disc_1.model.layer_5.0.0.bias", None),
    ],
)
def test_published_names(published: str, name: str | None) -> None:
    assert parameter_name(published) == name


def test_lightning_names_are_picked_up(reference: Golden) -> None:
    behind_model = {f"model.{name}": tensor for name, tensor in reference.weights.items()}
    adapted = adapt_discriminators(behind_model)
    assert adapted.keys() == load_discriminators(reference).state_dict().keys()


def test_release_layout_has_no_discriminators(reference: Golden) -> None:
    weights = {k: v for k, v in reference.weights.items() if "discriminator." not in k}
    assert adapt_discriminators(weights) == {}


@pytest.mark.parametrize(
    "names",
    [
        ["discriminator.weight"],
        [f"spec_discriminator.model.disc_0.model.layer_{index}.bias" for index in (4, 5)],
    ],
)
def test_foreign_discriminators_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="no place"):
        adapt_discriminators({name: torch.zeros(1) for name in names})


def some_features(*scores: float) -> list[Features]:
    return [[torch.full((2, 3), 5.0), torch.full((2, 1, 4), score)] for score in scores]


def test_least_squares_losses_by_hand() -> None:
    loss = discriminator_loss(some_features(1.0, 0.5), some_features(0.0, -0.5))
    assert (loss.real.item(), loss.fake.item()) == (0.25, 0.25)
    assert generator_loss(some_features(1.0, -1.0)).item() == 4.0


def test_feature_matching_by_hand() -> None:
    real = [[torch.zeros(2, 2), torch.ones(3), torch.zeros(1)], [torch.zeros(4), torch.zeros(1)]]
    fake = [[torch.ones(2, 2), torch.zeros(3), torch.ones(1)], [torch.full((4,), 0.5)] * 2]
    assert feature_matching_loss(real, fake).item() == 2.5


def test_feature_matching_moves_the_generated_side_only() -> None:
    real, fake = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    score = torch.zeros(1)
    feature_matching_loss([[real, score]], [[fake, score]]).backward()  # type: ignore[no-untyped-call]
    assert real.grad is None
    assert fake.grad is not None


def test_feature_matching_needs_the_same_discriminators() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_matching_loss(some_features(1.0), some_features(1.0, 1.0))
