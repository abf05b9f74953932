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
from bigcodec_models.layers.state_reset import RUN_UP, Carried, starts_before

RESTART = 1280
FRAMES = 4100


def codec(preset: str, restart: int) -> Codec:
    config = PRESETS[preset.removesuffix("-no-lstm")]
    assert isinstance(config, LiteConfig)
    config = replace(config, restart=restart)
    if preset.endswith("-no-lstm"):
        config = replace(config, lstm_layers=0)
    torch.manual_seed(8)
    tensors = CodecNetwork(config).state_dict()
    # A memory that lasts, so that a new start can be told from none.
    for name, tensor in tensors.items():
        if name.startswith("decoder.lstm") and "bias_hh" in name:
            tensor[len(tensor) // 4 : len(tensor) // 2] += 6.0
    return Codec(LoadedModel(config=config, info=ModelInfo(name="", licence=""), tensors=tensors))


@pytest.fixture(scope="module", params=["toy-lite", "toy-tone", "toy-tone-no-lstm"])
def restarting(request: pytest.FixtureRequest) -> Codec:
    return codec(request.param, RESTART)


def some_tokens(codec: Codec, frames: int = FRAMES) -> npt.NDArray[np.int64]:
    random, sizes = np.random.default_rng(3), codec.config.token_sizes
    tokens = np.stack([random.integers(0, size, frames) for size in sizes], axis=1)
    return tokens if len(sizes) > 1 else tokens[:, 0]


@pytest.mark.parametrize("threads", [1, 2])
def test_any_part_is_exactly_that_of_the_whole(restarting: Codec, threads: int) -> None:
    before, random = torch.get_num_threads(), np.random.default_rng(1)
    tokens, hop = some_tokens(restarting), restarting.hop
    torch.set_num_threads(threads)
    try:
        whole = restarting.decode(tokens)
        edges = [RESTART - 1, RESTART, 2 * RESTART - RUN_UP, 2 * RESTART + 30]
        for low in (0, *edges, *random.integers(0, FRAMES - 200, 4)):
            high = int(low) + int(random.integers(1, 150))
            expected = whole[low * hop : high * hop]
            assert np.array_equal(
                restarting.decode(tokens, len(expected), int(low) * hop), expected
            )
            first, last = restarting.needed_frames((int(low), high))
            pieces = np.array_split(tokens[first:last], 7)
            parts = list(restarting.decode_stream(pieces, (int(low), high), first))
            assert np.array_equal(np.concatenate(parts), expected)
    finally:
        torch.set_num_threads(before)


def test_cuts_change_nothing(restarting: Codec) -> None:
    tokens = some_tokens(restarting)
    parts = list(restarting.decode_stream(np.array_split(tokens, 41)))
    assert np.array_equal(np.concatenate(parts), restarting.decode(tokens))
    shorter = [tokens[:2000], tokens[:700], tokens]
    for one, tokens_of_one in zip(restarting.decode_batch(shorter), shorter, strict=True):
        assert np.array_equal(one, restarting.decode(tokens_of_one))


@pytest.mark.parametrize("chunk", [40, 100, 640])
def test_chunks_agree_with_a_single_pass(
    restarting: Codec, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", chunk)
    tokens = some_tokens(restarting)
    table = torch.from_numpy(tokens.reshape(1, len(tokens), -1))
    with torch.inference_mode():
        expected = restarting._network.decode(table)[0, 0].numpy()
    assert np.abs(restarting.decode(tokens) - expected).max() < 1e-4


@pytest.mark.parametrize("preset", ["toy-lite", "toy-tone"])
def test_it_is_the_run_over_everything_up_to_the_first_new_start(preset: str) -> None:
    plain, restarting = codec(preset, 0), codec(preset, RESTART)
    tokens = some_tokens(plain)
    theirs, ours = plain.decode(tokens), restarting.decode(tokens)
    same = (RESTART - 30) * plain.hop
    assert np.array_equal(ours[:same], theirs[:same])
    assert not np.array_equal(ours[RESTART * plain.hop :], theirs[RESTART * plain.hop :])


def test_no_more_is_needed_than_since_the_last_start(restarting: Codec) -> None:
    for low in (1300, 2700, 3900):
        first, _ = restarting.needed_frames((low, low + 5))
        behind = (low // 640) * 640 - 40
        stateless = restarting._decoder.lstm is None
        start = behind // RESTART * RESTART if stateless else starts_before(behind, RESTART)
        assert start - 640 <= first <= start
        assert low - first < RESTART + RUN_UP + 2 * 640
    assert restarting.needed_frames((600, 610))[0] == 0


def test_a_run_up_begins_and_ends_where_it_should() -> None:
    assert Carried(position=0).until_change(RESTART) == RESTART - RUN_UP
    carried = Carried(position=RESTART - RUN_UP)
    assert carried.until_change(RESTART) == RUN_UP and carried.runs_up(RESTART)
    assert not Carried(position=RESTART).runs_up(RESTART)
    assert not Carried(position=RESTART - 1).runs_up(0)


def test_impossible_periods_are_refused_and_none_is_not_stored() -> None:
    assert "restart" not in config_to_dict(LiteConfig())
    for restart in (-1, 1, 1279, (1 << 20) + 1):
        with pytest.raises(ConfigError, match="restart"):
            LiteConfig(restart=restart)
