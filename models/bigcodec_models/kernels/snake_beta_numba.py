"""The alias-free SnakeBeta activation in one pass over memory, forward and backward, for CPUs.

A tile of a row stays in the L1 cache from upsampling to downsampling. With filter f, the
upsampled signal has an even and an odd phase,

    e[s] = 2 sum_i f[2i+1] x[s+2-i]      o[s] = 2 sum_i f[2i] x[s+3-i]      i = 0..5

and with v = u + a sin^2(w u) on both phases, extended at the ends by its first and last value,
the output is y[t] = sum_i f[2i] vo[t-3+i] + f[2i+1] ve[t-2+i]. The adjoint of each filter has the
form of the other one.

Every value is computed by the same vector instructions at every position of a tile or row, so
that results depend neither on the batch nor on the number of threads. Numba compiles the kernels
on first use, which takes some seconds, and caches them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from bigcodec_models.kernels.cache import forget
from bigcodec_models.kernels.low_pass import LOW_PASS

numba: Any = import_module("numba")  # its annotations do not cover what is used here
types = numba.types
if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT keeps numba from compiling")

_compiled: list[Any] = []  # the objects of kernels, whose code lives as long as they do
Function = TypeVar("Function", bound=Callable[..., Any])

_TILE = 1024  # values of each phase in a tile: four buffers of this size fit the L1 cache
_UNIT = _TILE - 9  # outputs per tile, which needs 3 values more on the left and 6 on the right
_STEP = 64  # loops run over multiples of this, so that no scalar remainder is left
_SERIAL = 1 << 16  # below this number of values, waking other threads costs more than it saves

_F0, _F1, _F2, _F3, _F4, _F5, _F6, _F7, _F8, _F9, _F10, _F11 = (np.float32(f) for f in LOW_PASS)

# sin(r)/r and cos(r) in powers of r^2, least-squares fits at Chebyshev nodes for |r| <= pi/2.
_S0, _S1, _S2, _S3, _S4 = (
    np.float32(c)
    for c in (9.99999995e-01, -1.66666575e-01, 8.33303979e-03, -1.98082326e-04, 2.60329361e-06)
)
_C0, _C1, _C2, _C3, _C4, _C5 = (
    np.float32(c)
    for c in (
        1.0,
        -4.99999993e-01,
        4.16666346e-02,
        -1.38883406e-03,
        2.47590884e-05,
        -2.60323350e-07,
    )
)
# Pi in three parts; the first two are short, so that small multiples of them are exact.
_PI_HIGH = np.float32(3.140625)
_PI_MIDDLE = np.float32(math.floor((math.pi - 3.140625) * 2**21) / 2**21)
_PI_LOW = np.float32(math.pi - 3.140625 - float(_PI_MIDDLE))
_PER_PI = np.float32(1 / math.pi)
_LIMIT = np.float32(1.58)  # just above pi/2: bounds the result for very large arguments
_ONE, _TWO = np.float32(1), np.float32(2)


def _inner(function: Function) -> Function:
    """Compile a part of a kernel, inlined into it; a * b + c may become one instruction.

    Without inlining, the process that compiles would call a separately optimized version of the
    part, and later processes the version in the cached kernel, and the two round differently.
    """
    compiled = numba.njit(fastmath={"contract"}, error_model="numpy", forceinline=True)(function)
    return cast(Function, compiled)


def _sums(function: Function) -> Function:
    """Compile a sum over an array; the compiler may reorder it, in the same way for every run."""
    compiled = numba.njit(fastmath={"contract", "reassoc"}, forceinline=True)(function)
    return cast(Function, compiled)


def _kernel(function: Callable[[Any], None]) -> Callable[[], int]:
    """An entry point that takes a job (see `_run`), compiled when its address is first needed."""
    signature = types.void(types.CPointer(types.voidptr))

    @cache
    def address() -> int:
        try:
            kernel = numba.cfunc(signature, cache=True, error_model="numpy")(function)
        except Exception:  # no folder for a cache, or damaged files in it: see `kernels.cache`
            forget(function)
            kernel = numba.cfunc(signature, error_model="numpy")(function)
        _compiled.append(kernel)
        return int(kernel.address)

    return address


@numba.extending.intrinsic  # type: ignore[untyped-decorator]
def _claim(context: Any, counter: Any, amount: Any) -> Any:
    """Add `amount` to counter[0] atomically; returns the value before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, arguments[1], "monotonic")

    return types.intp(counter, types.intp), generate


