"""What `Codec` takes and gives: numpy or torch, one recording or a batch, with gradients or not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.inference.arguments import as_samples
from bigcodec_models.inference.torch_engine import network_of

NAMES = ("toy", "toy-lite", "toy-harmonic", "toy-single")


def make_codec(preset: str, **options: Any) -> Codec:
    torch.manual_seed(3)
    config = PRESETS[preset]
    tensors = CodecNetwork(config).state_dict()
    info = ModelInfo(name=f"my-{preset}", license="")
    return Codec(LoadedModel(config=config, info=info, tensors=tensors), **options)


@pytest.fixture(scope="module", params=NAMES)
def codec(request: pytest.FixtureRequest) -> Codec:
    return make_codec(request.param)


def noise(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(7).standard_normal(shape)).astype(np.float32)


def test_a_batch_gives_what_its_recordings_give_alone(codec: Codec) -> None:
    waves = noise(3, 1, 1130)
    alone = [codec.encode(wave[0]) for wave in waves]
    tokens = codec.encode(waves)
    assert tokens.shape == (3, 6, len(codec.token_sizes)) and tokens.dtype == np.int64
    assert np.array_equal(tokens, np.stack(alone).reshape(tokens.shape))
    assert np.array_equal(codec.encode(waves[:, 0]), tokens)
    restored = codec.decode(tokens, 1130)
    assert np.array_equal(restored, [codec.decode(row, 1130) for row in alone])
    assert np.array_equal(codec.decode(tokens, 300, 450), restored[:, 450:750])
    assert np.array_equal(codec.decode(tokens, 300), restored[:, :300])
    assert np.array_equal(codec.latents(waves), [codec.latents(wave[0]) for wave in waves])


@pytest.mark.parametrize("shape", [(1130,), (2, 1130), (2, 1, 1130)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_give_tensors(codec: Codec, shape: tuple[int, ...], kind: torch.dtype) -> None:
    wave = torch.from_numpy(noise(*shape)).to(kind)
    tokens, expected = codec.encode(wave), codec.encode(wave.float().numpy())
    assert isinstance(tokens, torch.Tensor) and tokens.dtype == torch.int64
    assert torch.equal(tokens, torch.from_numpy(expected))
    restored = codec.decode(tokens.to(torch.int32))
    assert isinstance(restored, torch.Tensor) and restored.dtype == torch.float32
    assert np.array_equal(restored.numpy(), codec.decode(expected))
    assert isinstance(codec.latents(wave), torch.Tensor)


def test_a_tensor_with_gradients_is_taken(codec: Codec) -> None:
    wave = torch.from_numpy(noise(500)).requires_grad_()
    assert torch.equal(codec.encode(wave), codec.encode(wave.detach()))


@pytest.mark.parametrize("kind", ["int16", "int64", "uint8", "bool", "complex64"])
def test_what_is_no_float_is_refused(codec: Codec, kind: str) -> None:
    wave = (1000 * noise(400)).astype(kind)
    for given in (wave, torch.from_numpy(wave)):
        with pytest.raises(ValueError, match=f"floating-point.*not {kind}; divide 16-bit.*32768"):
            codec.encode(given)
    with pytest.raises(ValueError, match="floating-point"):
        list(codec.encode_stream([wave]))


def test_samples_of_another_scale_are_refused(codec: Codec) -> None:
    integers = np.round(32767 * noise(400)).astype(np.int16)
    message = "samples reach [0-9.e+]+ where full scale is 1.0"
    for kind in (np.float32, np.float64):
        with pytest.raises(ValueError, match=message):
            codec.encode(integers.astype(kind))
    loud = 10 * noise(400)
    assert np.abs(loud).max() > 2 and len(codec.encode(loud)) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    wave = noise(400)
    wave[7] = value
    with warnings.catch_warnings(), pytest.raises(ValueError, match="not finite"):
        as_samples(wave)


@pytest.mark.parametrize("shape", [(), (2, 2, 400), (0, 400), (1, 2, 3, 4), (0, 1, 400)])
def test_other_shapes_of_waves_are_refused(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(n,\), \(B, n\) or \(B, 1, n\)"):
        codec.encode(noise(*shape))


@pytest.mark.parametrize("shape", [(), (2, 7), (0, 5, 1), (2, 5, 7), (1, 1, 5, 1)])
def test_other_shapes_of_tokens_are_refused(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="tokens must"):
        codec.decode(np.zeros(shape, np.int64))


def test_embedded_tokens_are_what_the_decoder_gets(codec: Codec) -> None:
    tokens = codec.encode(noise(2, 3100))
    vectors = codec.embed(tokens)
    assert vectors.shape == codec.latents(noise(2, 3100)).shape
    network = network_of(codec._engine)
    expected = network.quantizer.decode(network.split(torch.from_numpy(tokens))[0])
    assert np.allclose(vectors, expected.numpy(), atol=1e-6)
    assert np.array_equal(codec.embed(tokens[1]), vectors[1])
    f0 = tokens[..., -1] if codec.f0 == "coded" else None
    restored = codec.decode_latents(vectors, f0)
    assert np.abs(restored - codec.decode(tokens)).max() < 1e-4
    as_tensor = codec.decode_latents(torch.from_numpy(vectors[0]), f0 if f0 is None else f0[0])
    assert isinstance(as_tensor, torch.Tensor) and not as_tensor.requires_grad
    assert np.allclose(as_tensor.numpy(), restored[0], atol=1e-6)


@pytest.mark.parametrize("preset", NAMES)
def test_gradients_on_request(preset: str) -> None:
    """Of the decoder by finite differences, of codebooks by where they are not zero."""
    codec, plain = make_codec(preset, gradients=True), make_codec(preset)
    tokens = torch.from_numpy(plain.encode(noise(2, 1000)))
    assert torch.equal(codec.encode(torch.from_numpy(noise(2, 1000))), tokens)
    f0 = tokens[..., -1] if codec.f0 == "coded" else None
    latents = codec.embed(tokens).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(codec.decode_latents(latents, f0).square().sum(), latents)
    assert gradient.abs().max() > 0
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        after, before = (codec.decode_latents(latents + s, f0).double() for s in (step, -step))
        rise = float(after.square().sum() - before.square().sum())
    assert rise == pytest.approx(2e-3 * float(gradient.norm()), rel=0.1)
    codec.embed(tokens).sum().backward()  # type: ignore[no-untyped-call]
    codes = codec.network.quantizer.codebooks[0].codes
    assert isinstance(codes, torch.Tensor) and codes.grad is not None
    used = codes.grad.abs().sum(dim=-1).nonzero().flatten()
    assert set(used.tolist()) == set(tokens[..., 0].flatten().tolist())


def test_training_the_network_leaves_encode_and_decode_alone() -> None:
    codec = make_codec("toy-lite", gradients=True)
    tokens = codec.encode(noise(1000))
    restored = codec.decode(tokens)
    with torch.no_grad():
        for parameter in codec.network.parameters():
            parameter.add_(1.0)
    assert np.array_equal(codec.encode(noise(1000)), tokens)
    assert np.array_equal(codec.decode(tokens), restored)


def test_a_codec_without_gradients_has_no_network_to_train(codec: Codec) -> None:
    with pytest.raises(ValueError, match="gradients=True"):
        _ = codec.network


@pytest.mark.parametrize(
    ("preset", "f0", "message"),
    [
        ("toy-lite", np.zeros(5, int), "has no F0 tokens; leave f0 out"),
        ("toy-harmonic", None, "needs F0 tokens"),
        ("toy-harmonic", np.zeros(4, int), r"integers of shape \(1, 5\), not \(4,\)"),
        ("toy-harmonic", np.zeros(5), "must be integers"),
        ("toy-harmonic", np.full(5, 154), r"\[0, 154\)"),
        ("toy-single", np.full(5, -1), r"\[0, 154\)"),
    ],
)
def test_wrong_f0_is_refused(preset: str, f0: np.ndarray | None, message: str) -> None:
    codec = make_codec(preset)
    latents = noise(codec.config.latent_dim, 5)
    with pytest.raises(ValueError, match=message):
        codec.decode_latents(latents, f0)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_wrong_latents_are_refused(codec: Codec, kind: type) -> None:
    dim = codec.config.latent_dim
    for shape in ((5,), (dim, 0), (5, dim + 1), (1, 1, dim, 5), (0, dim, 5)):
        with pytest.raises(ValueError, match="latents must be floats of shape"):
            codec.decode_latents(np.zeros(shape, kind))


def test_a_codec_says_what_it_is() -> None:
    assert repr(make_codec("toy")) == (
        "<Codec my-toy: 16000 Hz, 80 frames/s of 1024 codes, on cpu>"
    )
    coded = make_codec("toy-single", f0="coded")
    assert repr(coded).endswith("frames/s of 1024 + 154 (F0) codes, on cpu>")
    assert coded.frame_rate == 16000 / coded.hop
    assert "lite-5: 16000 Hz, 80 frames/s of 8192 codes, on c" in repr(Codec.load("lite-5"))


def test_devices_by_name() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert make_codec("toy-lite", device="auto").device.type == expected
    assert make_codec("toy-lite", device=torch.device("cpu")).device.type == "cpu"
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{name}' cannot be used: "):
            make_codec("toy-lite", device=name)
