"""The arrays of integers of a trained network, with which the container's decoder computes.

Names and meanings are those of format/SPEC.md sections 7 and 8.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from bigcodec_models.prior.network import PriorHead, PriorNetwork

_SCALE = 1 << 16
_ACTIVATION = 1 << 10
_SMALL = 1 << 7
_LARGEST = 127
_BIT = 1 / math.log(2)

Arrays = dict[str, npt.NDArray[np.integer]]
Floats = npt.NDArray[np.float64]


def quantized(network: PriorNetwork) -> Arrays:
    """The arrays of a prior file that belong to the network, by name."""
    embedding = _floats(network.embedding())
    scale = np.abs(embedding).max(axis=0).clip(1e-6) / _LARGEST
    arrays: Arrays = {"embedding": np.round(embedding / scale).astype(np.int8)}
    parts = {name: _floats(value) for name, value in network.recurrent.named_parameters()}
    # The scales of the embedding's columns are multiplied into the first matrix.
    from_input = parts["weight_ih_l0"] * scale * _SMALL
    _put_linear(arrays, "from_input", from_input, parts["bias_ih_l0"])
    _put_linear(arrays, "from_state", parts["weight_hh_l0"], parts["bias_hh_l0"])
    for k, head in enumerate(network.heads):
        assert isinstance(head, PriorHead)
        for name in ("group_hidden", "member_hidden"):
            layer = getattr(head, name)
            assert isinstance(layer, nn.Linear)
            _put_linear(arrays, f"{k}.{name}", _floats(layer.weight), _floats(layer.bias))
        weight, bias = _floats(head.group.weight), _floats(head.group.bias)
        _put_linear(arrays, f"{k}.group", weight * _BIT, bias * _BIT)
        weight, bias = _floats(head.member_matrix()), _floats(head.member_bias)
        _put_linear(arrays, f"{k}.member", weight * _BIT, bias * _BIT)
        shift = np.round(_floats(head.group_shift) * _ACTIVATION)
        arrays[f"{k}.group_shift"] = shift.clip(-32768, 32767).astype(np.int16)
    return arrays


def _put_linear(arrays: Arrays, name: str, weight: Floats, bias: Floats) -> None:
    """Store a layer as int8 rows with a factor each: inputs are in units of 1/128, outputs in
    units of 1/1024, and factors and offsets have 16 fractional bits."""
    unit = _ACTIVATION / _SMALL * _SCALE
    factor = np.ceil(np.abs(weight).max(axis=1) / _LARGEST * unit).clip(1, (1 << 31) - 1)
    matrix = np.round(weight * unit / factor[:, None]).clip(-_LARGEST, _LARGEST)
    offset = np.round(bias * _ACTIVATION * _SCALE).clip(-(1 << 31), (1 << 31) - 1)
    arrays[f"{name}.matrix"] = matrix.astype(np.int8)
    arrays[f"{name}.factor"] = factor.astype(np.int32)
    arrays[f"{name}.offset"] = offset.astype(np.int32)


def _floats(value: Tensor) -> Floats:
    return value.detach().double().numpy()
