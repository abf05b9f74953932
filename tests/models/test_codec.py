"""The Python interface, on both families at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bigcodec_models import PRESETS, Codec, ModelFileError
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import LiteConfig, ModelConfig, QuantizerConfig
from bigcodec_models.inference.torch_engine import network_of

TWO_CODEBOOKS = LiteConfig(
    encoder_width=16,
    encoder_blocks=1,
    latent_dim=16,
    decoder_width=16,
    decoder_blocks=1,
    quantizer=QuantizerConfig(codebook_size=64, num_codebooks=2),
)


def make_codec(config: ModelConfig) -> Codec:
    torch.manual_seed(3)
    tensors = CodecNetwork(config).state_dict()
    return Codec(LoadedModel(config=config, info=ModelInfo(name="", license=""), tensors=tensors))


@pytest.fixture(scope="module", params=["toy", "toy-lite"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return make_codec(PRESETS[request.param])


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 199, 200, 201, 1000, 3217])
def test_lengths(codec: Codec, samples: int) -> None:
    wave = noise(samples)
    tokens = codec.encode(wave)
    frames = -(-samples // 200)
    assert tokens.shape == (frames,) and tokens.dtype == np.int64
    assert codec.latents(wave).shape == (codec.config.latent_dim, frames)
    restored = codec.decode(tokens, samples)
    assert restored.shape == (samples,) and restored.dtype == np.float32
    assert np.array_equal(codec.decode(tokens)[:samples], restored)
    assert np.isfinite(restored).all()


def test_zero_samples_give_zero_tokens(codec: Codec) -> None:
    tokens = codec.encode(np.zeros(0, np.float32))
    assert tokens.shape == (0,)
    assert codec.decode(tokens).shape == (0,)
    assert codec.latents(np.zeros(0, np.float32)).shape == (codec.config.latent_dim, 0)


def test_several_codebooks_give_a_column_each() -> None:
    codec = make_codec(TWO_CODEBOOKS)
    tokens = codec.encode(noise(1000))
    assert tokens.shape == (5, 2)
    assert codec.decode(tokens, 1000).shape == (1000,)
    assert codec.encode(np.zeros(0, np.float32)).shape == (0, 2)


def test_the_second_codebook_quantises_what_the_first_left() -> None:
    codec = make_codec(TWO_CODEBOOKS)
    quantizer = network_of(codec._engine).quantizer
    latent = torch.from_numpy(codec.latents(noise(4000)))[None]
    tokens = quantizer.encode(latent)
    first = quantizer.codebooks[0]
    left = latent.transpose(1, 2) - first.out_proj(first.embed(tokens[..., 0]))  # type: ignore[operator]
    assert torch.equal(
        tokens[..., 1],
        quantizer.codebooks[1].search(quantizer.codebooks[1].in_proj(left)),  # type: ignore[operator]
    )
    trained = quantizer(latent)
    assert torch.equal(trained.tokens, tokens)
    assert torch.allclose(trained.latent, quantizer.decode(tokens), atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "samples"),
    [
        (np.array([1024]), None),
        (np.array([-1]), None),
        (np.array([0.5]), None),
        (np.zeros((3, 2), int), None),
        (np.zeros(3, int), 601),
        (np.zeros(3, int), -1),
    ],
)
def test_bad_tokens_are_refused(codec: Codec, tokens: np.ndarray, samples: int | None) -> None:
    with pytest.raises(ValueError):
        codec.decode(tokens, samples)


def test_folding_weight_norm_changes_nothing_that_is_heard() -> None:
    torch.manual_seed(3)
    network = CodecNetwork(PRESETS["toy"]).eval()
    wave = torch.from_numpy(noise(4000)).view(1, 1, -1)
    with torch.no_grad():
        expected = network(wave)
    codec = make_codec(PRESETS["toy"])
    assert np.array_equal(codec.encode(noise(4000)), expected.quantized.tokens[0, :, 0].numpy())
    restored = codec.decode(codec.encode(noise(4000)))
    assert np.abs(restored - expected.wave[0, 0].numpy()).max() < 1e-5


def test_search_is_by_cosine_with_ties_to_the_lowest_index() -> None:
    from bigcodec_models.quantization.quantizer import nearest

    codes = torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.5, 0.0], [-1.0, 0.0]])
    vectors = torch.tensor([[[9.0, 1.0], [-0.1, 0.0]], [[0.0, 5.0], [1.0, 0.0]]])
    assert nearest(vectors, codes).tolist() == [[1, 3], [0, 1]]


def test_the_raw_code_goes_on_unless_unit_codes_are_asked_for() -> None:
    raw = CodecNetwork(PRESETS["toy"]).quantizer.codebooks[0]
    unit = CodecNetwork(PRESETS["toy-lite"]).quantizer.codebooks[0]
    token = torch.tensor([7])
    assert torch.equal(raw.embed(token), raw.codes[7:8])  # type: ignore[operator,index]
    assert torch.allclose(unit.embed(token).norm(), torch.tensor(1.0))  # type: ignore[operator]


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no built-in model and no file"):
        Codec.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_right_context_is_finite(preset: str) -> None:
    """Exact chunking needs that far future samples cannot change a token."""
    codec = make_codec(PRESETS[preset])
    wave = noise(200 * 120)
    changed = wave.copy()
    changed[200 * 80 :] = -0.5
    before, after = codec.latents(wave), codec.latents(changed)
    assert np.abs(before[:, :50] - after[:, :50]).max() < 1e-5
    tokens = codec.encode(wave)
    other = tokens.copy()
    other[80:] = (other[80:] + 1) % 1024
    assert np.abs(codec.decode(tokens)[: 200 * 45] - codec.decode(other)[: 200 * 45]).max() < 1e-5
