"""Layers made fast for inference against the plain ones, on random shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bigcodec_models.inference.compiled_lstm import FastResidualLSTM
from bigcodec_models.inference.matmul_convs import BlockConv1d, PolyphaseConvTranspose1d
from bigcodec_models.kernels.lstm_numba import pack, round_to_bfloat16
from bigcodec_models.layers.lstm import LSTMState, ResidualLSTM
from bigcodec_models.layers.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("length", [1, 2, 5, 37, 100])
def test_strided_convolutions(stride: int, length: int) -> None:
    torch.manual_seed(stride)
    x = torch.randn(2, 6, length * stride)
    down = WeightNormConv1d(6, 10, 2 * stride, stride, padding=(stride + 1) // 2)
    torch.nn.init.normal_(down.bias)
    up = WeightNormConvTranspose1d(6, 10, stride)
    down.fold()
    up.fold()
    with torch.no_grad():
        assert torch.allclose(BlockConv1d(down)(x), down(x), atol=1e-5)
        assert torch.allclose(PolyphaseConvTranspose1d(up)(x), up(x), atol=1e-5)


@pytest.mark.parametrize(("width", "layers"), [(4, 1), (22, 2), (130, 3), (256, 2)])
def test_lstm(width: int, layers: int) -> None:
    """In pieces, on one thread or two; alone or with other streams bit for bit the same."""
    torch.manual_seed(width)
    plain = ResidualLSTM(width, layers).requires_grad_(False)
    fast = FastResidualLSTM(plain)
    x = torch.randn(3, width, 173)
    expected = plain(x)
    result = fast(x)
    assert torch.allclose(result, expected, atol=1e-5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.allclose(fast(x), result, atol=1e-6)
    finally:
        torch.set_num_threads(threads)
    for row in range(3):
        assert torch.equal(fast(x[row : row + 1]), result[row : row + 1])
    assert torch.allclose(in_pieces(fast, x[:1], [40, 80, 53]), expected[:1], atol=1e-5)
    assert torch.allclose(in_pieces(plain, x[:1], [1, 100, 72]), expected[:1], atol=1e-5)


def in_pieces(
    lstm: ResidualLSTM | FastResidualLSTM, x: torch.Tensor, cuts: list[int]
) -> torch.Tensor:
    state: LSTMState | None = None
    outputs = []
    for piece in torch.split(x, cuts, dim=-1):
        ((output, state),) = lstm.step_many([piece], [state])
        outputs.append(output)
    return torch.cat(outputs, dim=-1)


def test_lstm_streams_of_many_lengths() -> None:
    torch.manual_seed(0)
    plain = ResidualLSTM(20, 2).requires_grad_(False)
    fast = FastResidualLSTM(plain)
    pieces = [torch.randn(1, 20, length) for length in (1, 90, 40, 41, 90, 7)]
    for piece, (output, state) in zip(
        pieces, fast.step_many(pieces, [None] * len(pieces)), strict=True
    ):
        ((alone, alone_state),) = fast.step_many([piece], [None])
        assert torch.equal(output, alone)
        assert torch.equal(state[0], alone_state[0]) and torch.equal(state[1], alone_state[1])
        expected, expected_state = plain.step(piece, None)
        assert torch.allclose(output, expected, atol=1e-5)
        assert torch.allclose(state[1], expected_state[1], atol=1e-5)


def test_lstm_with_extreme_gates() -> None:
    plain = ResidualLSTM(8, 1).requires_grad_(False)
    x = 1e4 * torch.randn(1, 8, 50)
    result = FastResidualLSTM(plain)(x)
    assert torch.isfinite(result).all()
    assert torch.allclose(result, plain(x), rtol=1e-5, atol=1e-3)


def test_lstm_weights_in_half_precision() -> None:
    torch.manual_seed(0)
    plain = ResidualLSTM(64, 2).requires_grad_(False)
    x = torch.randn(1, 64, 100)
    result = FastResidualLSTM(plain, half=True)(x)
    for name, weight in plain.lstm.named_parameters():
        if name.startswith("weight_hh"):
            weight.copy_(weight.bfloat16().float())
    assert torch.allclose(result, plain(x), atol=1e-5)


def test_rounding_is_that_of_torch() -> None:
    values = torch.randn(10_000) * torch.logspace(-30, 30, 10_000)
    bits = torch.from_numpy(round_to_bfloat16(values.numpy()).view("int16"))
    assert torch.equal(bits.view(torch.bfloat16), values.bfloat16())


@pytest.mark.parametrize("half", [False, True])
def test_packed_weights_lie_on_large_pages(half: bool) -> None:
    """Where reading them is fastest, and every weight in its place."""
    weight = np.random.default_rng(0).standard_normal((4 * 22, 22)).astype(np.float32)
    packed = pack(weight, half)
    assert packed.ctypes.data % (1 << 21) == 0 and packed.flags.c_contiguous
    if not half:
        panels = packed.transpose(0, 2, 1).reshape(-1, 24)
        assert np.array_equal(panels[:88, :22], weight)
        assert not panels[88:].any() and not panels[:, 22:].any()
