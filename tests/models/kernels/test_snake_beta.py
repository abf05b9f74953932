"""The fused activation against the plain one, in values, gradients and bits."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.config import PRESETS
from bigcodec_models.kernels import snake_beta, snake_beta_numba
from bigcodec_models.layers.activation import AliasFreeSnakeBeta

TILE = snake_beta_numba._UNIT
EDGES = [1, 2, 3, 4, 5, 6, 63, 64, 65, TILE - 1, TILE, TILE + 1, TILE + 3, 2 * TILE + 2]


def random_module(channels: int, seed: int = 0) -> AliasFreeSnakeBeta:
    module = AliasFreeSnakeBeta(channels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.alpha.normal_(0, 0.7, generator=generator)
        module.beta.normal_(0, 0.7, generator=generator)
    return module


def random_input(*shape: int, seed: int = 1) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(module: AliasFreeSnakeBeta, x: Tensor) -> Tensor:
    """The plain form in double precision."""
    double = AliasFreeSnakeBeta(len(module.alpha)).double()
    double.load_state_dict(module.state_dict())
    return double.plain(x.detach().double())


def gradients(output: Tensor, x: Tensor, module: AliasFreeSnakeBeta, grad: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(output, [x, module.alpha, module.beta], grad.to(output.dtype)))


def rounding(module: AliasFreeSnakeBeta, x: Tensor, order: int) -> float:
    """What single precision may cost: the sine's argument rounded, times its derivative."""
    frequency = float(module.alpha.detach().exp().max())
    amplitude = float((-module.beta.detach()).exp().max())
    slope = amplitude * frequency**order * (1 + float(x.detach().abs().max()))
    return 1e-6 * (1 + slope)


def check(batch: int, channels: int, length: int, seed: int) -> None:
    """Values and gradients against the plain form in double precision."""
    module = random_module(channels, seed)
    double = AliasFreeSnakeBeta(channels).double()
    double.load_state_dict(module.state_dict())
    x = random_input(batch, channels, length, seed=seed + 1).requires_grad_()
    wide = x.detach().double().requires_grad_()
    output, expected = module(x), double.plain(wide)
    assert (output - expected).abs().max() < rounding(module, x, 1)
    grad = random_input(batch, channels, length, seed=seed + 2)
    result, exact = gradients(output, x, module, grad), gradients(expected, wide, double, grad)
    bound = 4 * rounding(module, x, 2)
    assert (result[0] - exact[0]).abs().max() < bound
    for gradient, reference in zip(result[1:], exact[1:], strict=True):
        assert (gradient - reference).abs().max() < bound * (2 + math.sqrt(batch * length))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("length", EDGES)
def test_lengths_around_a_tile(length: int) -> None:
    check(2, 3, length, seed=0)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3000), st.integers(0, 999))
def test_random_shapes(batch: int, channels: int, length: int, seed: int) -> None:
    check(batch, channels, length, seed)


@pytest.mark.parametrize("shape", [(4, 50), (1, 4, 50), (2, 3, 4, 50), (0, 4, 50), (2, 4, 0)])
def test_any_leading_shape(shape: tuple[int, ...]) -> None:
    module = random_module(4)
    x = random_input(*shape)
    result = module(x)
    assert result.shape == x.shape
    if x.numel():
        rows = x.reshape(-1, 4, 50)
        assert torch.equal(result.reshape(-1, 4, 50), torch.stack([module(row) for row in rows]))
        assert (module.plain(x) - result).abs().max() < 1e-5


def test_bits_depend_on_neither_threads_nor_batch(two_threads: None) -> None:
    module = random_module(7)
    x = random_input(3, 7, 4000).requires_grad_()
    grad = random_input(3, 7, 4000, seed=2)
    output = module(x)
    both = gradients(output, x, module, grad)
    torch.set_num_threads(1)
    alone = module(x)
    assert torch.equal(output, alone)
    for first, second in zip(both, gradients(alone, x, module, grad), strict=True):
        assert torch.equal(first, second)
    assert torch.equal(output[1:2], module(x[1:2]))


def test_bits_depend_on_the_neighbourhood_only() -> None:
    """Five values on either side, wherever tiles and vectors begin."""
    module = random_module(2)
    x = random_input(1, 2, 3000)
    whole = module(x)
    for start, stop in [(1, 2990), (13, 1400), (1007, 1100)]:
        part = module(x[..., start:stop])
        assert torch.equal(part[..., 6:-6], whole[..., start + 6 : stop - 6])


