"""The alias-free SnakeBeta activation in fused form: the choice of kernels, and its gradient.

The plain form (see `layers.activation`) makes some ten passes over tensors of twice the length; the
kernels make one pass each way, and store only the input for the backward pass.
`snake_beta_numba` needs numba, `snake_beta_triton` needs Triton. They are imported on first use,
because importing numba takes half a second, which models without this activation do not need.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class Kernels(Protocol):
    """The two passes on one kind of device, over contiguous x (..., channels, T).

    `scales` is (channels, 2): frequency e^alpha and amplitude 1 / (e^beta + 1e-9), float32.
    All computation is in single precision.
    """

    def forward(self, x: Tensor, scales: Tensor) -> Tensor:
        """The activation of x, in the shape and type of x."""
        ...

    def backward(self, x: Tensor, grad: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of x, and two sums a channel, float32 (channels, 2).

        With u the upsampled signal, g the gradient of the activated signal at the same rate, and
        z = frequency * u, they are the sums of g * u * sin(z) * cos(z) and of g * sin(z)^2.
        """
        ...


def kernels_for(x: Tensor) -> Kernels | None:
    """The kernels for x, or None where only the plain form works."""
    if x.dtype not in _TYPES or torch.compiler.is_compiling():
        return None
    return _kernels(x.device.type)


@cache
def _kernels(device_type: str) -> Kernels | None:
    try:
        if device_type == "cpu":
            from bigcodec_models.kernels import snake_beta_numba

            return snake_beta_numba
        if device_type == "cuda":
            from bigcodec_models.kernels import snake_beta_triton

            snake_beta_triton.check()
            return snake_beta_triton
    except ImportError:
        pass
    except Exception as error:  # compilers and drivers raise errors of many kinds
        warnings.warn(f"no fused activation on {device_type}, slower: {error}", stacklevel=2)
    return None


def snake_beta(x: Tensor, scales: Tensor, kernels: Kernels) -> Tensor:
    """The activation of x (..., channels, T), in its type; differentiable once. `scales`
    (channels, 2) are from `scales_of`."""
    if not x.numel():
        return x
    x = x.contiguous()
    if torch.is_grad_enabled() and (x.requires_grad or scales.requires_grad):
        result: Tensor = _SnakeBeta.apply(x, scales, kernels)  # type: ignore[no-untyped-call]
        return result
    return kernels.forward(x, scales)


def scales_of(alpha: Tensor, beta: Tensor) -> Tensor:
    """The scales of the kernels, (channels, 2), of logarithms (channels,): of one layer, or of the
    channels of many layers one after another. Their gradient is good for `snake_beta` only."""
    scales: Tensor = _Scales.apply(alpha.float(), beta.float())  # type: ignore[no-untyped-call]
    return scales


class _Scales(torch.autograd.Function):
    """As their gradient scales take the sums of `Kernels.backward` as they are, so that what turns
    sums into gradients of `alpha` and `beta` is computed once for all layers."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, beta: Tensor) -> Tensor:
        scales = torch.stack([alpha.exp(), 1.0 / (beta.exp() + 1e-9)], dim=1)
        ctx.save_for_backward(scales, beta)
        return scales

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, sums: Tensor) -> tuple[Tensor, Tensor]:
        scales, beta = ctx.saved_tensors
        by_frequency, by_amplitude = sums.double().unbind(1)
        frequency, amplitude = scales.double().unbind(1)
        grad_alpha = 2 * amplitude * frequency * by_frequency
        grad_beta = -amplitude.square() * beta.double().exp() * by_amplitude
        return grad_alpha.float(), grad_beta.float()


class _SnakeBeta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Tensor, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x, scales)
        ctx.kernels = kernels
        return kernels.forward(x, scales)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scales = ctx.saved_tensors
        grad_x, sums = ctx.kernels.backward(x, grad.contiguous(), scales)
        return grad_x, sums, None
