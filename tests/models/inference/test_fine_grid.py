"""Encoding on a finer grid: tokens soon after their samples, the same however they came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigcodec_models import PRESETS, Codec
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.arrays import Tokens
from bigcodec_models.checkpoints.model_file import LoadedModel, ModelInfo
from bigcodec_models.inference.chunking import FineGrid

Wave = npt.NDArray[np.float32]
CHUNK, HOP = 160, 200
MORE = 64
"""More frames than any of these models looks ahead."""
LENGTHS = [0, 1, 32_000, 70_001]


@pytest.fixture(scope="module", params=["toy", "toy-lite", "toy-single"])
def codec(request: pytest.FixtureRequest) -> Codec:
    torch.manual_seed(5)
    config = PRESETS[request.param]
    tensors = CodecNetwork(config).state_dict()
    return Codec(LoadedModel(config=config, info=ModelInfo(name="", license=""), tensors=tensors))


def noise(samples: int) -> Wave:
    random = np.random.default_rng(samples)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


def encoded(codec: Codec, grid: FineGrid, sources: Any, batch_size: int = 1) -> list[Tokens]:
    results: dict[int, list[Tokens]] = {}
    for piece in codec.encode_streams(sources, batch_size, grid):
        assert piece.error is None
        results.setdefault(piece.index, []).append(piece.data)
    return [np.concatenate(results[index]) for index in sorted(results)]


def test_tokens_depend_neither_on_cuts_nor_on_what_is_beside(codec: Codec) -> None:
    for frames in (codec.least_lookahead(CHUNK), MORE):
        grid = codec.fine_grid(CHUNK, frames)
        alone = [encoded(codec, grid, [[noise(n)]])[0] for n in LENGTHS]
        assert [len(tokens) for tokens in alone] == [-(-n // HOP) for n in LENGTHS]
        cut = [np.split(noise(n), range(777, max(n, 777), 777)) for n in LENGTHS]
        for batch_size in (1, 4):
            tokens = encoded(codec, grid, cut, batch_size)
            assert all(np.array_equal(a, b) for a, b in zip(alone, tokens, strict=True))


def test_with_all_lookahead_the_tokens_are_those_of_the_usual_grid(codec: Codec) -> None:
    """But for codes that are nearly equally close: products of other shapes round otherwise."""
    wave = noise(100_000)
    usual = codec.encode(wave)
    full = encoded(codec, codec.fine_grid(CHUNK, MORE), [[wave]])[0]
    assert (full == usual).mean() > 0.99


def test_tokens_come_once_their_lookahead_is_there(codec: Codec) -> None:
    least = codec.least_lookahead(CHUNK)
    for frames in (least, least + 40, least + 200):
        grid = codec.fine_grid(CHUNK, frames)
        read = 0

        def blocks() -> Iterator[Wave]:
            nonlocal read
            for block in np.split(noise(500 * HOP), 500):
                read += 1
                yield block

        piece = next(p for p in codec.encode_streams([blocks()], 1, grid) if len(p.data))
        assert len(piece.data) == CHUNK
        assert read <= CHUNK + frames and (frames > least or read == CHUNK + least)


def test_too_little_lookahead_is_refused(codec: Codec) -> None:
    least = codec.least_lookahead(CHUNK)
    with pytest.raises(ValueError, match=f"at least {least} frames after a chunk"):
        codec.fine_grid(CHUNK, least - 1)
