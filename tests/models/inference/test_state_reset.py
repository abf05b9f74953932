"""Decoders that start anew now and then: parts of long files need little before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.config import ConfigError, LiteConfig, config_to_dict
from bigcodec_models.inference import chunking
from bigcodec_models.inference.torch_engine import network_of
from bigcodec_models.layers.state_reset import WARM_UP_FRAMES, StreamState, warm_up_start

RESET_EVERY = 1280
FRAMES = 4100


def codec(preset: str, reset_every: int) -> Codec:
    config = PRESETS[preset.removesuffix("-no-lstm")]
    assert isinstance(config, LiteConfig)
    config = replace(config, reset_every=reset_every)
    if preset.endswith("-no-lstm"):
        config = replace(config, lstm_layers=0)
    torch.manual_seed(8)
    tensors = CodecNetwork(config).state_dict()
    # A memory that lasts, so that a new start can be told from none.
    for name, tensor in tensors.items():
        if name.startswith("decoder.lstm") and "bias_hh" in name:
            tensor[len(tensor) // 4 : len(tensor) // 2] += 6.0
    return Codec(LoadedModel(config=config, info=ModelInfo(name="", license=""), tensors=tensors))


@pytest.fixture(scope="module", params=["toy-lite", "toy-harmonic", "toy-harmonic-no-lstm"])
def resetting(request: pytest.FixtureRequest) -> Codec:
    return codec(request.param, RESET_EVERY)


def some_tokens(codec: Codec, frames: int = FRAMES) -> npt.NDArray[np.int64]:
    random, sizes = np.random.default_rng(3), codec.config.token_sizes
    tokens = np.stack([random.integers(0, size, frames) for size in sizes], axis=1)
    return tokens if len(sizes) > 1 else tokens[:, 0]


@pytest.mark.parametrize("threads", [1, 2])
def test_any_part_is_exactly_that_of_the_whole(resetting: Codec, threads: int) -> None:
    before, random = torch.get_num_threads(), np.random.default_rng(1)
    tokens, hop = some_tokens(resetting), resetting.hop
    torch.set_num_threads(threads)
    try:
        whole = resetting.decode(tokens)
        edges = [
            RESET_EVERY - 1,
            RESET_EVERY,
            2 * RESET_EVERY - WARM_UP_FRAMES,
            2 * RESET_EVERY + 30,
        ]
        for low in (0, *edges, *random.integers(0, FRAMES - 200, 4)):
            high = int(low) + int(random.integers(1, 150))
            expected = whole[low * hop : high * hop]
            assert np.array_equal(resetting.decode(tokens, len(expected), int(low) * hop), expected)
            first, last = resetting.needed_frames((int(low), high))
            pieces = np.array_split(tokens[first:last], 7)
            parts = list(resetting.decode_stream(pieces, (int(low), high), first))
            assert np.array_equal(np.concatenate(parts), expected)
    finally:
        torch.set_num_threads(before)


def test_cuts_change_nothing(resetting: Codec) -> None:
    tokens = some_tokens(resetting)
    parts = list(resetting.decode_stream(np.array_split(tokens, 41)))
    assert np.array_equal(np.concatenate(parts), resetting.decode(tokens))
    shorter = [tokens[:2000], tokens[:700], tokens]
    for one, tokens_of_one in zip(resetting.decode_batch(shorter), shorter, strict=True):
        assert np.array_equal(one, resetting.decode(tokens_of_one))


@pytest.mark.parametrize("chunk", [40, 100, 640])
def test_chunks_agree_with_a_single_pass(
    resetting: Codec, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", chunk)
    tokens = some_tokens(resetting)
    table = torch.from_numpy(tokens.reshape(1, len(tokens), -1))
    with torch.inference_mode():
        expected = network_of(resetting._engine).decode(table)[0, 0].numpy()
    assert np.abs(resetting.decode(tokens) - expected).max() < 1e-4


@pytest.mark.parametrize("preset", ["toy-lite", "toy-harmonic"])
def test_it_is_the_run_over_everything_up_to_the_first_new_start(preset: str) -> None:
    plain, resetting = codec(preset, 0), codec(preset, RESET_EVERY)
    tokens = some_tokens(plain)
    without_resets, with_resets = plain.decode(tokens), resetting.decode(tokens)
    same = (RESET_EVERY - 30) * plain.hop
    assert np.array_equal(with_resets[:same], without_resets[:same])
    assert not np.array_equal(
        with_resets[RESET_EVERY * plain.hop :], without_resets[RESET_EVERY * plain.hop :]
    )


def test_no_more_is_needed_than_since_the_last_start(resetting: Codec) -> None:
    for low in (1300, 2700, 3900):
        first, _ = resetting.needed_frames((low, low + 5))
        behind = (low // 640) * 640 - 40
        stateless = resetting._engine.decoder.lstm is None
        start = (
            behind // RESET_EVERY * RESET_EVERY if stateless else warm_up_start(behind, RESET_EVERY)
        )
        assert start - 640 <= first <= start
        assert low - first < RESET_EVERY + WARM_UP_FRAMES + 2 * 640
    assert resetting.needed_frames((600, 610))[0] == 0


def test_a_warm_up_begins_and_ends_where_it_should() -> None:
    assert StreamState(position=0).frames_until_change(RESET_EVERY) == RESET_EVERY - WARM_UP_FRAMES
    state = StreamState(position=RESET_EVERY - WARM_UP_FRAMES)
    assert state.frames_until_change(RESET_EVERY) == WARM_UP_FRAMES and state.in_warm_up(
        RESET_EVERY
    )
    assert not StreamState(position=RESET_EVERY).in_warm_up(RESET_EVERY)
    assert not StreamState(position=RESET_EVERY - 1).in_warm_up(0)


def test_impossible_periods_are_refused_and_none_is_not_stored() -> None:
    assert "reset_every" not in config_to_dict(LiteConfig())
    for reset_every in (-1, 1, 1279, (1 << 20) + 1):
        with pytest.raises(ConfigError, match="reset_every"):
            LiteConfig(reset_every=reset_every)
