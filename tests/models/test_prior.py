"""Fitting priors: orders, training, and what becomes of it in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import bcdc
from bigcodec_models import PRESETS
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.codec import read_model
from bigcodec_models.prior import FitConfig, FitReport, PriorConfig, fit_prior
from bigcodec_models.prior.code_order import group_shape, similar_order
from bigcodec_models.prior.dataset import code_vectors, vary
from bigcodec_models.prior.trainer import FittedPrior, bits_per_token
from bigcodec_models.quantization.quantizer import Codebook

SIZES = (50, 6)
CONFIG = FitConfig(
    epochs=6,
    learning_rate=0.03,
    warmup=10,
    batch=8,
    frames=40,
    network=PriorConfig(embedding=8, width=24, hidden=12, dropout=0.0),
)
Sequences = list[npt.NDArray[np.int64]]


def chains(count: int, seed: int) -> Sequences:
    """Tokens (T, 2) that can be foretold in part: the next is near the one before."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        steps = random.integers(-2, 3, (random.integers(30, 200), 2))
        result.append(steps.cumsum(axis=0) % np.array(SIZES))
    return result


def codes() -> list[npt.NDArray[np.float64]]:
    """Codes on circles, neighbors being neighbors."""
    angles = [np.arange(size) / size * 2 * np.pi for size in SIZES]
    return [np.stack([np.cos(a), np.sin(a)], axis=1) for a in angles]


@pytest.fixture(scope="module")
def fitted() -> tuple[FittedPrior, list[FitReport]]:
    reports: list[FitReport] = []
    return fit_prior(chains(50, 0), chains(6, 1), codes(), CONFIG, reports.append), reports


def file_of(fitted: FittedPrior) -> bytes:
    shape = bcdc.PriorShape(
        model=b"abcdef",
        geometry=bcdc.Geometry(codebook_sizes=SIZES),
        inputs=fitted.arrays["embedding"].shape[1],
        width=CONFIG.network.width,
        hidden=CONFIG.network.hidden,
    )
    return bcdc.write_prior(shape, fitted.arrays)


def test_training_learns_what_there_is_to_learn(
    fitted: tuple[FittedPrior, list[FitReport]],
) -> None:
    """Five steps of equal chance are log2 5 = 2.32 bits; all codes alike would be 4.1."""
    bits = [report.held_out_bits for report in fitted[1] if report.held_out_bits is not None]
    assert len(bits) == CONFIG.epochs
    assert bits[-1] < 2.7
    assert fitted[1][-1].tokens == fitted[1][-1].total_tokens


def test_integers_cost_at_most_one_percent_more(
    fitted: tuple[FittedPrior, list[FitReport]],
) -> None:
    prior, network = bcdc.read_prior(file_of(fitted[0])), fitted[0].network
    sequences = chains(12, 2)
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000, geometry=prior.geometry)
    payload = 0
    for sequence in sequences:
        coding = bcdc.Coding(bcdc.header_for(header, bcdc.Coder.PRIOR, prior), prior)
        payload += len(coding.encode_coded([sequence[None].astype(np.int32)])[0])
    place = [np.argsort(order) for order in fitted[0].orders]
    places = [np.stack([p[s[:, k]] for k, p in enumerate(place)], axis=1) for s in sequences]
    tokens = sum(sequence.size for sequence in sequences)
    flush = 8 * len(sequences)  # up to a byte a payload, which is no fault of the integers
    assert 8 * payload - flush < 1.01 * bits_per_token(network, places) * tokens


def test_the_same_seed_gives_the_same_prior(fitted: tuple[FittedPrior, list[FitReport]]) -> None:
    again = fit_prior(chains(50, 0), chains(6, 1), codes(), CONFIG)
    assert file_of(again) == file_of(fitted[0])