@_inner
def _reduced(z: Any) -> Any:
    """z minus the nearest multiple of pi."""
    count = np.rint(z * _PER_PI)
    r = z - count * _PI_HIGH
    r = r - count * _PI_MIDDLE
    r = r - count * _PI_LOW
    return min(max(r, -_LIMIT), _LIMIT)


@_inner
def _sine(r: Any) -> Any:
    q = r * r
    return r * ((((_S4 * q + _S3) * q + _S2) * q + _S1) * q + _S0)


@_inner
def _cosine(r: Any) -> Any:
    q = r * r
    return ((((_C5 * q + _C4) * q + _C3) * q + _C2) * q + _C1) * q + _C0


@_inner
def _even(x: Any, j: Any) -> Any:
    """Half of e[s], or the adjoint of the downsampler, where x[j] is the input at s - 3."""
    left = _F11 * x[j] + _F9 * x[j + 1] + _F7 * x[j + 2]
    return left + (_F5 * x[j + 3] + _F3 * x[j + 4] + _F1 * x[j + 5])


@_inner
def _odd(x: Any, j: Any) -> Any:
    """Half of o[s], or its adjoint, where x[j] is the input at s - 3."""
    left = _F10 * x[j + 1] + _F8 * x[j + 2] + _F6 * x[j + 3]
    return left + (_F4 * x[j + 4] + _F2 * x[j + 5] + _F0 * x[j + 6])


@_inner
def _down(even: Any, odd: Any, out: Any, count: int) -> None:
    """Outputs out[:count] from phases that start 3 values earlier."""
    for j in range(count):
        left = _F0 * odd[j] + _F2 * odd[j + 1] + _F4 * odd[j + 2]
        left += _F6 * odd[j + 3] + _F8 * odd[j + 4] + _F10 * odd[j + 5]
        right = _F1 * even[j + 1] + _F3 * even[j + 2] + _F5 * even[j + 3]
        right += _F7 * even[j + 4] + _F9 * even[j + 5] + _F11 * even[j + 6]
        out[j] = left + right


@_inner
def _activate(x: Any, even: Any, odd: Any, count: int, frequency: Any, amplitude: Any) -> None:
    for j in range(count):
        u = _TWO * _even(x, j)
        sine = _sine(_reduced(u * frequency))
        even[j] = u + amplitude * (sine * sine)
        u = _TWO * _odd(x, j)
        sine = _sine(_reduced(u * frequency))
        odd[j] = u + amplitude * (sine * sine)


@_inner
def _gather(row: Any, start: int, out: Any, count: int, first: Any, last: Any) -> None:
    """row[start : start + count], with `first` and `last` for values beyond its ends."""
    low = min(max(0, -start), count)
    high = max(low, min(count, len(row) - start))
    for j in range(low):
        out[j] = first
    for j in range(low, high):
        out[j] = row[start + j]
    for j in range(high, count):
        out[j] = last


@_inner
def _rounded(count: int) -> int:
    return (count + _STEP - 1) // _STEP * _STEP


@_inner
def _forward_tile(x: Any, y: Any, start: int, scales: Any, work: Any) -> None:
    """Outputs of one row from `start` on; `scales` are its frequency and amplitude."""
    padded, even, odd = work[0], work[1], work[2]
    length = len(x)
    count = min(_UNIT, length - start)
    wide = _rounded(count + 9)
    _gather(x, start - 6, padded, wide + 6, x[0], x[length - 1])
    _activate(padded, even, odd, wide, scales[0], scales[1])
    if start == 0:
        for j in range(3):
            even[j] = odd[j] = even[3]
    end = length - start + 3
    if end < count + 6:
        for j in range(end, end + 3):
            even[j] = odd[j] = odd[end - 1]
    _down(even, odd, padded, _rounded(count))
    for j in range(count):
        y[start + j] = padded[j]


