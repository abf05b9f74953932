"""What computes the parts of a codec: torch, or ONNX Runtime. Loads neither."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from bigcodec_models.arrays import Array, Tokens
from bigcodec_models.inference.chunking import Pipeline


class Engine(Protocol):
    """The pipelines of a model on a device, and what they need of arrays.

    `name` is "torch" or "onnx", and `device` is one of torch, or "cpu". `encoder` turns samples
    (1, 1, n * hop) into latents (1, dim, n), with F0 tokens as one more channel if they are coded;
    `decoder` turns tokens (1, K, n), int64, into samples (1, 1, n * hop). `side_by_side` tells
    whether many short streams beside each other are faster, with the same results.
    """

    name: str
    device: Any
    side_by_side: bool
    encoder: Pipeline
    decoder: Pipeline

    def from_numpy(self, array: npt.NDArray[Any]) -> Array:
        """An array of the engine, on its device."""

    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        """The reverse."""

    def quantize(self, latents: Array) -> Tokens:
        """Tokens (n, K) of the encoder's outputs (1, channels, n)."""
