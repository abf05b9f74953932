"""Exact chunking: the same tokens and samples however a file is cut, on both families."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import BigCodecConfig, LiteConfig, ModelConfig, QuantizerConfig
from bigcodec_models.inference import chunking, pipelines
from bigcodec_models.inference.batching import run_streams
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.inference.torch_engine import network_of
from bigcodec_models.quantization.quantizer import Codebook

Wave = npt.NDArray[np.float32]
FAMILIES = ["toy", "toy-lite", "toy-harmonic", "toy-single"]
MODELS: dict[str, ModelConfig] = {
    **{name: PRESETS[name] for name in FAMILIES},
    # A window that reaches over several chunks.
    "toy-lite-attention": replace(PRESETS["toy-lite"], sequence="attention", attention_window=90),
}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second, so that short waves have many chunks."""
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", 40)


def load(config: ModelConfig, variant: str, seed: int) -> Codec:
    """A model with random weights. The variant "coded" writes F0 tokens, and "uneven" has windows
    of other lengths where receptive fields are wide."""
    torch.manual_seed(seed)
    tensors = CodecNetwork(config).state_dict()
    loaded = LoadedModel(config=config, info=ModelInfo(name="", license=""), tensors=tensors)
    codec = Codec(loaded, f0="coded" if variant == "coded" else None)
    if variant == "uneven":
        engine = codec._engine
        engine.encoder = replace(engine.encoder, chunks_a_window=(1, 3))
        engine.decoder = replace(engine.decoder, chunks_a_window=(3, 1))
    return codec


VARIANTS = ["toy-single:coded", "toy-single:uneven"]


@pytest.fixture(scope="module", params=[*MODELS, *VARIANTS])
def codec(request: pytest.FixtureRequest) -> Codec:
    name, _, variant = request.param.partition(":")
    return load(MODELS[name], variant, seed=5)


def noise(samples: int, seed: int = 0) -> Wave:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


def cut(array: npt.NDArray[np.generic], random: np.random.Generator, longest: int) -> Iterator:  # type: ignore[type-arg]
    at = 0
    while at < len(array):
        size = int(random.integers(0, longest))
        yield array[at : at + size]
        at += size


LENGTHS = [1, 200, 7999, 8000, 15999, 16001, 23456, 90001]


@pytest.mark.parametrize("samples", LENGTHS)
def test_cuts_change_nothing(codec: Codec, samples: int) -> None:
    random = np.random.default_rng(samples)
    wave = noise(samples)
    tokens = codec.encode(wave)
    for longest in (300, 20_000):
        pieces = list(codec.encode_stream(cut(wave, random, longest)))
        assert np.array_equal(np.concatenate(pieces), tokens)
    whole = codec.decode(tokens)
    for longest in (3, 100):
        parts = list(codec.decode_stream(cut(tokens, random, longest)))
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("samples", LENGTHS)
def test_chunks_agree_with_a_single_pass(codec: Codec, samples: int) -> None:
    wave = noise(samples)
    padded = torch.from_numpy(np.pad(wave, (0, -samples % 200))).view(1, 1, -1)
    network = network_of(codec._engine)
    with torch.inference_mode():
        latent = network.encoder(padded)
        expected = network.encode(padded, codec.f0)
        restored = network.decode(expected)[0, 0].numpy()
    tokens, tokens_expected = codec.encode(wave), expected[0].numpy()
    tokens_expected = tokens_expected if tokens.ndim == 2 else tokens_expected[:, 0]
    codes = tokens.reshape(len(tokens), -1)
    for frame in np.flatnonzero(codes[:, 0] != expected[0, :, 0].numpy()):
        assert score_gap(network, latent[0, :, frame], codes[frame, 0]) < 1e-5
    assert np.array_equal(codes[:, 1:], expected[0, :, 1:].numpy())
    assert np.abs(codec.decode(tokens_expected) - restored).max() < 1e-4


