"""The recurrent half of an LSTM layer as a compiled loop over weights packed for it.

An LSTM at batch 1 spends its time on reading its weights once per frame. They are packed in the
order in which they are read. Every sum runs over the inputs in one fixed order, so that the
results of a row of a batch depend neither on the other rows nor on the number of threads.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import overload

from bigcodec_models.kernels.cache import SafeCache

Floats = npt.NDArray[np.float32]
Packed = npt.NDArray[np.float32] | npt.NDArray[np.uint32]
Function = TypeVar("Function", bound=Callable[..., Any])
Number = TypeVar("Number", bound=np.generic)

_PANEL = 128  # gates computed by one pass over the inputs: their sums stay in the L1 cache
_BLOCK = 64  # inputs of a panel that all rows of a batch use before the next ones are read
_UNROLL = 4
_LARGE_PAGE = 1 << 21  # bytes
_SIXTEEN, _UPPER = np.uint32(16), np.uint32(0xFFFF0000)

_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(1 / 5040), np.float32(1 / 720), np.float32(1 / 120)
_P3, _P4, _P5 = np.float32(1 / 24), np.float32(1 / 6), np.float32(0.5)
_ONE, _TWO, _LIMIT = np.float32(1), np.float32(2), np.float32(87)


def pack(weight: Floats, half: bool = False) -> Packed:
    """Recurrent weights (4 * width, width) as (panels, inputs, _PANEL), padded with zeros.

    With `half` they are rounded to bfloat16, and a uint32 holds the bits of two inputs, the first
    in its lower half; sums stay in float32.
    """
    gates, width = weight.shape
    panels, inputs = -(-gates // _PANEL), padded_width(width)
    filled = np.zeros((panels * _PANEL, inputs), np.float32)
    filled[:gates, :width] = weight
    packed = filled.reshape(panels, _PANEL, inputs).transpose(0, 2, 1)
    if not half:
        return on_large_pages(packed)
    bits = round_to_bfloat16(np.ascontiguousarray(packed)).astype(np.uint32)
    return on_large_pages(bits[:, ::2] | (bits[:, 1::2] << _SIXTEEN))


def on_large_pages(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """A C-contiguous copy that starts at a multiple of 2 MiB, a large page of memory.

    Numpy asks Linux for such pages for arrays of at least 4 MiB, so more is allocated than the copy
    needs; the rest is never touched. Reading weights in order is then a fifth faster. On other
    systems this is an ordinary copy.
    """
    buffer = np.empty(values.nbytes + 2 * _LARGE_PAGE, np.uint8)
    start = -buffer.ctypes.data % _LARGE_PAGE
    copy = buffer[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def padded_width(width: int) -> int:
    """Inputs of a packed layer: the width, rounded up to a multiple of `_UNROLL`."""
    return -(-width // _UNROLL) * _UNROLL


def round_to_bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """The upper 16 bits of finite float32 values, rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


_compiler = functools.partial(numba.njit, nogil=True, fastmath={"contract"}, error_model="numpy")
"""a * b + c may become one instruction."""


def _inner(function: Function) -> Function:
    """Compile a part of the loop, inlined into it; see `snake_beta_numba._inner`."""
    return cast(Function, _compiler(forceinline=True)(function))


def _compiled(function: Function) -> Function:
    """Compile on first use, then take it from numba's cache."""
    dispatcher: Any = _compiler()(function)
    with contextlib.suppress(RuntimeError):  # no folder that a cache could be written to
        dispatcher._cache = SafeCache(function)  # type: ignore[no-untyped-call]
    return cast(Function, dispatcher)