@_inner
def _differentiate(x: Any, work: Any, count: int, frequency: Any, amplitude: Any) -> None:
    """Multiply the gradients of both phases by the slope of the activation; also gives the
    terms of the sums that the gradients of the scales need."""
    even, odd, by_frequency, by_amplitude = work[1], work[2], work[3], work[4]
    slope = _TWO * amplitude * frequency
    for j in range(count):
        u = _TWO * _even(x, j)
        r = _reduced(u * frequency)
        sine = _sine(r)
        both = sine * _cosine(r)
        first, first_square = even[j] * both * u, even[j] * (sine * sine)
        even[j] = even[j] * (_ONE + slope * both)
        u = _TWO * _odd(x, j)
        r = _reduced(u * frequency)
        sine = _sine(r)
        both = sine * _cosine(r)
        by_frequency[j] = first + odd[j] * both * u
        by_amplitude[j] = first_square + odd[j] * (sine * sine)
        odd[j] = odd[j] * (_ONE + slope * both)


@_inner
def _adjoint_phases(grad: Any, even: Any, odd: Any, count: int) -> None:
    for j in range(count):
        even[j] = _even(grad, j)
        odd[j] = _odd(grad, j)


@_sums
def _sum(values: Any, first: int, count: int) -> Any:
    total = 0.0
    for j in range(first, first + count):
        total += values[j]
    return total


@_inner
def _backward_tile(
    x: Any, grad: Any, grad_x: Any, start: int, scales: Any, sums: Any, work: Any
) -> None:
    """Gradients from `start` on, of one row, and this tile's part of the sums for its scales."""
    padded, even, odd = work[0], work[1], work[2]
    length = len(x)
    count = min(_UNIT, length - start)
    wide = _rounded(count + 9)
    zero = np.float32(0)
    _gather(grad, start - 6, padded, wide + 6, zero, zero)
    _adjoint_phases(padded, even, odd, wide)
    # Beyond the ends the phases repeat their first and last value, which take those gradients.
    if start == 0:
        for j in range(3):
            even[3] += even[j] + odd[j]
            even[j] = odd[j] = zero
    end = length - start + 3
    if end < count + 6:
        for j in range(end, end + 3):
            odd[end - 1] += even[j] + odd[j]
            even[j] = odd[j] = zero
    _gather(x, start - 6, padded, wide + 6, x[0], x[length - 1])
    _differentiate(padded, work, wide, scales[0], scales[1])
    sums[0] = _sum(work[3], 3, count)
    sums[1] = _sum(work[4], 3, count)
    _down(even, odd, padded, _rounded(count))
    # The first and last input also stand for those beyond the ends.
    if start == 0:
        outside = even[3] * (_F7 + _F9 + _F11) + even[4] * (_F9 + _F11) + even[5] * _F11
        padded[0] += outside + (odd[3] * (_F8 + _F10) + odd[4] * _F10)
    if end == count + 3:
        at = end - 1
        outside = odd[at] * (_F4 + _F2 + _F0) + odd[at - 1] * (_F2 + _F0) + odd[at - 2] * _F0
        padded[count - 1] += outside + (even[at] * (_F3 + _F1) + even[at - 1] * _F1)
    for j in range(count):
        grad_x[start + j] = _TWO * padded[j]


