"""Many files side by side: what each gives is what it gives alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigcodec_models import PRESETS, Codec, precision
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.inference import chunking, pipelines, prepare
from bigcodec_models.inference.batching import run_streams
from bigcodec_models.inference.chunking import Windows
from bigcodec_models.inference.receptive_field import ReceptiveField
from bigcodec_models.layers import lstm

Wave = npt.NDArray[np.float32]
LENGTHS = [0, 1, 3000, 25_000, 8000, 8000, 24_999, 60_001, 200]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", 40)


@pytest.fixture(scope="module", params=["toy", "toy-lite", "toy-single"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return make_codec(request.param)


def make_codec(preset: str, precision: str = "float32") -> Codec:
    torch.manual_seed(5)
    config = PRESETS[preset]
    tensors = CodecNetwork(config).state_dict()
    model = LoadedModel(config=config, info=ModelInfo(name="", license=""), tensors=tensors)
    return Codec(model, precision=precision)


def noise(samples: int) -> Wave:
    random = np.random.default_rng(samples)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_a_batch_gives_what_each_gives_alone(codec: Codec, batch_size: int) -> None:
    waves = [noise(samples) for samples in LENGTHS]
    tokens = codec.encode_batch(waves, batch_size)
    assert len(tokens) == len(waves)
    for wave, result in zip(waves, tokens, strict=True):
        assert np.array_equal(result, codec.encode(wave))
    for table, restored in zip(tokens, codec.decode_batch(tokens, batch_size), strict=True):
        assert np.array_equal(restored, codec.decode(table))


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_random_files_in_random_cuts(data: st.DataObject) -> None:
    codec = make_codec("toy-lite")
    lengths = data.draw(st.lists(st.integers(0, 30_000), min_size=1, max_size=5))
    cuts = data.draw(st.lists(st.integers(1, 20_000), min_size=1, max_size=4))
    waves = [noise(samples) for samples in lengths]

    def pieces(wave: Wave) -> Iterator[Wave]:
        at = turn = 0
        while at < len(wave):
            yield wave[at : at + cuts[turn % len(cuts)]]
            at, turn = at + cuts[turn % len(cuts)], turn + 1

    result: list[list[npt.NDArray[np.int64]]] = [[] for _ in waves]
    ended = []
    for piece in codec.encode_streams(map(pieces, waves), data.draw(st.integers(1, 4))):
        result[piece.index].append(piece.data)
        ended += [piece.index] if piece.last else []
    assert sorted(ended) == list(range(len(waves)))
    for wave, tokens in zip(waves, result, strict=True):
        assert np.array_equal(np.concatenate(tokens), codec.encode(wave))


@given(
    frames=st.integers(1, 200),
    left=st.integers(0, 15),
    right=st.integers(0, 15),
    cut=st.integers(1, 70),
    output_range=st.tuples(st.integers(0, 220), st.none() | st.integers(0, 220)),
    reach_back=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_windows_join_to_a_single_pass(
    frames: int,
    left: int,
    right: int,
    cut: int,
    output_range: tuple[int, int | None],
    reach_back: bool,
) -> None:
    """With sums over the whole receptive field in the place of a network, in exact arithmetic."""

    def sums(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (left, right))
        return padded.unfold(-1, left + right + 1, 1).sum(-1)

    values = torch.arange(1.0, frames + 1).view(1, 1, -1) ** 2
    windows = Windows(ReceptiveField(left, right), 1, 1, output_range, reach_back)
    result = [torch.zeros(1, 1, 0)]
    for piece in torch.split(values, cut, dim=-1):
        windows.push(piece)
        result += [sums(w.inputs)[..., w.first : w.last] for w in iter(windows.take, None)]
    windows.close()
    result += [sums(w.inputs)[..., w.first : w.last] for w in iter(windows.take, None)]
    assert windows.finished()
    assert torch.equal(torch.cat(result, -1), sums(values)[..., output_range[0] : output_range[1]])


def test_sources_are_opened_in_turn_and_no_more_than_asked_for(codec: Codec) -> None:
    opened, closed = 0, 0

    def source(samples: int) -> Iterator[Wave]:
        nonlocal opened, closed
        opened += 1
        assert opened - closed <= 2
        for _ in range(3):
            yield noise(samples)
        closed += 1

    pieces = list(codec.encode_streams((source(n) for n in (1000, 30_000, 10, 9000, 0)), 2))
    assert opened == closed == 5
    assert sorted(piece.index for piece in pieces if piece.last) == [0, 1, 2, 3, 4]


def test_a_source_that_fails_ends_alone(codec: Codec) -> None:
    def broken() -> Iterator[Wave]:
        yield noise(20_000)
        raise OSError("disk gone")

    sources: list[Iterator[Wave]] = [iter([noise(30_000)]), broken(), iter([noise(5000)])]
    pieces = list(codec.encode_streams(sources, 3))
    errors = {piece.index: piece.error for piece in pieces if piece.last}
    assert errors[0] is None and errors[2] is None
    assert isinstance(errors[1], OSError)
    first = np.concatenate([piece.data for piece in pieces if piece.index == 0])
    assert np.array_equal(first, codec.encode(noise(30_000)))
    with pytest.raises(ValueError, match="one dimension"):
        codec.encode_batch([noise(10), np.zeros((2, 2), np.float32)])


def test_decoding_stops_asking_once_it_has_what_is_wanted(codec: Codec) -> None:
    tokens = codec.encode(noise(200 * 1000))
    taken = 0

    def source() -> Iterator[npt.NDArray[np.int64]]:
        nonlocal taken
        for at in range(0, 1000, 20):
            taken += 20
            yield tokens[at : at + 20]

    part = np.concatenate(list(codec.decode_stream(source(), (100, 150))))
    assert np.array_equal(part, codec.decode(tokens)[100 * 200 : 150 * 200])
    assert taken < 500


def test_the_way_of_accelerators(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and LSTM steps of several streams in one batch, rehearsed on a CPU."""
    monkeypatch.setattr(lstm, "_ALONE_ON_CPU", False)
    torch.manual_seed(5)
    network = CodecNetwork(codec.config).eval().requires_grad_(False)
    pipeline = pipelines.encoder_pipeline(network, batched=True)
    waves = [noise(samples) for samples in (60_000, 24_000, 60_000, 4000)]
    latents: list[list[Tensor]] = [[] for _ in waves]
    sources = ([torch.from_numpy(wave).view(1, 1, -1)] for wave in waves)
    for result in run_streams(pipeline, sources, 8):
        latents[result.index] += result.pieces
    for wave, pieces in zip(waves, latents, strict=True):
        assert np.abs(torch.cat(pieces, -1)[0].numpy() - codec.latents(wave)).max() < 1e-5