@_inner
def _exp(x: Any) -> Any:
    """e^x in float32, |x| limited to 87: Cody-Waite reduction and a Taylor polynomial."""
    x = min(max(x, -_LIMIT), _LIMIT)
    n = np.rint(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    tail = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    two_to_n = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (tail * r * r + r + _ONE) * two_to_n


def _accumulate(sums: Any, inputs: Any, weights: Any) -> None:
    """Add to the sums of a panel the products of some inputs with their weights.

    Compiled code uses `_choose_accumulate` instead, which chooses at compile time.
    """
    chosen = _accumulate_single if weights.dtype == np.float32 else _accumulate_pairs
    chosen(sums, inputs, weights)


@_inner
def _accumulate_single(sums: Any, inputs: Any, weights: Any) -> None:
    for k in range(0, weights.shape[0], _UNROLL):
        a, b, c, d = inputs[k], inputs[k + 1], inputs[k + 2], inputs[k + 3]
        for j in range(_PANEL):
            sums[j] += (
                a * weights[k, j]
                + b * weights[k + 1, j]
                + c * weights[k + 2, j]
                + d * weights[k + 3, j]
            )


@_inner
def _accumulate_pairs(sums: Any, inputs: Any, weights: Any) -> None:
    for k in range(0, weights.shape[0], 2):
        a, b, c, d = inputs[2 * k], inputs[2 * k + 1], inputs[2 * k + 2], inputs[2 * k + 3]
        for j in range(_PANEL):
            first, second = weights[k, j], weights[k + 1, j]
            sums[j] += (
                a * np.uint32(first << _SIXTEEN).view(np.float32)
                + b * np.uint32(first & _UPPER).view(np.float32)
                + c * np.uint32(second << _SIXTEEN).view(np.float32)
                + d * np.uint32(second & _UPPER).view(np.float32)
            )


@overload(_accumulate)
def _choose_accumulate(sums: Any, inputs: Any, weights: Any) -> Any:
    chosen = _accumulate_single if weights.dtype == numba.float32 else _accumulate_pairs

    def accumulate(sums: Any, inputs: Any, weights: Any) -> None:
        chosen(sums, inputs, weights)

    return accumulate


@_inner
def _multiply(gates: Any, hidden: Any, packed: Any, rows: int, backwards: bool) -> None:
    panels, words = packed.shape[0], packed.shape[1]
    inputs_a_word = hidden.shape[1] // words
    for index in range(panels):
        panel = panels - 1 - index if backwards else index
        first = panel * _PANEL
        for low in range(0, words, _BLOCK):
            high = min(low + _BLOCK, words)
            for row in range(rows):
                sums = gates[row, first : first + _PANEL]
                inputs = hidden[row, low * inputs_a_word : high * inputs_a_word]
                _accumulate(sums, inputs, packed[panel, low:high])


@_inner
def _update(gates: Any, hidden: Any, cell: Any, output: Any) -> None:
    """One row's cell: gates in torch's order (input, forget, candidate, output)."""
    width = cell.shape[0]
    for j in range(width):
        admit = _ONE / (_ONE + _exp(-gates[j]))
        keep = _ONE / (_ONE + _exp(-gates[width + j]))
        candidate = _ONE - _TWO / (_ONE + _exp(_TWO * gates[2 * width + j]))
        show = _ONE / (_ONE + _exp(-gates[3 * width + j]))
        state = keep * cell[j] + admit * candidate
        cell[j] = state
        shown = show * (_ONE - _TWO / (_ONE + _exp(_TWO * state)))
        hidden[j] = shown
        output[j] = shown


@_compiled
def run_layer(
    inputs: Floats,
    lengths: npt.NDArray[np.int64],
    packed: Packed,
    hidden: Floats,
    cell: Floats,
    outputs: Floats,
    start: int,
    first: int,
    last: int,
) -> None:
    """Run a layer over frames `first` to `last`, its state in place.

    `inputs` (B, N, 4 * width) has the products with the inputs plus both biases, for the frames
    from `start` on; `lengths` (B,) the frames of each row, in descending order; `packed` comes from
    `pack`; `hidden` (B, padded_width(width)) and `cell` (B, width) are the state, and `outputs`
    (B, T, width) is written. All are C-contiguous, and float32 except lengths and packed.
    """
    rows, width = inputs.shape[0], inputs.shape[2]
    gates = np.zeros((rows, packed.shape[0] * _PANEL), np.float32)
    for frame in range(first, last):
        while rows > 0 and lengths[rows - 1] <= frame:
            rows -= 1
        for row in range(rows):
            gates[row, :width] = inputs[row, frame - start]
        # Every second frame goes backwards over the weights: the last ones are still in the cache.
        _multiply(gates, hidden, packed, rows, frame % 2 == 1)
        for row in range(rows):
            _update(gates[row], hidden[row], cell[row], outputs[row, frame])
