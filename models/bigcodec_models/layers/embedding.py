"""Rows of a table by number."""

from __future__ import annotations

from torch import Tensor


def select_rows(table: Tensor, tokens: Tensor) -> Tensor:
    """Rows of a table (n, width) by tokens, int64 (...): (..., width).

    As `F.embedding`, in whose backward pass the host waits for a GPU, so that it cannot be captured
    as a CUDA graph.
    """
    return table.index_select(0, tokens.flatten()).view(*tokens.shape, -1)