@_kernel
def _forward_kernel(job: Any) -> None:
    sizes = numba.carray(job[0], 5, np.intp)
    rows, length, channels, share = sizes[1], sizes[2], sizes[3], sizes[4]
    x = numba.carray(job[1], (rows, length), np.float32)
    y = numba.carray(job[2], (rows, length), np.float32)
    scales = numba.carray(job[3], (channels, 2), np.float32)
    work = np.zeros((3, _TILE + 16), np.float32)
    tiles = (length + _UNIT - 1) // _UNIT
    while True:
        first = _claim(sizes, share)
        if first >= rows * tiles:
            break
        for unit in range(first, min(first + share, rows * tiles)):
            row = unit // tiles
            start = (unit - row * tiles) * _UNIT
            _forward_tile(x[row], y[row], start, scales[row % channels], work)


@_kernel
def _backward_kernel(job: Any) -> None:
    sizes = numba.carray(job[0], 5, np.intp)
    rows, length, channels, share = sizes[1], sizes[2], sizes[3], sizes[4]
    tiles = (length + _UNIT - 1) // _UNIT
    x = numba.carray(job[1], (rows, length), np.float32)
    grad = numba.carray(job[2], (rows, length), np.float32)
    scales = numba.carray(job[3], (channels, 2), np.float32)
    grad_x = numba.carray(job[4], (rows, length), np.float32)
    sums = numba.carray(job[5], (rows * tiles, 2), np.float64)
    work = np.zeros((5, _TILE + 16), np.float32)
    while True:
        first = _claim(sizes, share)
        if first >= rows * tiles:
            break
        for unit in range(first, min(first + share, rows * tiles)):
            row = unit // tiles
            start = (unit - row * tiles) * _UNIT
            at = scales[row % channels]
            _backward_tile(x[row], grad[row], grad_x[row], start, at, sums[unit], work)


@cache
def _openmp_parallel() -> Callable[..., Any] | None:
    """`GOMP_parallel` of torch's OpenMP runtime, if it has one.

    Its threads are those that torch has just used and that still wait for work; other threads
    would compete with them for the processors.
    """
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))
    try:
        parallel = ctypes.CDLL(str(libraries[0])).GOMP_parallel
    except (IndexError, OSError, AttributeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return cast(Callable[..., Any], parallel)


def _run(kernel: Callable[[], int], tensors: list[Tensor]) -> None:
    """Run a kernel over x, the first tensor, with as many threads as torch would use.

    A job is a list of addresses: first that of the sizes, then those of the tensors. Threads
    claim tiles by a counter, the first of the sizes, until none is left.
    """
    channels, length = tensors[0].shape[-2:]
    rows = tensors[0].numel() // length
    threads = torch.get_num_threads() if rows * length >= _SERIAL else 1
    units = rows * -(-length // _UNIT)
    share = max(1, units // (16 * threads))
    sizes = (ctypes.c_ssize_t * 5)(0, rows, length, channels, share)
    addresses = [ctypes.addressof(sizes), *(tensor.data_ptr() for tensor in tensors)]
    job = (ctypes.c_void_p * len(addresses))(*addresses)
    parallel = _openmp_parallel()
    if threads > 1 and parallel is not None:
        parallel(kernel(), job, threads, 0)
        return
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel())
    if threads == 1:
        entry(job)
        return
    with ThreadPoolExecutor(threads) as pool:
        wait([pool.submit(entry, job) for _ in range(threads)])


def forward(x: Tensor, scales: Tensor) -> Tensor:
    """See `snake_beta.Kernels`."""
    single = x.float()
    y = torch.empty_like(single)
    _run(_forward_kernel, [single, y, scales])
    return y.to(x.dtype)


def backward(x: Tensor, grad: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """See `snake_beta.Kernels`; the sums do not depend on the number of threads either."""
    single = x.float()
    grad_x = torch.empty_like(single)
    tiles = -(-x.shape[-1] // _UNIT)
    sums = torch.empty(x.shape[:-2].numel(), len(scales), tiles, 2, dtype=torch.float64)
    _run(_backward_kernel, [single, grad.float(), scales, grad_x, sums])
    return grad_x.to(x.dtype), sums.sum(dim=(0, 2)).float()
