"""The alias-free SnakeBeta activation as one Triton kernel each way, for GPUs.

The formulas are those of `snake_beta_numba`. A program computes a block of a row's outputs: it
loads the eleven inputs around each output and computes the twelve upsampled values that it needs.
Each upsampled value is computed six times in all, which costs less than storing it.

Checked so far without a GPU, with Triton 3.2 and 3.9: values, gradients, types and ends by tests in
Triton's interpreter; compilation for compute capabilities 8.0 and 9.0 (at 9.0: 48 and 70 registers,
none spilled); that one compilation serves all lengths, with a mock driver. Speed is not measured.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Values in Triton functions have no Python types. Triton reads the annotations itself, so that
# `from __future__ import annotations` cannot be used.

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from bigcodec_models.kernels.low_pass import LOW_PASS

triton: Any = import_module("triton")  # it has no annotations that a type checker could use
tl: Any = import_module("triton.language")

_BLOCK = 256
_VARYING = ["length", "blocks", "channels"]  # arguments whose values need no new compilation

# The second half of the filter mirrors the first.
_F0, _F1, _F2, _F3, _F4, _F5 = (tl.constexpr(value) for value in LOW_PASS[:6])
# The weights of the value repeated beyond an end in the three outputs next to that end.
_E0 = tl.constexpr(sum(LOW_PASS[:5]))
_E1 = tl.constexpr(sum(LOW_PASS[:3]))
_E2 = tl.constexpr(LOW_PASS[0])

_PI_HIGH = tl.constexpr(3.140625)
_PI_MIDDLE = tl.constexpr(0.0009675025939941406)
_PI_LOW = tl.constexpr(1.5099579897537296e-07)
_PER_PI = tl.constexpr(0.3183098861837907)
_LIMIT = tl.constexpr(1.58)


@triton.jit
def _tap(k: tl.constexpr):
    """Tap k of the filter; Triton 3.2 has no tuples of constants."""
    if k == 0 or k == 11:
        return _F0
    elif k == 1 or k == 10:
        return _F1
    elif k == 2 or k == 9:
        return _F2
    elif k == 3 or k == 8:
        return _F3
    elif k == 4 or k == 7:
        return _F4
    else:
        return _F5


@triton.jit
def _even(a, b, c, d, e, f):
    """Half of the even phase at s from inputs s-3 .. s+2."""
    return (_F0 * a + _F2 * b + _F4 * c) + (_F5 * d + _F3 * e + _F1 * f)


@triton.jit
def _odd(a, b, c, d, e, f):
    """Half of the odd phase at s from inputs s-2 .. s+3."""
    return (_F1 * a + _F3 * b + _F5 * c) + (_F4 * d + _F2 * e + _F0 * f)


@triton.jit
def _reduced(z):
    """z minus the nearest multiple of pi."""
    count = tl.floor(z * _PER_PI + 0.5)
    r = z - count * _PI_HIGH
    r = r - count * _PI_MIDDLE
    r = r - count * _PI_LOW
    all_values: tl.constexpr = tl.PropagateNan.ALL
    r = tl.maximum(r, -_LIMIT, propagate_nan=all_values)
    return tl.minimum(r, _LIMIT, propagate_nan=all_values)


@triton.jit
def _sine(r):
    q = r * r
    p = ((2.60329361e-06 * q - 1.98082326e-04) * q + 8.33303979e-03) * q - 1.66666575e-01
    return r * (p * q + 9.99999995e-01)


@triton.jit
def _cosine(r):
    q = r * r
    p = ((2.47590884e-05 - 2.60323350e-07 * q) * q - 1.38883406e-03) * q + 4.16666346e-02
    return (p * q - 4.99999993e-01) * q + 1.0


@triton.jit
def _near(row, position, length):
    """Values of a row, the first and the last one repeated beyond its ends."""
    inside = tl.minimum(tl.maximum(position, 0), length - 1)
    return tl.load(row + inside).to(tl.float32)


@triton.jit
def _inside(row, position, length):
    """Values of a row, zero beyond its ends."""
    mask = (position >= 0) & (position < length)
    return tl.load(row + position, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _active(half, frequency, amplitude):
    u = 2.0 * half
    sine = _sine(_reduced(u * frequency))
    return u + amplitude * (sine * sine)


@triton.jit
def _repeated(value, s, first, last, length):
    return tl.where(s < 0, first, tl.where(s >= length, last, value))


@triton.jit(do_not_specialize=_VARYING)
def _forward_kernel(x, y, scales, length, blocks, channels, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    row = program // blocks
    t = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    x += row.to(tl.int64) * length
    frequency = tl.load(scales + 2 * (row % channels))
    amplitude = tl.load(scales + 2 * (row % channels) + 1)
    end = length - 1
    a, b, c = _near(x, 0, length), _near(x, 1, length), _near(x, 2, length)
    first = _active(_even(a, a, a, a, b, c), frequency, amplitude)
    a, b, c = _near(x, end - 2, length), _near(x, end - 1, length), _near(x, end, length)
    last = _active(_odd(a, b, c, c, c, c), frequency, amplitude)
    # a .. f are six inputs in a row, shifted by one for each pair of upsampled values.
    b, c = _near(x, t - 5, length), _near(x, t - 4, length)
    d, e, f = _near(x, t - 3, length), _near(x, t - 2, length), _near(x, t - 1, length)
    result = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(6):
        a, b, c, d, e, f = b, c, d, e, f, _near(x, t + i, length)
        value = _active(_odd(a, b, c, d, e, f), frequency, amplitude)
        result += _tap(2 * i) * _repeated(value, t - 3 + i, first, last, length)
        value = _active(_even(a, b, c, d, e, f), frequency, amplitude)
        result += _tap(2 * i + 1) * _repeated(value, t - 2 + i, first, last, length)
    y += row.to(tl.int64) * length
    tl.store(y + t, result.to(y.dtype.element_ty), mask=t < length)


@triton.jit
def _beyond(grad, at, step, length):
    """The gradients at the values beyond an end of the upsampled signal, `at` the last output."""
    near = _E0 * _inside(grad, at, length) + _E1 * _inside(grad, at + step, length)
    return near + _E2 * _inside(grad, at + 2 * step, length)


@triton.jit(do_not_specialize=_VARYING)
def _backward_kernel(
    x, grad, scales, grad_x, outside, sums, length, blocks, channels, BLOCK: tl.constexpr
):
    """Gradients of inputs -3 .. length+2; the six of each row beyond its ends go to `outside`."""
    program = tl.program_id(0)
    row = program // blocks
    t = (program % blocks) * BLOCK + tl.arange(0, BLOCK) - 3
    x += row.to(tl.int64) * length
    grad += row.to(tl.int64) * length
    frequency = tl.load(scales + 2 * (row % channels))
    amplitude = tl.load(scales + 2 * (row % channels) + 1)
    slope = 2.0 * amplitude * frequency
    first, last = _beyond(grad, 0, 1, length), _beyond(grad, length - 1, -1, length)
    # a .. f are six inputs in a row, shifted by one for each pair of upsampled values.
    b, c = _near(x, t - 5, length), _near(x, t - 4, length)
    d, e, f = _near(x, t - 3, length), _near(x, t - 2, length), _near(x, t - 1, length)
    # g .. n are six gradients in a row in the same way.
    h, j = _inside(grad, t - 5, length), _inside(grad, t - 4, length)
    k, m = _inside(grad, t - 3, length), _inside(grad, t - 2, length)
    n = _inside(grad, t - 1, length)
    result = tl.zeros([BLOCK], tl.float32)
    by_frequency = tl.zeros([BLOCK], tl.float32)
    by_amplitude = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(6):
        a, b, c, d, e, f = b, c, d, e, f, _near(x, t + i, length)
        g, h, j, k, m, n = h, j, k, m, n, _inside(grad, t + i, length)
        for phase in tl.static_range(2):
            s = t - 3 + i + phase
            if phase == 0:
                u = 2.0 * _odd(a, b, c, d, e, f)
                above = _odd(g, h, j, k, m, n) + tl.where(s == length - 1, last, 0.0)
            else:
                u = 2.0 * _even(a, b, c, d, e, f)
                above = _even(g, h, j, k, m, n) + tl.where(s == 0, first, 0.0)
            above = tl.where((s >= 0) & (s < length), above, 0.0)
            r = _reduced(u * frequency)
            sine = _sine(r)
            both = sine * _cosine(r)
            result += _tap(2 * i + phase) * above * (1.0 + slope * both)
            if i + phase == 3:  # s == t, so that every value counts in one program only
                by_frequency += above * both * u
                by_amplitude += above * (sine * sine)
    result = 2.0 * result
    grad_x += row.to(tl.int64) * length
    inside = (t >= 0) & (t < length)
    tl.store(grad_x + t, result.to(grad_x.dtype.element_ty), mask=inside)
    place = tl.where(t < 0, t + 3, t - length + 3)
    tl.store(outside + 6 * row + place, result, mask=(t < length + 3) & (inside == 0))
    tl.store(sums + 2 * program, tl.sum(by_frequency))
    tl.store(sums + 2 * program + 1, tl.sum(by_amplitude))


def check() -> None:
    """Run once, because a missing compiler, for example, is noticed only then."""
    device = torch.device("cuda")
    forward(torch.zeros(1, 1, 1, device=device), torch.ones(1, 2, device=device))


def forward(x: Tensor, scales: Tensor) -> Tensor:
    """See `snake_beta.Kernels`."""
    y = torch.empty_like(x)
    channels, length = x.shape[-2:]
    blocks = -(-length // _BLOCK)
    grid = (x.numel() // length * blocks,)
    with torch.cuda.device_of(x):
        _forward_kernel[grid](
            x, y, scales, length, blocks, channels, BLOCK=_BLOCK, enable_fp_fusion=True
        )
    return y


def backward(x: Tensor, grad: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """See `snake_beta.Kernels`."""
    channels, length = x.shape[-2:]
    blocks = -(-(length + 6) // _BLOCK)
    rows = x.numel() // length
    grad_x = torch.empty_like(x)
    outside = torch.empty(rows, 2, 3, device=x.device)
    sums = torch.empty(rows // channels, channels, blocks, 2, device=x.device)
    with torch.cuda.device_of(x):
        _backward_kernel[(rows * blocks,)](
            *(x, grad, scales, grad_x, outside, sums, length, blocks, channels),
            BLOCK=_BLOCK,
            enable_fp_fusion=True,
        )
    first, last = outside.sum(dim=2).unbind(1)
    grad_x[..., 0] += first.view(x.shape[:-1])
    grad_x[..., -1] += last.view(x.shape[:-1])
    return grad_x, sums.double().sum(dim=(0, 2)).float()
