"""Models that predict F0: both modes of a stream, what the decoder does with either, the loss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.lite import LiteDecoder, most_likely_f0
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import (
    F0_BINS,
    ConfigError,
    LiteConfig,
    config_from_dict,
    config_to_dict,
)
from bigcodec_models.inference.torch_engine import network_of
from bigcodec_models.losses.spectral import f0_loss
from bigcodec_models.training.validation import f0_accuracy

CONFIG = PRESETS["toy-single"]


def codec(f0: str | None = None) -> Codec:
    torch.manual_seed(3)
    tensors = CodecNetwork(CONFIG).state_dict()
    # A fresh head says nearly the same of every frame: let it tell frames apart.
    tensors["decoder.f0_head.output.weight"] *= 20
    info = ModelInfo(name="", license="")
    return Codec(LoadedModel(config=CONFIG, info=info, tensors=tensors), f0=f0)


def tone(seconds: float = 1.0) -> npt.NDArray[np.float32]:
    phase = 2 * np.pi * 130 * np.arange(int(16_000 * seconds)) / 16_000
    harmonics = np.arange(1, 9)[:, None]
    waves = 0.1 * np.cos(harmonics * phase) / harmonics
    return np.asarray(waves.sum(axis=0), dtype=np.float32)


def predicted_f0(model: Codec, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    network = network_of(model._engine)
    assert isinstance(network.decoder, LiteDecoder)
    with torch.inference_mode():
        latent = network.quantizer.decode(torch.from_numpy(codes).view(1, -1, 1))
        logits = network.decoder.hidden(latent)[1]
        predicted: npt.NDArray[np.int64] = most_likely_f0(logits)[0].numpy()
    return predicted


def test_one_set_of_weights_codes_both_ways() -> None:
    wave = tone()
    single, coded = codec().encode(wave), codec("coded").encode(wave)
    assert codec().token_sizes == (1024,) and codec("coded").token_sizes == (1024, F0_BINS)
    assert single.shape == (80,) and coded.shape == (80, 2)
    assert np.array_equal(single, coded[:, 0])
    middle = 55 * 2 ** ((coded[10:70, 1] - 1) / 48)
    assert np.abs(1200 * np.log2(middle / 130)).max() < 30
    assert codec().fingerprint == codec("coded").fingerprint


def test_an_f0_in_the_stream_does_what_the_same_f0_does_predicted() -> None:
    model = codec()
    codes = model.encode(tone())
    f0 = predicted_f0(model, codes)
    assert len(np.unique(f0)) > 5
    with_f0 = np.stack([codes, f0], axis=1)
    assert np.array_equal(model.decode(with_f0), model.decode(codes))
    with_f0[:, 1] = (with_f0[:, 1] + 40) % F0_BINS
    assert not np.allclose(model.decode(with_f0), model.decode(codes), atol=1e-3)


def test_either_mode_decodes_the_streams_of_both() -> None:
    wave = tone()
    for mode in ("predicted", "coded"):
        tokens = codec(mode).encode(wave)
        assert np.array_equal(codec("predicted").decode(tokens), codec("coded").decode(tokens))


def test_streams_of_both_modes_side_by_side() -> None:
    model = codec()
    tables = [codec(mode).encode(tone(s)) for s in (0.5, 9.0) for mode in ("coded", "predicted")]
    for wave, table in zip(model.decode_batch(tables, 3), tables, strict=True):
        assert np.array_equal(wave, model.decode(table))


@pytest.mark.parametrize("shape", [(5, 3), (5, 0), (5, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(T, 1\) or \(T, 2\)"):
        codec().decode(np.zeros(shape, np.int64))


def test_an_f0_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="1024 and 154"):
        codec().decode(np.array([[0, F0_BINS]]))


@pytest.mark.parametrize("name", ["toy", "toy-lite", "toy-harmonic"])
def test_models_say_which_modes_they_know(name: str) -> None:
    config = PRESETS[name]
    assert config.f0_modes == (("coded",) if name == "toy-harmonic" else ())
    with pytest.raises(ConfigError, match="F0 cannot be predicted"):
        config.token_sizes_with("predicted")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"harmonics": False}, "needs harmonics"),
        ({"attention_lookahead": 0}, "needs attention_lookahead"),
        ({"sequence": "lstm"}, "is for sequence = attention"),
    ],
)
def test_contradictory_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict({**config_to_dict(CONFIG), **changes})


def test_the_default_has_one_token_of_8192_and_few_enough_parameters() -> None:
    config = PRESETS["lite"]
    assert isinstance(config, LiteConfig) and config.token_sizes == (8192,)
    assert sum(p.numel() for p in CodecNetwork(config).parameters()) <= 22_000_000


@pytest.mark.parametrize("mode", ["predicted", "coded"])
def test_the_default_network_is_exact_in_parts_batches_and_cuts(mode: str, speech: Path) -> None:
    """At full size, with random weights: the real grid of chunks, over 25 s of speech."""
    torch.manual_seed(0)
    config = PRESETS["lite"]
    info = ModelInfo(name="", license="")
    tensors = CodecNetwork(config).state_dict()
    model = Codec(LoadedModel(config=config, info=info, tensors=tensors), f0=mode)
    clip = soundfile.read(speech, dtype="float32")[0]
    wave = np.tile(clip, 1 + 400_000 // len(clip))[:400_000]
    tokens = model.encode(wave)
    cuts = np.split(wave, [7, 130_001, 255_555])
    assert np.array_equal(np.concatenate(list(model.encode_stream(cuts))), tokens)
    beside = model.encode_batch([wave[:50_000], wave], 2)
    assert np.array_equal(beside[1], tokens)
    whole = model.decode(tokens)
    assert np.array_equal(model.decode(tokens, 30_001, 201_234), whole[201_234:231_235])
    assert np.array_equal(model.decode_batch([tokens[:300], tokens], 2)[1], whole)


def test_a_part_needs_no_more_than_lies_behind_the_last_reset_of_the_phase() -> None:
    torch.manual_seed(0)
    small = config_from_dict({**config_to_dict(CONFIG), "reset_every": 1920})
    tensors = CodecNetwork(small).state_dict()
    info = ModelInfo(name="", license="")
    model = Codec(LoadedModel(config=small, info=info, tensors=tensors))
    tokens = np.random.default_rng(0).integers(0, 1024, 6000)
    whole = model.decode(tokens)
    for frame in (1900, 1921, 4500, 5990):
        first, last = model.needed_frames((frame, frame + 5))
        assert first >= max(0, frame // 1920 - 1) * 1920 - 640 and last is not None
        part = list(model.decode_stream([tokens[first:last]], (frame, frame + 5), first))
        expected = whole[frame * 200 : (frame + 5) * 200]
        assert np.array_equal(np.concatenate(part), expected)


def test_crops_of_a_step_may_follow_either_f0() -> None:
    torch.manual_seed(0)
    network = CodecNetwork(CONFIG)
    wave = torch.from_numpy(np.stack([tone(), tone()])).unsqueeze(1)
    with torch.no_grad():
        mixed = network(wave, torch.tensor([True, False]))
        given = network(wave)
        predicted = network(wave, torch.tensor([True, True]))
    assert torch.equal(mixed.wave[0], predicted.wave[0])
    assert torch.equal(mixed.wave[1], given.wave[1])
    assert not torch.equal(predicted.wave[0], given.wave[0])


def test_the_loss_teaches_f0_to_the_head() -> None:
    torch.manual_seed(0)
    network = CodecNetwork(CONFIG)
    assert isinstance(network.decoder, LiteDecoder)
    wave = torch.from_numpy(np.stack([tone(), np.zeros(16_000, np.float32)])).unsqueeze(1)
    tokens, latent = network.f0_tokens(wave), network.encoder(wave).detach()
    assert tokens is not None
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        _, logits = network.decoder.hidden(latent)
        optimizer.zero_grad()
        f0_loss(logits, tokens).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    accuracy = f0_accuracy(logits, tokens)
    assert accuracy.voicing > 0.95 and accuracy.within_50_cents > 0.9


def test_the_loss_is_least_for_its_target_and_less_for_a_near_miss() -> None:
    tokens = torch.tensor([[0, 60]])

    def loss(unvoiced: int, voiced: int) -> float:
        logits = torch.full((1, 2, F0_BINS), -20.0)
        logits[0, 0, unvoiced] = logits[0, 1, voiced] = 5.0
        return float(f0_loss(logits, tokens))

    assert loss(0, 60) < loss(0, 61) < loss(0, 90)
    assert loss(0, 60) < loss(1, 60)
    near = torch.exp(-0.5 * (torch.arange(F0_BINS) - 60.0).square())
    near[0] = 0
    perfect = (near / near.sum()).clamp(min=1e-30).log()
    silent = torch.full((F0_BINS,), -70.0)
    silent[0] = 0.0
    least = float(f0_loss(torch.stack([silent, perfect]).unsqueeze(0), tokens))
    entropy = -float((near / near.sum() * perfect).sum()) / 2
    assert math.isclose(least, entropy, rel_tol=1e-4)


def test_voicing_takes_more_than_half_of_the_probability() -> None:
    shares = torch.full((3, F0_BINS), 1e-6)
    shares[0, 0], shares[0, 30], shares[0, 31] = 0.6, 0.3, 0.1
    shares[1, 0], shares[1, 30], shares[1, 31] = 0.4, 0.2, 0.4
    shares[2, 0], shares[2, 30], shares[2, 31] = 0.45, 0.25, 0.3
    assert most_likely_f0(shares.log().unsqueeze(0)).tolist() == [[0, 31, 31]]


def test_a_coded_f0_needs_its_mode() -> None:
    with pytest.raises(ConfigError, match="it supports predicted, coded"):
        codec("none")
