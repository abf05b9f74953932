"""The Triton kernels against the plain activation: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import math
import os

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("needs Triton", allow_module_level=True)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is first imported

from bigcodec_models.kernels import snake_beta, snake_beta_triton  # noqa: E402
from bigcodec_models.layers.activation import AliasFreeSnakeBeta  # noqa: E402

BLOCK = snake_beta_triton._BLOCK
LENGTHS = [1, 2, 3, 4, 7, BLOCK - 6, BLOCK - 3, BLOCK, BLOCK + 3, 2 * BLOCK + 1]


def random_module(channels: int) -> AliasFreeSnakeBeta:
    torch.manual_seed(0)
    module = AliasFreeSnakeBeta(channels)
    with torch.no_grad():
        module.alpha.normal_(0, 0.5)
        module.beta.normal_(0, 0.5)
    return module


def fused(module: AliasFreeSnakeBeta, x: torch.Tensor) -> torch.Tensor:
    scales = snake_beta.scales_of(module.alpha, module.beta)
    return snake_beta.snake_beta(x, scales, snake_beta_triton)


@pytest.mark.parametrize("length", LENGTHS)
def test_values_and_gradients(length: int) -> None:
    module = random_module(3).to(DEVICE)
    double = random_module(3).double().to(DEVICE)
    x = (1.5 * torch.randn(2, 3, length)).to(DEVICE).requires_grad_()
    wide = x.detach().double().requires_grad_()
    grad = torch.randn(2, 3, length).to(DEVICE)
    output, expected = fused(module, x), double.plain(wide)
    assert (output - expected).abs().max() < 1e-5
    gradients = torch.autograd.grad(output, [x, module.alpha, module.beta], grad)
    exact = torch.autograd.grad(expected, [wide, double.alpha, double.beta], grad.double())
    for gradient, reference, terms in zip(gradients, exact, (1, length, length), strict=True):
        assert (gradient - reference).abs().max() < 1e-4 * math.sqrt(terms)


def test_bfloat16_is_computed_in_single_precision() -> None:
    module = random_module(3).to(DEVICE)
    x = torch.randn(2, 3, 300).to(DEVICE).bfloat16().requires_grad_()
    single = x.detach().float().requires_grad_()
    output, expected = fused(module, x), module.plain(single)
    assert output.dtype == torch.bfloat16
    assert torch.allclose(output.float(), expected, rtol=0.01, atol=0.01)
    gradients = torch.autograd.grad(output.sum(), [x, module.alpha, module.beta])
    exact = torch.autograd.grad(expected.sum(), [single, module.alpha, module.beta])
    assert gradients[0].dtype == torch.bfloat16
    assert torch.allclose(gradients[0].float(), exact[0], rtol=0.02, atol=0.05)
    for gradient, reference in zip(gradients[1:], exact[1:], strict=True):
        assert torch.allclose(gradient, reference, rtol=1e-3, atol=1e-2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, which the interpreter uses
def test_what_is_not_finite_stays_so_and_nothing_else_does() -> None:
    module = random_module(1).to(DEVICE)
    x = torch.randn(1, 1, 60).to(DEVICE)
    x[..., 30] = math.nan
    result = fused(module, x)
    assert result[..., 25:36].isnan().all() and not result[..., :24].isnan().any()
    assert not result[..., 37:].isnan().any()
    with torch.no_grad():
        module.alpha.fill_(200.0)
    assert not torch.isfinite(fused(module, torch.zeros(1, 1, 60).to(DEVICE))).any()


def test_a_new_length_compiles_nothing() -> None:
    if DEVICE == "cpu":
        pytest.skip("the interpreter compiles nothing")
    module = random_module(2).to(DEVICE)
    fused(module, torch.zeros(1, 2, 160, device=DEVICE))
    kernel = snake_beta_triton._forward_kernel
    compiled = sum(len(entry[0]) for entry in kernel.device_caches.values())
    for length in (1, 16, 161, 5000):
        fused(module, torch.zeros(1, 2, length, device=DEVICE))
    assert sum(len(entry[0]) for entry in kernel.device_caches.values()) == compiled