def score_gap(network: CodecNetwork, latent: torch.Tensor, token: int) -> float:
    """How much better the best code's cosine similarity is than that of `token`."""
    (codebook,) = network.quantizer.codebooks
    assert isinstance(codebook, Codebook)
    vector = torch.nn.functional.normalize(codebook.in_proj(latent), dim=0)
    similarity = torch.nn.functional.normalize(codebook.codes, dim=1) @ vector
    return float(similarity.max() - similarity[token])


def test_other_chunk_sizes_agree(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = noise(50_000)
    latents, waves = [], []
    tokens = codec.encode(wave)
    for size in (17, 40, 1000):
        monkeypatch.setattr(chunking, "CHUNK_FRAMES", size)
        latents.append(codec.latents(wave))
        waves.append(codec.decode(tokens))
    for other in (1, 2):
        assert np.abs(latents[0] - latents[other]).max() < 1e-5
        assert np.abs(waves[0] - waves[other]).max() < 1e-4


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (199, 201), (8000, 16000), (37_123, 49_999)])
def test_a_part_is_exactly_that_of_the_whole(codec: Codec, start: int, stop: int) -> None:
    tokens = codec.encode(noise(50_000))
    part = codec.decode(tokens, stop - start, start)
    assert np.array_equal(part, codec.decode(tokens)[start:stop])


def test_parts_beyond_the_end_are_refused(codec: Codec) -> None:
    tokens = codec.encode(noise(1000))
    assert codec.decode(tokens, 0, 1000).shape == (0,)
    for count, start in ((1, 1000), (1, -1), (-1, 5)):
        with pytest.raises(ValueError):
            codec.decode(tokens, count, start)