def test_threads_change_near_ties_at_most(codec: Codec) -> None:
    wave, threads = noise(30_000), torch.get_num_threads()
    result, waves = [], []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            result.append(codec.latents(wave))
            waves.append(codec.decode(np.arange(150)))
    finally:
        torch.set_num_threads(threads)
    assert np.abs(result[0] - result[1]).max() < 1e-5
    assert np.abs(waves[0] - waves[1]).max() < 1e-4


def signal_to_noise(expected: Wave, result: Wave) -> float:
    """In dB."""
    error = np.square(result.astype(np.float64) - expected).mean()
    return float(10 * np.log10(np.square(expected.astype(np.float64)).mean() / error))


@pytest.mark.parametrize(
    ("preset", "matrix_units"), [("toy", False), ("toy", True), ("toy-lite", True)]
)
def test_bfloat16_touches_decoding_only_and_little(
    preset: str, matrix_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matrix units LSTM weights are rounded, with them convolutions run in bfloat16."""
    monkeypatch.setattr(precision, "bfloat16_pays", lambda device: matrix_units)
    exact, half = make_codec(preset), make_codec(preset, "bfloat16")
    wave = noise(20_000)
    tokens = exact.encode(wave)
    assert np.array_equal(half.encode(wave), tokens)
    expected, result = exact.decode(tokens), half.decode(tokens)
    assert not np.array_equal(result, expected)
    assert signal_to_noise(expected, result) > 25
    with pytest.raises(ValueError, match="precision"):
        make_codec(preset, "float16")


@pytest.mark.parametrize("preset", ["toy", "toy-lite"])
def test_without_numba_torch_does_it(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = make_codec(preset)
    monkeypatch.setattr(prepare, "_has_numba", lambda: False)
    plain = make_codec(preset)
    for pipeline in (plain._engine.encoder, plain._engine.decoder):
        assert isinstance(pipeline.lstm, lstm.ResidualLSTM) and pipeline.short_lstm is None
    assert not isinstance(fast._engine.encoder.lstm, lstm.ResidualLSTM)
    waves = [noise(30_000), noise(17_000)]
    for wave, tokens in zip(waves, plain.encode_batch(waves), strict=True):
        assert np.array_equal(tokens, plain.encode(wave))
        assert np.abs(plain.latents(wave) - fast.latents(wave)).max() < 1e-5


def test_a_short_file_needs_no_compiler() -> None:
    """Starting numba would take longer than coding it."""
    code = (
        "import sys, numpy; from bigcodec_models import Codec; codec = Codec.load('lite');"
        "codec.decode(codec.encode(numpy.zeros(16000, 'f')));"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