def test_threads_of_our_own_where_torch_has_no_openmp(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = random_module(7)
    x = random_input(1, 7, 40_000)
    expected = module(x)
    monkeypatch.setattr(snake_beta_numba, "_openmp_parallel", lambda: None)
    assert torch.equal(module(x), expected)


def test_layouts_of_input_and_gradient_do_not_matter() -> None:
    module = random_module(3)
    x = random_input(50, 3).t().unsqueeze(0).requires_grad_()
    assert not x.is_contiguous()
    output = module(x)
    fused_gradients = gradients(output.sum(), x, module, torch.tensor(1.0))
    plain = gradients(module.plain(x).sum(), x, module, torch.tensor(1.0))
    for result, expected in zip(fused_gradients, plain, strict=True):
        assert torch.allclose(result, expected, atol=1e-4)


def test_modes_that_record_no_gradient() -> None:
    module = random_module(3)
    x = random_input(1, 3, 100)
    recorded = module(x)
    assert recorded.requires_grad
    with torch.no_grad():
        assert torch.equal(module(x), recorded)
    with torch.inference_mode():
        result = module(x)
    assert torch.equal(result, recorded) and not result.requires_grad


def test_gradients_of_frozen_parameters_are_left_out() -> None:
    module = random_module(3).requires_grad_(False)
    x = random_input(1, 3, 100).requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None and module.alpha.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    module = random_module(3)
    x = random_input(1, 3, 200).to(dtype)
    assert torch.equal(module(x), module(x.float()).to(dtype))
    narrow = random_module(3).to(dtype)
    assert narrow(x).dtype == dtype
    assert torch.allclose(narrow(x).float(), module(x).float(), atol=0.1)


def test_autocast_trains_in_half_precision() -> None:
    module = random_module(3)
    x = random_input(2, 3, 200).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = module(x)
    assert output.dtype == torch.bfloat16
    result = gradients(output, x, module, torch.ones_like(x))
    assert result[0].dtype == torch.bfloat16 and result[1].dtype == torch.float32
    single = x.detach().float().requires_grad_()
    expected = gradients(module.plain(single), single, module, torch.ones_like(single))
    assert torch.allclose(result[0].float(), expected[0], atol=0.05)
    assert torch.allclose(result[1], expected[1], rtol=1e-4, atol=1e-3)


def test_double_precision_takes_the_plain_form() -> None:
    module = random_module(3).double()
    x = random_input(1, 3, 100).double()
    assert torch.equal(module(x), module.plain(x))


@pytest.mark.parametrize("level", [10.0, 1e3, 3e4])
def test_large_arguments_of_the_sine(level: float) -> None:
    """The error is that of rounding the argument to single precision, no more."""
    module = AliasFreeSnakeBeta(1)
    x = level * torch.linspace(-1, 1, 500).view(1, 1, -1)
    assert (module(x) - exact(module, x)).abs().max() < 4e-7 * level + 1e-6


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_what_is_not_finite_stays_so_and_nothing_else_does(value: float) -> None:
    module = AliasFreeSnakeBeta(1)
    x = random_input(1, 1, 60)
    x[..., 30] = value
    result = module(x)
    assert torch.isfinite(result[..., 30]).all() == math.isfinite(value)
    assert torch.isfinite(result[..., :24]).all() and torch.isfinite(result[..., 37:]).all()


def test_an_endless_frequency_is_seen() -> None:
    module = AliasFreeSnakeBeta(1)
    with torch.no_grad():
        module.alpha.fill_(200.0)
    assert not torch.isfinite(module(torch.zeros(1, 1, 60))).any()


def test_without_numba_the_plain_form_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("bigcodec_models.kernels.snake_beta_numba")
    monkeypatch.setitem(sys.modules, "bigcodec_models.kernels.snake_beta_numba", None)
    snake_beta._kernels.cache_clear()
    module = random_module(3)
    x = random_input(1, 3, 100)
    assert snake_beta.kernels_for(x) is None
    assert torch.equal(module(x), module.plain(x))
    snake_beta._kernels.cache_clear()


def test_kernels_that_do_not_run_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = types.ModuleType("bigcodec_models.kernels.snake_beta_triton")

    def check() -> None:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(broken, "check", check, raising=False)
    monkeypatch.setitem(sys.modules, broken.__name__, broken)
    monkeypatch.setattr("bigcodec_models.kernels.snake_beta_triton", broken, raising=False)
    snake_beta._kernels.cache_clear()
    with pytest.warns(UserWarning, match="no C compiler"):
        assert snake_beta._kernels("cuda") is None
    snake_beta._kernels.cache_clear()


def test_a_whole_network_gives_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    network = CodecNetwork(PRESETS["toy"])
    wave = 0.1 * torch.randn(1, 1, 4000)
    latent = network.encoder(wave)
    fused = network.decoder(latent)
    monkeypatch.setattr(AliasFreeSnakeBeta, "fused", False)
    plain = network.encoder(wave)
    assert (latent - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert (fused - network.decoder(latent)).abs().max() < 1e-5


def test_the_lite_family_does_not_load_the_kernels() -> None:
    """Importing numba for them would cost half a second of every start."""
    code = (
        "import sys, torch; from bigcodec_models.config import PRESETS; "
        "from bigcodec_models.architectures.network import CodecNetwork; "
        "CodecNetwork(PRESETS['toy-lite'])(torch.zeros(1, 1, 4000)); "
        "sys.exit('bigcodec_models.kernels.snake_beta_numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


_RESULTS = """
import hashlib, torch
from bigcodec_models.kernels import snake_beta_numba
from bigcodec_models.inference.compiled_lstm import FastResidualLSTM
from bigcodec_models.layers.lstm import ResidualLSTM
torch.manual_seed(0)
x, grad, scales = torch.randn(2, 16, 4000), torch.randn(2, 16, 4000), torch.rand(16, 2) + 0.5
lstm = FastResidualLSTM(ResidualLSTM(64, 2).requires_grad_(False))
results = [snake_beta_numba.forward(x, scales), *snake_beta_numba.backward(x, grad, scales)]
results.append(lstm(torch.randn(1, 64, 50)))
print(*(hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in results))
"""


def test_the_process_that_compiles_computes_what_later_ones_do(tmp_path: Path) -> None:
    """Or the first run after an installation would give other samples than all later ones."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", _RESULTS]
    first, later = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == later and len(first.split()) == 4
    assert list(tmp_path.rglob("*.nbi"))