def test_a_part_costs_no_more_far_into_the_file(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expensive half of the decoder runs over the windows of the part and no others."""
    tokens = codec.encode(noise(90_000))
    decoder = network_of(codec._engine).decoder
    seen: list[int] = []
    original = decoder.post_recurrence

    def counting(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-1])
        outputs: torch.Tensor = original(x)
        return outputs

    monkeypatch.setattr(decoder, "post_recurrence", counting)
    codec.decode(tokens, 2000, 80_000)
    assert len(seen) <= 2


def test_output_begins_before_input_ends(codec: Codec) -> None:
    pulled = 0

    def pieces() -> Iterator[Wave]:
        nonlocal pulled
        for _ in range(100):
            pulled += 1
            yield noise(2000)

    stream = codec.encode_stream(pieces())
    assert len(next(stream)) > 0
    assert pulled < 20 * max(codec._engine.encoder.chunks_a_window)


@pytest.mark.parametrize("batched", [False, True])
def test_buffers_do_not_grow(codec: Codec, batched: bool) -> None:
    pipeline = pipelines.encoder_pipeline(network_of(codec._engine), batched)
    pipeline = replace(pipeline, chunks_a_window=codec._engine.encoder.chunks_a_window)
    stream = pipeline.stream()
    largest = 0
    with torch.inference_mode():
        for index in range(150):
            stream.push(torch.from_numpy(noise(1600, index)).view(1, 1, -1))
            largest = max(largest, stream.pre_recurrence.buffered())
            while stream.ready():
                pipeline.advance([stream])
    fields = receptive_fields(codec.config)
    window = pipeline.chunk + sum(fields.encoder_pre)
    assert largest <= 200 * (2 * window) + 200


def test_each_round_of_the_decoder_uses_up_what_it_made(codec: Codec) -> None:
    pipeline = codec._engine.decoder
    stream = pipeline.stream()
    tokens = codec.encode(noise(90_000))
    columns = torch.from_numpy(tokens.reshape(len(tokens), -1).T[None].astype(np.int64))
    largest = 0
    with torch.inference_mode():
        for _ in range(10):
            stream.push(columns)
            while stream.ready():
                pipeline.advance([stream])
                largest = max(largest, stream.post_recurrence.buffered())
    overlap = sum(receptive_fields(codec.config).decoder_post)
    assert largest <= pipeline.chunk + chunking.CHUNK_FRAMES + overlap


def test_windows_of_batched_give_the_same(codec: Codec) -> None:
    """What accelerators do, on a CPU: every window of a longer stream has the same length."""
    wave = noise(50_000)
    tokens, latents = codec.encode(wave), codec.latents(wave)
    shapes: set[torch.Size] = set()
    pipeline = pipelines.encoder_pipeline(network_of(codec._engine), batched=True)

    plain = pipeline.pre_recurrence

    def pre_recurrence(x: torch.Tensor) -> torch.Tensor:
        shapes.add(x.shape)
        outputs: torch.Tensor = plain(x)
        return outputs

    pipeline = replace(pipeline, pre_recurrence=pre_recurrence)
    frames = torch.from_numpy(wave).view(1, 1, -1)
    rounds = list(run_streams(pipeline, [[frames]]))
    joined = torch.cat([piece for one in rounds for piece in one.pieces], dim=-1)[0].numpy()
    joined = joined[: codec.config.latent_dim]
    assert len(shapes) == 1
    assert np.abs(joined - latents).max() < 1e-5
    pipeline = pipelines.decoder_pipeline(network_of(codec._engine), batched=True)
    table = torch.from_numpy(tokens.reshape(len(tokens), -1)).t().unsqueeze(0)
    rounds = list(run_streams(pipeline, [[table]]))
    samples = torch.cat([piece for one in rounds for piece in one.pieces], dim=-1)[0, 0].numpy()
    assert np.abs(samples - codec.decode(tokens)).max() < 1e-5


@pytest.mark.parametrize("preset", [*FAMILIES, "bigcodec-like", "snake"])
def test_receptive_fields_are_as_wide_as_needed_and_hardly_wider(preset: str) -> None:
    """Changes outside the receptive field have no effect at all; the outermost frames inside it act
    through the smallest taps of many filters, below double precision."""
    torch.manual_seed(1)
    odd = BigCodecConfig(
        encoder_width=2, encoder_strides=(2, 4, 5, 5), latent_dim=8, decoder_width=32,
        decoder_strides=(5, 5, 4, 2), quantizer=QuantizerConfig(codebook_size=64),
    )  # fmt: skip
    others = {"bigcodec-like": odd, "snake": replace(odd, activation="snake")}
    network = CodecNetwork({**PRESETS, **others}[preset]).double().eval()
    config, fields = network.config, receptive_fields(network.config)
    parts = [
        (network.encoder.pre_recurrence, fields.encoder_pre, 1, 200),
        (
            network.decoder.post_recurrence,
            fields.decoder_post,
            post_recurrence_channels(network),
            1,
        ),
    ]
    if isinstance(config, LiteConfig) and config.attention_lookahead:
        parts += [
            (network.encoder.post_recurrence, fields.encoder_post, config.encoder_width, 1),
            (network.decoder.pre_recurrence, fields.decoder_pre, config.latent_dim, 1),
        ]
    with torch.no_grad():
        for part, field, channels, unit in parts:
            x = torch.randn(1, channels, 150 * unit, dtype=torch.float64).abs()
            assert not changes(part, x, unit, 75, range(0, 75 - field.left))
            assert not changes(part, x, unit, 75, range(75 + field.right + 1, 150))
            near = (field.left * 6 // 10, field.right * 6 // 10)
            assert changes(part, x, unit, 75, range(75 - near[0], 76 - near[0]))
            assert changes(part, x, unit, 75, range(75 + near[1], 76 + near[1]))


def post_recurrence_channels(network: CodecNetwork) -> int:
    width = network.config.decoder_width
    return width + 2 * getattr(network.config, "harmonics", False)


def changes(  # type: ignore[no-untyped-def]
    part, x: torch.Tensor, unit: int, frame: int, changed: range
) -> bool:
    """Whether changes of the inputs of some frames are seen in the outputs of `frame`."""
    other = x.clone()
    other[..., changed.start * unit : changed.stop * unit] += 1.0
    before, after = part(x), part(other)
    step = before.shape[-1] // (x.shape[-1] // unit)
    window = slice(frame * step, (frame + 1) * step)
    return not torch.equal(before[..., window], after[..., window])


SEEKING: dict[str, ModelConfig] = {
    **MODELS,
    "two-books": replace(
        PRESETS["toy-lite"], quantizer=QuantizerConfig(codebook_size=64, num_codebooks=2)
    ),
    "no-sequence": replace(PRESETS["toy-lite"], lstm_layers=0),
    "harmonic-no-sequence": replace(PRESETS["toy-harmonic"], lstm_layers=0),
    "short-attention": replace(PRESETS["toy-lite"], sequence="attention", attention_window=7),
}


def model(name: str) -> Codec:
    name, _, variant = name.partition(":")
    return load(SEEKING[name], variant, seed=7)


def random_tokens(codec: Codec, frames: int) -> npt.NDArray[np.int64]:
    random, sizes = np.random.default_rng(3), codec.token_sizes
    tokens = np.stack([random.integers(0, size, frames) for size in sizes], axis=1)
    return tokens if len(sizes) > 1 else tokens[:, 0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [*SEEKING, *VARIANTS])
def test_any_part_is_exactly_that_of_the_whole(name: str, threads: int) -> None:
    """Bit for bit, at random starts and lengths, given all tokens or only those that are needed,
    however they are cut."""
    codec, before = model(name), torch.get_num_threads()
    tokens, random = random_tokens(codec, 457), np.random.default_rng(11)
    torch.set_num_threads(threads)
    try:
        whole = codec.decode(tokens)
        for _ in range(6 // threads):
            start, stop = np.sort(random.integers(0, len(whole) + 1, 2))
            stop = min(stop, start + int(random.integers(1, 20_000)))
            assert np.array_equal(codec.decode(tokens, stop - start, start), whole[start:stop])
            low, high = start // codec.hop, stop // codec.hop
            first, last = codec.needed_frames((low, high))
            earlier = int(random.integers(0, first + 1))
            pieces = cut(tokens[earlier:last], random, 99)
            parts = [np.zeros(0, np.float32)]
            if low < high:
                parts += codec.decode_stream(pieces, (low, high), earlier)
            expected = whole[low * codec.hop : high * codec.hop]
            assert np.array_equal(np.concatenate(parts), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["toy-lite-attention", "no-sequence", "short-attention"])
def test_without_an_lstm_nothing_long_before_a_part_is_needed(name: str) -> None:
    codec = model(name)
    tokens = random_tokens(codec, 1500)
    first, last = codec.needed_frames((1200, 1210))
    assert last is not None and 1200 - 350 < first and last < 1210 + 150
    seen: list[int] = []
    original = codec._engine.decoder.pre_recurrence

    def counting(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-1])
        outputs: torch.Tensor = original(x)
        return outputs

    whole = codec.decode(tokens)
    codec._engine.decoder = replace(codec._engine.decoder, pre_recurrence=counting)
    part = codec.decode(tokens, 10 * codec.hop, 1200 * codec.hop)
    assert np.array_equal(part, whole[1200 * codec.hop : 1210 * codec.hop])
    assert sum(seen) < 600
    with pytest.raises(ValueError, match="tokens must start at frame"):
        next(codec.decode_stream([tokens], (1200, 1210), first + 1))


def test_an_lstm_needs_everything_before_a_part() -> None:
    assert model("toy-lite").needed_frames((2500, None)) == (0, None)


@pytest.mark.parametrize("name", ["toy-lite", "no-sequence"])
def test_tokens_after_those_needed_are_not_asked_for(name: str) -> None:
    codec = model(name)
    tokens = random_tokens(codec, 1000)
    first, last = codec.needed_frames((700, 790))
    assert last is not None

    def pieces() -> Iterator[npt.NDArray[np.int64]]:
        yield tokens[first:last]
        raise AssertionError("asked for more")

    whole = codec.decode(tokens)
    parts = list(codec.decode_stream(pieces(), (700, 790), first))
    assert np.array_equal(np.concatenate(parts), whole[700 * codec.hop : 790 * codec.hop])
