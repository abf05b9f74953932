"""Graphs whose large matrix products are of 8-bit integers, by the tools of ONNX Runtime."""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

_LEAST_WEIGHTS = 1 << 15
"""A product with fewer constant weights stays as it is: it takes little time."""


def with_integer_products(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose products with large constant matrices are of integers.

    Each column of a matrix has a scale of its own; the other factor gets one scale for all of it
    when the graph is run. Weights have 7 bits: products of 8 bits overflow in the 16-bit sums of
    processors that have AVX2 or AVX-512 but no VNNI, which would then give other samples.
    """
    weights = {row.name: math.prod(row.dims) for row in graph.graph.initializer}
    small = [
        node.name
        for node in graph.graph.node
        if node.op_type in ("MatMul", "Gemm") and weights.get(node.input[1], 0) < _LEAST_WEIGHTS
    ]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it recommends steps that fold constants
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            quantize_dynamic(
                graph,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=small,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(path)
    finally:
        logging.root.setLevel(level)