def test_a_fitted_prior_beats_no_knowledge(fitted: tuple[FittedPrior, list[FitReport]]) -> None:
    prior = bcdc.read_prior(file_of(fitted[0]))
    sequence = chains(1, 3)[0][None].astype(np.int32)
    header = bcdc.Header(fingerprint=b"abcdef", sample_rate=16000, geometry=prior.geometry)
    coding = bcdc.Coding(bcdc.header_for(header, bcdc.Coder.PRIOR, prior), prior)
    assert len(coding.encode_coded([sequence])[0]) < header.raw_bytes(sequence.shape[1])


def test_bad_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        fit_prior([], [], codes(), CONFIG)
    with pytest.raises(ValueError, match="no tokens"):
        fit_prior([np.zeros((0, 2), int)], chains(2, 1), codes(), CONFIG)
    with pytest.raises(ValueError, match="shape"):
        fit_prior([np.zeros((5, 1), int)], [], codes(), CONFIG)
    with pytest.raises(ValueError, match="outside its codebook"):
        fit_prior([np.full((5, 2), 6)], [], codes(), CONFIG)


def test_held_out_recordings_may_be_empty() -> None:
    fitted = fit_prior(chains(4, 0), [np.zeros((0, 2), int)], codes(), CONFIG)
    assert file_of(fitted) == file_of(fit_prior(chains(4, 0), [], codes(), CONFIG))


@pytest.mark.parametrize("size", [2, 3, 50, 1000])
def test_neighbours_in_the_order_are_near(size: int) -> None:
    table = np.random.default_rng(size).standard_normal((size, 4))
    order = similar_order(table)
    assert sorted(order.tolist()) == list(range(size))
    groups, members = group_shape(size)
    assert (groups - 1) * members < size <= groups * members
    if members > 1:
        spread = [table[order[g * members : (g + 1) * members]].var(axis=0) for g in range(groups)]
        assert np.mean(spread) < 0.7 * table.var(axis=0).mean()


def test_versions_of_a_clip_differ_and_can_be_made_again() -> None:
    wave = np.sin(np.arange(16000, dtype=np.float32) / 20)
    assert vary(wave, 200, 0, "a") is wave
    one, two = vary(wave, 200, 1, "a"), vary(wave, 200, 2, "a")
    assert np.array_equal(one, vary(wave, 200, 1, "a"))
    assert len(one) != len(two) or not np.array_equal(one, two)
    assert 14000 < len(one) < 18000 and one.dtype == np.float32
    assert abs(one).max() <= 1.01


def test_an_f0_token_has_a_vector_where_the_mode_has_the_token(tmp_path: Path) -> None:
    config = PRESETS["toy-single"]
    info = ModelInfo(name="toy", license="CC0-1.0", training={})
    save_model(tmp_path / "toy.safetensors", CodecNetwork(config).state_dict(), config, info)
    model = read_model(tmp_path / "toy.safetensors")
    for f0 in (None, "predicted", "coded"):
        result = code_vectors(model, f0)
        sizes = config.token_sizes_with(f0 or config.default_f0)
        assert tuple(len(vectors) for vectors in result) == sizes
    unvoiced, *voiced = code_vectors(model, "coded")[1]
    assert unvoiced[1] == 0 and all(vector[1] == 1 for vector in voiced)
    with pytest.raises(ValueError, match="F0 cannot be"):
        code_vectors(model, "other")


def test_code_vectors_are_those_that_the_decoder_sees(tmp_path: Path) -> None:
    config = PRESETS["toy-lite"]
    torch.manual_seed(0)
    network = CodecNetwork(config)
    info = ModelInfo(name="toy", license="CC0-1.0", training={})
    save_model(tmp_path / "toy.safetensors", network.state_dict(), config, info)
    result = code_vectors(read_model(tmp_path / "toy.safetensors"))
    assert len(result) == config.quantizer.num_codebooks
    codebook = network.quantizer.codebooks[0]
    assert isinstance(codebook, Codebook)
    seen = codebook.embed(torch.arange(config.quantizer.codebook_size)[None])[0]
    assert np.allclose(result[0], seen.detach().numpy(), atol=1e-6)
